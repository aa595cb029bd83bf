import type { InstanceEntry } from './instance-entry.ts'
import type { Picker } from './picker.ts'

/**
 * Picks the instance with the smallest share of its slots in use; ties by rank (oldest first), expired ones last.
 * A binary heap in which every entry knows its position, so one changed load costs O(log n).
 */
export class LeastLoadedPicker implements Picker {
  readonly #heap: InstanceEntry[] = []

  reset(): void {
    this.#heap.length = 0
  }

  add(entry: InstanceEntry): void {
    entry.position = this.#heap.length
    this.#heap.push(entry)
    this.#siftUp(entry)
  }

  remove(entry: InstanceEntry): void {
    const last = this.#heap.pop()!
    if (last !== entry) {
      this.#place(last, entry.position)
      this.touch(last)
    }
    entry.position = -1
  }

  touch(entry: InstanceEntry): void {
    this.#siftUp(entry)
    this.#siftDown(entry)
  }

  pick(): InstanceEntry | undefined {
    return this.#heap[0]
  }

  #siftUp(entry: InstanceEntry): void {
    while (entry.position > 0) {
      const parent = this.#heap[(entry.position - 1) >> 1]!
      if (!isLighter(entry, parent)) return
      this.#swap(entry, parent)
    }
  }

  #siftDown(entry: InstanceEntry): void {
    for (;;) {
      const left = this.#heap[2 * entry.position + 1]
      if (left === undefined) return
      const right = this.#heap[2 * entry.position + 2]
      const child = right !== undefined && isLighter(right, left) ? right : left
      if (!isLighter(child, entry)) return
      this.#swap(child, entry)
    }
  }

  #swap(a: InstanceEntry, b: InstanceEntry): void {
    const position = a.position
    this.#place(a, b.position)
    this.#place(b, position)
  }

  #place(entry: InstanceEntry, position: number): void {
    this.#heap[position] = entry
    entry.position = position
  }
}

/** Compares `inUse / slots` by cross-multiplication, so that equal loads are exactly equal. */
function isLighter(a: InstanceEntry, b: InstanceEntry): boolean {
  if (a.isExpired !== b.isExpired) return b.isExpired
  const difference = a.inUse * b.slots - b.inUse * a.slots
  return difference !== 0 ? difference < 0 : a.rank < b.rank
}
