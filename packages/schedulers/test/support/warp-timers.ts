import type { Timer, Timers } from '../../src/process/timers.ts'

/**
 * Real time that can jump: what processes really do takes its real time, and grace periods, back-off and quarantine
 * pass at once when a test says so.
 */
export class WarpTimers implements Timers {
  #skewMs = 0
  readonly #entries = new Set<{ dueMs: number; run: () => void; handle: NodeJS.Timeout | undefined }>()

  nowMs(): number {
    return performance.timeOrigin + performance.now() + this.#skewMs
  }

  setTimer(delayMs: number, run: () => void): Timer {
    const entry = { dueMs: this.nowMs() + delayMs, run, handle: undefined as NodeJS.Timeout | undefined }
    this.#entries.add(entry)
    this.#arm(entry)
    return {
      cancel: () => {
        clearTimeout(entry.handle)
        this.#entries.delete(entry)
      },
    }
  }

  /** Jumps ahead; timers that are due then run soon. */
  advance(ms: number): void {
    this.#skewMs += ms
    for (const entry of this.#entries) {
      clearTimeout(entry.handle)
      this.#arm(entry)
    }
  }

  #arm(entry: { dueMs: number; run: () => void; handle: NodeJS.Timeout | undefined }): void {
    entry.handle = setTimeout(
      () => {
        this.#entries.delete(entry)
        entry.run()
      },
      Math.max(0, entry.dueMs - this.nowMs()),
    )
  }
}
