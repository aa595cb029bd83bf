import { type Logger, err, ok, type Result } from '@waiter/base'
import type { Exchange } from '@waiter/proxy'
import { redirectToHttps } from '@waiter/services'
import type { RequestError } from '../../errors/error-response.ts'
import type { HeaderPair } from '../../request/admission.ts'
import type { ClientFacts } from '../../request/client-facts.ts'
import { encodeTarget, targetOf } from '../../request/own-targets.ts'
import type { AuthCookies, SameSite } from '../auth-cookies.ts'
import type { Authentication } from '../authenticator.ts'
import type { FetchJson } from '../web-token/fetch-json.ts'
import type { Target } from '../web-token/bearer-tokens.ts'
import type { VerifiedToken, VerifyToken } from '../web-token/verify-token.ts'
import { countChallenges, type LoginChallenge, LoginChallenges } from './login-challenge.ts'
import { isRedirectCapable, type OpenIdMode, type OpenIdPolicy, openIdModeOf } from './open-id-mode.ts'

export const CALLBACK_PATH = '/oidc/v1/callback'
const CODE_CHARS_MAX = 2_048
const MS_PER_S = 1_000
/** What a provider says when it does not let somebody in (RFC 6749 §4.1.2.1). */
const PROVIDER_ERROR = /^[a-z_]{1,64}$/
const NO_STORE: readonly HeaderPair[] = [
  ['cache-control', 'no-store'],
  ['content-security-policy', "default-src 'none'; frame-ancestors 'none'"],
]

export interface OpenIdSettings extends OpenIdPolicy {
  readonly authorizeUri: string
  readonly tokenUri: string
  /** Undefined: every host is a client of its own name. */
  readonly clientId: string | undefined
  readonly clientSecret: string | undefined
  readonly challengesMax: number
  readonly challengeMaxAgeSecs: number
  readonly userAgentProducts: readonly string[]
  readonly sameSite: SameSite
  /** In strict mode a login ends so long before the provider's token. */
  readonly strictOffsetSecs: number
}

export interface OpenIdOptions extends OpenIdSettings {
  readonly secrets: readonly string[]
  readonly clusterName: string
  /** There is no other way to get in. */
  readonly isOnlyWay: boolean
  readonly verify: VerifyToken
  readonly cookies: AuthCookies
  readonly clientFacts: Pick<ClientFacts, 'isHttps' | 'httpsPort'>
  readonly fetchJson: FetchJson
  readonly requestTimeoutMs: number
  readonly nowMs: () => number
  readonly log: Logger
}

/** The end of a login. */
export interface CompletedLogin {
  readonly location: string
  readonly headers: readonly HeaderPair[]
}

/** Logs people in by OpenID Connect: the authorization code flow with PKCE (spec §7.5). */
export class OpenIdLogin {
  readonly #options: OpenIdOptions
  readonly #challenges: LoginChallenges
  readonly #authority: string

  constructor(options: OpenIdOptions) {
    this.#options = options
    this.#challenges = new LoginChallenges({ ...options, maxAgeSecs: options.challengeMaxAgeSecs })
    this.#authority = new URL(options.authorizeUri).host
  }

  /** Do people log in this way there? */
  isEnabledFor(target: Target): boolean {
    return openIdModeOf(target, this.#options) !== undefined
  }

  clientIdFor(host: string): string {
    return this.#options.clientId ?? host
  }

  /**
   * Makes the way to the login page of "nobody knows who you are", where that is of use.
   *
   * @param returnTo path and query to go on with; default: those of the request
   */
  orLogin(outcome: Authentication, exchange: Exchange, target: Target, returnTo?: string): Authentication {
    if (outcome.kind !== 'refused' || outcome.error.status !== 401) return outcome
    const { head } = exchange
    const mode = openIdModeOf(target, this.#options)
    if (mode === undefined || head.isUpgrade || head.host === '' || !this.#isBrowser(exchange)) return outcome
    const underWay = countChallenges(head.get('cookie'))
    if (underWay > this.#options.challengesMax) return this.#tooMany(outcome, underWay)
    if (!this.#options.clientFacts.isHttps(exchange)) return redirect(this.#toHttps(exchange))
    return redirect(this.#toProvider(exchange, mode, returnTo ?? targetOf(head.path, head.query)))
  }

  /** The provider sends somebody back. */
  async complete(exchange: Exchange): Promise<Result<CompletedLogin, RequestError>> {
    const { head } = exchange
    const query = new URLSearchParams(head.query ?? '')
    const problem = query.get('error')
    if (problem !== null) return err(refusedByProvider(problem))
    const [code, state] = [query.get('code') ?? '', query.get('state') ?? '']
    if (code === '' || code.length > CODE_CHARS_MAX) return err(badCallback('The query parameter code is missing'))
    if (state === '') return err(badCallback('The query parameter state is missing'))
    if (!this.#options.clientFacts.isHttps(exchange)) return err(badCallback('Must use HTTPS connection'))
    const challenge = this.#challenges.read({ authority: head.authority, state, cookieHeader: head.get('cookie') })
    if (!challenge.ok) return challenge
    const token = await this.#exchangeCode(exchange, code, challenge.value)
    return token.ok ? this.#logIn(token.value, challenge.value) : token
  }

  #isBrowser({ head }: Exchange): boolean {
    const signs = {
      userAgent: head.get('user-agent'),
      acceptRedirect: head.get('accept-redirect'),
      acceptRedirectAuth: head.get('accept-redirect-auth'),
      fetchMode: head.get('sec-fetch-mode'),
    }
    return isRedirectCapable(signs, { ...this.#options, authority: this.#authority })
  }

  #tooMany(outcome: Authentication, count: number): Authentication {
    const { challengesMax, isOnlyWay } = this.#options
    const message = `Too many OIDC challenge cookies (allowed: ${challengesMax}, provided: ${count})`
    return isOnlyWay ? { kind: 'refused', error: { status: 403, message } } : outcome
  }

  #toHttps(exchange: Exchange): RequestError {
    const { method, host, path, query } = exchange.head
    const port = this.#options.clientFacts.httpsPort(exchange)
    const { location } = redirectToHttps({ method, host, path, query, port })
    const status = method === 'GET' || method === 'HEAD' ? 302 : 307
    return { status, message: 'People log in over https', headers: [['location', encodeTarget(location)], ...NO_STORE] }
  }

  #toProvider({ head }: Exchange, mode: OpenIdMode, target: string): RequestError {
    const { authority, host } = head
    const begun = this.#challenges.begin({ authority, mode, target })
    const location = new URL(this.#options.authorizeUri)
    const parameters = {
      client_id: this.clientIdFor(host),
      code_challenge: begun.codeChallenge,
      code_challenge_method: 'S256',
      nonce: begun.nonce,
      redirect_uri: callbackOf(authority),
      response_type: 'code',
      scope: 'openid',
      state: begun.state,
    }
    for (const [name, value] of Object.entries(parameters)) location.searchParams.set(name, value)
    const headers: readonly HeaderPair[] = [['location', location.href], ['set-cookie', begun.setCookie], ...NO_STORE]
    return { status: 302, message: 'Please log in', headers }
  }

  async #exchangeCode(
    { head }: Exchange,
    code: string,
    { verifier, nonce }: LoginChallenge,
  ): Promise<Result<VerifiedToken, RequestError>> {
    const { tokenUri, clientSecret, fetchJson, requestTimeoutMs, verify, log } = this.#options
    const clientId = this.clientIdFor(head.host)
    const form = {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: callbackOf(head.authority),
      client_id: clientId,
    }
    try {
      const answer = await fetchJson({
        url: tokenUri,
        method: 'POST',
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          ...(clientSecret === undefined ? {} : { authorization: basic(clientId, clientSecret) }),
        },
        body: new URLSearchParams(form).toString(),
        timeoutMs: requestTimeoutMs,
      })
      const token = (answer as { readonly id_token?: unknown } | null)?.id_token
      if (typeof token !== 'string') return err(noToken('its answer has no id_token'))
      const verdict = await verify(token, { audience: clientId, mayBeScoped: false, nonce })
      return verdict.ok ? verdict : err(noToken(verdict.error.reason))
    } catch (error) {
      log.warn({ err: error, url: tokenUri }, 'the identity provider gave no token for a login')
      return err(noToken('the identity provider gave none'))
    }
  }

  #logIn(token: VerifiedToken, challenge: LoginChallenge): Result<CompletedLogin, RequestError> {
    const { cookies, sameSite, strictOffsetSecs, nowMs } = this.#options
    const tokenSecs = Math.floor((token.expiresAtMs - nowMs()) / MS_PER_S) - strictOffsetSecs
    if (challenge.mode === 'strict' && tokenSecs <= 0) return err(noToken('the token is about to expire'))
    const login = {
      principal: token.principal,
      webToken: token.token,
      maxAgeSecs: challenge.mode === 'strict' ? tokenSecs : Number.POSITIVE_INFINITY,
      sameSite,
    }
    const headers: readonly HeaderPair[] = [
      ...cookies.issueForLogin(login),
      ['set-cookie', this.#challenges.end(challenge)],
      ...NO_STORE,
    ]
    return ok({ location: challenge.target, headers })
  }
}

function redirect(error: RequestError): Authentication {
  return { kind: 'refused', error }
}

/** Where the provider sends people back to: the host that they came to, port included. */
function callbackOf(authority: string): string {
  return `https://${authority}${CALLBACK_PATH}`
}

/** RFC 6749 §2.3.1. */
function basic(id: string, secret: string): string {
  return `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}`
}

function badCallback(message: string): RequestError {
  return { status: 400, message }
}

function noToken(reason: string): RequestError {
  return { status: 401, message: 'Error in retrieving access token', details: { reason } }
}

function refusedByProvider(problem: string): RequestError {
  const reason = PROVIDER_ERROR.test(problem) ? problem : 'for a reason that is none'
  return { status: 401, message: 'The identity provider did not let you in', details: { reason } }
}
