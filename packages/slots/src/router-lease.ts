import type { InstanceId, RouterId } from '@waiter/base'
import type { Shares } from './distribute.ts'
import type { RouterAssignment, RouterBelief } from './ledger-types.ts'

const NOTHING: Shares = new Map()

interface SentShares {
  readonly version: number
  readonly shares: Shares
}

/** Most leases are acknowledged, and there are very many. */
const NONE_SENT: readonly SentShares[] = []

/**
 * What one router may believe it has. It may be working from any version between the last one it acknowledged and the
 * last one sent, so it *holds*, of each instance, the most that any of these gives, or more if more is in use.
 */
export class RouterLease {
  readonly routerId: RouterId
  /** It is to be assigned nothing, and to be forgotten once it has let go. */
  isLeaving = false
  /** It is to be left out, and gets nothing any more. */
  isDraining = false
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
  /** What it demanded lately when slots were shared out last. */
  sharedByDemand = -1
  /** Of which instances others must let go before it has all of its target; undefined: nobody has looked. */
  waitsFor: readonly InstanceId[] | undefined
  inUse: Shares = NOTHING
  ackedVersion = 0
  lastSent: RouterAssignment | undefined
  #acked: Shares = NOTHING
  /** What it said it has, until it works from something newer. */
  #believed: Shares = NOTHING
  #unacked: readonly SentShares[] = NONE_SENT
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

  /** It has slots, or is about to. */
  get isHolder(): boolean {
    return this.targetTotal > 0 || this.lastShares.size > 0
  }

  /** May it have more now that less is held of these? */
  waitsForAnyOf(freed: ReadonlySet<InstanceId>): boolean {
    return this.waitsFor === undefined || this.waitsFor.some(instanceId => freed.has(instanceId))
  }

  /** @param isTrusted nobody else can have got what it believes to have; else only what it was given is its own */
  hear(belief: RouterBelief | undefined, isTrusted: boolean): void {
    this.isLeaving = false
    const believed = positive(belief?.slotsByInstance ?? NOTHING)
    const given = isTrusted ? believed : most([this.#acked, ...this.#unacked.map(sent => sent.shares)])
    this.#acked = isTrusted ? believed : leastOf(believed, given)
    this.#believed = isEqual(this.#acked, believed) ? NOTHING : believed
    this.#unacked = NONE_SENT
    this.ackedVersion = 0
    this.lastSent = undefined
    this.aim(this.#acked)
    this.inUse = positive(belief?.inUseByInstance ?? NOTHING)
    this.#settle()
  }

  aim(target: Shares): void {
    this.target = target
    this.targetTotal = 0
    for (const slots of target.values()) this.targetTotal += slots
  }

  /** @param known what the assignment gives, where somebody has that already */
  send(assignment: RouterAssignment, known?: Shares): void {
    const shares = known ?? new Map(assignment.instances.map(instance => [instance.instanceId, instance.slots]))
    this.lastSent = assignment
    this.#unacked = [...this.#unacked, { version: assignment.version, shares }]
    this.#settle()
  }

  /** False when this version was never sent, is older than one acknowledged before, or nothing is new. */
  acknowledge(version: number, inUse: Shares): boolean {
    const isNews = version !== this.ackedVersion
    if (isNews) {
      const index = this.#unacked.findIndex(sent => sent.version === version)
      if (index < 0) return false
      this.#acked = this.#unacked[index]!.shares
      this.#believed = NOTHING
      this.ackedVersion = version
      this.#unacked = index + 1 === this.#unacked.length ? NONE_SENT : this.#unacked.slice(index + 1)
    } else if (isEqual(this.inUse, inUse)) return false
    this.noteUse(inUse)
    return true
  }

  /** Requests in flight there, whatever version it works from. */
  noteUse(inUse: Shares): void {
    this.inUse = inUse.size === 0 ? NOTHING : positive(inUse)
    this.#settle()
  }

  /** It was told that it has nothing, has acknowledged that, and uses nothing. */
  get hasLetGo(): boolean {
    return this.isLeaving && this.#held.size === 0 && this.#unacked.length === 0
  }

  #settle(): void {
    this.#held = most([this.#acked, this.#believed, this.inUse, ...this.#unacked.map(sent => sent.shares)])
  }
}

/** Of each instance, the most that any of these has. */
function most(all: readonly Shares[]): Shares {
  const some = all.filter(({ size }) => size > 0)
  // Mostly there is one set only: then nothing has to be remembered twice.
  if (some.length <= 1) return some[0] ?? NOTHING
  const sum = new Map<InstanceId, number>()
  for (const shares of some) {
    for (const [instanceId, slots] of shares) {
      if (slots > (sum.get(instanceId) ?? 0)) sum.set(instanceId, slots)
    }
  }
  return sum
}

/** Of each instance, what both have. */
function leastOf(a: Shares, b: Shares): Shares {
  return positive(new Map([...a].map(([instanceId, slots]) => [instanceId, Math.min(slots, b.get(instanceId) ?? 0)])))
}

function positive(shares: Shares): Shares {
  return shares.size === 0 ? NOTHING : new Map([...shares].filter(([, count]) => count > 0))
}

function isEqual(a: Shares, b: Shares): boolean {
  if (a.size !== b.size) return false
  for (const [instanceId, count] of a) if (b.get(instanceId) !== count) return false
  return true
}
