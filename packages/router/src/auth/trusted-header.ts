import { type Authentication, type Authenticator, unauthorized } from './authenticator.ts'
import { BoundedMap } from './bounded-map.ts'
import type { IdentityFactory } from './identity.ts'

const REMEMBERED_MAX = 10_000
/** A name goes into headers and logs. */
const PRINCIPAL = /^[\x21-\x7e]{1,256}$/

/** A proxy in front of Waiter has authenticated the user and says in a header who it is. */
export interface TrustedHeaderOptions {
  /** Lower-case. */
  readonly header: string
  /** Is it one of the named proxies that speaks? Anybody else could write the header, too. */
  readonly isTrustedAddress: (address: string) => boolean
}

export function createTrustedHeader(options: TrustedHeaderOptions, createIdentity: IdentityFactory): Authenticator {
  const remembered = new BoundedMap<string, Authentication>(REMEMBERED_MAX)
  return {
    onlyPrincipal: null,
    privateHeaders: [options.header],
    authenticate: ({ head, remoteAddress }) => {
      const principal = head.get(options.header)
      if (principal === undefined || !PRINCIPAL.test(principal)) return unauthorized(undefined)
      if (!options.isTrustedAddress(remoteAddress)) return unauthorized(undefined)
      const earlier = remembered.get(principal)
      if (earlier !== undefined) return earlier
      const known: Authentication = {
        kind: 'known',
        identity: createIdentity(principal, 'trusted-header'),
        expiresAtMs: Number.POSITIVE_INFINITY,
      }
      remembered.set(principal, known)
      return known
    },
  }
}
