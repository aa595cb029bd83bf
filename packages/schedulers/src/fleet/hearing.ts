import type { Timer, Timers } from '../process/timers.ts'

/** News follow an order within milliseconds; after this, whoever gave it goes on without. */
const HEARD_MS_MAX = 2_000

/** Lets callers wait until something has been heard. */
export class Hearing {
  readonly #timers: Timers
  readonly #waiting = new Set<() => void>()
  #isClosed = false

  constructor(timers: Timers) {
    this.#timers = timers
  }

  /** Resolves when that is true, or after {@link HEARD_MS_MAX}. */
  until(isTrue: () => boolean): Promise<void> {
    return new Promise(resolve => {
      let timer: Timer | undefined
      const look = (): void => {
        if (!this.#isClosed && !isTrue()) return
        end()
      }
      const end = (): void => {
        timer?.cancel()
        this.#waiting.delete(look)
        resolve()
      }
      if (this.#isClosed || isTrue()) {
        resolve()
        return
      }
      timer = this.#timers.setTimer(HEARD_MS_MAX, end)
      this.#waiting.add(look)
    })
  }

  /** Something has changed. */
  wake(): void {
    for (const look of [...this.#waiting]) look()
  }

  /** Nobody waits any longer. */
  close(): void {
    this.#isClosed = true
    this.wake()
  }
}
