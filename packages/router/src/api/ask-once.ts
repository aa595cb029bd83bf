import { type IncomingHttpHeaders, type IncomingMessage, request as requestHttp } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { request as requestHttps } from 'node:https'
import type { BackendProtocol } from '@waiter/proxy'

/** A health check page is small; more of it is not shown. */
const BODY_BYTES_MAX = 64 * 1024

export interface OneQuestion {
  readonly proto: BackendProtocol
  readonly host: string
  readonly port: number
  readonly path: string
  readonly authorization: string
  readonly timeoutMs: number
}

export interface OneAnswer {
  readonly status: number
  readonly body: string
  readonly headers: Readonly<Record<string, unknown>>
}

/** One GET to an instance on a connection of its own: for what people ask, not for traffic. */
export function askOnce(question: OneQuestion): Promise<OneAnswer> {
  const signal = AbortSignal.timeout(Math.ceil(question.timeoutMs))
  const isHttp2 = question.proto === 'h2' || question.proto === 'h2c'
  return isHttp2 ? askOverHttp2(question, signal) : askOverHttp1(question, signal)
}

function askOverHttp1(question: OneQuestion, signal: AbortSignal): Promise<OneAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<OneAnswer>()
  const { host, port, path, proto } = question
  const request = proto === 'https' ? requestHttps : requestHttp
  // Instances make their certificates themselves.
  const options = { host, port, path, agent: false, signal, headers: headersOf(question), rejectUnauthorized: false }
  const outgoing = request(options, (response: IncomingMessage) => {
    gather(response, body => resolve({ status: response.statusCode ?? 0, body, headers: response.headers }))
    response.on('error', reject)
  })
  outgoing.on('error', reject)
  outgoing.end()
  return promise
}

async function askOverHttp2(question: OneQuestion, signal: AbortSignal): Promise<OneAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<OneAnswer>()
  const { host, port, path, proto } = question
  const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`
  const session = connectHttp2(`${proto === 'h2' ? 'https' : 'http'}://${authority}`, { rejectUnauthorized: false })
  session.on('error', reject)
  try {
    const stream = session.request({ ':path': path, ...headersOf(question) }, { signal })
    let headers: IncomingHttpHeaders & { ':status'?: number | undefined } = {}
    stream.on('response', head => {
      headers = head
    })
    stream.on('error', reject)
    gather(stream, body => resolve({ status: headers[':status'] ?? 0, body, headers: regularFields(headers) }))
    return await promise
  } finally {
    session.destroy()
  }
}

function headersOf({ authorization }: OneQuestion): Record<string, string> {
  return { authorization, 'x-waiter-request-type': 'ping' }
}

function regularFields(headers: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith(':')))
}

function gather(stream: NodeJS.ReadableStream, onEnd: (body: string) => void): void {
  let body = ''
  stream.setEncoding('utf8')
  stream.on('data', (piece: string) => {
    if (body.length < BODY_BYTES_MAX) body += piece
  })
  stream.on('end', () => onEnd(body))
}
