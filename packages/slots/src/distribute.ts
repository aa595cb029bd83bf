import type { InstanceId, RouterId } from '@waiter/base'
import { computeQuotas } from './compute-quotas.ts'
import { hashText, preferenceOf } from './rendezvous.ts'

/** How many slots of each instance a router has; without zeros. */
export type Shares = ReadonlyMap<InstanceId, number>

export interface DistributeRouter {
  readonly routerId: RouterId
  /** Requests in flight or waiting there. */
  readonly demand: number
  /** What it has now. */
  readonly current: Shares
  /** Requests in flight by instance, as far as known; slots in use are the last to be taken away. */
  readonly inUse: Shares
  /** It waits, has no slot, and gets none from others either. */
  readonly isStarved?: boolean
}

export interface DistributeInput {
  /** `slots` is what all routers together may use. */
  readonly instances: readonly { readonly instanceId: InstanceId; readonly slots: number }[]
  readonly routers: readonly DistributeRouter[]
  /** Any counter; with each step, another of those who starve comes first. */
  readonly turn: number
}

/**
 * Shares out the slots of all instances among routers (rules D1 to D7): all of them, none twice.
 *
 * Slots move only for a router that has none left for its next request, and only as many as bring it to its quota;
 * demand that goes up and down elsewhere moves nothing. A router whose share stays gets `current` itself back.
 */
export function distribute(input: DistributeInput): Map<RouterId, Shares> {
  const routers = [...input.routers].sort((a, b) => (a.routerId < b.routerId ? -1 : 1)).map(createParty)
  const held = new Map<InstanceId, number>()
  for (const { shares } of routers)
    for (const [instanceId, share] of shares) held.set(instanceId, (held.get(instanceId) ?? 0) + share)
  const free = new Map<InstanceId, number>()
  let slots = 0
  for (const instance of input.instances) {
    slots += instance.slots
    const excess = (held.get(instance.instanceId) ?? 0) - instance.slots
    if (excess > 0) clip(routers, instance.instanceId, excess)
    free.set(instance.instanceId, Math.max(0, -excess))
  }
  for (const router of routers) keepOnly(router, free)
  moveSlots(routers, slots, free, input.turn)
  return new Map(routers.map(router => [router.routerId, router.shares]))
}

interface Party {
  readonly routerId: RouterId
  readonly demand: number
  readonly inUse: Shares
  readonly isStarved: boolean
  /** What it had, as long as nothing changes. */
  shares: Shares
  ownShares: Map<InstanceId, number> | undefined
  total: number
}

function createParty(router: DistributeRouter): Party {
  const { routerId, demand, inUse, current, isStarved = false } = router
  const shares = { shares: current, ownShares: undefined, total: 0 }
  return { routerId, demand, inUse, isStarved, ...shares }
}

/** Takes so many slots of one instance from the routers, free ones first. */
function clip(routers: readonly Party[], instanceId: InstanceId, slots: number): void {
  const unused = (router: Party): number => (router.shares.get(instanceId) ?? 0) - (router.inUse.get(instanceId) ?? 0)
  const byUnused = [...routers].sort((a, b) => unused(b) - unused(a))
  let excess = slots
  for (const router of byUnused) {
    const cut = Math.min(excess, router.shares.get(instanceId) ?? 0)
    changeShare(router, instanceId, -cut)
    excess -= cut
  }
}

/** Drops shares of instances that are gone and counts the others. */
function keepOnly(router: Party, known: ReadonlyMap<InstanceId, number>): void {
  router.total = 0
  for (const [instanceId, share] of router.shares) {
    if (!known.has(instanceId) || share === 0) changeShare(router, instanceId, -share)
    else router.total += share
  }
}

function moveSlots(routers: readonly Party[], slots: number, free: Map<InstanceId, number>, turn: number): void {
  const claims = routers.map(({ demand, total, isStarved }) => ({ demand, current: total, isStarved }))
  const quotas = computeQuotas(slots, claims, turn)
  const demanded = claims.reduce((sum, { demand }) => sum + demand, 0)
  const lacking = routers.map((router, index) => ({ router, amount: quotas[index]! - router.total }))
  const isUrgent = ({ router, amount }: { router: Party; amount: number }): boolean =>
    router.demand >= router.total && amount >= worthMoving(router, demanded > slots)
  const urgent = lacking.filter(lack => lack.amount > 0 && isUrgent(lack))
  const patient = lacking.filter(lack => lack.amount > 0 && !isUrgent(lack))
  const donors = lacking.filter(({ amount }) => amount < 0).sort((a, b) => a.amount - b.amount)
  let unleased = 0
  for (const amount of free.values()) unleased += amount
  let missing = urgent.reduce((sum, { amount }) => sum + amount, 0) - unleased
  for (const { router, amount } of donors) {
    if (missing <= 0) break
    const given = Math.min(missing, -amount)
    give(router, given, free)
    missing -= given
    unleased += given
  }
  for (const { router, amount } of [...urgent, ...patient]) {
    const taken = Math.min(amount, unleased)
    take(router, taken, free)
    unleased -= taken
  }
}

/** Where slots are scarce, all of them are busy: one that moves waits for its request, and for two messages. */
function worthMoving({ total }: Party, isScarce: boolean): number {
  return isScarce && total > 0 ? 1 + total / 4 : 1
}

/** Gives slots up: unused ones first, where most are unused. */
function give(router: Party, amount: number, free: Map<InstanceId, number>): void {
  const unused = (instanceId: InstanceId): number =>
    Math.max(0, (router.shares.get(instanceId) ?? 0) - (router.inUse.get(instanceId) ?? 0))
  const order = [...router.shares.keys()].map(instanceId => ({ instanceId, unused: unused(instanceId) }))
  order.sort((a, b) => b.unused - a.unused || (a.instanceId < b.instanceId ? -1 : 1))
  let left = amount
  for (const limitOf of [unused, (instanceId: InstanceId) => router.shares.get(instanceId) ?? 0]) {
    for (const { instanceId } of order) {
      const given = Math.min(left, limitOf(instanceId))
      if (given === 0) continue
      changeShare(router, instanceId, -given)
      free.set(instanceId, free.get(instanceId)! + given)
      left -= given
    }
  }
  router.total -= amount
}

/** Takes free slots, spread over as many instances as possible; first where it has fewest, then by preference. */
function take(router: Party, amount: number, free: Map<InstanceId, number>): void {
  const hash = hashText(router.routerId)
  const order = [...free].filter(([, slots]) => slots > 0).map(([instanceId]) => rankFor(router, hash, instanceId))
  order.sort((a, b) => a.share - b.share || b.preference - a.preference || (a.instanceId < b.instanceId ? -1 : 1))
  let left = amount
  while (left > 0) {
    const open = order.filter(({ instanceId }) => free.get(instanceId)! > 0)
    const portion = Math.max(1, Math.floor(left / open.length))
    for (const { instanceId } of open) {
      const taken = Math.min(left, portion, free.get(instanceId)!)
      if (taken === 0) break
      changeShare(router, instanceId, taken)
      free.set(instanceId, free.get(instanceId)! - taken)
      left -= taken
    }
  }
  router.total += amount
}

function rankFor(
  router: Party,
  hash: number,
  instanceId: InstanceId,
): { instanceId: InstanceId; share: number; preference: number } {
  const preference = preferenceOf(hash, hashText(instanceId))
  return { instanceId, share: router.shares.get(instanceId) ?? 0, preference }
}

function changeShare(router: Party, instanceId: InstanceId, difference: number): void {
  router.ownShares ??= new Map(router.shares)
  const share = (router.shares.get(instanceId) ?? 0) + difference
  router.shares = router.ownShares
  if (share === 0) router.ownShares.delete(instanceId)
  else router.ownShares.set(instanceId, share)
}
