import type { InstanceId, RouterId } from '@waiter/base'
import type { Shares } from './distribute.ts'
import type { RouterAssignment, RouterBelief } from './ledger-types.ts'

const NOTHING: Shares = new Map()

/**
 * What one router may believe it has. It may be working from any version between the last one it acknowledged and the
 * last one sent, so it *holds*, of each instance, the most that any of these gives, or more if more is in use.
 */
export class RouterLease {
  readonly routerId: RouterId
  /** False while the router is known to live, but has not said what it believes. */
  isHeard = false
  demand = 0
  /** The most that it demanded lately: what its share is measured by, so that shares do not follow every request. */
  lastingDemand = 0
  #peakDemand = 0
  /** All of the last round it waited, had no slot, and began nothing: its peers lend it none. */
  isStarved = false
  #begun = 0
  #begunBefore = 0
  #hasFared = true
  /** What it is to have in the end, and the sum of that. */
  target: Shares = NOTHING
  targetTotal = 0
  inUse: Shares = NOTHING
  ackedVersion = 0
  lastSent: RouterAssignment | undefined
  #acked: Shares = NOTHING
  readonly #unacked: { readonly version: number; readonly shares: Shares }[] = []
  #held: ReadonlyMap<InstanceId, number> = new Map()

  constructor(routerId: RouterId) {
    this.routerId = routerId
  }

  /** Requests in flight and waiting there, now; and how many have ever begun. */
  noteDemand(demand: number, begun: number): void {
    this.demand = demand
    this.#begun = begun
    if (demand === 0) this.#hasFared = true
    this.#peakDemand = Math.max(this.#peakDemand, demand)
    this.lastingDemand = Math.max(this.lastingDemand, demand)
  }

  /** A turn is over: what was demanded before it counts half. */
  endTurn(): void {
    this.lastingDemand = Math.max(this.#peakDemand, this.lastingDemand >> 1)
    this.#peakDemand = this.demand
  }

  /** Several turns are over: who fared badly in all of them comes first in the next. */
  endRound(): void {
    this.isStarved = !this.#hasFared && this.targetTotal === 0 && this.#begun === this.#begunBefore
    this.#begunBefore = this.#begun
    this.#hasFared = this.demand === 0
  }

  get unackedCount(): number {
    return this.#unacked.length
  }

  get held(): Shares {
    return this.#held
  }

  /** What the last version sent (or believed) gives. */
  get lastShares(): Shares {
    return this.#unacked.at(-1)?.shares ?? this.#acked
  }

  hear(belief: RouterBelief | undefined): void {
    this.isHeard = true
    this.#acked = new Map(belief?.slotsByInstance)
    this.#unacked.length = 0
    this.ackedVersion = 0
    this.lastSent = undefined
    this.aim(this.#acked)
    this.inUse = new Map(belief?.inUseByInstance)
    this.#settle()
  }

  aim(target: Shares): void {
    this.target = target
    this.targetTotal = 0
    for (const slots of target.values()) this.targetTotal += slots
  }

  send(assignment: RouterAssignment): void {
    const shares = new Map(assignment.instances.map(instance => [instance.instanceId, instance.slots]))
    this.lastSent = assignment
    this.#unacked.push({ version: assignment.version, shares })
    this.#settle()
  }

  /** False when this version was never sent, or is older than one acknowledged before. */
  acknowledge(version: number, inUse: Shares): boolean {
    if (version !== this.ackedVersion) {
      const index = this.#unacked.findIndex(sent => sent.version === version)
      if (index < 0) return false
      this.#acked = this.#unacked[index]!.shares
      this.ackedVersion = version
      this.#unacked.splice(0, index + 1)
    }
    this.inUse = new Map(inUse)
    this.#settle()
    return true
  }

  #settle(): void {
    const held = new Map<InstanceId, number>()
    for (const shares of [this.#acked, this.inUse, ...this.#unacked.map(sent => sent.shares)]) {
      for (const [instanceId, slots] of shares) {
        if (slots > (held.get(instanceId) ?? 0)) held.set(instanceId, slots)
      }
    }
    this.#held = held
  }
}
