/** Each power of two is divided into so many buckets: quantiles are at most 1/8 too high. */
const SUBBUCKETS_LOG2 = 3
const SUBBUCKETS = 1 << SUBBUCKETS_LOG2
const VALUE_MAX = 2 ** 31 - 1
const BUCKETS = (31 - SUBBUCKETS_LOG2) * SUBBUCKETS + SUBBUCKETS

/** Quantiles as spec §9.1 names them. */
export const QUANTILES = ['0.0', '0.25', '0.5', '0.75', '0.95', '0.99', '0.999', '1.0'] as const

/**
 * How often which magnitude occurred: whole numbers (microseconds, bytes) in buckets that grow with them. Recording is
 * a few instructions and no allocation; the buckets (1 KiB) appear with the first value.
 */
export class LogHistogram {
  count = 0
  sum = 0
  #min = VALUE_MAX
  #max = 0
  #buckets: Uint32Array | undefined

  record(value: number): void {
    const whole = value < 0 ? 0 : value > VALUE_MAX ? VALUE_MAX : Math.trunc(value)
    this.#buckets ??= new Uint32Array(BUCKETS)
    const index = bucketOf(whole)
    this.#buckets[index] = (this.#buckets[index] ?? 0) + 1
    this.count += 1
    this.sum += whole
    if (whole < this.#min) this.#min = whole
    if (whole > this.#max) this.#max = whole
  }

  /** Values by quantile; undefined when there are none. */
  quantiles(): Readonly<Record<(typeof QUANTILES)[number], number>> | undefined {
    const buckets = this.#buckets
    if (buckets === undefined) return undefined
    const found: Partial<Record<(typeof QUANTILES)[number], number>> = {}
    let seen = 0
    let index = -1
    for (const name of QUANTILES) {
      const wanted = Math.max(1, Math.ceil(Number(name) * this.count))
      while (seen < wanted && index < BUCKETS - 1) {
        index += 1
        seen += buckets[index] ?? 0
      }
      found[name] = Math.min(this.#max, Math.max(this.#min, upperBoundOf(index)))
    }
    found['0.0'] = this.#min
    found['1.0'] = this.#max
    return found as Record<(typeof QUANTILES)[number], number>
  }

  /** How many values were below `2 ** exponent`. */
  countBelowPowerOfTwo(exponent: number): number {
    const end = bucketOf(2 ** exponent)
    let count = 0
    for (let index = 0; index < end; index++) count += this.#buckets?.[index] ?? 0
    return count
  }
}

function bucketOf(value: number): number {
  if (value < SUBBUCKETS) return value
  const exponent = 31 - Math.clz32(value)
  return (exponent - SUBBUCKETS_LOG2 + 1) * SUBBUCKETS + ((value >>> (exponent - SUBBUCKETS_LOG2)) & (SUBBUCKETS - 1))
}

/** The largest value of a bucket. */
function upperBoundOf(index: number): number {
  if (index < SUBBUCKETS) return index
  const exponent = Math.floor(index / SUBBUCKETS) + SUBBUCKETS_LOG2 - 1
  const step = 2 ** (exponent - SUBBUCKETS_LOG2)
  return (SUBBUCKETS + (index % SUBBUCKETS) + 1) * step - 1
}
