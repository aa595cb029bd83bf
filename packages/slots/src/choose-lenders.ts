import type { RouterId } from '@waiter/base'
import { LENDERS_MAX } from './borrow-types.ts'
import { hashText, preferenceOf } from './rendezvous.ts'

/** Whom a router asks for slots: all that have some; of very many, a few, others for every router. */
export function chooseLenders(holders: readonly RouterId[], borrowerId: RouterId): readonly RouterId[] {
  const others = holders.filter(id => id !== borrowerId)
  if (others.length <= LENDERS_MAX) return others
  const hash = hashText(borrowerId)
  const ranked = others.map(id => ({ id, preference: preferenceOf(hash, hashText(id)) }))
  ranked.sort((a, b) => b.preference - a.preference || (a.id < b.id ? -1 : 1))
  return ranked.slice(0, LENDERS_MAX).map(({ id }) => id)
}
