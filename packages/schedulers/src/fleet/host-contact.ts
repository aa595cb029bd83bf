import type { Millis } from '@waiter/base'

/**
 * - `up`: the host answers.
 * - `lost`: it does not, for a while by now. What runs there is unknown, not dead: it stays in use, and is not stopped.
 * - `given-up`: for so long that what it ran does not count any more; others may run instead. If it comes back, there are
 *   more than wanted, and the surplus goes as always.
 */
export type HostContact = 'up' | 'lost' | 'given-up'

/** How long a host may be silent. */
export interface ContactLimits {
  /** A process of it that is replaced, or a broken connection, need not be noticed by anybody. */
  readonly lostAfterMs: number
  /** Long enough for a short interruption of the network; short enough for people who wait for what ran there. */
  readonly givenUpAfterMs: number
}

export const DEFAULT_CONTACT_LIMITS: ContactLimits = { lostAfterMs: 2_000, givenUpAfterMs: 10_000 }

/** What a host that was heard last at `silentSinceMs` is; undefined: it is being heard. */
export function judgeContact(
  silentSinceMs: Millis | undefined,
  nowMs: Millis,
  limits: ContactLimits,
): { readonly contact: HostContact; readonly nextMs: Millis } {
  if (silentSinceMs === undefined) return { contact: 'up', nextMs: Number.POSITIVE_INFINITY }
  const lostAtMs = silentSinceMs + limits.lostAfterMs
  const givenUpAtMs = silentSinceMs + Math.max(limits.lostAfterMs, limits.givenUpAfterMs)
  if (nowMs >= givenUpAtMs) return { contact: 'given-up', nextMs: Number.POSITIVE_INFINITY }
  if (nowMs >= lostAtMs) return { contact: 'lost', nextMs: givenUpAtMs }
  return { contact: 'up', nextMs: lostAtMs }
}
