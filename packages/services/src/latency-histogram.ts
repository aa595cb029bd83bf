/** Steps per doubling: a latency is known to within 41 %. */
const STEPS_PER_OCTAVE = 2
/** The last bucket begins at 2^20 ms, 17 minutes. */
export const LATENCY_BUCKETS: number = 20 * STEPS_PER_OCTAVE + 2

/** The bucket of a latency: 0 is below 1 ms, then two a doubling. Cheap: every finished request asks. */
export function latencyBucket(latencyMs: number): number {
  if (!(latencyMs >= 1)) return 0
  const octave = 31 - Math.clz32(latencyMs)
  const bucket = octave * STEPS_PER_OCTAVE + (latencyMs >= 2 ** octave * Math.SQRT2 ? 2 : 1)
  return Math.min(LATENCY_BUCKETS - 1, bucket)
}

/** The bounds of a bucket in ms. */
export function bucketBounds(bucket: number): { readonly fromMs: number; readonly toMs: number } {
  if (bucket === 0) return { fromMs: 0, toMs: 1 }
  const toMs = bucket === LATENCY_BUCKETS - 1 ? Number.POSITIVE_INFINITY : 2 ** (bucket / STEPS_PER_OCTAVE)
  return { fromMs: 2 ** ((bucket - 1) / STEPS_PER_OCTAVE), toMs }
}

/** The bucket in which the median lies; undefined without samples. */
export function medianBucket(counts: readonly number[]): number | undefined {
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (total === 0) return undefined
  let seen = 0
  return counts.findIndex(count => {
    seen += count
    return seen * 2 >= total
  })
}
