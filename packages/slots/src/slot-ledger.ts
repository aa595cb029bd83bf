import { assert, type InstanceId, type RouterId } from '@waiter/base'
import { EVERYBODY_MAX } from './choose-homes.ts'
import { dealOut } from './deal-out.ts'
import { distribute, type Shares } from './distribute.ts'
import { ExpectedRouters } from './expected-routers.ts'
import type { LedgerInstance, LedgerRouterState, RouterAssignment, RouterBelief } from './ledger-types.ts'
import { RouterLease } from './router-lease.ts'
import type { AssignedInstance } from './slot.ts'

/** A router that begins nothing for so long, though it asks, cannot borrow: it gets a slot of its own. */
const TURNS_PER_ROUND = 10

/** Among very many routers, of which some always have none left, shares move only every so many turns. */
const CROWD_TURNS = 4

const NOTHING: Shares = new Map()
const NOBODY: readonly RouterId[] = []
const NO_ASSIGNMENTS: readonly RouterAssignment[] = []

/** So many new slots are dealt out one by one; more, and those of the first instances, are shared out as a whole. */
const DEALT_SLOTS_MAX = 64

/** Versions a router may be behind; then it gets the next one only after an acknowledgement. */
const UNACKED_VERSIONS_MAX = 8

/**
 * Leases the slots of one service's instances to routers, inside the leader (rules L1 to L13). Only routers that take part
 * (`routerJoined`) get slots, and only they are remembered.
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
  /** Slots of each instance that routers may believe they have, or use: the sum over all leases. */
  readonly #held: Map<InstanceId, number> = new Map()
  #instances: ReadonlyMap<InstanceId, LedgerInstance> = new Map()
  #version = 0
  #turn = 0
  #round = 0
  #isTargetStale = true
  /** Nothing but more instances: their slots go to those who lack most, and nobody else is touched. */
  readonly #added: LedgerInstance[] = []
  /** Targets are what demand asks for: while that stays, another look would change nothing. */
  #isAtRest = false
  /** Routers that are to be sent something: somebody else may have to let go first. */
  readonly #lacking: Set<RouterLease> = new Set()
  /** Instances of which somebody holds less than before: who lacks them may get some now. */
  readonly #freed: Set<InstanceId> = new Set()
  /** Whoever lacks something may get it now. */
  #isSendDue = true
  /** Somebody is to be sent something who was not before. */
  #isAnyNew = false
  #wasWaiting = false
  #holdersRevision = 0
  /** The leases by router; undefined: others than before. */
  #sorted: readonly RouterLease[] | undefined
  #isAnybodyLeaving = false
  readonly #expected: ExpectedRouters

  /** @param expected routers that have not been heard; absent: none of them can know this service */
  constructor(expected: ExpectedRouters = new ExpectedRouters()) {
    this.#expected = expected
  }

  /** Replaces the instances to share out: healthy and not draining. Others are taken away from everybody. */
  setInstances(instances: readonly LedgerInstance[]): void {
    const before = this.#instances
    this.#instances = new Map(instances.map(instance => [instance.instanceId, instance]))
    const added: LedgerInstance[] = []
    const others: LedgerInstance[] = []
    let addedSlots = 0
    for (const instance of instances) {
      const former = before.get(instance.instanceId)
      if (former === undefined) {
        added.push(instance)
        addedSlots += instance.slots
      } else if (!isSameInstance(former, instance)) others.push(instance)
    }
    const isMoreOnly = others.length === 0 && before.size + added.length === instances.length
    if (isMoreOnly && before.size > 0 && addedSlots <= DEALT_SLOTS_MAX) this.#added.push(...added)
    else this.#isTargetStale = true
    if (others.length === 0) return
    for (const lease of this.#leases.values())
      if (others.some(({ instanceId }) => lease.target.has(instanceId))) this.#want(lease)
  }

  /** An instance as it is shared out now: it costs nothing to give the same one again. */
  find(instanceId: InstanceId): LedgerInstance | undefined {
    return this.#instances.get(instanceId)
  }

  /**
   * A router's requests in flight and waiting, and how many have ever begun there, on whosever slots. Of an unknown
   * router: ignored, it may have died since.
   */
  setDemand(routerId: RouterId, demand: number, begun = 0): void {
    this.#leases.get(routerId)?.noteDemand(demand, begun)
  }

  /**
   * A router takes part from now on, or attached again; `belief` is what it says it has. It gets a full assignment next,
   * even an empty one. Who comes back from the dead works from what others may have got since: he keeps what is left.
   */
  routerJoined(routerId: RouterId, belief?: RouterBelief): void {
    const known = this.#leases.get(routerId)
    const lease = known ?? new RouterLease(routerId)
    const isTrusted = this.#expected.has(routerId)
    this.#leases.set(routerId, lease)
    this.#settle(lease, () => lease.hear(belief, isTrusted))
    this.#want(lease)
    this.#sorted = undefined
    this.#holdersRevision += 1
    // One more of very many, who has nothing yet, changes nothing that could not wait for the next look.
    if (known === undefined && belief === undefined && this.#leases.size > EVERYBODY_MAX) this.#isAtRest = false
    else this.#isTargetStale = true
  }

  /** True while a router takes part, be it only until it has let go. */
  has(routerId: RouterId): boolean {
    return this.#leases.has(routerId)
  }

  /**
   * A router is to take part no more (rule L12): it is assigned nothing, and `takeLeft` names it once it has acknowledged
   * that and uses nothing.
   */
  routerLeaving(routerId: RouterId): void {
    const lease = this.#leases.get(routerId)
    if (lease === undefined || lease.isLeaving) return
    lease.isLeaving = true
    this.#isAnybodyLeaving = true
    this.#isTargetStale = true
  }

  /** A router that was about to leave stays. */
  routerStays(routerId: RouterId): void {
    if (!this.#isAnybodyLeaving) return
    const lease = this.#leases.get(routerId)
    if (!lease?.isLeaving) return
    lease.isLeaving = false
    this.#isTargetStale = true
  }

  /** Forgets routers that were to leave and have let go. @returns them */
  takeLeft(): readonly RouterId[] {
    if (!this.#isAnybodyLeaving) return NOBODY
    this.#isAnybodyLeaving = false
    const left: RouterId[] = []
    for (const lease of this.#leases.values()) {
      if (lease.hasLetGo) left.push(lease.routerId)
      else this.#isAnybodyLeaving ||= lease.isLeaving
    }
    for (const routerId of left) this.#forget(routerId)
    return left
  }

  /**
   * A router is to be left out: what it has goes to the others as its requests end. While all are, nothing changes: nobody
   * could serve instead.
   */
  routerDraining(routerId: RouterId): void {
    const lease = this.#leases.get(routerId)
    if (lease === undefined || lease.isDraining) return
    lease.isDraining = true
    this.#isTargetStale = true
  }

  /** It is not to be left out any more. */
  routerServing(routerId: RouterId): void {
    const lease = this.#leases.get(routerId)
    if (lease === undefined || !lease.isDraining) return
    lease.isDraining = false
    this.#isTargetStale = true
  }

  /** A router is gone for good: it sends nothing any more, and its slots are free. */
  routerDead(routerId: RouterId): void {
    if (this.#forget(routerId)) this.#isTargetStale = true
  }

  /**
   * A router works from this version. To be sent again (same version) whenever it uses less of an instance than before
   * while it uses more than its share.
   *
   * @param inUseByInstance its requests in flight, counted when or after it took the version on
   * @returns false when nothing follows from it for anybody now: `rebalance`, `takeLeft` and `isReleased` answer as before
   */
  ack(routerId: RouterId, version: number, inUseByInstance: Shares): boolean {
    const lease = this.#leases.get(routerId)
    if (lease === undefined) return false
    const { held, unackedCount } = lease
    if (!this.#settle(lease, () => lease.acknowledge(version, inUseByInstance))) return false
    if (unackedCount >= UNACKED_VERSIONS_MAX) this.#isSendDue = true
    // Others can have more only when this one has let go of something, and it itself when it had to catch up.
    return this.#isSendDue || lease.isLeaving || (isLess(lease.held, held) && this.#isFreedWanted())
  }

  /** Does anybody wait for what was let go, or is it an instance that may be stopped now? */
  #isFreedWanted(): boolean {
    if (this.#lacking.size > 0) return true
    for (const instanceId of this.#freed) if (!this.#instances.has(instanceId)) return true
    return false
  }

  /**
   * A router runs requests there, though it works from nothing that it was sent (rule L13): on slots of another router
   * that is not there any more. From now on it takes part.
   */
  noteUse(routerId: RouterId, inUseByInstance: Shares): void {
    if (inUseByInstance.size === 0 && !this.#leases.has(routerId)) return
    if (!this.#leases.has(routerId)) this.routerJoined(routerId)
    const lease = this.#leases.get(routerId)!
    this.#settle(lease, () => lease.noteUse(inUseByInstance))
    this.#isSendDue = true
  }

  /**
   * Brings the shares in line with demand.
   *
   * @param turn grows about once a second; demand moves slots only then
   * @returns the assignments that changed, to be sent in this order
   */
  rebalance(turn: number): readonly RouterAssignment[] {
    if (turn !== this.#turn) this.#endTurn(turn)
    const { isWaiting } = this.#expected
    if (isWaiting !== this.#wasWaiting) this.#isSendDue = true
    this.#wasWaiting = isWaiting
    if (this.#isTargetStale) this.#computeTargets()
    else if (this.#added.length > 0) this.#dealOutAdded()
    if (!this.#isSendDue && !this.#isAnyNew && this.#freed.size === 0) return NO_ASSIGNMENTS
    const changed: RouterAssignment[] = []
    for (const lease of [...this.#lacking]) {
      if (!this.#isSendDue && !lease.waitsForAnyOf(this.#freed)) continue
      const assignment = this.#assign(lease)
      if (assignment !== undefined) changed.push(assignment)
    }
    this.#isSendDue = false
    this.#isAnyNew = false
    this.#freed.clear()
    return changed
  }

  /** Changes when `holderIds` may answer something else. */
  get holdersRevision(): number {
    return this.#holdersRevision
  }

  /** Routers that have slots, or are about to: whom to ask for some. Sorted. */
  get holderIds(): readonly RouterId[] {
    const holders: RouterId[] = []
    for (const lease of this.#leases.values()) if (lease.isHolder) holders.push(lease.routerId)
    return holders.sort()
  }

  /** What a router was sent last; undefined: nothing since it joined. */
  assignmentOf(routerId: RouterId): RouterAssignment | undefined {
    return this.#leases.get(routerId)?.lastSent
  }

  /** True when the instance is shared out no more and no live router can still send to it: it may be stopped. */
  isReleased(instanceId: InstanceId): boolean {
    return !this.#instances.has(instanceId) && !this.#expected.isWaiting && this.heldSlots(instanceId) === 0
  }

  /** Slots of an instance that live routers may believe they have, or use. */
  heldSlots(instanceId: InstanceId): number {
    return this.#held.get(instanceId) ?? 0
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
      isLeaving: lease.isLeaving,
      demand: lease.demand,
      ackedVersion: lease.ackedVersion,
      sentVersion: lease.lastSent?.version ?? 0,
      held: Object.fromEntries(lease.held),
    }))
  }

  /** Demand moves slots once a turn, and only when somebody has none left (rule D5): in between, routers borrow. */
  #endTurn(turn: number): void {
    this.#turn = turn
    const round = Math.floor(turn / TURNS_PER_ROUND)
    const isRoundOver = round !== this.#round
    this.#round = round
    const isDue = this.#leases.size <= EVERYBODY_MAX || turn % CROWD_TURNS === 0
    for (const lease of this.#leases.values()) {
      const wasStarved = lease.isStarved
      lease.endTurn()
      if (isRoundOver) lease.endRound()
      // Those that starve take turns, whether or not anything else has changed.
      if (lease.isStarved || wasStarved || lease.lastingDemand !== lease.sharedByDemand) this.#isAtRest = false
    }
    if (!isDue || this.#isAtRest || this.#isTargetStale) return
    for (const lease of this.#leases.values())
      if (!lease.isLeaving && lease.lastingDemand >= lease.targetTotal) {
        this.#isTargetStale = true
        return
      }
  }

  #computeTargets(): void {
    this.#isTargetStale = false
    this.#added.length = 0
    const staying = this.#staying()
    const targets = distribute({
      instances: [...this.#instances.values()],
      routers: staying.map(({ routerId, lastingDemand, target, inUse, isStarved }) => ({
        routerId,
        demand: lastingDemand,
        current: target,
        inUse,
        isStarved,
      })),
      turn: this.#round,
    })
    this.#isAtRest = true
    for (const lease of this.#leases.values()) {
      lease.sharedByDemand = lease.lastingDemand
      this.#aim(lease, targets.get(lease.routerId) ?? NOTHING)
    }
  }

  /** Those among whom slots are shared out. */
  #staying(): readonly RouterLease[] {
    this.#sorted ??= [...this.#leases.values()].sort((a, b) => (a.routerId < b.routerId ? -1 : 1))
    const present = this.#sorted.filter(lease => !lease.isLeaving)
    const serving = present.filter(lease => !lease.isDraining)
    return serving.length > 0 ? serving : present
  }

  #dealOutAdded(): void {
    // Who was too far from his share before is looked at in the next turn.
    this.#isAtRest = false
    for (const [lease, target] of dealOut(this.#added.splice(0), this.#staying())) this.#aim(lease, target)
  }

  #aim(lease: RouterLease, target: Shares): void {
    if (target === lease.target) return
    this.#isAtRest = false
    const wasHolder = lease.isHolder
    lease.aim(target)
    if (lease.isHolder !== wasHolder) this.#holdersRevision += 1
    this.#want(lease)
  }

  /** The router is to be sent something, as far as it is to be had. */
  #want(lease: RouterLease): void {
    lease.waitsFor = undefined
    this.#lacking.add(lease)
    this.#isAnyNew = true
  }

  #forget(routerId: RouterId): boolean {
    const lease = this.#leases.get(routerId)
    if (lease === undefined) return false
    this.#lacking.delete(lease)
    this.#sorted = undefined
    this.#countHeld(lease.held, -1)
    for (const instanceId of lease.held.keys()) this.#freed.add(instanceId)
    this.#holdersRevision += 1
    return this.#leases.delete(routerId)
  }

  /** Keeps count of what is held while a lease changes. */
  #settle<T>(lease: RouterLease, change: () => T): T {
    const before = lease.held
    const result = change()
    if (lease.held === before) return result
    this.#countHeld(before, -1)
    this.#countHeld(lease.held, 1)
    for (const [instanceId, slots] of before) if ((lease.held.get(instanceId) ?? 0) < slots) this.#freed.add(instanceId)
    return result
  }

  #countHeld(held: Shares, sign: 1 | -1): void {
    for (const [instanceId, slots] of held) {
      const sum = (this.#held.get(instanceId) ?? 0) + sign * slots
      if (sum === 0) this.#held.delete(instanceId)
      else this.#held.set(instanceId, sum)
    }
  }

  /**
   * Slots of an instance that nobody may believe to have. While a router has not said what it believes, what others use may
   * be on slots that it lent: nothing but a lease stays a lease. Of a fresh instance it believes nothing.
   */
  #spareOf({ instanceId, slots, isFresh = false }: LedgerInstance): number {
    if (this.#expected.isWaiting && !isFresh) return Number.NEGATIVE_INFINITY
    return slots - this.heldSlots(instanceId)
  }

  /** Sends the router its next assignment, if it differs from the last. */
  #assign(lease: RouterLease): RouterAssignment | undefined {
    if (lease.unackedCount >= UNACKED_VERSIONS_MAX) return undefined
    this.#lacking.delete(lease)
    const instances: AssignedInstance[] = []
    const missing: InstanceId[] = []
    for (const [instanceId, wanted] of lease.target) {
      const instance = this.#instances.get(instanceId)
      assert(instance !== undefined, 'only instances of the ledger are shared out')
      const held = lease.held.get(instanceId) ?? 0
      // Less than nothing is spare while a lender and its borrower both count a request: that makes nobody a lease.
      const leased = lease.lastShares.get(instanceId) ?? 0
      const slots = Math.min(wanted, Math.max(leased, held + this.#spareOf(instance)))
      if (slots > 0) instances.push(slots === instance.slots ? instance : { ...instance, slots })
      if (slots < wanted) missing.push(instanceId)
    }
    if (missing.length > 0) {
      lease.waitsFor = missing
      this.#lacking.add(lease)
    }
    if (lease.lastSent !== undefined && isSame(lease.lastSent.instances, instances)) return undefined
    // A copy has room for what it has, and no more: there are very many of these lists.
    const assignment = { routerId: lease.routerId, version: ++this.#version, instances: instances.slice() }
    const wasHolder = lease.isHolder
    this.#settle(lease, () => lease.send(assignment, missing.length === 0 ? lease.target : undefined))
    if (lease.isHolder !== wasHolder) this.#holdersRevision += 1
    return assignment
  }
}

/** Is there less of any instance than before? */
function isLess(held: Shares, before: Shares): boolean {
  if (held === before) return false
  for (const [instanceId, slots] of before) if ((held.get(instanceId) ?? 0) < slots) return true
  return false
}

function isSame(a: readonly AssignedInstance[], b: readonly AssignedInstance[]): boolean {
  if (a.length !== b.length) return false
  if (a.every((instance, at) => isSameInstance(instance, b[at]!))) return true
  const before = new Map(a.map(instance => [instance.instanceId, instance]))
  return b.every(instance => {
    const other = before.get(instance.instanceId)
    return other !== undefined && isSameInstance(other, instance)
  })
}

function isSameInstance(a: AssignedInstance, b: AssignedInstance): boolean {
  if (a === b) return true
  return (
    a.instanceId === b.instanceId &&
    a.slots === b.slots &&
    a.host === b.host &&
    a.port === b.port &&
    a.startedAtMs === b.startedAtMs &&
    (a.expired === true) === (b.expired === true)
  )
}
