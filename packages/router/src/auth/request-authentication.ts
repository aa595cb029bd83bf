import type { Exchange } from '@waiter/proxy'
import type { WaiterHeaders } from '@waiter/services'
import { AUTH_COOKIE, type AuthCookies } from './auth-cookies.ts'
import type { Authentication, Authenticator } from './authenticator.ts'

/** Three parts with dots: a JSON web token, which speaks for itself (spec §7.1). */
const WEB_TOKEN = /^Bearer +[^\s.]+\.[^\s.]+\.[^\s.]+ *$/i

/** Finds out who a request comes from: the cookie, then the configured authenticator. */
export class RequestAuthentication {
  readonly #cookies: AuthCookies
  readonly #authenticator: Authenticator

  constructor(cookies: AuthCookies, authenticator: Authenticator) {
    this.#cookies = cookies
    this.#authenticator = authenticator
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

  authenticate(exchange: Exchange, headers: WaiterHeaders | undefined): Authentication | Promise<Authentication> {
    if (headers?.has('authentication')) return NO_SUCH_HEADER
    // One user's cookie says what is known anyway.
    if (this.isOneUser) return this.#authenticator.authenticate(exchange, headers)
    return this.byCookie(exchange) ?? this.#authenticator.authenticate(exchange, headers)
  }

  /** Who the request's cookie says it is. */
  byCookie({ head }: Exchange): Extract<Authentication, { kind: 'known' }> | undefined {
    const cookie = head.get('cookie')
    // Most requests have cookies of their own only.
    if (cookie === undefined || !cookie.includes(AUTH_COOKIE)) return undefined
    const authorization = head.get('authorization')
    if (authorization !== undefined && WEB_TOKEN.test(authorization)) return undefined
    return this.#cookies.read(cookie)
  }

  /** The authenticator alone, for a cookie that is about to run out. */
  anew(exchange: Exchange, headers: WaiterHeaders | undefined): Authentication | Promise<Authentication> {
    return this.#authenticator.authenticate(exchange, headers)
  }

  /** Cookies for whoever has just proved who he is; none for one who came with a cookie. */
  cookiesFor(
    known: Extract<Authentication, { kind: 'known' }>,
    isHttps: boolean,
  ): readonly (readonly [name: string, value: string])[] {
    return known.identity.method === 'cookie' ? [] : this.#cookies.issue(known.identity, isHttps)
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
