/** Part of all slots that is shared out evenly among routers with demand, before demand counts. */
const EVEN_SHARE = 0.2
/**
 * Few slots lie with few routers: whoever waits tells each of them, and each may lend to it in vain. Not with a single one:
 * until its death is known, nobody could use any.
 */
const FEW_HOLDERS_MIN = 2
const FEW_SLOTS_PER_HOLDER = 4

/** One router's claim on slots. */
export interface QuotaClaim {
  /** Requests in flight or waiting there. */
  readonly demand: number
  /** Slots it has now; breaks ties, so that slots stay where they are. */
  readonly current: number
  /** It waits, has no slot, and gets none from others either. */
  readonly isStarved: boolean
}

/**
 * Says how many of `slots` each router should have (rules D1 to D4 in SPEC.md); the answers sum up to `slots`.
 *
 * - Enough for all demand: everyone gets its demand; of the rest, half goes by demand and half evenly.
 * - Not enough: everyone with demand gets an even share of a fifth of the slots (one at least, its demand at most), and
 *   the rest goes in proportion to what is still demanded.
 * - Fewer slots than routers with demand: one each to those who starve, the rest to a few of those who have some.
 *
 * @param claims in a fixed order of routers
 * @param turn any counter; with each step, another of those who starve comes first
 */
export function computeQuotas(slots: number, claims: readonly QuotaClaim[], turn: number): readonly number[] {
  const claimants = claims.filter(claim => claim.demand > 0).length
  const demanded = claims.reduce((sum, claim) => sum + claim.demand, 0)
  if (slots < claimants) return dealFew(slots, claims, turn)
  if (demanded > slots) {
    const guaranteed = Math.max(1, Math.floor((EVEN_SHARE * slots) / claimants))
    const floors = claims.map(claim => Math.min(claim.demand, guaranteed))
    const rest = slots - sum(floors)
    const unmet = claims.map((claim, index) => claim.demand - floors[index]!)
    return add(floors, apportion(rest, unmet, claims, floors))
  }
  const demands = claims.map(claim => claim.demand)
  const evenly = Math.max(1, demanded / Math.max(1, claims.length))
  const weights = claims.map(claim => claim.demand + evenly)
  return add(demands, apportion(slots - demanded, weights, claims, demands))
}

/**
 * Whoever gets what it needs by borrowing does without: a slot that moves serves nobody meanwhile. Among those who starve, a
 * ring of routers is walked from a place that moves on with every turn.
 */
function dealFew(slots: number, claims: readonly QuotaClaim[], turn: number): readonly number[] {
  const ring = claims.map((_, step) => (turn + step) % claims.length).filter(index => claims[index]!.demand > 0)
  const starving = ring.filter(index => claims[index]!.isStarved).slice(0, slots)
  const rest = slots - starving.length
  const others = ring.filter(index => !claims[index]!.isStarved)
  others.sort((a, b) => claims[b]!.current - claims[a]!.current)
  const holders = others.slice(0, Math.max(FEW_HOLDERS_MIN, Math.ceil(rest / FEW_SLOTS_PER_HOLDER)))
  const quotas = claims.map(() => 0)
  for (const index of starving) quotas[index] = 1
  const dealtTo = holders.length > 0 ? holders : starving
  for (let dealt = 0; dealt < rest; dealt++) quotas[dealtTo[dealt % dealtTo.length]!]! += 1
  return quotas
}

/**
 * Splits `total` in proportion to the weights, in whole numbers (largest remainder). Ties go to whoever has slots to
 * lose, then to whoever has nothing yet, then by order.
 */
function apportion(
  total: number,
  weights: readonly number[],
  claims: readonly QuotaClaim[],
  base: readonly number[],
): readonly number[] {
  const weightSum = sum(weights)
  if (total === 0 || weightSum === 0) return weights.map(() => 0)
  const exact = weights.map(weight => (total * weight) / weightSum)
  const shares = exact.map(Math.floor)
  const order = weights.map((_, index) => index)
  const remainder = (index: number): number => exact[index]! - shares[index]!
  const losing = (index: number): number => claims[index]!.current - base[index]! - shares[index]!
  order.sort((a, b) => {
    const byRemainder = remainder(b) - remainder(a)
    if (Math.abs(byRemainder) > 1e-9) return byRemainder
    const byLoss = Number(losing(b) > 0) - Number(losing(a) > 0)
    if (byLoss !== 0) return byLoss
    return base[a]! + shares[a]! - (base[b]! + shares[b]!) || a - b
  })
  const left = total - sum(shares)
  for (let at = 0; at < left; at++) shares[order[at]!]!++
  return shares
}

function add(a: readonly number[], b: readonly number[]): readonly number[] {
  return a.map((value, index) => value + b[index]!)
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
