import { assert, type InstanceId, type RouterId } from '@waiter/base'
import { distribute, type Shares } from './distribute.ts'
import type { LedgerInstance, LedgerRouterState, RouterAssignment, RouterBelief } from './ledger-types.ts'
import { RouterLease } from './router-lease.ts'
import type { AssignedInstance } from './slot.ts'

/** A router that begins nothing for so long, though it asks, cannot borrow: it gets a slot of its own. */
const TURNS_PER_ROUND = 10

/** Versions a router may be behind; then it gets the next one only after an acknowledgement. */
const UNACKED_VERSIONS_MAX = 8

/**
 * Leases the slots of one service's instances to routers, inside the leader (rules L1 to L9).
 *
 * Never over-subscribed: whatever messages are still under way, the slots that live routers may believe they have of an
 * instance, and the requests they run there, never exceed its slots. A slot changes hands in two steps: it is taken from
 * the old router's assignment, and added to the new one's after the old router has acknowledged *and* uses no more than
 * it has left.
 *
 * Events only change what is known; `rebalance` decides and answers what is to be sent. Call it after a batch of events.
 */
export class SlotLedger {
  readonly #leases: Map<RouterId, RouterLease> = new Map()
  #instances: ReadonlyMap<InstanceId, LedgerInstance> = new Map()
  #version = 0
  #turn = 0
  #round = 0
  #isTargetStale = true
  #isSendDue = true

  /** Replaces the instances to share out: healthy and not draining. Others are taken away from everybody. */
  setInstances(instances: readonly LedgerInstance[]): void {
    this.#instances = new Map(instances.map(instance => [instance.instanceId, instance]))
    this.#isTargetStale = true
  }

  /**
   * A router's requests in flight and waiting, and how many have ever begun there, on whosever slots. Of an unknown
   * router: ignored, it may have died since.
   */
  setDemand(routerId: RouterId, demand: number, begun = 0): void {
    this.#leases.get(routerId)?.noteDemand(demand, begun)
  }

  /**
   * A router is known to live, but has not attached: it may believe anything, so nobody gets a slot more until it has
   * joined or is dead. For a new leader.
   */
  routerExpected(routerId: RouterId): void {
    if (!this.#leases.has(routerId)) this.#leases.set(routerId, new RouterLease(routerId))
  }

  /** A router attached, or attached again; `belief` is what it says it has. It gets a full assignment next. */
  routerJoined(routerId: RouterId, belief?: RouterBelief): void {
    const lease = this.#leases.get(routerId) ?? new RouterLease(routerId)
    this.#leases.set(routerId, lease)
    lease.hear(belief)
    this.#isTargetStale = true
  }

  /** A router is gone for good: it sends nothing any more, and its slots are free. */
  routerDead(routerId: RouterId): void {
    if (this.#leases.delete(routerId)) this.#isTargetStale = true
  }

  /**
   * A router works from this version. To be sent again (same version) whenever it uses less of an instance than before
   * while it uses more than its share.
   *
   * @param inUseByInstance its requests in flight, counted when or after it took the version on
   * @returns false when the acknowledgement is outdated or unknown and was ignored
   */
  ack(routerId: RouterId, version: number, inUseByInstance: Shares): boolean {
    const isTaken = this.#leases.get(routerId)?.acknowledge(version, inUseByInstance) ?? false
    if (isTaken) this.#isSendDue = true
    return isTaken
  }

  /**
   * Brings the shares in line with demand.
   *
   * @param turn grows about once a second; demand moves slots only then
   * @returns the assignments that changed, to be sent in this order
   */
  rebalance(turn: number): readonly RouterAssignment[] {
    if (turn !== this.#turn) this.#endTurn(turn)
    if (this.#isTargetStale) this.#computeTargets()
    if (!this.#isSendDue) return []
    this.#isSendDue = false
    const heard = [...this.#leases.values()].filter(lease => lease.isHeard)
    const spare = this.#computeSpare()
    const changed: RouterAssignment[] = []
    for (const lease of heard) {
      const assignment = this.#assign(lease, spare)
      if (assignment !== undefined) changed.push(assignment)
    }
    return changed
  }

  /** Routers that have slots, or are about to: whom to ask for some. Sorted. */
  get holderIds(): readonly RouterId[] {
    const holders: RouterId[] = []
    for (const { routerId, targetTotal, lastShares } of this.#leases.values())
      if (targetTotal > 0 || lastShares.size > 0) holders.push(routerId)
    return holders.sort()
  }

  /** True when the instance is shared out no more and no live router can still send to it: it may be stopped. */
  isReleased(instanceId: InstanceId): boolean {
    return !this.#instances.has(instanceId) && !this.#hasUnheard() && this.heldSlots(instanceId) === 0
  }

  /** Slots of an instance that live routers may believe they have, or use. */
  heldSlots(instanceId: InstanceId): number {
    let held = 0
    for (const lease of this.#leases.values()) held += lease.held.get(instanceId) ?? 0
    return held
  }

  /** Requests in flight on an instance, as routers reported them last. */
  inUse(instanceId: InstanceId): number {
    let inUse = 0
    for (const lease of this.#leases.values()) inUse += lease.inUse.get(instanceId) ?? 0
    return inUse
  }

  /** For people; not for decisions. */
  routerStates(): readonly LedgerRouterState[] {
    return [...this.#leases.values()].map(lease => ({
      routerId: lease.routerId,
      isHeard: lease.isHeard,
      demand: lease.demand,
      ackedVersion: lease.ackedVersion,
      sentVersion: lease.lastSent?.version ?? 0,
      held: Object.fromEntries(lease.held),
    }))
  }

  #hasUnheard(): boolean {
    for (const lease of this.#leases.values()) if (!lease.isHeard) return true
    return false
  }

  /** Demand moves slots once a turn, and only when somebody has none left (rule D5): in between, routers borrow. */
  #endTurn(turn: number): void {
    this.#turn = turn
    const round = Math.floor(turn / TURNS_PER_ROUND)
    const isRoundOver = round !== this.#round
    this.#round = round
    for (const lease of this.#leases.values()) {
      lease.endTurn()
      if (isRoundOver) lease.endRound()
      if (lease.isHeard && lease.lastingDemand >= lease.targetTotal) this.#isTargetStale = true
    }
  }

  #computeTargets(): void {
    this.#isTargetStale = false
    this.#isSendDue = true
    const heard = [...this.#leases.values()].filter(lease => lease.isHeard)
    const targets = distribute({
      instances: [...this.#instances.values()],
      routers: heard.map(({ routerId, lastingDemand, target, inUse, isStarved }) => ({
        routerId,
        demand: lastingDemand,
        current: target,
        inUse,
        isStarved,
      })),
      turn: this.#round,
    })
    for (const lease of heard) lease.aim(targets.get(lease.routerId)!)
  }

  /** Slots of each instance that nobody may believe to have; none while a router has not said what it believes. */
  #computeSpare(): Map<InstanceId, number> {
    const hasUnheard = this.#hasUnheard()
    const spare = new Map<InstanceId, number>()
    for (const { instanceId, slots } of this.#instances.values()) spare.set(instanceId, hasUnheard ? 0 : slots)
    if (hasUnheard) return spare
    for (const lease of this.#leases.values()) {
      for (const [instanceId, held] of lease.held) {
        const left = spare.get(instanceId)
        if (left !== undefined) spare.set(instanceId, left - held)
      }
    }
    return spare
  }

  /** The router's next assignment, if it differs from the last; takes what it adds out of `spare`. */
  #assign(lease: RouterLease, spare: Map<InstanceId, number>): RouterAssignment | undefined {
    if (lease.unackedCount >= UNACKED_VERSIONS_MAX) return undefined
    const instances: AssignedInstance[] = []
    for (const [instanceId, wanted] of lease.target) {
      const instance = this.#instances.get(instanceId)
      assert(instance !== undefined, 'only instances of the ledger are shared out')
      const held = lease.held.get(instanceId) ?? 0
      // Less than nothing is spare while a lender and its borrower both count a request: that makes nobody a lease.
      const leased = lease.lastShares.get(instanceId) ?? 0
      const slots = Math.min(wanted, Math.max(leased, held + spare.get(instanceId)!))
      if (slots > 0) instances.push({ ...instance, slots })
    }
    if (lease.lastSent !== undefined && isSame(lease.lastSent.instances, instances)) return undefined
    const heldBefore = lease.held
    const assignment: RouterAssignment = { routerId: lease.routerId, version: ++this.#version, instances }
    lease.send(assignment)
    for (const { instanceId, slots } of instances) {
      const added = Math.max(0, slots - (heldBefore.get(instanceId) ?? 0))
      spare.set(instanceId, spare.get(instanceId)! - added)
    }
    return assignment
  }
}

function isSame(a: readonly AssignedInstance[], b: readonly AssignedInstance[]): boolean {
  if (a.length !== b.length) return false
  const before = new Map(a.map(instance => [instance.instanceId, instance]))
  return b.every(instance => {
    const other = before.get(instance.instanceId)
    return (
      other !== undefined &&
      other.slots === instance.slots &&
      other.host === instance.host &&
      other.port === instance.port &&
      other.startedAtMs === instance.startedAtMs &&
      (other.expired === true) === (instance.expired === true)
    )
  })
}
