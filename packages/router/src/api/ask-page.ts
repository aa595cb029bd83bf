import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { type ClientHttp2Session, connect } from 'node:http2'
import { request as httpsRequest } from 'node:https'

/** A health check page is small; more of it is not shown. */
const BODY_BYTES_MAX = 64 * 1024

export interface PageRequest {
  readonly proto: 'http' | 'https' | 'h2' | 'h2c'
  readonly host: string
  readonly port: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly timeoutMs: number
}

export interface Page {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** At most 64 KiB, cut between characters. */
  readonly body: string
}

/**
 * Gets one page of an instance, in the protocol that the instance speaks. Certificates are not checked, as health checks
 * do not either: instances make their own.
 *
 * @throws when there is no answer in time
 */
export function askPage(page: PageRequest): Promise<Page> {
  return page.proto === 'h2' || page.proto === 'h2c' ? askHttp2(page) : askHttp1(page)
}

function askHttp1({ proto, host, port, path, headers, timeoutMs }: PageRequest): Promise<Page> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(Math.ceil(timeoutMs))
    const start = proto === 'https' ? httpsRequest : httpRequest
    const request = start({ host, port, path, agent: false, signal, headers, rejectUnauthorized: false }, response => {
      const body = new BodyCollector()
      response.on('data', (piece: Buffer) => body.add(piece))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: body.text(), headers: flatten(response.headers) }),
      )
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end()
  })
}

async function askHttp2(page: PageRequest): Promise<Page> {
  const scheme = page.proto === 'h2' ? 'https' : 'http'
  const host = page.host.includes(':') ? `[${page.host}]` : page.host
  const session = connect(`${scheme}://${host}:${page.port}`, { rejectUnauthorized: false })
  try {
    return await askOn(session, page)
  } finally {
    session.destroy()
  }
}

function askOn(session: ClientHttp2Session, { path, headers, timeoutMs }: PageRequest): Promise<Page> {
  return new Promise((resolve, reject) => {
    session.on('error', reject)
    const stream = session.request({ ':path': path, ...headers }, { signal: AbortSignal.timeout(Math.ceil(timeoutMs)) })
    let status = 0
    let received: Readonly<Record<string, string>> = {}
    const body = new BodyCollector()
    stream.on('response', fields => {
      status = Number(fields[':status'])
      received = flatten(fields as IncomingHttpHeaders)
    })
    stream.on('data', (piece: Buffer) => body.add(piece))
    stream.on('end', () => {
      if (status === 0) reject(new Error('the stream ended without an answer'))
      else resolve({ status, headers: received, body: body.text() })
    })
    stream.on('error', reject)
    stream.end()
  })
}

class BodyCollector {
  readonly #pieces: Buffer[] = []
  #bytes = 0

  add(piece: Buffer): void {
    if (this.#bytes >= BODY_BYTES_MAX) return
    const kept = piece.subarray(0, BODY_BYTES_MAX - this.#bytes)
    this.#pieces.push(kept)
    this.#bytes += kept.length
  }

  text(): string {
    // The decoder holds back the bytes of a character that the cut went through.
    return new TextDecoder().decode(Buffer.concat(this.#pieces), { stream: true })
  }
}

function flatten(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers)
      .filter(([name, value]) => value !== undefined && !name.startsWith(':'))
      .map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : String(value)]),
  )
}
