import { findCookie, readAuthCookie, writeAuthCookie } from '@waiter/services'
import type { Authentication } from './authenticator.ts'
import { BoundedMap } from './bounded-map.ts'
import type { Identity, IdentityFactory } from './identity.ts'
import type { SealedBox } from './sealed-box.ts'

export const AUTH_COOKIE = 'x-waiter-auth'
export const EXPIRES_COOKIE = 'x-auth-expires-at'
/** Longest cookie value that is looked at. */
export const COOKIE_CHARS_MAX = 4_096
/** Browsers keep 4,096 characters of name, value and attributes. */
const BROWSER_CHARS_MAX = 3_900
/** Opened cookies remembered: a client that comes again costs one map look-up. */
const REMEMBERED_MAX = 10_000
/** A cookie is given again to the same user for so long: sealing costs more than a request. */
const REISSUE_MS = 60_000
const REISSUED_MAX = 1_000

/** How cookies are given (spec §7.2). */
export interface AuthCookieOptions {
  readonly maxAgeSecs: number
  readonly sameSite: SameSite
  readonly box: SealedBox
  readonly createIdentity: IdentityFactory
  readonly nowMs: () => number
}

export type SameSite = 'lax' | 'strict' | 'none'

export interface LoginCookie {
  readonly principal: string
  readonly webToken: string
  readonly maxAgeSecs: number
  readonly sameSite: SameSite
}

type Known = Extract<Authentication, { kind: 'known' }>
interface Issued {
  readonly untilMs: number
  readonly value: string
  readonly expiresAtSecs: number
}

/** The login cookie: sealed, so that only routers of this cluster can make or read one. */
export class AuthCookies {
  readonly #options: AuthCookieOptions
  readonly #opened = new BoundedMap<string, Known>(REMEMBERED_MAX)
  readonly #issued = new BoundedMap<string, Issued>(REISSUED_MAX)

  constructor(options: AuthCookieOptions) {
    this.#options = options
  }

  /** Who the cookie says it is; undefined without a valid one. */
  read(cookieHeader: string | undefined): Known | undefined {
    if (cookieHeader === undefined) return undefined
    const value = findCookie(cookieHeader, AUTH_COOKIE)
    if (value === undefined || value.length > COOKIE_CHARS_MAX) return undefined
    const nowMs = this.#options.nowMs()
    const opened = this.#opened.get(value)
    if (opened !== undefined && opened.expiresAtMs > nowMs) return opened
    return this.#open(value, nowMs)
  }

  /** `set-cookie` fields for a user who has just proved who he is. */
  issue({ principal }: Identity, isHttps: boolean): readonly (readonly [name: string, value: string])[] {
    const { maxAgeSecs, sameSite } = this.#options
    return this.#render(this.#sealFor(principal), { maxAgeSecs, sameSite, isHttps })
  }

  /** The same for an OpenID login, which is over https: backends get its token as long as the cookie lasts. */
  issueForLogin(login: LoginCookie): readonly (readonly [name: string, value: string])[] {
    const { box, nowMs } = this.#options
    const maxAgeSecs = Math.min(login.maxAgeSecs, this.#options.maxAgeSecs)
    const seal = (webToken: string | undefined): Issued => {
      const content = writeAuthCookie(login.principal, nowMs(), maxAgeSecs, webToken)
      return { untilMs: 0, value: box.seal(content), expiresAtSecs: content[2]['expires-at'] }
    }
    const whole = seal(login.webToken)
    // Browsers keep no longer one: then the login is without the token.
    const issued = whole.value.length > BROWSER_CHARS_MAX ? seal(undefined) : whole
    return this.#render(issued, { maxAgeSecs, sameSite: login.sameSite, isHttps: true })
  }

  #render(
    { value, expiresAtSecs }: Issued,
    { maxAgeSecs, sameSite, isHttps }: { maxAgeSecs: number; sameSite: SameSite; isHttps: boolean },
  ): readonly (readonly [name: string, value: string])[] {
    // SameSite=None without Secure is refused by browsers; it is for clusters that are reached by https only.
    const attributes = `Path=/; Max-Age=${maxAgeSecs}; SameSite=${SAME_SITE[sameSite]}${
      isHttps || sameSite === 'none' ? '; Secure' : ''
    }`
    return [
      ['set-cookie', `${AUTH_COOKIE}=${value}; ${attributes}; HttpOnly`],
      ['set-cookie', `${EXPIRES_COOKIE}=${expiresAtSecs}; ${attributes}`],
    ]
  }

  #open(value: string, nowMs: number): Known | undefined {
    const { box, createIdentity, maxAgeSecs } = this.#options
    const cookie = readAuthCookie(box.open(value), nowMs, maxAgeSecs)
    if (cookie === undefined) {
      this.#opened.delete(value)
      return undefined
    }
    const { principal, expiresAtMs, webToken } = cookie
    const known: Known = { kind: 'known', identity: createIdentity(principal, 'cookie', webToken), expiresAtMs }
    this.#opened.set(value, known)
    return known
  }

  #sealFor(principal: string): Issued {
    const { box, maxAgeSecs, nowMs } = this.#options
    const now = nowMs()
    const earlier = this.#issued.get(principal)
    if (earlier !== undefined && now < earlier.untilMs) return earlier
    const content = writeAuthCookie(principal, now, maxAgeSecs)
    const issued = {
      untilMs: now + Math.min(REISSUE_MS, maxAgeSecs * 100),
      value: box.seal(content),
      expiresAtSecs: content[2]['expires-at'],
    }
    this.#issued.set(principal, issued)
    return issued
  }
}

export const SAME_SITE: Readonly<Record<SameSite, string>> = { lax: 'Lax', strict: 'Strict', none: 'None' }
