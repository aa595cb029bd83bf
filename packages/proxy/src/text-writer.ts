import type { Socket } from 'node:net'
import { handleOf, type WriteRequest, type WriteRequestConstructor, writeError } from './direct-writes.ts'

/** A write that the kernel takes at once leaves its request untouched: the next one, of any socket, has it. */
let spare: WriteRequest | null = null

/**
 * Writes to one socket. Text goes straight to the kernel where `findDirectWrites` found a way and nothing is queued;
 * what the kernel does not take, and everything behind it, waits in order.
 */
export class TextWriter {
  readonly #socket: Socket
  readonly #WriteRequest: WriteRequestConstructor | null
  readonly #onDrain: () => void
  /** Bytes of the one direct write that waits for the kernel. */
  #waitingBytes = 0
  #isEnded = false

  constructor(socket: Socket, WriteRequest: WriteRequestConstructor | null, onDrain: () => void) {
    this.#socket = socket
    this.#WriteRequest = WriteRequest
    this.#onDrain = onDrain
    socket.on('drain', () => {
      if (this.#waitingBytes === 0) onDrain()
    })
  }

  /** Bytes that the kernel has not taken yet. */
  get length(): number {
    return this.#socket.writableLength + this.#waitingBytes
  }

  /** Latin-1 text in one system call. */
  writeText(text: string): void {
    const socket = this.#socket
    const handle = handleOf(socket)
    if (
      this.#WriteRequest === null ||
      handle === null ||
      this.#waitingBytes > 0 ||
      this.#isEnded ||
      socket.writableLength > 0
    ) {
      socket.write(text, 'latin1')
      return
    }
    const request = spare ?? new this.#WriteRequest()
    spare = null
    const status = handle.writeLatin1String(request, text)
    if (status !== 0) socket.destroy(writeError(status))
    else if (handle.writeQueueSize === 0) spare = request
    else this.#await(request, handle, text.length)
  }

  /** @param onSent told, never at once, when `bytes` may be changed again; with an error when they were not sent */
  writeBytes(bytes: Uint8Array, onSent?: (error?: Error | null) => void): void {
    this.#socket.write(bytes, onSent)
  }

  /** One system call for both; see `writeBytes`. */
  writePair(text: string, bytes: Uint8Array, onSent?: (error?: Error | null) => void): void {
    if (text === '') {
      this.writeBytes(bytes, onSent)
      return
    }
    this.#socket.cork()
    this.#socket.write(text, 'latin1')
    this.#socket.write(bytes, onSent)
    this.#socket.uncork()
  }

  /** Sends FIN after what is queued. */
  end(): void {
    this.#isEnded = true
    this.#socket.end()
  }

  /** Closes once what is queued has been sent. */
  destroySoon(): void {
    this.#isEnded = true
    this.#socket.destroySoon()
  }

  #await(request: WriteRequest, handle: object, bytes: number): void {
    this.#waitingBytes = bytes
    request.handle = handle
    request.oncomplete = status => {
      this.#waitingBytes = 0
      if (status < 0) this.#socket.destroy(writeError(status))
      else if (!this.#socket.writableNeedDrain) this.#onDrain()
    }
  }
}
