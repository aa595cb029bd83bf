import type { Logger } from '@waiter/base'
import type { Exchange } from '@waiter/proxy'
import type { WaiterHeaders } from '@waiter/services'
import type { ClientFacts } from '../request/client-facts.ts'
import type { AuthCookies } from './auth-cookies.ts'
import type { Authentication } from './authenticator.ts'
import type { IdentityFactory } from './identity.ts'
import { OpenIdLogin, type OpenIdSettings } from './open-id/open-id-login.ts'
import { BearerTokens, type Target } from './web-token/bearer-tokens.ts'
import { type FetchJson, fetchJson } from './web-token/fetch-json.ts'
import { KeySet } from './web-token/key-set.ts'
import { createTokenVerifier, type TokenRules } from './web-token/verify-token.ts'

/** What is believed of one identity provider (spec §7.4, §7.5). */
export interface IdentityProviderSettings extends TokenRules {
  readonly keysUrl: string
  readonly updateIntervalMs: number
  readonly requestTimeoutMs: number
  readonly bearer: {
    readonly isForApi: boolean
    readonly isForServices: boolean
    readonly isChallengeAlways: boolean
  }
  /** Undefined: nobody logs in there. */
  readonly openId: OpenIdSettings | undefined
}

export interface IdentityProviderParts {
  readonly secrets: readonly string[]
  readonly clusterName: string
  readonly isOnlyWay: boolean
  readonly cookies: AuthCookies
  readonly createIdentity: IdentityFactory
  readonly clientFacts: Pick<ClientFacts, 'isHttps' | 'httpsPort'>
  readonly isWaiterHost: (host: string) => boolean
  readonly log: Logger
  /** For tests. */
  readonly nowMs?: () => number
  readonly fetchJson?: FetchJson
}

export interface ProofRequest {
  readonly exchange: Exchange
  readonly headers: WaiterHeaders | undefined
  readonly target: Target
  readonly returnTo: string | undefined
}

/** An identity provider: its keys, the tokens that it signs, and its login page. */
export class IdentityProvider {
  readonly keys: KeySet
  readonly login: OpenIdLogin | undefined
  readonly #bearer: BearerTokens

  constructor(settings: IdentityProviderSettings, parts: IdentityProviderParts) {
    const { clientFacts, nowMs = Date.now } = parts
    this.keys = new KeySet({
      url: settings.keysUrl,
      updateIntervalMs: settings.updateIntervalMs,
      timeoutMs: settings.requestTimeoutMs,
      algorithms: settings.algorithms,
      fetchJson: parts.fetchJson ?? fetchJson,
      nowMs,
      after: (delayMs, callback) => {
        const timer = setTimeout(callback, delayMs)
        return () => clearTimeout(timer)
      },
      log: parts.log,
    })
    const verify = createTokenVerifier(settings, this.keys, nowMs)
    this.#bearer = new BearerTokens({
      ...settings.bearer,
      ...parts,
      keys: this.keys,
      verify,
      isHttps: exchange => clientFacts.isHttps(exchange),
      nowMs,
    })
    const { requestTimeoutMs } = settings
    this.login =
      settings.openId && new OpenIdLogin({ fetchJson, ...parts, ...settings.openId, requestTimeoutMs, verify, nowMs })
  }

  start(): void {
    this.keys.start()
  }

  stop(): void {
    this.keys.stop()
  }

  /** @param next what else the request can prove itself with */
  authenticate(
    { exchange, headers, target, returnTo }: ProofRequest,
    next: () => Authentication | Promise<Authentication>,
  ): Authentication | Promise<Authentication> {
    const outcome = this.#bearer.authenticate(exchange, headers, target, next)
    const { login } = this
    if (login === undefined) return outcome
    return outcome instanceof Promise
      ? outcome.then(settled => login.orLogin(settled, exchange, target, returnTo))
      : login.orLogin(outcome, exchange, target, returnTo)
  }
}
