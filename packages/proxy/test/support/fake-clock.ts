import type { Clock } from '../../src/index.ts'

/** A clock that moves only when told. */
export class FakeClock implements Clock {
  #nowMs = 1_000
  readonly #tickers = new Set<{ periodMs: number; dueMs: number; tick: () => void }>()

  nowMs(): number {
    return this.#nowMs
  }

  every(periodMs: number, tick: () => void): () => void {
    const ticker = { periodMs, dueMs: this.#nowMs + periodMs, tick }
    this.#tickers.add(ticker)
    return () => this.#tickers.delete(ticker)
  }

  /** Moves on, running every tick on its way. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms
    for (;;) {
      let next: { periodMs: number; dueMs: number; tick: () => void } | undefined
      for (const ticker of this.#tickers) if (next === undefined || ticker.dueMs < next.dueMs) next = ticker
      if (next === undefined || next.dueMs > untilMs) break
      this.#nowMs = next.dueMs
      next.dueMs += next.periodMs
      next.tick()
    }
    this.#nowMs = untilMs
  }
}
