import type { Prng } from '@waiter/base'
import type { InstanceEntry } from './instance-entry.ts'
import { LoadBuckets } from './load-buckets.ts'
import type { Picker } from './picker.ts'

/** The weight of one more answer in what an instance's latency is taken for. */
const NEWEST_WEIGHT = 1 / 8
/** Two classes of latency per doubling: what is less apart is noise. */
const CLASSES_PER_DOUBLING = 2
/** A failure makes an instance's latency at least so many times the usual one. */
const FAILURE_FACTOR = 2
const LATENCY_MS_MAX = 60_000
/** Where each class begins: comparing is a tenth of the work of a logarithm, and most answers stay in the class. */
const BOUNDS_MS: Float64Array = Float64Array.from(
  { length: classOf(LATENCY_MS_MAX) + 2 },
  (_, latencyClass) => 2 ** (latencyClass / CLASSES_PER_DOUBLING) - 1,
)

/**
 * Picks, of the instances that are not much fuller than the others, one that answers fastest; of equally fast ones that
 * with the smallest share of its slots in use; ties by rank (oldest first), expired ones last (rules B4, B8, B9).
 */
export class LeastLoadedPicker implements Picker {
  readonly #fresh: LoadBuckets
  readonly #expired: LoadBuckets
  /** What answers usually take, over all instances. */
  #usualMs = 0

  constructor(prng: Prng) {
    this.#fresh = new LoadBuckets(prng)
    this.#expired = new LoadBuckets(prng)
  }

  reset(): void {
    this.#fresh.reset()
    this.#expired.reset()
  }

  add(entry: InstanceEntry): void {
    this.#bucketsOf(entry).add(entry)
  }

  remove(entry: InstanceEntry): void {
    this.#bucketsOf(entry).remove(entry)
  }

  touch(entry: InstanceEntry): void {
    this.#bucketsOf(entry).touch(entry)
  }

  pick(): InstanceEntry | undefined {
    return this.#fresh.pick() ?? this.#expired.pick()
  }

  observe(entry: InstanceEntry, latencyMs: number, isListed: boolean): void {
    if (latencyMs < LATENCY_MS_MAX) {
      this.#usualMs = blend(this.#usualMs, latencyMs)
      entry.latencyMs = blend(entry.latencyMs, latencyMs)
    } else if (this.#usualMs > 0) {
      // Failing fast must not look like working fast, or it would draw all requests.
      const worse = FAILURE_FACTOR * Math.max(1, entry.latencyMs, this.#usualMs)
      entry.latencyMs = Math.min(LATENCY_MS_MAX, worse)
    }
    if (entry.latencyMs >= BOUNDS_MS[entry.latencyClass]! && entry.latencyMs < BOUNDS_MS[entry.latencyClass + 1]!)
      return
    const latencyClass = classOf(entry.latencyMs)
    if (latencyClass === entry.latencyClass) return
    if (isListed) this.remove(entry)
    entry.latencyClass = latencyClass
    if (isListed) this.add(entry)
  }

  #bucketsOf(entry: InstanceEntry): LoadBuckets {
    return entry.isExpired ? this.#expired : this.#fresh
  }
}

function classOf(latencyMs: number): number {
  return Math.floor(CLASSES_PER_DOUBLING * Math.log2(1 + latencyMs))
}

function blend(knownMs: number, latencyMs: number): number {
  return knownMs === 0 ? latencyMs : knownMs + (latencyMs - knownMs) * NEWEST_WEIGHT
}
