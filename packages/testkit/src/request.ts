import { type IncomingHttpHeaders, type RequestOptions, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'

/** A request as a test writes it. */
export interface TestRequest {
  readonly port: number
  /** `127.0.0.1` by default. */
  readonly host?: string
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly body?: string | Uint8Array
  /** TLS without checking the certificate. */
  readonly tls?: boolean
  readonly signal?: AbortSignal
}

/** An answer, read to its end. */
export interface TestResponse {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Names and values alternating, as received. */
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
  /** The body as UTF-8. */
  readonly text: string
  readonly trailers: Readonly<Record<string, string | undefined>>
}

/**
 * Sends one request on a connection of its own, which is closed afterwards.
 *
 * @throws {Error} when the connection fails or ends before the answer does
 */
export function request(wanted: TestRequest): Promise<TestResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<TestResponse>()
  const options: RequestOptions & { rejectUnauthorized: boolean } = {
    host: wanted.host ?? '127.0.0.1',
    port: wanted.port,
    method: wanted.method ?? 'GET',
    path: wanted.path ?? '/',
    headers: { ...wanted.headers } as Record<string, string | string[]>,
    agent: false,
    rejectUnauthorized: false,
    ...(wanted.signal === undefined ? {} : { signal: wanted.signal }),
  }
  const outgoing = (wanted.tls ? requestHttps : requestHttp)(options, response => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.once('error', reject)
    response.once('end', () => {
      const body = Buffer.concat(chunks)
      const { headers, rawHeaders, trailers } = response
      resolve({ status: response.statusCode ?? 0, headers, rawHeaders, body, text: body.toString(), trailers })
    })
  })
  outgoing.once('error', reject)
  outgoing.end(wanted.body)
  return promise
}
