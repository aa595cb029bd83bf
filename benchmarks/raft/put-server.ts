import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { decodePut } from './etcd-protocol.ts'

const PREFIX_BYTES = 5
/** One message of no bytes: a `PutResponse` without a header. */
const EMPTY_MESSAGE = Buffer.alloc(PREFIX_BYTES)
const UNIMPLEMENTED = '12'
const UNAVAILABLE = '14'

/**
 * Serves etcd's `Put` over gRPC, straight on HTTP/2: so that both are driven by the very same client, and what is
 * measured here is the group and not a server framework.
 */
export async function servePut(
  port: number,
  put: (key: string, value: string) => Promise<unknown>,
): Promise<Http2Server> {
  const server = createServer()
  server.on('stream', (stream, headers) => onCall(stream, headers, put))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return server
}

function onCall(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  put: (key: string, value: string) => Promise<unknown>,
): void {
  const pieces: Buffer[] = []
  // A client that goes away takes its answer with it.
  stream.on('error', () => undefined)
  stream.on('data', (piece: Buffer) => pieces.push(piece))
  stream.on('end', () => {
    if (headers[':path'] !== '/etcdserverpb.KV/Put') return fail(stream, UNIMPLEMENTED, 'only Put is served')
    const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
    const { key, value } = decodePut(bytes.subarray(PREFIX_BYTES))
    put(key, value).then(
      () => answer(stream),
      error => fail(stream, UNAVAILABLE, error instanceof Error ? error.message : String(error)),
    )
  })
}

function answer(stream: ServerHttp2Stream): void {
  if (stream.destroyed) return
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
  stream.respond({ 'content-type': 'application/grpc+proto' }, { waitForTrailers: true })
  stream.end(EMPTY_MESSAGE)
}

function fail(stream: ServerHttp2Stream, status: string, message: string): void {
  if (stream.destroyed) return
  const trailers = { 'grpc-status': status, 'grpc-message': encodeURIComponent(message) }
  stream.respond({ 'content-type': 'application/grpc+proto', ...trailers }, { endStream: true })
}
