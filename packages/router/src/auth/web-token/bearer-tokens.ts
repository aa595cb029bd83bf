import type { Exchange } from '@waiter/proxy'
import { type Discovery, isDescriptionHeader, type WaiterHeaders } from '@waiter/services'
import type { Authentication } from '../authenticator.ts'
import { BoundedMap } from '../bounded-map.ts'
import type { IdentityFactory } from '../identity.ts'
import type { KeySet } from './key-set.ts'
import type { VerifiedToken, VerifyToken } from './verify-token.ts'

const SCHEME = 'bearer '
/** Verified tokens remembered, so that a client that comes again costs one map look-up… */
const REMEMBERED_MAX = 4_000
/** …if they are no longer than this: what is remembered takes some 25 MB at most. */
const REMEMBERED_CHARS_MAX = 2_048
/** What a token of a service's host may ask of the API under that host: nothing but about that service. */
const ABOUT_OWN_SERVICE =
  /^\/(?:app-name|service-id|waiter-ping|waiter-auth|waiter-interstitial\/.*|waiter-async\/.*|\.well-known\/.*)$/

/** The web token that a request shows: three parts with dots, which speak for themselves (spec §7.1). */
export function bearerTokenOf(authorization: string | undefined): string | undefined {
  // Tokens are long: a pattern would look at each character several times.
  if (authorization === undefined || authorization.slice(0, SCHEME.length).toLowerCase() !== SCHEME) return undefined
  const token = authorization.slice(SCHEME.length).trim()
  const first = token.indexOf('.')
  const second = token.indexOf('.', first + 1)
  const hasThreeParts = first > 0 && second > first + 1 && second < token.length - 1
  if (!hasThreeParts || token.indexOf('.', second + 1) >= 0) return undefined
  return token.includes(' ') || token.includes('\t') ? undefined : token
}

/** What a token was verified for. */
interface Remembered {
  readonly token: string
  readonly host: string
  readonly mayBeScoped: boolean
  readonly known: Extract<Authentication, { kind: 'known' }>
}

export interface BearerOptions {
  readonly isForApi: boolean
  readonly isForServices: boolean
  /** Say how to prove oneself also to those who showed no token. */
  readonly isChallengeAlways: boolean
  readonly verify: VerifyToken
  readonly keys: Pick<KeySet, 'generation'>
  readonly createIdentity: IdentityFactory
  readonly isHttps: (exchange: Exchange) => boolean
  readonly isWaiterHost: (host: string) => boolean
  readonly nowMs: () => number
}

/** Whose service is asked for; undefined: Waiter's API. */
export type Target = Discovery | undefined

/**
 * Users who show a web token of an identity provider (spec §7.4). A token is for one host: over https, and from a host
 * that is a service's own, for that service alone, which gets to see the token and must not be able to do more with it.
 */
export class BearerTokens {
  readonly #options: BearerOptions
  /** By `authorization`, as it comes. */
  readonly #remembered = new BoundedMap<string, Remembered>(REMEMBERED_MAX)
  #generation = -1

  constructor(options: BearerOptions) {
    this.#options = options
  }

  /** @param next what else the request can prove itself with */
  authenticate(
    exchange: Exchange,
    headers: WaiterHeaders | undefined,
    target: Target,
    next: () => Authentication | Promise<Authentication>,
  ): Authentication | Promise<Authentication> {
    const { isForApi, isForServices, isChallengeAlways } = this.#options
    const { head } = exchange
    if (!(target === undefined ? isForApi : isForServices)) return next()
    const authorization = head.get('authorization')
    const earlier = this.#recall(authorization)
    const token = earlier?.token ?? bearerTokenOf(authorization)
    if (authorization === undefined || token === undefined)
      return isChallengeAlways ? challenge(next(), head.host) : next()
    if (!this.#options.isHttps(exchange)) return forbidden('Must use HTTPS connection')
    if (head.host === '') return forbidden('Host header is missing')
    if (!this.#isOwnUse(exchange, headers, target)) return forbidden(NOT_OWN_USE)
    const mayBeScoped = target?.template.metadata?.['accept-scoped-token'] === 'true'
    const isKnown =
      earlier?.host === head.host &&
      earlier.mayBeScoped === mayBeScoped &&
      earlier.known.expiresAtMs > this.#options.nowMs()
    return isKnown ? earlier.known : this.#check({ authorization, token, host: head.host, mayBeScoped }, next)
  }

  #isOwnUse({ head }: Exchange, headers: WaiterHeaders | undefined, target: Target): boolean {
    if (this.#options.isWaiterHost(head.host)) return true
    if (headers !== undefined && [...headers.keys()].some(name => name === 'token' || isDescriptionHeader(name)))
      return false
    return target !== undefined || ABOUT_OWN_SERVICE.test(head.path)
  }

  #recall(authorization: string | undefined): Remembered | undefined {
    const { generation } = this.#options.keys
    if (this.#generation !== generation) {
      // A key may have been withdrawn.
      this.#remembered.clear()
      this.#generation = generation
    }
    return authorization === undefined ? undefined : this.#remembered.get(authorization)
  }

  async #check(
    asked: { readonly authorization: string } & Omit<Remembered, 'known'>,
    next: () => Authentication | Promise<Authentication>,
  ): Promise<Authentication> {
    const { authorization, token, host, mayBeScoped } = asked
    const { generation } = this.#options.keys
    const verdict = await this.#options.verify(token, { audience: host, mayBeScoped })
    if (verdict.ok) {
      const known = this.#knownOf(verdict.value)
      // Verified with keys that are gone meanwhile: not for long.
      if (authorization.length <= REMEMBERED_CHARS_MAX && generation === this.#options.keys.generation)
        this.#remembered.set(authorization, { token, host, mayBeScoped, known })
      return known
    }
    const { status, reason } = verdict.error
    return status === 403 ? forbidden(reason) : challenge(await next(), host, reason)
  }

  #knownOf({ principal, token, expiresAtMs }: VerifiedToken): Remembered['known'] {
    return { kind: 'known', identity: this.#options.createIdentity(principal, 'jwt', token), expiresAtMs }
  }
}

const NOT_OWN_USE =
  'A bearer token for the host of a service counts for that service only: use a name of Waiter itself, and a token for it'

function forbidden(message: string): Authentication {
  return { kind: 'refused', error: { status: 403, message } }
}

/** Adds to a 401 that a bearer token would do, and what was wrong with the one that was shown. */
function challenge(
  outcome: Authentication | Promise<Authentication>,
  host: string,
  reason?: string,
): Authentication | Promise<Authentication> {
  if (outcome instanceof Promise) return outcome.then(settled => challenge(settled, host, reason))
  if (outcome.kind !== 'refused' || outcome.error.status !== 401) return outcome
  const { error } = outcome
  return {
    kind: 'refused',
    error: {
      ...error,
      headers: [...(error.headers ?? []), ['www-authenticate', `Bearer realm="${realmOf(host)}"`]],
      ...(reason === undefined ? {} : { details: { ...error.details, 'bearer-token': reason } }),
    },
  }
}

/** A host name as it may stand in quotes. */
function realmOf(host: string): string {
  return host.replaceAll(/[^\w.:[\]-]/g, '')
}
