import { assert } from '@waiter/base'
import { DeadlineHeap } from './deadline-heap.ts'
import type { Waiter } from './waiter.ts'

/**
 * First come, first served within a priority; bigger priorities first (rules Q1 to Q4).
 *
 * One doubly linked list per priority in use (almost always one), so joining, leaving and serving cost O(1) plus a
 * binary search over priorities. Deadlines are kept beside it in a heap that forgets lazily.
 */
export class WaiterQueue {
  /** Sorted by priority, biggest first; empty lanes are dropped. */
  readonly #lanes: Lane[] = []
  readonly #deadlines: DeadlineHeap = new DeadlineHeap(this)
  #length = 0
  #lastTicket = 0

  get length(): number {
    return this.#length
  }

  /** A lower bound of the earliest deadline; `Infinity` when nobody waits. */
  get earliestDeadlineMs(): number {
    return this.#length === 0 ? Number.POSITIVE_INFINITY : this.#deadlines.earliestMs
  }

  push(waiter: Waiter, deadlineMs: number, priority: number, sinceMs = 0): void {
    this.#insertAfter(this.#laneOf(priority).tail, waiter, deadlineMs, priority, sinceMs)
  }

  /** Like `push`, but before those of the same priority that began to wait later. Has no deadline. */
  insertBySince(waiter: Waiter, priority: number, sinceMs: number): void {
    let previous = this.#laneOf(priority).tail
    while (previous !== undefined && previous.link.sinceMs > sinceMs) previous = previous.link.previous
    this.#insertAfter(previous, waiter, Number.POSITIVE_INFINITY, priority, sinceMs)
  }

  /** The next to be served. */
  get head(): Waiter | undefined {
    return this.#lanes[0]?.head
  }

  /** The next ones to be served, at most so many. */
  first(countMax: number): readonly Waiter[] {
    const waiters: Waiter[] = []
    for (const { head } of this.#lanes)
      for (let waiter = head; waiter !== undefined && waiters.length < countMax; waiter = waiter.link.next)
        waiters.push(waiter)
    return waiters
  }

  /** All, the next to be served first. They may leave while the caller walks. */
  list(): readonly Waiter[] {
    const waiters: Waiter[] = []
    for (const { head } of this.#lanes)
      for (let waiter = head; waiter !== undefined; waiter = waiter.link.next) waiters.push(waiter)
    return waiters
  }

  /** Takes the next to be served out of the queue. */
  shift(): Waiter | undefined {
    const head = this.#lanes[0]?.head
    if (head !== undefined) this.remove(head)
    return head
  }

  /** Takes a waiter out, wherever it stands; false when it does not stand in this queue. */
  remove(waiter: Waiter): boolean {
    const { link } = waiter
    if (link.queue !== this) return false
    const index = this.#indexOf(link.priority)
    const lane = this.#lanes[index]
    assert(lane !== undefined && lane.priority === link.priority, 'a waiter stands in the lane of its priority')
    if (link.previous === undefined) lane.head = link.next
    else link.previous.link.next = link.next
    if (link.next === undefined) lane.tail = link.previous
    else link.next.link.previous = link.previous
    if (lane.head === undefined) this.#lanes.splice(index, 1)
    link.queue = undefined
    link.previous = undefined
    link.next = undefined
    this.#length--
    this.#deadlines.forgetOne(this.#length)
    return true
  }

  /** Those whose deadline has come, earliest first. They still stand in the queue; each is listed once. */
  due(nowMs: number): readonly Waiter[] {
    return this.#deadlines.popDue(nowMs)
  }

  /** Brings `earliestDeadlineMs` up to date. */
  settleDeadlines(): void {
    this.#deadlines.dropStale()
  }

  #insertAfter(
    previous: Waiter | undefined,
    waiter: Waiter,
    deadlineMs: number,
    priority: number,
    sinceMs: number,
  ): void {
    const { link } = waiter
    assert(link.queue === undefined, 'a waiter stands in one queue only')
    const lane = this.#laneOf(priority)
    link.queue = this
    link.ticket = ++this.#lastTicket
    link.deadlineMs = deadlineMs
    link.priority = priority
    link.sinceMs = sinceMs
    link.previous = previous
    link.next = previous === undefined ? lane.head : previous.link.next
    if (link.next === undefined) lane.tail = waiter
    else link.next.link.previous = waiter
    if (previous === undefined) lane.head = waiter
    else previous.link.next = waiter
    this.#length++
    this.#deadlines.push(waiter)
  }

  #laneOf(priority: number): Lane {
    const first = this.#lanes[0]
    if (first !== undefined && first.priority === priority) return first
    const index = this.#indexOf(priority)
    const found = this.#lanes[index]
    if (found !== undefined && found.priority === priority) return found
    const lane: Lane = { priority, head: undefined, tail: undefined }
    this.#lanes.splice(index, 0, lane)
    return lane
  }

  /** Where the lane of this priority is, or would be. */
  #indexOf(priority: number): number {
    let low = 0
    let high = this.#lanes.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#lanes[middle]!.priority > priority) low = middle + 1
      else high = middle
    }
    return low
  }
}

interface Lane {
  readonly priority: number
  head: Waiter | undefined
  tail: Waiter | undefined
}
