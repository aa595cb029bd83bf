import type { LeaderClock } from '@waiter/control'

/** A clock that stands still until told to move. `settle` runs what is due now, promises included. */
export class FakeClock implements LeaderClock {
  #nowMs = 1_700_000_000_000
  #soon: (() => void)[] = []
  #timers: { atMs: number; order: number; task: () => void }[] = []
  #order = 0
  /** How often anybody asked to be woken later. */
  scheduled = 0

  readonly nowMs = (): number => this.#nowMs

  readonly schedule = (delayMs: number, task: () => void): (() => void) => {
    this.scheduled += 1
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: ++this.#order, task }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter(other => other !== timer)
    }
  }

  readonly soon = (task: () => void): void => {
    this.#soon.push(task)
  }

  get pendingTimers(): number {
    return this.#timers.length
  }

  /** Ends turns until nothing is left to do at this moment. */
  async settle(): Promise<void> {
    const TURNS_MAX = 10_000
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      for (const task of this.#soon.splice(0)) task()
      await new Promise<void>(resolve => setImmediate(resolve))
      if (this.#soon.length === 0) return
    }
    throw new Error('it never settles')
  }

  /** Lets time pass: every timer on the way runs at its own moment. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms
    await this.settle()
    const FIRINGS_MAX = 100_000
    for (let firing = 0; firing < FIRINGS_MAX; firing++) {
      const next = this.#timers.toSorted((a, b) => a.atMs - b.atMs || a.order - b.order)[0]
      if (next === undefined || next.atMs > endMs) {
        this.#nowMs = endMs
        return
      }
      this.#timers = this.#timers.filter(timer => timer !== next)
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.task()
      await this.settle()
    }
    throw new Error('time does not pass: somebody asks to be woken again and again')
  }
}
