import type { KitchenOptions } from './options.ts'
import { sleep, type Visit } from './visit.ts'

/** A body made while it is sent. */
export interface Bulk {
  /** Undefined when nobody knows yet: then it is sent chunked. */
  readonly bytes: number | undefined
  readonly chunks: Iterable<Buffer> | AsyncIterable<Buffer>
}

/** What a page answers, before the visitor's wishes about headers, chunks, delays and failures are applied. */
export interface Reply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body: string | Buffer | Bulk
  /** Chunked although the length is known. */
  readonly chunked?: boolean
}

const TRAILER_WISH = 'x-kitchen-trailer-'

/** Sends the reply the way the `x-kitchen-` headers wish. */
export async function sendReply(visit: Visit, reply: Reply, options: KitchenOptions): Promise<void> {
  const { response } = visit
  const trailers = trailersOf(visit)
  const chunked = reply.chunked === true || visit.wishFlag('chunked') || trailers.length > 0
  const failAfterBytes = visit.wishNumber('fail-after', Number.POSITIVE_INFINITY)
  const isWhole = typeof reply.body === 'string' || Buffer.isBuffer(reply.body)
  const body = isWhole ? Buffer.from(reply.body as string) : undefined
  const lengthBytes = body?.length ?? (reply.body as Bulk).bytes
  writeHead(visit, reply, { options, lengthBytes: chunked ? undefined : lengthBytes, trailers })
  if (body !== undefined && !chunked && failAfterBytes === Number.POSITIVE_INFINITY) {
    response.end(body)
    return
  }
  const chunks = body === undefined ? (reply.body as Bulk).chunks : [body]
  const isComplete = await sendChunks(visit, chunks, failAfterBytes)
  if (!isComplete) {
    breakOff(visit)
    return
  }
  if (trailers.length > 0) {
    await sleep(visit.wishNumber('pre-trailer-sleep-ms', 0))
    response.addTrailers(Object.fromEntries(trailers))
  }
  response.end()
}

interface HeadPlan {
  readonly options: KitchenOptions
  readonly lengthBytes: number | undefined
  readonly trailers: readonly (readonly [string, string])[]
}

function writeHead(visit: Visit, reply: Reply, plan: HeadPlan): void {
  const { request, response } = visit
  const headers: Record<string, string | string[]> = { 'content-type': 'text/plain', ...reply.headers }
  const mayHaveBody = reply.status >= 200 && reply.status !== 204 && reply.status !== 304
  if (plan.lengthBytes !== undefined && mayHaveBody) headers['content-length'] = String(plan.lengthBytes)
  const cid = request.headers['x-cid']
  if (cid !== undefined) headers['x-cid'] = cid
  const contentType = visit.wish('content-type')
  if (contentType !== undefined) headers['content-type'] = contentType
  const cookies = visit.wish('cookies')
  if (cookies !== undefined) headers['set-cookie'] = cookies.split(',').map(cookie => cookie.trim())
  if (plan.trailers.length > 0) headers.trailer = plan.trailers.map(([name]) => name).join(', ')
  if (visit.query.get('include') === 'request-info') Object.assign(headers, requestInfoHeaders(visit))
  if (request.httpVersionMajor === 1 && !plan.options.keepAlive) response.shouldKeepAlive = false
  for (const name of (visit.wish('exclude-headers') ?? '').split(',')) {
    const excluded = name.trim().toLowerCase()
    delete headers[excluded]
    if (excluded === 'date') response.sendDate = false
    if (excluded === 'content-length' && request.httpVersionMajor === 1) response.removeHeader('content-length')
  }
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
  response.statusCode = reply.status
}

function requestInfoHeaders(visit: Visit): Record<string, string> {
  return {
    'x-kitchen-protocol-version': `HTTP/${visit.request.httpVersion}`,
    'x-kitchen-request-length': String(visit.requestBytes),
    'x-kitchen-request-method': visit.request.method ?? '',
    'x-kitchen-request-version': `HTTP/${visit.request.httpVersion}`,
  }
}

/** @returns false when the body was cut short, by wish or because the visitor left */
async function sendChunks(visit: Visit, chunks: Bulk['chunks'], failAfterBytes: number): Promise<boolean> {
  const chunkDelayMs = visit.wishNumber('chunk-delay', 0)
  const chunkBytes = visit.wishNumber('chunk-size', 0)
  let leftBytes = failAfterBytes
  let isFirst = true
  for await (const whole of chunks) {
    for (const piece of split(whole, chunkBytes)) {
      if (!isFirst) await sleep(chunkDelayMs)
      isFirst = false
      if (!(await write(visit, piece.length > leftBytes ? piece.subarray(0, leftBytes) : piece))) return false
      leftBytes -= piece.length
      if (leftBytes <= 0) return false
    }
  }
  return leftBytes === Number.POSITIVE_INFINITY
}

function* split(whole: Buffer, chunkBytes: number): Generator<Buffer> {
  const stepBytes = chunkBytes > 0 ? chunkBytes : whole.length
  for (let at = 0; at < whole.length; at += stepBytes) yield whole.subarray(at, at + stepBytes)
}

/** Writes and waits while the visitor is slower than we are. False once it has left. */
function write({ response }: Visit, piece: Buffer): Promise<boolean> | boolean {
  if (response.destroyed) return false
  if (piece.length === 0 || response.write(piece)) return true
  return new Promise(resolve => {
    const settle = (): void => {
      response.off('drain', settle)
      response.off('close', settle)
      resolve(!response.destroyed)
    }
    response.on('drain', settle)
    response.on('close', settle)
  })
}

const HTTP2_INTERNAL_ERROR = 2

/** Ends the connection (or the HTTP/2 stream) in the middle of the body, after what was written so far. */
function breakOff({ request, response }: Visit): void {
  if (!response.headersSent) response.flushHeaders()
  if (request.httpVersionMajor === 1) response.socket?.destroySoon()
  else (response as unknown as { stream: { close(code: number): void } }).stream.close(HTTP2_INTERNAL_ERROR)
}

function trailersOf({ request }: Visit): [string, string][] {
  const trailers: [string, string][] = []
  for (const [name, value] of Object.entries(request.headers)) {
    if (name.startsWith(TRAILER_WISH)) trailers.push([name.slice(TRAILER_WISH.length), String(value)])
  }
  return trailers
}
