import type { ClientConnection } from './client-connection.ts'
import type { StreamWriter } from './exchange.ts'

/** What a stream responder needs. */
export interface StreamResponderOptions {
  readonly client: ClientConnection
  /** False for HTTP/1.0: plain bytes until close. */
  readonly isChunked: boolean
  /** HEAD, 204, 304: nothing is sent. */
  readonly isBodyless: boolean
  readonly bufferBytesMax: number
  /** The stream ended cleanly. */
  readonly onEnd: () => void
  /** The client does not take our bytes. */
  readonly onStalled: () => void
}

/** The engine's `StreamWriter`. */
export class StreamResponder implements StreamWriter {
  onDrain: (() => void) | null = null
  onClosed: (() => void) | null = null
  readonly #options: StreamResponderOptions
  #isOver = false
  #needsDrain = false

  constructor(options: StreamResponderOptions) {
    this.#options = options
  }

  write(piece: string | Uint8Array): boolean {
    const { client, isChunked, isBodyless, bufferBytesMax, onStalled } = this.#options
    if (this.#isOver) return false
    const bytes = typeof piece === 'string' ? Buffer.from(piece, 'utf8') : Buffer.from(piece)
    if (bytes.length === 0 || isBodyless) return true
    if (isChunked) client.writeChunk(bytes)
    else client.writeBytes(bytes)
    if (client.writableLength > bufferBytesMax) {
      // The owner ignores `false` or the client is dead: either way memory must not grow.
      onStalled()
      this.gone()
      return false
    }
    this.#needsDrain = client.writableLength > 0
    return !this.#needsDrain
  }

  end(): void {
    if (this.#isOver) return
    this.#isOver = true
    if (this.#options.isChunked && !this.#options.isBodyless) this.#options.client.writeText('0\r\n\r\n')
    this.#options.onEnd()
  }

  /** The socket took everything. */
  drained(): void {
    if (!this.#needsDrain || this.#isOver) return
    this.#needsDrain = false
    this.onDrain?.()
  }

  /** The client is gone. */
  gone(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.onClosed?.()
  }
}
