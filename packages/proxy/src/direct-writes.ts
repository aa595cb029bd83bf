import { connect, createServer, type Socket } from 'node:net'
import { getSystemErrorName } from 'node:util'

/** What Node keeps of a write that the kernel did not take at once. */
export interface WriteRequest {
  handle?: object
  oncomplete?: (status: number) => void
}

/** Makes such a request. */
export type WriteRequestConstructor = new () => WriteRequest

/** The part of a TCP handle that writes. */
export interface WritableHandle {
  /** 0, or a negative system error. When the kernel took all, `request` was not touched. */
  writeLatin1String(request: WriteRequest, text: string): number
  /** Bytes of the handle that wait for the kernel. */
  readonly writeQueueSize: number
}

/** The handle of a socket, or null once it is closed. */
export function handleOf(socket: Socket): WritableHandle | null {
  return (socket as unknown as { readonly _handle: WritableHandle | null })._handle
}

/** The error that `socket.write` would have come to. */
export function writeError(status: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(status)
  return Object.assign(new Error(`write ${code}`), { errno: status, code, syscall: 'write' })
}

/** A connection to ourselves takes a millisecond. */
const PROBE_MS_MAX = 2_000
/** A few of these are more than the kernel takes for a peer that does not read. */
const FILL_BYTES = 1024 * 1024
const FILLS_MAX = 64
const PING = 'ping'

let result: Promise<WriteRequestConstructor | null> | undefined

/**
 * Whether this Node lets us write to a handle past the machinery of streams, which costs a small request two
 * microseconds. It is not documented, so one real connection tries all that we need of it: bytes that arrive, a request
 * used again, the order of what waits, the end of waiting, an error. Null: use `socket.write`. Asked once per process.
 */
export function findDirectWrites(): Promise<WriteRequestConstructor | null> {
  result ??= probe().catch(() => null)
  return result
}

async function probe(): Promise<WriteRequestConstructor | null> {
  const { promise, resolve, reject } = Promise.withResolvers<WriteRequestConstructor | null>()
  const sockets: Socket[] = []
  const server = createServer({ pauseOnConnect: true }, peer => {
    sockets.push(peer)
    peer.on('error', () => undefined)
  })
  const timer = setTimeout(() => resolve(null), PROBE_MS_MAX)
  try {
    server.listen({ host: '127.0.0.1', port: 0 }, () => {
      const { port } = server.address() as { port: number }
      const socket = connect({ host: '127.0.0.1', port })
      sockets.push(socket)
      socket.on('error', () => undefined)
      socket.on('connect', () => {
        try {
          tryWrites(socket, () => sockets.find(other => other !== socket), resolve)
        } catch (error) {
          reject(error)
        }
      })
    })
    server.on('error', reject)
    return await promise
  } finally {
    clearTimeout(timer)
    server.close()
    for (const socket of sockets) socket.destroy()
  }
}

function tryWrites(
  socket: Socket,
  peerOf: () => Socket | undefined,
  resolve: (found: WriteRequestConstructor | null) => void,
): void {
  const WriteRequest = learnConstructor(socket)
  const handle = handleOf(socket)
  if (WriteRequest === null || handle === null) {
    resolve(null)
    return
  }
  // One request for many writes, as long as the kernel takes them.
  const spare = new WriteRequest()
  let expected = PING + PING
  if (handle.writeLatin1String(spare, PING) !== 0 || handle.writeQueueSize !== 0) resolve(null)
  for (let i = 0; i < FILLS_MAX && handle.writeQueueSize === 0; i++) {
    const text = String.fromCharCode(0x61 + (i % 26)).repeat(FILL_BYTES)
    expected += text
    const waiting = i === 0 ? spare : new WriteRequest()
    waiting.handle = handle
    waiting.oncomplete = status => {
      // The peer has read: what waited is gone, and in order.
      if (status !== 0 || handle.writeQueueSize !== 0) resolve(null)
    }
    if (handle.writeLatin1String(waiting, text) !== 0) resolve(null)
  }
  if (handle.writeQueueSize === 0) {
    resolve(null)
    return
  }
  socket.write(PING, 'latin1', error => {
    if (error) resolve(null)
  })
  expected += PING
  const read = (peer: Socket): void => {
    let received = ''
    peer.on('data', chunk => {
      received += chunk.toString('latin1')
      if (received.length < expected.length) return
      resolve(received === expected && handle.writeQueueSize === 0 ? WriteRequest : null)
    })
    peer.resume()
  }
  const peer = peerOf()
  if (peer !== undefined) read(peer)
  else setImmediate(() => retryRead(peerOf, read, resolve))
}

/** The accepted side may come a turn later than the connecting one. */
function retryRead(
  peerOf: () => Socket | undefined,
  read: (peer: Socket) => void,
  resolve: (found: null) => void,
): void {
  const peer = peerOf()
  if (peer === undefined) setImmediate(() => retryRead(peerOf, read, resolve))
  else read(peer)
}

/** Node does not export the class: an ordinary write shows it. */
function learnConstructor(socket: Socket): WriteRequestConstructor | null {
  const handle = handleOf(socket) as (WritableHandle & Record<string, unknown>) | null
  if (handle === null || typeof handle.writeLatin1String !== 'function') return null
  let seen: WriteRequestConstructor | null = null
  const write = handle.writeLatin1String
  handle.writeLatin1String = (request: WriteRequest, text: string): number => {
    seen = request.constructor as WriteRequestConstructor
    return write.call(handle, request, text)
  }
  try {
    socket.write(PING, 'latin1')
  } finally {
    Reflect.deleteProperty(handle, 'writeLatin1String')
  }
  return seen
}
