/** Something that happens at a virtual time. */
export interface QueuedEvent {
  readonly atMs: number
  readonly sequence: number
  readonly run: () => void
}

/** For simulators: events by virtual time; equal times in the order they were scheduled. A binary heap. */
export class EventQueue {
  readonly #heap: QueuedEvent[] = []
  #sequence = 0

  get size(): number {
    return this.#heap.length
  }

  push(atMs: number, run: () => void): void {
    const event: QueuedEvent = { atMs, sequence: this.#sequence++, run }
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(event, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = event
  }

  pop(): QueuedEvent | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }
}

function isBefore(a: QueuedEvent, b: QueuedEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence)
}
