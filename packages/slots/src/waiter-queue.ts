import { assert } from '@waiter/base'
import { DeadlineHeap } from './deadline-heap.ts'
import type { Waiter } from './waiter.ts'
import type { WaiterFlow } from './waiter-flow.ts'
import { WaiterLane } from './waiter-lane.ts'

/** What a waiter brings along. */
export interface Place {
  /** `Infinity`: none. */
  readonly deadlineMs: number
  readonly priority: number
  readonly sinceMs: number
  readonly flow: number
}

/**
 * Everybody who waits for a slot of one service, here (_own_) and at other routers (_foreign_): bigger priorities first,
 * flows of one priority in turns, and in a flow first come, first served (rules Q1 to Q4, Q8, P3).
 *
 * One lane per priority in use (almost always one), and in it doubly linked lists per flow (most often one), so joining,
 * leaving and serving cost O(1) plus a look at each flow. Deadlines are kept beside it in a heap that forgets lazily.
 */
export class WaiterQueue {
  /** Sorted by priority, biggest first; empty lanes are dropped. */
  readonly #lanes: WaiterLane[] = []
  readonly #deadlines: DeadlineHeap = new DeadlineHeap(this)
  #lastTicket = 0
  /** Our own waiters. */
  length = 0
  /** Waiters of other routers. */
  foreignLength = 0

  /** A lower bound of the earliest deadline; `Infinity` when nobody waits. */
  get earliestDeadlineMs(): number {
    return this.isEmpty ? Number.POSITIVE_INFINITY : this.#deadlines.earliestMs
  }

  get isEmpty(): boolean {
    return this.length + this.foreignLength === 0
  }

  push(waiter: Waiter, place: Place): void {
    const lane = this.#laneOf(place.priority)
    const flow = lane.flowOf(place.flow)
    this.#enter(waiter, place, flow, false)
    flow.own.insertAfter(flow.own.tail, waiter)
    this.#deadlines.push(waiter)
    lane.settle(flow)
    this.length += 1
  }

  /** A waiter of another router stands before those of other routers that began to wait later. */
  pushForeign(waiter: Waiter, place: Place): void {
    const lane = this.#laneOf(place.priority)
    const flow = lane.flowOf(place.flow)
    this.#enter(waiter, place, flow, true)
    let previous = flow.foreign.tail
    while (previous !== undefined && previous.link.sinceMs > place.sinceMs) previous = previous.link.previous
    flow.foreign.insertAfter(previous, waiter)
    this.#deadlines.push(waiter)
    lane.settle(flow)
    this.foreignLength += 1
  }

  /** The next ones of our own to be served, at most so many. They may leave while the caller walks. */
  first(countMax: number): readonly Waiter[] {
    const waiters: Waiter[] = []
    for (const lane of this.#lanes) if (waiters.length < countMax) lane.listOwn(waiters, countMax)
    return waiters
  }

  /** Takes the next to be served out of the queue. */
  shift(): Waiter | undefined {
    const lane = this.#lanes[0]
    const flow = lane?.nextFlow(false)
    return this.#serve(lane, flow, flow?.next)
  }

  /** Takes the next of our own. */
  shiftOwn(): Waiter | undefined {
    for (const lane of this.#lanes) {
      const flow = lane.nextFlow(true)
      if (flow !== undefined) return this.#serve(lane, flow, flow.own.head)
    }
    return undefined
  }

  /** Takes a waiter out, wherever it stands; false when it does not stand in this queue. */
  remove(waiter: Waiter): boolean {
    const { link } = waiter
    if (link.queue !== this) return false
    const index = this.#indexOf(link.priority)
    const lane = this.#lanes[index]
    const { flow } = link
    assert(lane?.priority === link.priority && flow !== undefined, 'a waiter stands in the lane of its priority')
    const list = link.isForeign ? flow.foreign : flow.own
    list.remove(waiter)
    if (link.isForeign) this.foreignLength -= 1
    else this.length -= 1
    lane.settle(flow)
    if (lane.flows.length === 0) this.#lanes.splice(index, 1)
    link.queue = undefined
    link.flow = undefined
    this.#deadlines.forgetOne(this.length + this.foreignLength)
    return true
  }

  /**
   * Who should make room for one more of a flow: the last of the flow of which most wait, if that has more than its share.
   * Never somebody of a bigger priority.
   */
  surplusFor({ priority, flow: key }: Place): Waiter | undefined {
    const lane = this.#lanes.at(-1)
    if (lane === undefined || lane.priority > priority) return undefined
    let longest: WaiterFlow | undefined
    for (const flow of lane.flows) if (longest === undefined || flow.own.length > longest.own.length) longest = flow
    if (longest === undefined || longest.key === key || longest.own.length <= lane.ownCount(key) + 1) return undefined
    return longest.own.tail
  }

  /**
   * Since when the longest of the first lane has waited that is our own, or that `isOther` says yes to; undefined: nobody
   * waits; minus infinity: somebody of another flow does, whose turn it may be.
   */
  oldestSinceMs(flowKey: number, isOther: (waiter: Waiter) => boolean): number | undefined {
    for (const { flows } of this.#lanes) {
      let sinceMs: number | undefined
      for (const { key, own, foreign } of flows) {
        let other = foreign.head
        while (other !== undefined && !isOther(other)) other = other.link.next
        if (key !== flowKey && (own.head !== undefined || other !== undefined)) return Number.NEGATIVE_INFINITY
        for (const waiter of [own.head, other])
          if (waiter !== undefined) sinceMs = Math.min(waiter.link.sinceMs, sinceMs ?? Number.POSITIVE_INFINITY)
      }
      if (sinceMs !== undefined) return sinceMs
    }
    return undefined
  }

  /** Those whose deadline has come, earliest first. They still stand in the queue; each is listed once. */
  due(nowMs: number): readonly Waiter[] {
    return this.#deadlines.popDue(nowMs)
  }

  /** Brings `earliestDeadlineMs` up to date. */
  settleDeadlines(): void {
    this.#deadlines.dropStale()
  }

  #serve(lane: WaiterLane | undefined, flow: WaiterFlow | undefined, waiter: Waiter | undefined): Waiter | undefined {
    if (lane === undefined || flow === undefined || waiter === undefined) return undefined
    lane.charge(flow)
    this.remove(waiter)
    return waiter
  }

  #enter({ link }: Waiter, place: Place, flow: WaiterFlow, isForeign: boolean): void {
    assert(link.queue === undefined, 'a waiter stands in one queue only')
    link.queue = this
    link.ticket = ++this.#lastTicket
    link.deadlineMs = place.deadlineMs
    link.priority = place.priority
    link.sinceMs = place.sinceMs
    link.flow = flow
    link.isForeign = isForeign
  }

  #laneOf(priority: number): WaiterLane {
    const first = this.#lanes[0]
    if (first !== undefined && first.priority === priority) return first
    const index = this.#indexOf(priority)
    const found = this.#lanes[index]
    if (found !== undefined && found.priority === priority) return found
    const lane = new WaiterLane(priority)
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
