import { err, ok, type Result } from '@waiter/base'
import { crc32c } from '../crc32c.ts'

/** One piece of a snapshot on its way. */
export interface SnapshotChunk {
  /** Where these bytes belong. */
  readonly offset: number
  readonly bytes: Uint8Array
  /** CRC-32C of `bytes`. */
  readonly crc32c: number
  readonly totalBytes: number
}

/** Cuts an encoded state into pieces of at most `maxChunkBytes`; at least one, so that an empty state arrives too. */
export function* cutSnapshot(bytes: Uint8Array, maxChunkBytes: number): Generator<SnapshotChunk> {
  let offset = 0
  do {
    const piece = bytes.subarray(offset, offset + maxChunkBytes)
    yield { offset, bytes: piece, crc32c: crc32c(piece), totalBytes: bytes.length }
    offset += piece.length
  } while (offset < bytes.length)
}

/** Puts the pieces together again. Pieces come in order; one that comes twice is ignored, any other fault ends it. */
export class SnapshotAssembler {
  readonly #maxBytes: number
  #buffer: Uint8Array | undefined
  #length = 0

  /** @param maxBytes refuses larger snapshots before taking memory for them */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Takes one piece. The value is the whole snapshot once all of it is here, undefined before. */
  push(chunk: SnapshotChunk): Result<Uint8Array | undefined, string> {
    if (chunk.totalBytes > this.#maxBytes) {
      return err(`a snapshot of ${chunk.totalBytes} bytes exceeds the limit of ${this.#maxBytes}`)
    }
    this.#buffer ??= new Uint8Array(chunk.totalBytes)
    if (chunk.totalBytes !== this.#buffer.length) return err('a piece belongs to another snapshot')
    if (crc32c(chunk.bytes) !== chunk.crc32c) return err(`the piece at ${chunk.offset} is damaged`)
    if (chunk.offset + chunk.bytes.length <= this.#length && this.#length > 0) return ok(this.#whole())
    if (chunk.offset !== this.#length) return err(`a piece is missing: ${this.#length} expected, ${chunk.offset} came`)
    if (chunk.offset + chunk.bytes.length > this.#buffer.length) return err('a piece reaches beyond the end')
    this.#buffer.set(chunk.bytes, chunk.offset)
    this.#length += chunk.bytes.length
    return ok(this.#whole())
  }

  #whole(): Uint8Array | undefined {
    return this.#buffer !== undefined && this.#length === this.#buffer.length ? this.#buffer : undefined
  }
}
