/** Allows `burst` events at once and `perSecond` in the long run. Time is a parameter. */
export class TokenBucket {
  readonly #burst: number
  readonly #perMs: number
  #tokens: number
  #filledAtMs = 0

  constructor(burst: number, perSecond: number) {
    this.#burst = burst
    this.#perMs = perSecond / 1000
    this.#tokens = burst
  }

  /** False when the allowance is used up. */
  take(nowMs: number): boolean {
    if (this.#tokens < 1) this.#refill(nowMs)
    if (this.#tokens < 1) return false
    if (this.#tokens === this.#burst) this.#filledAtMs = nowMs
    this.#tokens -= 1
    return true
  }

  /** Counts only when it has to: honest peers never come here. */
  #refill(nowMs: number): void {
    const gained = Math.max(0, nowMs - this.#filledAtMs) * this.#perMs
    this.#tokens = Math.min(this.#burst, this.#tokens + gained)
    this.#filledAtMs = nowMs
  }
}
