import { SPLIT_COOKIE_PREFIX } from '@waiter/services'

/** How cookies of Waiter's own begin; backends neither see nor set them (spec §1.5). */
export const OWN_COOKIES: readonly string[] = [
  'x-auth-expires-at=',
  'x-waiter-auth=',
  'x-waiter-oidc-challenge-',
  SPLIT_COOKIE_PREFIX,
]

/** A `cookie` value without Waiter's own cookies: the very same when there is none, null when nothing else is left. */
export function withoutOwnCookies(value: string): string | null {
  if (!OWN_COOKIES.some(prefix => value.includes(prefix))) return value
  const kept = value.split(';').filter(entry => !OWN_COOKIES.some(prefix => entry.trimStart().startsWith(prefix)))
  return kept.length === 0 ? null : kept.join(';').trim()
}
