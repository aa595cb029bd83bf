import type { RouterId } from '@waiter/base'
import type { Shares } from './distribute.ts'

/** A router, as new slots are dealt out. */
export interface DealRouter {
  readonly routerId: RouterId
  /** The most that it demanded lately. */
  readonly lastingDemand: number
  /** What it is to have so far, and the sum of that. */
  readonly target: Shares
  readonly targetTotal: number
  /** It waits, has no slot, and gets none from others either. */
  readonly isStarved: boolean
}

/** How badly a router wants one more slot: whoever is of a higher rank comes first, then who has the larger claim. */
const RANK = { satisfied: 0, lacking: 1, empty: 2, starved: 3 } as const

/**
 * Gives the slots of new instances to the routers that want them most, one by one, and touches nobody else (rules D1, D5,
 * D8): first who starves, then who has demand and no slot, then who has fewer than it demands, in proportion (each next
 * slot goes where most is demanded for each slot), and what nobody demands to all alike.
 *
 * Costs the number of slots times the number of routers, where `distribute` weighs everything against everything.
 *
 * @returns the new targets of those who get any
 */
export function dealOut<Router extends DealRouter>(
  instances: readonly { readonly instanceId: string; readonly slots: number }[],
  routers: readonly Router[],
): Map<Router, Shares> {
  const dealt = new Map<Router, Map<string, number>>()
  if (routers.length === 0) return dealt
  const totals = routers.map(({ targetTotal }) => targetTotal)
  let demanded = 0
  for (const { lastingDemand } of routers) demanded += lastingDemand
  const evenly = Math.max(1, demanded / routers.length)
  for (const { instanceId, slots } of instances)
    for (let slot = 0; slot < slots; slot++) {
      const index = chooseNext(routers, totals, evenly)
      const router = routers[index]!
      totals[index]! += 1
      const target = dealt.get(router) ?? new Map(router.target)
      target.set(instanceId, (target.get(instanceId) ?? 0) + 1)
      dealt.set(router, target)
    }
  return dealt
}

/** @returns the index of the router that wants one more slot most; among equals, the first by id */
function chooseNext(routers: readonly DealRouter[], totals: readonly number[], evenly: number): number {
  let best = 0
  let bestRank = -1
  let bestClaim = -1
  for (let index = 0; index < routers.length; index++) {
    const router = routers[index]!
    const total = totals[index]!
    const rank = rankOf(router, total)
    if (rank < bestRank) continue
    const demand = rank === RANK.satisfied ? router.lastingDemand + evenly : router.lastingDemand
    const claim = demand / (total + 1)
    if (rank === bestRank && (claim < bestClaim || (claim === bestClaim && router.routerId > routers[best]!.routerId)))
      continue
    best = index
    bestRank = rank
    bestClaim = claim
  }
  return best
}

function rankOf({ lastingDemand, isStarved }: DealRouter, total: number): number {
  if (total >= lastingDemand) return RANK.satisfied
  if (total > 0) return RANK.lacking
  return isStarved ? RANK.starved : RANK.empty
}
