/** Where time comes from. Tests inject one that they advance by hand. */
export interface Clock {
  /** Monotonic milliseconds (`performance.now` in production). */
  nowMs(): number
  /** Calls `tick` about every `periodMs` until the returned function is called. Must not keep the process alive. */
  every(periodMs: number, tick: () => void): () => void
}

/** The process's own monotonic clock. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  every: (periodMs, tick) => {
    const interval = setInterval(tick, periodMs)
    interval.unref()
    return () => clearInterval(interval)
  },
}
