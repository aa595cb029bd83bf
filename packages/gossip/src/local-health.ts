/**
 * H1: how well this process itself is doing, 0 (well) to `max − 1`. Whoever misses answers, or had to refute its own
 * death, doubts itself before it doubts others: all its time-outs are multiplied by score + 1.
 */
export class LocalHealth {
  readonly #max: number
  readonly #loopDelayStepMs: number
  #earned = 0
  #loopPenalty = 0

  constructor(options: { readonly awarenessMax: number; readonly loopDelayStepMs: number }) {
    this.#max = options.awarenessMax - 1
    this.#loopDelayStepMs = options.loopDelayStepMs
  }

  get score(): number {
    return Math.min(this.#max, this.#earned + this.#loopPenalty)
  }

  worsen(points: number): void {
    this.#earned = Math.min(this.#max, this.#earned + points)
  }

  improve(): void {
    this.#earned = Math.max(0, this.#earned - 1)
  }

  /** H2: an event loop that runs late answers late. Replaces the previous measurement. */
  noteLoopDelay(delayMs: number): void {
    const steps = delayMs / this.#loopDelayStepMs
    this.#loopPenalty = steps < 1 ? 0 : Math.min(this.#max, 1 + Math.floor(Math.log2(steps)))
  }
}
