/**
 * The backend behind every contestant: answers by the first letters of the path, with bytes that lie ready. It must cost
 * less than any proxy in front of it, so it looks at nothing that the benchmark's own requests do not need.
 *
 *     node benchmarks/proxy/backend.ts PORT
 */
import { createServer, type Server, Socket } from 'node:net'

const KIB = 1024
const LISTEN_BACKLOG = 4096
const READ_BUFFER_BYTES = 64 * KIB
const SMALL = response(100)
const ANSWERS: readonly { readonly path: string; readonly bytes: Buffer }[] = [
  { path: '/10k', bytes: response(10 * KIB) },
  { path: '/1m', bytes: response(KIB * KIB) },
]

/** Shared by all connections: read and used within one synchronous step. */
const readBuffer = Buffer.alloc(READ_BUFFER_BYTES)

const server: Server = createServer({ noDelay: true, pauseOnConnect: true })
server.on('connection', accept)
server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: LISTEN_BACKLOG })

/** A socket that reads into memory of its own choice costs a third less than one with 'data' events. */
function accept(accepted: Socket): void {
  const handle = (accepted as unknown as { _handle: unknown })._handle
  let head = ''
  let bodyBytesDue = 0
  let answer = SMALL
  const onRead = (length: number): boolean => {
    let used = 0
    if (bodyBytesDue === 0) {
      head += readBuffer.toString('latin1', 0, length)
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return true
      used = length - (head.length - end - 4)
      answer = answerTo(head)
      bodyBytesDue = head.startsWith('POST') ? contentLength(head) : 0
      head = ''
      bodyBytesDue -= length - used
    } else {
      bodyBytesDue -= length
    }
    if (bodyBytesDue < 0) socket.destroy(new Error('pipelining is not part of the benchmark'))
    else if (bodyBytesDue === 0) socket.write(answer)
    return true
  }
  const socket = new Socket({ handle, onread: { buffer: readBuffer, callback: onRead } } as never)
  socket.on('error', () => undefined)
  socket.on('end', () => socket.end())
  socket.resume()
}

function answerTo(head: string): Buffer {
  for (const { path, bytes } of ANSWERS) if (head.startsWith(path, head.indexOf(' ') + 1)) return bytes
  return SMALL
}

function contentLength(head: string): number {
  return Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
}

function response(bodyBytes: number): Buffer {
  return Buffer.from(
    'HTTP/1.1 200 OK\r\nserver: bench\r\ndate: Mon, 23 Nov 2026 12:00:00 GMT\r\ncontent-type: text/plain\r\n' +
      `content-length: ${bodyBytes}\r\n\r\n${'x'.repeat(bodyBytes)}`,
    'latin1',
  )
}
