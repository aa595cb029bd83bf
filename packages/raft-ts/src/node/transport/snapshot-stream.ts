import type { Socket } from 'node:net'
import { ByteReader, ByteWriter, type Message, type MsgSnap, type SnapshotChunk } from '../../index.ts'
import { RaftNodeError } from '../errors.ts'
import type { TransportHandler } from '../transport.ts'
import { decodeMessages, encodeMessages } from '../wire/message-codec.ts'
import { FRAME, type Frame, FrameReader } from './frames.ts'
import { encodeHello, type Hello } from './hello.ts'
import { writeFrame } from './outbound-peer.ts'
import { connectSecurely, readyEvent, type TransportSecurity } from './security.ts'
import type { PeerAddress, TcpTransportLimits } from './tcp-options.ts'

/** Taken, or why not, in words. */
const ANSWER_BYTES_MAX = 64 * 1024

/** A sender that is there has read the verdict by then. */
const VERDICT_MS_MAX = 5000

/** What sending a snapshot needs. */
export interface SnapshotToSend {
  readonly address: PeerAddress
  readonly hello: Hello
  readonly message: MsgSnap
  readonly chunks: AsyncIterable<SnapshotChunk>
  readonly signal: AbortSignal
  readonly limits: TcpTransportLimits
  readonly security: TransportSecurity
}

/** Sends one snapshot over a connection of its own. Resolves when the receiver has taken it. */
export async function sendSnapshot(options: SnapshotToSend): Promise<void> {
  const { address, hello, message, chunks, signal, limits, security } = options
  signal.throwIfAborted()
  const socket = connectSecurely({ address, group: hello.group, to: hello.to }, security)
  const verdict = awaitVerdict(socket, readyEvent(security), limits)
  const onAbort = (): void => void socket.destroy(signal.reason as Error)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    writeFrame(socket, FRAME.hello, encodeHello(hello))
    writeFrame(socket, FRAME.snapshotHead, encodeMessages([message]))
    await Promise.race([verdict, sendPieces(socket, chunks)])
    await verdict
  } finally {
    signal.removeEventListener('abort', onAbort)
    socket.destroy()
  }
}

/** Takes one snapshot; what is returned is called with every frame of the connection. */
export function receiveSnapshot(
  socket: Socket,
  isForThisNode: (message: Message) => boolean,
  handler: TransportHandler,
): (frame: Frame) => void {
  const pieces = new PieceQueue(socket)
  let isBegun = false
  // A snapshot may take its time; the sender has a deadline.
  socket.setTimeout(0)
  socket.on('close', () => pieces.end(new RaftNodeError('The sender went away.', { code: 'RAFT_SNAPSHOT_FAILED' })))
  const begin = (payload: Buffer): void => {
    const [message] = decodeMessages(payload)
    if (message?.type !== 'MsgSnap' || !isForThisNode(message)) {
      throw new RaftNodeError('The snapshot is not for this node.', { code: 'RAFT_BAD_PEER' })
    }
    isBegun = true
    const answer = (type: number, payload: Uint8Array): void => {
      writeFrame(socket, type, payload)
      // The sender closes it when it has heard this; one that is gone never will.
      socket.setTimeout(VERDICT_MS_MAX, () => socket.destroy())
    }
    handler.onSnapshot(message, pieces).then(
      () => answer(FRAME.accepted, new Uint8Array(0)),
      error => answer(FRAME.refused, new ByteWriter().text(textOf(error)).finish()),
    )
  }
  return ({ type, payload }) => {
    if (!isBegun && type === FRAME.snapshotHead) begin(payload)
    else if (isBegun && type === FRAME.snapshotPiece) pieces.push(decodePiece(payload))
    else if (isBegun && type === FRAME.snapshotEnd) pieces.end(undefined)
    else throw new RaftNodeError('A frame came out of turn.', { code: 'RAFT_BAD_PEER' })
  }
}

async function sendPieces(socket: Socket, chunks: AsyncIterable<SnapshotChunk>): Promise<void> {
  for await (const chunk of chunks) {
    if (socket.destroyed) return
    if (!writeFrame(socket, FRAME.snapshotPiece, encodePiece(chunk))) await drained(socket)
  }
  writeFrame(socket, FRAME.snapshotEnd, new Uint8Array(0))
}

// Until there is room again, or the connection has ended.
async function drained(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  socket.once('drain', resolve)
  socket.once('close', resolve)
  await promise
  socket.off('drain', resolve)
  socket.off('close', resolve)
}

// What the receiver says in the end; or the connection breaks before it does.
function awaitVerdict(socket: Socket, ready: string, limits: TcpTransportLimits): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const reader = new FrameReader(ANSWER_BYTES_MAX)
  const fail = (why: string, cause?: unknown): void =>
    reject(new RaftNodeError(`The snapshot was not taken: ${why}`, { code: 'RAFT_SNAPSHOT_FAILED', cause }))
  // A host that is up answers at once.
  const timer = setTimeout(() => socket.destroy(new Error('no connection in time')), limits.connectTimeoutMs)
  socket.on(ready, () => clearTimeout(timer))
  socket.on('error', error => fail(error.message, error))
  socket.on('close', () => {
    clearTimeout(timer)
    fail('the connection was closed.')
  })
  socket.on('data', chunk => {
    try {
      reader.push(chunk, ({ type, payload }) => {
        if (type === FRAME.accepted) resolve()
        else fail(new ByteReader(payload).text())
      })
    } catch (error) {
      fail('the answer was not understood.', error)
    }
  })
  return promise
}

/** Pieces between the socket and whoever writes them to disk; stops the socket while the disk is behind. */
class PieceQueue implements AsyncIterable<SnapshotChunk> {
  readonly #socket: Socket
  readonly #pieces: SnapshotChunk[] = []
  #isEnded = false
  #error: RaftNodeError | undefined
  #wake: (() => void) | undefined

  constructor(socket: Socket) {
    this.#socket = socket
  }

  push(piece: SnapshotChunk): void {
    this.#pieces.push(piece)
    this.#socket.pause()
    this.#wake?.()
  }

  /** No more will come; with an error when more should have. */
  end(error: RaftNodeError | undefined): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#error = error
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<SnapshotChunk> {
    for (;;) {
      const piece = this.#pieces.shift()
      if (piece !== undefined) yield piece
      else if (this.#error !== undefined) throw this.#error
      else if (this.#isEnded) return
      else {
        this.#socket.resume()
        await new Promise<void>(resolve => (this.#wake = resolve))
      }
    }
  }
}

function encodePiece({ offset, bytes, crc32c, totalBytes }: SnapshotChunk): Uint8Array {
  const writer = new ByteWriter(bytes.length + 64)
  return writer.varint(offset).varint(crc32c).varint(totalBytes).bytes(bytes).finish()
}

function decodePiece(payload: Uint8Array): SnapshotChunk {
  const reader = new ByteReader(payload)
  const [offset, crc32c, totalBytes] = [reader.varint(), reader.varint(), reader.varint()]
  return { offset, crc32c, totalBytes, bytes: reader.bytes() }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
