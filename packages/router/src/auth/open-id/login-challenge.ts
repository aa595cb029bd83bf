import { createHash, randomBytes } from 'node:crypto'
import { findCookie } from '@waiter/services'
import type { RequestError } from '../../errors/error-response.ts'
import { localPath } from '../../request/own-targets.ts'
import { SAME_SITE, type SameSite } from '../auth-cookies.ts'
import { createSealedBox, type SealedBox } from '../sealed-box.ts'
import type { OpenIdMode } from './open-id-mode.ts'

export const CHALLENGE_COOKIE_PREFIX = 'x-waiter-oidc-challenge-'
const STATE_CHARS_MAX = 4_096
const COOKIE_CHARS_MAX = 512
const SECRET_BYTES = 32
const ID_BYTES = 16
const ID = /^[0-9a-f]{32}$/
/** A page with a longer address is not found again after the login: the user comes to the top of the service. */
const TARGET_CHARS_MAX = 1_500
const MS_PER_S = 1_000

export interface ChallengeOptions {
  readonly secrets: readonly string[]
  readonly clusterName: string
  readonly maxAgeSecs: number
  readonly sameSite: SameSite
  readonly nowMs: () => number
}

/** Where a login began, and what proves that it ends in the same browser. */
export interface LoginChallenge {
  readonly id: string
  readonly mode: OpenIdMode
  /** Path and query to go on with. */
  readonly target: string
  readonly verifier: string
  readonly nonce: string
}

export type ChallengeOutcome =
  | { readonly ok: true; readonly value: LoginChallenge }
  | { readonly ok: false; readonly error: RequestError }

/**
 * Logins that are under way (spec §7.5). No router remembers them: the `state`, which goes through the identity
 * provider, says where the user wanted to go; a cookie of the same id holds the secrets. Both are sealed, and both must
 * come back, in time, to the same host: a callback that somebody else began opens nothing.
 */
export class LoginChallenges {
  readonly #options: ChallengeOptions
  readonly #states: SealedBox
  readonly #cookies: SealedBox

  constructor(options: ChallengeOptions) {
    this.#options = options
    this.#states = createSealedBox({ ...options, purpose: 'oidc state', charsMax: STATE_CHARS_MAX })
    this.#cookies = createSealedBox({ ...options, purpose: 'oidc challenge', charsMax: COOKIE_CHARS_MAX })
  }

  /** A new login, for `location` and `set-cookie`. */
  begin(begun: { readonly authority: string; readonly mode: OpenIdMode; readonly target: string }): {
    readonly state: string
    readonly nonce: string
    /** S256 of the verifier (PKCE). */
    readonly codeChallenge: string
    readonly setCookie: string
  } {
    const id = randomBytes(ID_BYTES).toString('hex')
    const [verifier, nonce] = [randomSecret(), randomSecret()]
    const target = begun.target.length > TARGET_CHARS_MAX ? '/' : begun.target
    const expiresAtMs = this.#options.nowMs() + this.#options.maxAgeSecs * MS_PER_S
    const cookie = this.#cookies.seal([verifier, nonce, expiresAtMs], contextOf(id, begun.authority))
    return {
      state: this.#states.seal([id, begun.mode, target], begun.authority),
      nonce,
      codeChallenge: createHash('sha256').update(verifier).digest('base64url'),
      setCookie: this.#render(id, cookie, this.#options.maxAgeSecs),
    }
  }

  /** The login that a callback belongs to. */
  read(callback: {
    readonly authority: string
    readonly state: string
    readonly cookieHeader: string | undefined
  }): ChallengeOutcome {
    const state = this.#states.open(callback.state, callback.authority)
    if (!isState(state)) return refuse('The query parameter state is not valid')
    const [id, mode, target] = state
    const value = findCookie(callback.cookieHeader ?? '', CHALLENGE_COOKIE_PREFIX + id)
    if (value === undefined)
      return refuse('The cookie of this login is missing: it was begun elsewhere, or too long ago')
    const secrets = this.#cookies.open(value, contextOf(id, callback.authority))
    if (!isSecrets(secrets)) return refuse('The cookie of this login is not valid')
    const [verifier, nonce, expiresAtMs] = secrets
    if (expiresAtMs <= this.#options.nowMs()) return refuse('This login took too long: please begin again')
    return { ok: true, value: { id, mode, target: localPath(target), verifier, nonce } }
  }

  /** Takes the cookie away: a login is used once. */
  end({ id }: LoginChallenge): string {
    return this.#render(id, '', 0)
  }

  #render(id: string, value: string, maxAgeSecs: number): string {
    const sameSite = SAME_SITE[this.#options.sameSite]
    return `${CHALLENGE_COOKIE_PREFIX}${id}=${value}; Path=/; Max-Age=${maxAgeSecs}; SameSite=${sameSite}; Secure; HttpOnly`
  }
}

/** How many logins a browser has under way. */
export function countChallenges(cookieHeader: string | undefined): number {
  return (cookieHeader ?? '').split(CHALLENGE_COOKIE_PREFIX).length - 1
}

function randomSecret(): string {
  return randomBytes(SECRET_BYTES).toString('base64url')
}

function contextOf(id: string, authority: string): string {
  return `${id} ${authority}`
}

function isState(value: unknown): value is readonly [id: string, mode: OpenIdMode, target: string] {
  if (!Array.isArray(value) || value.length !== 3) return false
  const [id, mode, target] = value as readonly unknown[]
  return (
    typeof id === 'string' && ID.test(id) && (mode === 'relaxed' || mode === 'strict') && typeof target === 'string'
  )
}

function isSecrets(value: unknown): value is readonly [verifier: string, nonce: string, expiresAtMs: number] {
  if (!Array.isArray(value) || value.length !== 3) return false
  const [verifier, nonce, expiresAtMs] = value as readonly unknown[]
  return typeof verifier === 'string' && typeof nonce === 'string' && typeof expiresAtMs === 'number'
}

function refuse(message: string): ChallengeOutcome {
  return { ok: false, error: { status: 400, message } }
}
