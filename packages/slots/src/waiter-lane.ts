import type { Waiter } from './waiter.ts'
import { WaiterFlow } from './waiter-flow.ts'

/** Flows that are told apart in one lane; all further ones share one. */
const FLOWS_MAX = 256
const SHARED_FLOW = 0xffffffff

/**
 * Waiters of one priority, by flow. In each round every flow is served once, the one whose first has waited longest before
 * the others; a flow that empties and comes back in the same round waits for the next one (rule Q8).
 */
export class WaiterLane {
  readonly priority: number
  /** In which anybody waits. */
  readonly flows: WaiterFlow[] = []
  readonly #byKey: Map<number, WaiterFlow> = new Map()
  #round = 0

  constructor(priority: number) {
    this.priority = priority
  }

  /** To be followed by an insertion, and `settle`. */
  flowOf(key: number): WaiterFlow {
    const known = this.#byKey.get(key)
    if (known !== undefined) {
      known.round = Math.max(known.round, this.#round)
      return known
    }
    if (this.#byKey.size >= FLOWS_MAX) this.#forgetIdle()
    if (this.#byKey.size >= FLOWS_MAX && key !== SHARED_FLOW) return this.flowOf(SHARED_FLOW)
    const flow = new WaiterFlow(key, this.#round)
    this.#byKey.set(key, flow)
    return flow
  }

  /** How many of ours wait in a flow. */
  ownCount(key: number): number {
    return this.#byKey.get(key)?.own.length ?? 0
  }

  /** Lists the flow exactly while anybody waits in it. */
  settle(flow: WaiterFlow): void {
    if (flow.isEmpty === flow.position < 0) return
    if (!flow.isEmpty) {
      flow.position = this.flows.length
      this.flows.push(flow)
      return
    }
    const last = this.flows.pop()!
    if (last !== flow) {
      this.flows[flow.position] = last
      last.position = flow.position
    }
    flow.position = -1
  }

  /** Whose turn it is. */
  nextFlow(isOwn: boolean): WaiterFlow | undefined {
    if (this.flows.length === 1 && !isOwn) return this.flows[0]
    let best: WaiterFlow | undefined
    for (const flow of this.flows) {
      const waiter = isOwn ? flow.own.head : flow.next
      if (waiter === undefined) continue
      if (best === undefined || isBefore(flow.round, waiter, best.round, (isOwn ? best.own.head : best.next)!))
        best = flow
    }
    return best
  }

  /** One of the flow is served: its turn in this round is over. */
  charge(flow: WaiterFlow): void {
    this.#round = Math.max(this.#round, flow.round)
    flow.round += 1
  }

  /** Adds our own waiters to `list` in the order in which they would be served, until it has so many. */
  listOwn(list: Waiter[], countMax: number): void {
    const cursors = this.flows.map(({ own, round }) => ({ waiter: own.head, round }))
    while (list.length < countMax) {
      let best: (typeof cursors)[number] | undefined
      for (const cursor of cursors)
        if (
          cursor.waiter !== undefined &&
          (best === undefined || isBefore(cursor.round, cursor.waiter, best.round, best.waiter!))
        )
          best = cursor
      if (best?.waiter === undefined) return
      list.push(best.waiter)
      best.waiter = best.waiter.link.next
      best.round += 1
    }
  }

  /** Flows in which nobody waits, and whose next turn has come: as good as new ones. */
  #forgetIdle(): void {
    for (const [key, flow] of this.#byKey) if (flow.position < 0 && flow.round <= this.#round) this.#byKey.delete(key)
  }
}

function isBefore(aRound: number, a: Waiter, bRound: number, b: Waiter): boolean {
  if (aRound !== bRound) return aRound < bRound
  return a.link.sinceMs - b.link.sinceMs < 0 || (a.link.sinceMs === b.link.sinceMs && a.link.ticket < b.link.ticket)
}
