import type { ServiceId } from '@waiter/base'
import type { Exchange } from '@waiter/proxy'
import { type Descriptor, type Discovery, redirectToHttps, type WaiterHeaders } from '@waiter/services'
import type { Authentication } from '../auth/authenticator.ts'
import type { Identity } from '../auth/identity.ts'
import type { RequestAuthentication } from '../auth/request-authentication.ts'
import type { RequestError } from '../errors/error-response.ts'
import type { ClientFacts } from './client-facts.ts'
import { type CorsGate, refusal } from './cors-gate.ts'
import type { Requester, Selection } from './descriptor-cache.ts'
import { FOREIGN_HOST, FOREIGN_ORIGIN, type ForeignPages } from './foreign-pages.ts'
import type { Interstitials } from './interstitials.ts'
import type { RequestContext } from './request-context.ts'
import { maintenanceError, requestErrorOf } from './request-errors.ts'

export type HeaderPair = readonly [name: string, value: string]

/** What the gates before a service say about one request. */
export type Admission =
  | {
      readonly kind: 'admitted'
      /** Path and query for the backend, when they are not the client's. */
      readonly requestTarget: string | undefined
      readonly descriptor: Descriptor
      /** The service that the tokens mean now, when an older version answers for it. */
      readonly fallbackFrom: ServiceId | undefined
      /** Undefined when the token disables authentication. */
      readonly identity: Identity | undefined
      /** Headers of the answer that gates ask for. */
      readonly answerHeaders: readonly HeaderPair[]
    }
  | {
      readonly kind: 'refused'
      readonly error: RequestError
      /** The service that would have had it, when the request got so far. */
      readonly descriptor?: Descriptor
      readonly identity: Identity | undefined
      readonly answerHeaders: readonly HeaderPair[]
    }

/** A request on its way through the gates. */
export interface Visit {
  readonly exchange: Exchange
  readonly context: RequestContext
  readonly headers: WaiterHeaders | undefined
  readonly selection: Selection
}

export interface AdmissionOptions {
  readonly authentication: RequestAuthentication
  readonly clientFacts: ClientFacts
  readonly foreignPages: ForeignPages
  readonly cors: CorsGate
  /** Did the requester agree that the service runs as himself (spec §1.10)? The descriptor as it then is, or the answer. */
  readonly consent?: (visit: Visit, identity: Identity) => Descriptor | RequestError
  readonly interstitials: Interstitials
}

const NO_HEADERS: readonly HeaderPair[] = []
const NOBODY: Requester = { user: undefined }

/**
 * The gates before a service, in the order of spec §1.1: maintenance, https redirect, authentication or its bypass,
 * cross-origin rules, descriptor with authorization, consent, interstitial. Answers at once, unless the
 * authenticator has to wait for somebody.
 */
export class AdmissionGates {
  readonly #options: AdmissionOptions

  constructor(options: AdmissionOptions) {
    this.#options = options
  }

  admit(visit: Visit): Admission | Promise<Admission> {
    const { selection } = visit
    if (!selection.discovery.ok) return refuse(requestErrorOf(selection.discovery.error))
    const discovery = selection.discovery.value
    if (!selection.isPlain) {
      const error = this.refuseEarly(visit.exchange, discovery)
      if (error !== undefined) return refuse(error)
      if (discovery.isAuthenticationDisabled) return this.#permit(visit, undefined, NO_HEADERS)
    }
    const authentication = this.#options.authentication.authenticate(visit.exchange, visit.headers, discovery)
    return authentication instanceof Promise
      ? authentication.then(known => this.#onAuthenticated(visit, known))
      : this.#onAuthenticated(visit, authentication)
  }

  /** What is answered before anybody asks who it is: the token is down, or served by https only (spec §1.13). */
  refuseEarly(exchange: Exchange, discovery: Discovery): RequestError | undefined {
    const { maintenance } = discovery
    if (maintenance !== undefined) return requestErrorOf(maintenanceError(maintenance).error)
    if (!discovery.isHttpsRedirected || this.#options.clientFacts.isHttps(exchange)) return undefined
    const { head } = exchange
    const { status, location } = redirectToHttps({
      method: head.method,
      host: head.host,
      path: head.path,
      query: head.query,
      port: this.#options.clientFacts.httpsPort(exchange),
    })
    return { status, message: 'This service is reached by https', headers: [['location', location]] }
  }

  #onAuthenticated(visit: Visit, authentication: Authentication): Admission {
    if (authentication.kind === 'refused') return refuse(authentication.error)
    const { identity } = authentication
    const answerHeaders = this.#isNavigation(visit.exchange)
      ? this.#options.authentication.cookiesFor(authentication, this.#options.clientFacts.isHttps(visit.exchange))
      : NO_HEADERS
    return this.#permit(visit, identity, answerHeaders)
  }

  /** Browsers get a cookie, for what they cannot send a proof with (WebSockets); programs have no use for one. */
  #isNavigation({ head }: Exchange): boolean {
    return !this.#options.authentication.isOneUser && (head.get('accept') ?? '').includes('text/html')
  }

  #permit(visit: Visit, identity: Identity | undefined, cookies: readonly HeaderPair[]): Admission {
    const { exchange, headers, selection } = visit
    const { consent, cors, foreignPages, interstitials } = this.#options
    const origin = exchange.head.get('origin')
    const foreign = this.#refuseForeignPage(visit, origin)
    if (foreign !== undefined) return refuse(foreign, identity)
    let answerHeaders = origin === undefined ? cookies : [...cookies, ...cors.answerHeaders(origin, false)]
    if (headers !== undefined && !foreignPages.mayDescribe(exchange, headers)) return refuse(FOREIGN_HOST, identity)
    let resolution = selection.resolveFor(identity ?? NOBODY, exchange.head)
    if (!resolution.ok && resolution.error.kind === 'consent-required' && consent && identity) {
      const outcome = consent(visit, identity)
      if ('status' in outcome) return refuse(outcome, identity, answerHeaders)
      resolution = { ok: true, value: outcome, fallbackFrom: undefined, answerHeaders: NO_HEADERS }
    }
    if (!resolution.ok) return refuse(requestErrorOf(resolution.error), identity, answerHeaders)
    const descriptor = resolution.value
    if (resolution.answerHeaders.length > 0) answerHeaders = [...answerHeaders, ...resolution.answerHeaders]
    const interstitial = interstitials.check(exchange, descriptor)
    if (interstitial?.redirect !== undefined)
      return { ...refuse(interstitial.redirect, identity, answerHeaders), descriptor }
    const { fallbackFrom } = resolution
    const requestTarget = interstitial?.requestTarget
    return { kind: 'admitted', descriptor, fallbackFrom, identity, answerHeaders, requestTarget }
  }

  #refuseForeignPage({ exchange, headers, selection }: Visit, origin: string | undefined): RequestError | undefined {
    const { foreignPages, cors } = this.#options
    if (origin === undefined)
      return headers !== undefined && foreignPages.isForeignSite(exchange) ? FOREIGN_ORIGIN : undefined
    if (headers !== undefined && foreignPages.describes(headers) && !cors.isAllowedInApi(exchange, origin))
      return FOREIGN_ORIGIN
    const rules = selection.discovery.ok ? selection.discovery.value.metadata['cors-rules'] : undefined
    const verdict = cors.judge(exchange, origin, rules)
    return verdict.isAllowed ? undefined : refusal(verdict.reason, 'waiter.CorsRequestForbidden')
  }
}

function refuse(
  error: RequestError,
  identity: Identity | undefined = undefined,
  answerHeaders: readonly HeaderPair[] = NO_HEADERS,
): Extract<Admission, { kind: 'refused' }> {
  return { kind: 'refused', error, identity, answerHeaders }
}
