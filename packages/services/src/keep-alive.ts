/** What to do with a call of `/.well-known/auth/keep-alive` (spec §7.6). */
export type KeepAliveDecision =
  | { readonly kind: 'done' }
  | { readonly kind: 'refused'; readonly message: string }
  /** The cookie runs out too soon: the user is asked anew. */
  | { readonly kind: 'authenticate' }

/** @param expiresAtMs of a valid cookie */
export function decideKeepAlive(
  query: { readonly offset: string | undefined; readonly done: string | undefined },
  nowMs: number,
  expiresAtMs: number | undefined,
): KeepAliveDecision {
  if (query.done === 'true') return { kind: 'done' }
  if (query.offset === undefined) return { kind: 'authenticate' }
  const offsetSecs = /^\d{1,9}$/.test(query.offset) ? Number(query.offset) : 0
  if (offsetSecs <= 0)
    return { kind: 'refused', message: 'The query parameter offset must be a positive whole number of seconds' }
  const isLongEnough = expiresAtMs !== undefined && nowMs + offsetSecs * 1000 < expiresAtMs
  return isLongEnough ? { kind: 'done' } : { kind: 'authenticate' }
}
