import type { Waiter } from './waiter.ts'

/**
 * A waiter of our own goes first unless one of another router has waited longer by this: a slot that need not travel
 * saves two messages. So nobody is overtaken by one that began to wait later than that.
 */
export const AGE_SLACK_MS = 20

/** A doubly linked list of waiters; they carry the links. */
export class WaiterList {
  head: Waiter | undefined
  tail: Waiter | undefined
  length = 0

  insertAfter(previous: Waiter | undefined, waiter: Waiter): void {
    const { link } = waiter
    link.previous = previous
    link.next = previous === undefined ? this.head : previous.link.next
    if (link.next === undefined) this.tail = waiter
    else link.next.link.previous = waiter
    if (previous === undefined) this.head = waiter
    else previous.link.next = waiter
    this.length += 1
  }

  remove({ link }: Waiter): void {
    if (link.previous === undefined) this.head = link.next
    else link.previous.link.next = link.next
    if (link.next === undefined) this.tail = link.previous
    else link.next.link.previous = link.previous
    link.previous = undefined
    link.next = undefined
    this.length -= 1
  }
}

/** Waiters that stand for one another: those of one token, of one priority. Served in order of arrival. */
export class WaiterFlow {
  readonly key: number
  readonly own: WaiterList = new WaiterList()
  /** Of other routers, by the time since when they wait. */
  readonly foreign: WaiterList = new WaiterList()
  /** The round in which it may be served next. */
  round: number
  /** Where it stands among the flows of its lane in which anybody waits; -1: nobody does. */
  position = -1

  constructor(key: number, round: number) {
    this.key = key
    this.round = round
  }

  get isEmpty(): boolean {
    return this.own.head === undefined && this.foreign.head === undefined
  }

  /** Who is next, wherever that one waits. */
  get next(): Waiter | undefined {
    const own = this.own.head
    const foreign = this.foreign.head
    if (own === undefined || foreign === undefined) return own ?? foreign
    return foreign.link.sinceMs + AGE_SLACK_MS < own.link.sinceMs ? foreign : own
  }
}
