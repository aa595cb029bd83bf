import type { Prng } from '@waiter/base'
import type { InstanceEntry } from './instance-entry.ts'

/** Instances are told apart by load in such steps of their slots. */
const BUCKETS = 16
/** Cold: not fuller than this part of the instances that have room … */
const COLD_QUANTILE = 0.8
/** … nor than so many times what they have in use on average. */
const COLD_TIMES_MEAN = 1.5
/** One grant in so many goes to any cold instance: how else would one that got faster be found? */
const GRANTS_PER_TRIAL = 32

/**
 * Instances with a free slot, by load, and within a step of load in a heap: the lowest class of latency first, then the
 * smallest share of slots in use, then the rank. A change costs O(log n), a choice a look at 16 heads.
 */
export class LoadBuckets {
  readonly #prng: Prng
  readonly #heaps: InstanceEntry[][] = Array.from({ length: BUCKETS }, () => [])
  /** A bit for each step that anybody stands on: the others need not be looked at. */
  #used = 0
  #count = 0
  /** Sum of the steps that they stand on. */
  #load = 0
  /** Those whose latency is known to be worse than the best class. */
  #slow = 0
  #grants = 0

  constructor(prng: Prng) {
    this.#prng = prng
  }

  reset(): void {
    for (const heap of this.#heaps) heap.length = 0
    this.#used = 0
    this.#count = 0
    this.#load = 0
    this.#slow = 0
  }

  add(entry: InstanceEntry): void {
    entry.bucket = bucketOf(entry)
    const heap = this.#heaps[entry.bucket]!
    entry.position = heap.length
    heap.push(entry)
    siftUp(heap, entry)
    this.#used |= 1 << entry.bucket
    this.#count += 1
    this.#load += entry.bucket
    if (entry.latencyClass > 0) this.#slow += 1
  }

  remove(entry: InstanceEntry): void {
    const heap = this.#heaps[entry.bucket]!
    const last = heap.pop()!
    if (last !== entry) {
      place(heap, last, entry.position)
      siftUp(heap, last)
      siftDown(heap, last)
    }
    entry.position = -1
    if (heap.length === 0) this.#used &= ~(1 << entry.bucket)
    this.#count -= 1
    this.#load -= entry.bucket
    if (entry.latencyClass > 0) this.#slow -= 1
  }

  touch(entry: InstanceEntry): void {
    if (bucketOf(entry) === entry.bucket) {
      const heap = this.#heaps[entry.bucket]!
      siftUp(heap, entry)
      siftDown(heap, entry)
      return
    }
    this.remove(entry)
    this.add(entry)
  }

  pick(): InstanceEntry | undefined {
    if (this.#count === 0) return undefined
    const hottest = this.#hottestCold()
    if (this.#slow > 0) {
      this.#grants += 1
      if (this.#grants % GRANTS_PER_TRIAL === 0) return this.#any(hottest)
    }
    let best: InstanceEntry | undefined
    for (let left = this.#used; left !== 0; left &= left - 1) {
      const bucket = lowestBit(left)
      if (bucket > hottest) break
      const head = this.#heaps[bucket]![0]!
      if (best === undefined || isBetter(head, best)) best = head
    }
    return best
  }

  /** The highest step on which an instance still counts as cold; one with instances on it, or below. */
  #hottestCold(): number {
    const { length } = this.#heaps[lowestBit(this.#used)]!
    if (length === this.#count) return lowestBit(this.#used)
    const limit = Math.floor((COLD_TIMES_MEAN * this.#load) / this.#count) + 1
    const wanted = COLD_QUANTILE * this.#count
    let seen = 0
    let bucket = 0
    for (let left = this.#used; left !== 0; left &= left - 1) {
      bucket = lowestBit(left)
      // All steps up to the limit are cold, used or not: nobody stands on those in between.
      if (seen > 0 && bucket > limit) return limit
      seen += this.#heaps[bucket]!.length
      if (seen >= wanted || bucket >= limit) return bucket
    }
    return bucket
  }

  #any(hottest: number): InstanceEntry | undefined {
    let count = 0
    for (let bucket = 0; bucket <= hottest; bucket++) count += this.#heaps[bucket]!.length
    let index = this.#prng.below(count)
    for (let bucket = 0; bucket <= hottest; bucket++) {
      const heap = this.#heaps[bucket]!
      if (index < heap.length) return heap[index]
      index -= heap.length
    }
    return undefined
  }
}

function lowestBit(bits: number): number {
  const HIGHEST_BIT = 31
  return HIGHEST_BIT - Math.clz32(bits & -bits)
}

function bucketOf({ inUse, slots }: InstanceEntry): number {
  return Math.floor((BUCKETS * inUse) / slots)
}

/** Compares `inUse / slots` by cross-multiplication, so that equal loads are exactly equal. */
function isBetter(a: InstanceEntry, b: InstanceEntry): boolean {
  if (a.latencyClass !== b.latencyClass) return a.latencyClass < b.latencyClass
  const difference = a.inUse * b.slots - b.inUse * a.slots
  return difference !== 0 ? difference < 0 : a.rank < b.rank
}

function siftUp(heap: InstanceEntry[], entry: InstanceEntry): void {
  while (entry.position > 0) {
    const parent = heap[(entry.position - 1) >> 1]!
    if (!isBetter(entry, parent)) return
    swap(heap, entry, parent)
  }
}

function siftDown(heap: InstanceEntry[], entry: InstanceEntry): void {
  for (;;) {
    const left = heap[2 * entry.position + 1]
    if (left === undefined) return
    const right = heap[2 * entry.position + 2]
    const child = right !== undefined && isBetter(right, left) ? right : left
    if (!isBetter(child, entry)) return
    swap(heap, entry, child)
  }
}

function swap(heap: InstanceEntry[], a: InstanceEntry, b: InstanceEntry): void {
  const { position } = a
  place(heap, a, b.position)
  place(heap, b, position)
}

function place(heap: InstanceEntry[], entry: InstanceEntry, position: number): void {
  heap[position] = entry
  entry.position = position
}
