import { createHash, timingSafeEqual } from 'node:crypto'
import { type Authentication, type Authenticator, unauthorized } from './authenticator.ts'
import { BoundedMap } from './bounded-map.ts'
import type { IdentityFactory } from './identity.ts'

/** A random key that one user holds; only its digest is configured. */
export interface ApiKey {
  readonly principal: string
  /** SHA-256 of the key, in hex. Enough for a random key, which nobody can guess; not for a password. */
  readonly sha256: string
}

/** Proofs remembered, so that a client that comes again costs one map look-up. */
const REMEMBERED_MAX = 10_000
/** A longer `authorization` is no key. */
const CHARS_MAX = 1_024
const CHALLENGE = 'Basic realm="waiter", charset="UTF-8"'

/**
 * Users present a key as `authorization: Bearer KEY`, or as the password of `Basic` with their name: curl and browsers
 * can do the latter.
 */
export function createApiKeys(keys: readonly ApiKey[], createIdentity: IdentityFactory): Authenticator {
  const table = keys.map(({ principal, sha256 }) => ({
    principal,
    digest: Buffer.from(sha256, 'hex'),
    known: {
      kind: 'known',
      identity: createIdentity(principal, 'api-key'),
      expiresAtMs: Number.POSITIVE_INFINITY,
    } satisfies Authentication,
  }))
  const remembered = new BoundedMap<string, Authentication>(REMEMBERED_MAX)

  const find = (key: string, name: string | undefined): Authentication | undefined => {
    const digest = createHash('sha256').update(key).digest()
    let found: Authentication | undefined
    // All of them, always: the time tells nothing about which one it was.
    for (const entry of table)
      if (timingSafeEqual(entry.digest, digest) && (name === undefined || name === entry.principal)) found = entry.known
    return found
  }

  return {
    onlyPrincipal: null,
    privateHeaders: [],
    authenticate: ({ head }) => {
      const authorization = head.get('authorization')
      if (authorization === undefined || authorization.length > CHARS_MAX) return unauthorized(CHALLENGE)
      const earlier = remembered.get(authorization)
      if (earlier !== undefined) return earlier
      const proof = readProof(authorization)
      const found = proof && find(proof.key, proof.name)
      if (found === undefined) return unauthorized(CHALLENGE)
      remembered.set(authorization, found)
      return found
    },
  }
}

function readProof(authorization: string): { key: string; name?: string } | undefined {
  const [, scheme = '', rest = ''] = /^(Bearer|Basic) +(\S+) *$/i.exec(authorization) ?? []
  if (rest === '') return undefined
  if (scheme.toLowerCase() === 'bearer') return { key: rest }
  const text = Buffer.from(rest, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  return colon <= 0 ? undefined : { name: text.slice(0, colon), key: text.slice(colon + 1) }
}
