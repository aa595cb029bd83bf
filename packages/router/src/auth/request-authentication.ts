import type { Exchange } from '@waiter/proxy'
import type { WaiterHeaders } from '@waiter/services'
import { AUTH_COOKIE, type AuthCookies } from './auth-cookies.ts'
import type { Authentication, Authenticator } from './authenticator.ts'
import type { IdentityProvider } from './identity-provider.ts'
import { bearerTokenOf, type Target } from './web-token/bearer-tokens.ts'

/** Finds out who a request comes from: the cookie, then a web token, then the configured authenticator. */
export class RequestAuthentication {
  readonly #cookies: AuthCookies
  readonly #authenticator: Authenticator
  /** Whose web tokens are believed, and where people may log in; undefined: nobody's. */
  readonly identityProvider: IdentityProvider | undefined

  constructor(cookies: AuthCookies, authenticator: Authenticator, identityProvider?: IdentityProvider) {
    this.#cookies = cookies
    this.#authenticator = authenticator
    this.identityProvider = identityProvider
  }

  get isOneUser(): boolean {
    return this.#authenticator.onlyPrincipal !== null
  }

  /** The one user that everybody is; null when there are several. */
  get onlyPrincipal(): string | null {
    return this.#authenticator.onlyPrincipal
  }

  /** Headers that carry proofs: they never reach a backend. */
  get privateHeaders(): readonly string[] {
    return this.#authenticator.privateHeaders
  }

  /** @param target whose service is asked for; undefined: Waiter's API */
  authenticate(
    exchange: Exchange,
    headers: WaiterHeaders | undefined,
    target: Target,
  ): Authentication | Promise<Authentication> {
    if (headers?.has('authentication')) return NO_SUCH_HEADER
    // One user's cookie says what is known anyway.
    if (this.isOneUser) return this.#authenticator.authenticate(exchange, headers)
    return this.byCookie(exchange) ?? this.anew(exchange, headers, target)
  }

  /** Who the request's cookie says it is. */
  byCookie({ head }: Exchange): Extract<Authentication, { kind: 'known' }> | undefined {
    const cookie = head.get('cookie')
    // Most requests have cookies of their own only.
    if (cookie === undefined || !cookie.includes(AUTH_COOKIE)) return undefined
    if (bearerTokenOf(head.get('authorization')) !== undefined) return undefined
    return this.#cookies.read(cookie)
  }

  /**
   * Without the cookie, which may be about to run out.
   *
   * @param returnTo path and query to go on with after a login; default: those of the request
   */
  anew(
    exchange: Exchange,
    headers: WaiterHeaders | undefined,
    target: Target,
    returnTo?: string,
  ): Authentication | Promise<Authentication> {
    const next = (): Authentication | Promise<Authentication> => this.#authenticator.authenticate(exchange, headers)
    return this.identityProvider === undefined
      ? next()
      : this.identityProvider.authenticate({ exchange, headers, target, returnTo }, next)
  }

  /** Cookies for whoever has just proved who he is; none for one who came with a cookie, or shows a token each time. */
  cookiesFor(
    known: Extract<Authentication, { kind: 'known' }>,
    isHttps: boolean,
  ): readonly (readonly [name: string, value: string])[] {
    const { method } = known.identity
    return method === 'cookie' || method === 'jwt' ? [] : this.#cookies.issue(known.identity, isHttps)
  }
}

const NO_SUCH_HEADER: Authentication = {
  kind: 'refused',
  error: {
    status: 400,
    message: 'An authentication parameter is not supported for on-the-fly headers',
    errorClass: 'waiter.ServiceMisconfigured',
  },
}
