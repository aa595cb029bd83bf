import type { StreamWriter } from './exchange.ts'

/** Where the pieces of a streamed answer go: a connection or a stream. */
export interface PieceSink {
  /** Octets that the client has not taken yet. */
  readonly writableLength: number
  /** @returns true when everything was taken */
  writePiece(bytes: Buffer): boolean
  endPieces(): void
}

/** What a piece writer needs. */
export interface PieceWriterOptions {
  readonly sink: PieceSink
  /** HEAD, 204, 304: nothing is sent. */
  readonly isBodyless: boolean
  readonly bufferBytesMax: number
  /** The response ended cleanly. */
  readonly onEnd: () => void
  /** The client does not take our bytes. */
  readonly onStalled: () => void
}

/** The engine's `StreamWriter`, whatever the client speaks. */
export class PieceWriter implements StreamWriter {
  onDrain: (() => void) | null = null
  onClosed: (() => void) | null = null
  readonly #options: PieceWriterOptions
  #isOver = false
  #needsDrain = false

  constructor(options: PieceWriterOptions) {
    this.#options = options
  }

  write(piece: string | Uint8Array): boolean {
    const { sink, isBodyless, bufferBytesMax, onStalled } = this.#options
    if (this.#isOver) return false
    const bytes = typeof piece === 'string' ? Buffer.from(piece, 'utf8') : Buffer.from(piece)
    if (bytes.length === 0 || isBodyless) return true
    const isTaken = sink.writePiece(bytes)
    if (sink.writableLength > bufferBytesMax) {
      // The owner ignores `false` or the client is dead: either way memory must not grow.
      onStalled()
      this.gone()
      return false
    }
    this.#needsDrain = !isTaken
    return isTaken
  }

  end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#options.sink.endPieces()
    this.#options.onEnd()
  }

  /** Everything was taken. */
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
