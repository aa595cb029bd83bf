/** What the peer may still send, for one stream or the whole connection (RFC 9113 §5.2). */
export class ReceiveWindow {
  readonly #bytesMax: number
  #available: number
  #owed = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
    this.#available = bytesMax
  }

  /** False when the peer sent more than it was allowed. */
  take(bytes: number): boolean {
    if (bytes > this.#available) return false
    this.#available -= bytes
    return true
  }

  /** Counts octets as used up; returns the increment to announce now, 0 while it is not worth a frame. */
  credit(bytes: number): number {
    this.#owed += bytes
    if (this.#owed * 2 < this.#bytesMax) return 0
    const increment = this.#owed
    this.#owed = 0
    this.#available += increment
    return increment
  }
}
