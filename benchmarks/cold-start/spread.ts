/** Median and 99th percentile of a series. */
export interface Spread {
  readonly p50: number
  readonly p99: number
}

/** Percentiles by nearest rank: always a value that was measured. Of fewer than 100 values p99 is the greatest. */
export function computeSpread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] as number
  return { p50: at(0.5), p99: at(0.99) }
}

/** The middle value. */
export function median(values: readonly number[]): number {
  return computeSpread(values).p50
}
