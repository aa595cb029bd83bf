import { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { WriteRequestConstructor } from './direct-writes.ts'
import { TextWriter } from './text-writer.ts'

/** What a client's socket tells its connection. */
export interface SocketListener {
  /** The first `length` bytes of memory that the next read overwrites. */
  onBytes(bytes: Buffer, length: number): void
  onEndOfInput(): void
  onDrain(): void
  /** Closed or broken. */
  onGone(): void
}

/** Ways past what Node does for every socket; null for the ordinary ones. */
export interface SocketWays {
  /** Shared memory to read into: see `supportsStaticReads`. */
  readonly readBuffer: Buffer | null
  /** See `findDirectWrites`. */
  readonly directWrites: WriteRequestConstructor | null
}

/**
 * A client's socket: one system call per write, and reads without an allocation where `supportsStaticReads` said so.
 */
export class ClientSocket {
  readonly remoteAddress: string
  readonly localPort: number
  /** TLS. */
  readonly isSecure: boolean
  readonly #socket: Socket
  readonly #writer: TextWriter
  /** Who listens; another one after `handOver`. */
  #listener: SocketListener
  #isPaused = false

  /**
   * @param accepted paused (`pauseOnConnect`), with half-open allowed
   * @param ways the fast ways of this Node, for plain TCP only
   */
  constructor(accepted: Socket, listener: SocketListener, { readBuffer, directWrites }: SocketWays) {
    this.#listener = listener
    const socket =
      readBuffer === null
        ? accepted
        : withStaticReads(accepted, readBuffer, { onBytes: (bytes, length) => this.#listener.onBytes(bytes, length) })
    this.#socket = socket
    this.#writer = new TextWriter(socket, directWrites, () => this.#listener.onDrain())
    this.remoteAddress = socket.remoteAddress ?? ''
    this.localPort = socket.localPort ?? 0
    this.isSecure = socket instanceof TLSSocket
    socket.on('end', () => this.#listener.onEndOfInput())
    socket.on('error', () => this.#listener.onGone())
    socket.on('close', () => this.#listener.onGone())
    if (readBuffer === null) {
      socket.on('data', (chunk: Buffer) => this.#listener.onBytes(chunk, chunk.length))
      socket.resume()
    }
  }

  /** Everything from now on is told to another, who also writes: the client speaks another protocol. */
  handOver(listener: SocketListener): Socket {
    this.#listener = listener
    return this.#socket
  }

  /** Bytes that the kernel has not taken yet. */
  get writableLength(): number {
    return this.#writer.length
  }

  /** Bytes held in user space for this socket. */
  get bufferedBytes(): number {
    return this.#writer.length + this.#socket.readableLength
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  writeText(text: string): void {
    this.#writer.writeText(text)
  }

  /** `bytes` must stay untouched until sent. */
  writeBytes(bytes: Uint8Array): void {
    this.#writer.writeBytes(bytes)
  }

  /** @param onSent told, never at once, when `bytes` may be changed again; with an error when they were not sent */
  writePair(text: string, bytes: Uint8Array, onSent?: (error?: Error | null) => void): void {
    this.#writer.writePair(text, bytes, onSent)
  }

  /** One chunk of a chunked answer. */
  writeChunk(bytes: Uint8Array): void {
    this.#socket.cork()
    this.#socket.write(`${bytes.length.toString(16)}\r\n`, 'latin1')
    this.#socket.write(bytes)
    this.#socket.write('\r\n', 'latin1')
    this.#socket.uncork()
  }

  pause(): void {
    if (this.#isPaused) return
    this.#isPaused = true
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#socket.resume()
  }

  /** Sends FIN after what is queued. */
  endWriting(): void {
    this.#writer.end()
  }

  /** Closes once what is queued has been sent. */
  destroySoon(): void {
    this.#writer.destroySoon()
  }

  /** Closes with RST, so that the client cannot take the end for a clean one. */
  reset(): void {
    // Of TLS a missing close_notify says the same; its sockets have no reset. Behind our FIN there is no reset any more:
    // libuv refuses it, and Node would leave the descriptor open.
    if (this.isSecure || this.#socket.writableEnded) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

/**
 * A socket that reads into `readBuffer`. Node offers that for connections that we open only (`onread`), so the accepted
 * one's handle moves to a socket of our own making.
 */
export function withStaticReads(
  accepted: Socket,
  readBuffer: Buffer,
  listener: Pick<SocketListener, 'onBytes'>,
): Socket {
  const donor = accepted as unknown as { _handle: object | null }
  const handle = donor._handle
  if (handle === null) return accepted
  donor._handle = null
  const onread = {
    buffer: readBuffer,
    callback: (length: number) => {
      listener.onBytes(readBuffer, length)
      return true
    },
  }
  // `handle` and `onread` are options of the constructor that its type does not list.
  return new Socket({ handle, onread, allowHalfOpen: true } as ConstructorParameters<typeof Socket>[0])
}
