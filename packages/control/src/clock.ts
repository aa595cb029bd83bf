/** What runs later; tests and simulations drive their own. */
export interface Turns {
  /** Runs `task` after `delayMs`; the returned function cancels it. */
  schedule(delayMs: number, task: () => void): () => void
  /** Runs `task` at the end of the present turn. */
  soon(task: () => void): void
}

/** Time as the leader needs it. */
export interface LeaderClock extends Turns {
  /** Epoch milliseconds. */
  nowMs(): number
}

/** Time as those need it who only measure how long ago something was: nobody sets it back. */
export interface MonotonicClock extends Turns {
  elapsedMs(): number
}

/** The system's clock. */
export const systemClock: LeaderClock & MonotonicClock = {
  nowMs: Date.now,
  elapsedMs: () => performance.now(),
  schedule: (delayMs, task) => {
    const TIMER_MS_MAX = 2 ** 31 - 1
    const timer = setTimeout(task, Math.min(TIMER_MS_MAX, Math.max(0, delayMs)))
    return () => clearTimeout(timer)
  },
  soon: task => {
    setImmediate(task)
  },
}
