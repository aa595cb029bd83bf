import type { Waiter } from './waiter.ts'

/** Forgotten entries tolerated beyond the number of live ones before the heap is rebuilt. */
const STALE_ENTRIES_SLACK = 64

/**
 * Finds waiters whose deadline has come.
 *
 * A binary heap with lazy removal: a waiter that leaves keeps its entry (recognised by an outdated ticket) until it
 * reaches the top or stale entries outnumber live ones. With equal time-outs a push appends without sifting, so pushing
 * and forgetting cost O(1) amortised, where an exact heap would pay O(log n) for every request served.
 */
export class DeadlineHeap {
  readonly #queue: object
  #waiters: Waiter[] = []
  #deadlines: number[] = []
  #tickets: number[] = []

  /** @param queue identity of the queue that this heap serves */
  constructor(queue: object) {
    this.#queue = queue
  }

  /** A lower bound of the earliest live deadline; exact after `dropStale`. */
  get earliestMs(): number {
    return this.#deadlines[0] ?? Number.POSITIVE_INFINITY
  }

  push(waiter: Waiter): void {
    const at = this.#waiters.length
    this.#set(at, waiter, waiter.link.deadlineMs, waiter.link.ticket)
    this.#siftUp(at)
  }

  /** To be called after a waiter's ticket became invalid; `liveCount` is how many remain. */
  forgetOne(liveCount: number): void {
    if (this.#waiters.length > 2 * liveCount + STALE_ENTRIES_SLACK) this.#rebuild()
  }

  /** Removes and lists the live entries with a deadline at or before `nowMs`, earliest first. */
  popDue(nowMs: number): Waiter[] {
    const due: Waiter[] = []
    while (this.earliestMs <= nowMs) {
      if (this.#isLive(0)) due.push(this.#waiters[0]!)
      this.#pop()
    }
    return due
  }

  /** Removes stale entries from the top. */
  dropStale(): void {
    while (this.#waiters.length > 0 && !this.#isLive(0)) this.#pop()
  }

  #isLive(at: number): boolean {
    const { link } = this.#waiters[at]!
    return link.queue === this.#queue && link.ticket === this.#tickets[at]
  }

  #rebuild(): void {
    let kept = 0
    for (let at = 0; at < this.#waiters.length; at++) {
      if (!this.#isLive(at)) continue
      this.#set(kept++, this.#waiters[at]!, this.#deadlines[at]!, this.#tickets[at]!)
    }
    this.#truncate(kept)
    for (let at = (kept >> 1) - 1; at >= 0; at--) this.#siftDown(at)
  }

  #pop(): void {
    const last = this.#waiters.length - 1
    this.#set(0, this.#waiters[last]!, this.#deadlines[last]!, this.#tickets[last]!)
    this.#truncate(last)
    this.#siftDown(0)
  }

  #truncate(length: number): void {
    this.#waiters.length = length
    this.#deadlines.length = length
    this.#tickets.length = length
  }

  #set(at: number, waiter: Waiter, deadlineMs: number, ticket: number): void {
    this.#waiters[at] = waiter
    this.#deadlines[at] = deadlineMs
    this.#tickets[at] = ticket
  }

  /** True when entry `a` comes before entry `b`: earlier, or equally early and enqueued before. */
  #isBefore(a: number, b: number): boolean {
    const difference = this.#deadlines[a]! - this.#deadlines[b]!
    return difference !== 0 ? difference < 0 : this.#tickets[a]! < this.#tickets[b]!
  }

  #siftUp(from: number): void {
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#isBefore(at, parent)) return
      this.#swap(at, parent)
      at = parent
    }
  }

  #siftDown(from: number): void {
    let at = from
    const length = this.#waiters.length
    for (;;) {
      const left = 2 * at + 1
      if (left >= length) return
      const right = left + 1
      const child = right < length && this.#isBefore(right, left) ? right : left
      if (!this.#isBefore(child, at)) return
      this.#swap(at, child)
      at = child
    }
  }

  #swap(a: number, b: number): void {
    const waiter = this.#waiters[a]!
    const deadlineMs = this.#deadlines[a]!
    const ticket = this.#tickets[a]!
    this.#set(a, this.#waiters[b]!, this.#deadlines[b]!, this.#tickets[b]!)
    this.#set(b, waiter, deadlineMs, ticket)
  }
}
