import type { RouterId } from '@waiter/base'
import { preferenceOf } from './rendezvous.ts'

/** Up to so many routers, every one takes part in the distribution of every service's slots. */
export const EVERYBODY_MAX = 8
/** With more routers, so many take part though nobody asks for the service there: whoever is asked first finds slots. */
export const HOMES = 3

/** A router, with the hash of its id. */
export interface HashedRouter {
  readonly routerId: RouterId
  /** `hashText` of the id. */
  readonly hash: number
}

/**
 * The routers that take part in a service's distribution whether or not it is asked for there (rules H1, H2): all, if they
 * are few; else those that prefer the service most. Everybody who knows the routers comes to the same answer.
 *
 * @param serviceHash `hashText` of the service's id
 */
export function chooseHomes(serviceHash: number, routers: readonly HashedRouter[]): readonly RouterId[] {
  if (routers.length <= EVERYBODY_MAX) return routers.map(({ routerId }) => routerId)
  const best: { routerId: RouterId; preference: number }[] = []
  for (const { routerId, hash } of routers) {
    const preference = preferenceOf(serviceHash, hash)
    const last = best[HOMES - 1]
    if (last !== undefined && !isBefore({ routerId, preference }, last)) continue
    best.push({ routerId, preference })
    best.sort((a, b) => (isBefore(a, b) ? -1 : 1))
    best.length = Math.min(best.length, HOMES)
  }
  return best.map(({ routerId }) => routerId)
}

interface Ranked {
  readonly routerId: RouterId
  readonly preference: number
}

function isBefore(a: Ranked, b: Ranked): boolean {
  return a.preference > b.preference || (a.preference === b.preference && a.routerId < b.routerId)
}
