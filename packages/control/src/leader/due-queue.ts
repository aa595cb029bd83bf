/**
 * Remembers for many keys when each wants to be looked at next; a binary heap with lazy removal, so that ten thousand
 * services cost one timer.
 */
export class DueQueue<K> {
  readonly #atByKey = new Map<K, number>()
  readonly #heap: { at: number; key: K }[] = []

  /** Sets when `key` is due; `Infinity` forgets it. */
  set(key: K, at: number): void {
    if (this.#atByKey.get(key) === at) return
    if (at === Number.POSITIVE_INFINITY) {
      this.#atByKey.delete(key)
      return
    }
    this.#atByKey.set(key, at)
    this.#push({ at, key })
    // Outdated entries are dropped when they come to the top; many moves of far-off times must not pile up.
    if (this.#heap.length > 64 + 4 * this.#atByKey.size) this.#rebuild()
  }

  /** When `key` is due; undefined: never. */
  at(key: K): number | undefined {
    return this.#atByKey.get(key)
  }

  delete(key: K): void {
    this.#atByKey.delete(key)
  }

  /** When the earliest key is due; `Infinity` when none is. */
  get nextAt(): number {
    this.#dropOutdated()
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY
  }

  /** Removes and returns the keys due at or before `now`. */
  takeDue(now: number): K[] {
    const due: K[] = []
    while (this.nextAt <= now) {
      const { key } = this.#pop()
      this.#atByKey.delete(key)
      due.push(key)
    }
    return due
  }

  #dropOutdated(): void {
    for (let top = this.#heap[0]; top !== undefined && this.#atByKey.get(top.key) !== top.at; top = this.#heap[0])
      this.#pop()
  }

  #rebuild(): void {
    this.#heap.length = 0
    for (const [key, at] of this.#atByKey) this.#push({ at, key })
  }

  #push(entry: { at: number; key: K }): void {
    const heap = this.#heap
    let index = heap.push(entry) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (heap[parent]!.at <= entry.at) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = entry
  }

  #pop(): { at: number; key: K } {
    const heap = this.#heap
    const top = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return top
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child += 1
      if (heap[child]!.at >= last.at) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = last
    return top
  }
}
