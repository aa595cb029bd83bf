import type { Millis } from '@waiter/base'

/** A timer that has not run yet. */
export interface Timer {
  cancel(): void
}

/**
 * Time as the process scheduler sees it. Injected, so that tests of grace periods, back-off and quarantine jump ahead
 * instead of sleeping.
 */
export interface Timers {
  /** Milliseconds since the epoch with a fraction; never runs backwards while the process lives. */
  nowMs(): Millis
  /** Runs `run` once after `delayMs`. */
  setTimer(delayMs: number, run: () => void): Timer
}

/** Real time: monotonic within the process, so that a corrected wall clock neither kills nor spares an instance. */
export const systemTimers: Timers = {
  nowMs: () => performance.timeOrigin + performance.now(),
  setTimer: (delayMs, run) => {
    const handle = setTimeout(run, delayMs)
    return { cancel: () => clearTimeout(handle) }
  },
}

/** A promise of `delayMs` having passed; it resolves earlier when `wake` resolves. */
export function waitAtMost(timers: Timers, delayMs: number, wake: Promise<unknown>): Promise<void> {
  return new Promise(resolve => {
    const timer = timers.setTimer(delayMs, resolve)
    const finish = (): void => {
      timer.cancel()
      resolve()
    }
    wake.then(finish, finish)
  })
}
