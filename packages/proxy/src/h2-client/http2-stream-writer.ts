import type { StreamWriter } from '../exchange.ts'
import type { Http2Stream } from '../h2/index.ts'

/** What a stream writer needs. */
export interface Http2StreamWriterOptions {
  readonly stream: Http2Stream
  /** HEAD, 204, 304: nothing is sent. */
  readonly isBodyless: boolean
  readonly bufferBytesMax: number
  /** The response ended cleanly. */
  readonly onEnd: () => void
  /** The client does not take our bytes. */
  readonly onStalled: () => void
}

/** The engine's `StreamWriter` on a stream. */
export class Http2StreamWriter implements StreamWriter {
  onDrain: (() => void) | null = null
  onClosed: (() => void) | null = null
  readonly #options: Http2StreamWriterOptions
  #isOver = false
  #needsDrain = false

  constructor(options: Http2StreamWriterOptions) {
    this.#options = options
  }

  write(piece: string | Uint8Array): boolean {
    const { stream, isBodyless, bufferBytesMax, onStalled } = this.#options
    if (this.#isOver) return false
    const bytes = typeof piece === 'string' ? Buffer.from(piece, 'utf8') : Buffer.from(piece)
    if (bytes.length === 0 || isBodyless) return true
    const isSent = stream.sendData(bytes, 0, bytes.length)
    if (stream.writableLength > bufferBytesMax) {
      // The owner ignores `false` or the client is dead: either way memory must not grow.
      onStalled()
      this.gone()
      return false
    }
    this.#needsDrain = !isSent
    return isSent
  }

  end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#options.stream.end()
    this.#options.onEnd()
  }

  /** The stream took everything. */
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
