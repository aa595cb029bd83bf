/** Who makes time pass. Tests tick by hand. */
export interface Ticker {
  readonly tickMs: number
  /** Calls back once per tick until the returned function is called. */
  start(onTick: () => void): () => void
}

/**
 * Ticks by the clock of this process. Ticks that are missed (a paused process, a busy event loop) are not made up for:
 * an election must not be lost to time nobody could have used.
 */
export function createIntervalTicker(tickMs: number): Ticker {
  return {
    tickMs,
    start: onTick => {
      // The heartbeat of the protocol: every time-out is a multiple of it.
      const timer = setInterval(onTick, tickMs)
      return () => clearInterval(timer)
    },
  }
}
