import { type Authentication, type Authenticator, unauthorized } from './authenticator.ts'
import type { IdentityFactory } from './identity.ts'

const SCHEME = 'SingleUser '

/**
 * Everybody is the same user (spec §7.3). For tests of clients, `authorization: SingleUser unauthorized` (or
 * `forbidden`) and `x-waiter-single-user` ask for a refusal.
 */
export function createOneUser(principal: string, createIdentity: IdentityFactory): Authenticator {
  const known: Authentication = {
    kind: 'known',
    identity: createIdentity(principal, 'single-user'),
    expiresAtMs: Number.POSITIVE_INFINITY,
  }
  return {
    onlyPrincipal: principal,
    privateHeaders: [],
    authenticate: ({ head }, headers) => {
      const authorization = head.get('authorization')
      const wish = authorization?.startsWith(SCHEME)
        ? authorization.slice(SCHEME.length).trim()
        : headers?.get('single-user')
      return wish === undefined ? known : refuse(wish)
    },
  }
}

function refuse(wish: string): Authentication {
  if (wish === 'unauthorized') return unauthorized('SingleUser')
  if (wish === 'forbidden') return { kind: 'refused', error: { status: 403, message: 'Forbidden' } }
  return {
    kind: 'refused',
    error: { status: 400, message: 'Unknown single-user mode: use unauthorized or forbidden' },
  }
}
