/**
 * Counts answers that the peer cannot have seen yet because their octets are still with us.
 *
 * A transport need never be quite empty (TLS hardly ever is), so this works by marks: what was answered before a mark
 * is forgotten once the octets up to it were taken. The count is at most the true one plus what was answered since.
 */
export class UnsentAnswers {
  #older = 0
  #newer = 0
  #markBytes = 0

  get count(): number {
    return this.#older + this.#newer
  }

  add(): void {
    this.#newer += 1
  }

  /** @param takenBytes octets the transport took in all; @param givenBytes octets it was given in all */
  settle(takenBytes: number, givenBytes: number): void {
    if (takenBytes < this.#markBytes) return
    this.#older = takenBytes === givenBytes ? 0 : this.#newer
    this.#newer = 0
    this.#markBytes = givenBytes
  }
}
