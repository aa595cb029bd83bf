import { connect as connectH2 } from 'node:http2'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import type { BackendProto } from '@waiter/services'

/** A status line longer than this is no HTTP. */
const STATUS_LINE_BYTES_MAX = 8 * 1024
/** After the status the body is read so far, so that a simple server does not see its answer cut off. */
const BODY_BYTES_MAX = 64 * 1024
/** How long the rest of the answer may take after the status; nothing waits for it. */
const BODY_MS_MAX = 1000

/** What to ask. */
export interface ProbeTarget {
  /** Addresses in order of preference; the first that accepts a connection is asked. */
  readonly hosts: readonly string[]
  readonly port: number
  readonly proto: BackendProto
  readonly path: string
  /** `Basic …` or undefined. */
  readonly authorization: string | undefined
  /** For connecting and answering together. */
  readonly timeoutMs: number
}

/** What came of it. `host` is the address that accepted the connection. */
export type ProbeResult =
  | { readonly kind: 'refused' }
  | { readonly kind: 'timeout'; readonly host: string | null }
  | { readonly kind: 'hangup'; readonly host: string }
  | { readonly kind: 'tls-error'; readonly host: string }
  | { readonly kind: 'response'; readonly host: string; readonly status: number }

/** Performs one health check: connect, GET, read the status. Never throws. */
export function probeHealth(target: ProbeTarget, signal: AbortSignal): Promise<ProbeResult> {
  return new Promise(resolve => {
    let socket: Socket | undefined
    let host: string | null = null
    let isDone = false
    const finish = (result: ProbeResult): void => {
      if (isDone) return
      isDone = true
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      if (result.kind !== 'response') socket?.destroy()
      resolve(result)
    }
    const onAbort = (): void => finish({ kind: 'timeout', host })
    // A real timer, not the injected one: it measures another process, which does not follow injected time.
    const timer = setTimeout(onAbort, target.timeoutMs)
    signal.addEventListener('abort', onAbort, { once: true })
    const tryHost = (index: number): void => {
      const candidate = target.hosts[index]
      if (isDone) return
      if (candidate === undefined) {
        finish({ kind: 'refused' })
        return
      }
      const attempt = connectTcp({ host: candidate, port: target.port, noDelay: true })
      socket = attempt
      const onRefused = (): void => tryHost(index + 1)
      attempt.once('error', onRefused)
      attempt.once('connect', () => {
        attempt.removeListener('error', onRefused)
        host = candidate
        try {
          ask(target, attempt, candidate, finish)
        } catch {
          finish({ kind: 'hangup', host: candidate }) // a path that HTTP/2 cannot send
        }
      })
    }
    tryHost(0)
  })
}

type Finish = (result: ProbeResult) => void

function ask(target: ProbeTarget, socket: Socket, host: string, finish: Finish): void {
  const isSecure = target.proto === 'https' || target.proto === 'h2'
  if (!isSecure) {
    if (target.proto === 'h2c') askH2(target, socket, host, finish)
    else askH1(target, socket, host, finish)
    return
  }
  const secure = connectTls({
    socket,
    // The instance runs on this machine with a certificate of its own making.
    rejectUnauthorized: false,
    ALPNProtocols: [target.proto === 'h2' ? 'h2' : 'http/1.1'],
  })
  const onError = (): void => finish({ kind: 'tls-error', host })
  secure.once('error', onError)
  secure.once('secureConnect', () => {
    secure.removeListener('error', onError)
    if (target.proto === 'h2') askH2(target, secure, host, finish)
    else askH1(target, secure, host, finish)
  })
  socket.once('close', () => finish({ kind: 'tls-error', host }))
}

function askH1(target: ProbeTarget, socket: Socket | TLSSocket, host: string, finish: Finish): void {
  let head = ''
  let bodyBytes = 0
  let hasStatus = false
  const authority = host.includes(':') ? `[${host}]:${target.port}` : `${host}:${target.port}`
  socket.on('error', () => finish({ kind: 'hangup', host }))
  socket.on('close', () => finish({ kind: 'hangup', host }))
  socket.on('data', chunk => {
    if (hasStatus) {
      bodyBytes += chunk.length
      if (bodyBytes > BODY_BYTES_MAX) socket.destroy()
      return
    }
    head += chunk.toString('latin1')
    const status = readStatus(head)
    if (status !== null) {
      hasStatus = true
      socket.setTimeout(BODY_MS_MAX, () => socket.destroy())
      finish({ kind: 'response', host, status })
    } else if (head.length > STATUS_LINE_BYTES_MAX || !looksLikeHttp(head)) {
      finish({ kind: 'hangup', host })
    }
  })
  const authorization = target.authorization === undefined ? '' : `authorization: ${target.authorization}\r\n`
  socket.write(
    `GET ${escapePath(target.path)} HTTP/1.1\r\nhost: ${authority}\r\nuser-agent: waiter-health-check\r\naccept: */*\r\n` +
      `x-waiter-request-type: health-check\r\n${authorization}connection: close\r\n\r\n`,
  )
}

/** Blanks and control characters would end the request line early. */
function escapePath(path: string): string {
  const escaped = path.replace(/[\u0000-\u0020\u007f]/g, character => encodeURIComponent(character))
  return escaped.startsWith('/') ? escaped : `/${escaped}`
}

/** The final status; null while it has not come. Interim answers (1xx) are skipped. */
function readStatus(head: string): number | null {
  let rest = head
  for (;;) {
    const match = /^HTTP\/1\.[01] (\d{3})[ \r\n]/.exec(rest)
    if (match === null) return null
    const status = Number(match[1])
    if (status >= 200) return status
    const end = rest.indexOf('\r\n\r\n')
    if (end < 0) return null
    rest = rest.slice(end + 4)
  }
}

function looksLikeHttp(head: string): boolean {
  return 'HTTP/1.'.startsWith(head.slice(0, 7))
}

function askH2(target: ProbeTarget, socket: Socket | TLSSocket, host: string, finish: Finish): void {
  const scheme = target.proto === 'h2' ? 'https' : 'http'
  const authority = host.includes(':') ? `[${host}]` : host
  const session = connectH2(`${scheme}://${authority}:${target.port}`, { createConnection: () => socket })
  const onHangup = (): void => {
    finish({ kind: 'hangup', host })
    session.destroy()
  }
  session.on('error', onHangup)
  session.on('close', onHangup)
  const request = session.request({
    ':method': 'GET',
    ':path': escapePath(target.path),
    'user-agent': 'waiter-health-check',
    'x-waiter-request-type': 'health-check',
    ...(target.authorization === undefined ? {} : { authorization: target.authorization }),
  })
  request.on('error', onHangup)
  request.on('close', onHangup)
  request.on('response', headers => {
    finish({ kind: 'response', host, status: Number(headers[':status']) })
    session.destroy()
  })
  request.end()
}
