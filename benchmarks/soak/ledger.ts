/** What became of one request, as its client saw it. */
export const Fate = {
  /** Number not used. */
  NONE: 0,
  SENT: 1,
  /** Answered 200, to the last byte. */
  OK: 2,
  /** The client left before the answer was whole. */
  ABORTED: 3,
  /** 502, 503 or 504 from the router. */
  ERROR: 4,
  /** An answer that broke off: the backend died. */
  BROKEN: 5,
  /** The connection ended without a byte of an answer. */
  UNANSWERED: 6,
} as const

const REQUESTS_MAX = 20_000_000

/** Every request of the run by its number. One byte each. */
export class Ledger {
  readonly #fates = new Uint8Array(REQUESTS_MAX)
  readonly #once = new Uint8Array(REQUESTS_MAX / 8)
  #next = 0
  readonly counts: number[] = Object.values(Fate).map(() => 0)

  get sent(): number {
    return this.#next
  }

  /** @param mayRepeat an idempotent method: the router may send it twice */
  open(mayRepeat: boolean): number {
    const number = this.#next++
    if (number >= REQUESTS_MAX) throw new RangeError('too many requests for one run')
    this.#fates[number] = Fate.SENT
    if (!mayRepeat) this.#once[number >> 3]! |= 1 << (number & 7)
    this.counts[Fate.SENT]! += 1
    return number
  }

  /** Once for each request: the first fate counts. */
  close(number: number, fate: number): void {
    if (this.#fates[number] !== Fate.SENT) return
    this.#fates[number] = fate
    this.counts[Fate.SENT]! -= 1
    this.counts[fate]! += 1
  }

  fateOf(number: number): number {
    return this.#fates[number] ?? Fate.NONE
  }

  mayRepeat(number: number): boolean {
    return (this.#once[number >> 3]! & (1 << (number & 7))) === 0
  }
}
