import type { RouterId } from '@waiter/base'
import { LENDERS_MAX } from './borrow-types.ts'
import { hashText, preferenceOf } from './rendezvous.ts'

const NOBODY: readonly RouterId[] = []

/**
 * Whom a router asks for slots: all that have some; of very many, a few, others for every router.
 *
 * @param current whom it asks now: of very many, those stay while half of them have some, so that it need not hear of
 *   every change
 * @param known the holders as a set, for who asks for many borrowers
 * @returns `current` itself when nothing changes
 */
export function chooseLenders(
  holders: readonly RouterId[],
  borrowerId: RouterId,
  current: readonly RouterId[] = NOBODY,
  known: ReadonlySet<RouterId> = new Set(holders),
): readonly RouterId[] {
  const others = holders.length <= LENDERS_MAX + 1 ? holders.filter(id => id !== borrowerId) : holders
  // A copy has room for what it has, and no more: there are very many of these lists.
  if (others.length <= LENDERS_MAX) return isSame(others, current) ? current : others.slice()
  let keptCount = 0
  for (const id of current) if (known.has(id) && id !== borrowerId) keptCount += 1
  if (keptCount * 2 >= LENDERS_MAX) return current
  const kept = current.filter(id => known.has(id) && id !== borrowerId)
  const hash = hashText(borrowerId)
  const best: Ranked[] = []
  const count = LENDERS_MAX - kept.length
  for (const id of holders) {
    const preference = preferenceOf(hash, hashText(id))
    const last = best[count - 1]
    if (last !== undefined && !isBefore({ id, preference }, last)) continue
    if (id === borrowerId || kept.includes(id)) continue
    best.push({ id, preference })
    best.sort((a, b) => (isBefore(a, b) ? -1 : 1))
    best.length = Math.min(best.length, count)
  }
  return [...kept, ...best.map(({ id }) => id)]
}

interface Ranked {
  readonly id: RouterId
  readonly preference: number
}

function isBefore(a: Ranked, b: Ranked): boolean {
  return a.preference > b.preference || (a.preference === b.preference && a.id < b.id)
}

function isSame(a: readonly RouterId[], b: readonly RouterId[]): boolean {
  return a.length === b.length && a.every((id, at) => id === b[at])
}
