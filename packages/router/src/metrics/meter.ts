const TICK_MS = 5_000
/** Weight of one tick in a moving average over a minute. */
const ALPHA = 1 - Math.exp(-TICK_MS / 60_000)
/** After this many idle ticks the rate is below every display. */
const IDLE_TICKS_MAX = 240

/** Counts events and their rate per second, as a moving average over about a minute. Costs nothing while nothing happens. */
export class Meter {
  count = 0
  #uncounted = 0
  #rate = 0
  #isPrimed = false
  #tickAtMs: number

  constructor(nowMs: number) {
    this.#tickAtMs = nowMs + TICK_MS
  }

  mark(nowMs: number, events = 1): void {
    if (nowMs >= this.#tickAtMs) this.#tick(nowMs)
    this.count += events
    this.#uncounted += events
  }

  /** Events per second. */
  rate(nowMs: number): number {
    if (nowMs >= this.#tickAtMs) this.#tick(nowMs)
    return this.#rate
  }

  #tick(nowMs: number): void {
    const ticks = Math.min(IDLE_TICKS_MAX, Math.floor((nowMs - this.#tickAtMs) / TICK_MS) + 1)
    for (let tick = 0; tick < ticks; tick++) {
      const current = (tick === 0 ? this.#uncounted : 0) / (TICK_MS / 1_000)
      this.#rate = this.#isPrimed ? this.#rate + ALPHA * (current - this.#rate) : current
      this.#isPrimed = true
    }
    this.#uncounted = 0
    this.#tickAtMs = nowMs - ((nowMs - this.#tickAtMs) % TICK_MS) + TICK_MS
  }
}
