import type { Prng } from '@waiter/base'

/** A copy in random order (Fisher–Yates). */
export function shuffled<T>(items: readonly T[], random: Prng): T[] {
  const result = [...items]
  for (let at = result.length - 1; at > 0; at--) {
    const other = random.below(at + 1)
    const kept = result[at]!
    result[at] = result[other]!
    result[other] = kept
  }
  return result
}

/** At most `count` different items. */
export function sample<T>(items: readonly T[], count: number, random: Prng): T[] {
  return items.length <= count ? [...items] : shuffled(items, random).slice(0, count)
}

/** Somewhere between 0.9 and 1.1 times the interval, so that members do not fall into step. */
export function jittered(intervalMs: number, random: Prng): number {
  return intervalMs * (0.9 + random.next() * 0.2)
}
