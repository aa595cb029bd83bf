import { WaiterError } from '@waiter/base'
import type { Exchange, OwnResponse, RequestHead } from '@waiter/proxy'
import {
  computeRequestTimeouts,
  type Descriptor,
  type Discovery,
  type OverridesRecord,
  RAW_SERVICE_ID_PREFIX,
  type WaiterHeaders,
} from '@waiter/services'
import type { StoreMirror } from '@waiter/store/port'
import type { AccessLog, MeantService, RequestType } from './access-log/access-log.ts'
import { LoggedExchange } from './access-log/logged-exchange.ts'
import { isCorsByToken } from './api/api-access.ts'
import type { AsyncRequests } from './async/async-requests.ts'
import { CONSENT_CHARS_MAX, Consents } from './auth/consents.ts'
import { createAuthentication } from './auth/create-authentication.ts'
import type { Identity } from './auth/identity.ts'
import type { RequestAuthentication } from './auth/request-authentication.ts'
import { createSealedBox } from './auth/sealed-box.ts'
import { type ErrorContext, type RequestError, renderRequestError } from './errors/error-response.ts'
import { withMessages } from './errors/messages.ts'
import { type Admission, AdmissionGates, type HeaderPair, type Visit } from './request/admission.ts'
import { classifyRequest } from './request/classify.ts'
import { type ClientFacts, createClientFacts } from './request/client-facts.ts'
import { CorsGate } from './request/cors-gate.ts'
import { DescriptorCache, type Requester, type Resolution, type Selection } from './request/descriptor-cache.ts'
import { ForeignPages } from './request/foreign-pages.ts'
import { isGrpcRequest } from './request/grpc.ts'
import { Interstitials } from './request/interstitials.ts'
import { ProxiedRequest, type RequestEnvironment } from './request/proxied-request.ts'
import { contextOf, nextRequestId, type RequestContext } from './request/request-context.ts'
import { maintenanceError, suspendedError } from './request/request-errors.ts'
import { type Plan, timeoutsOf } from './request/request-plan.ts'
import type { RouterOptions } from './router-options.ts'
import type { KnownDescriptions } from './services/known-descriptions.ts'
import type { ServiceRuntime } from './services/service-runtime.ts'
import type { ServiceTable } from './services/service-table.ts'
import { TOKEN_PREFIX, type TokenReplica } from './tokens/token-replica.ts'
import type { VersionChooser } from './versions/version-chooser.ts'

const NO_HEADERS: WaiterHeaders = new Map()

/** Answers requests to Waiter itself. */
export interface ApiServer {
  serve(exchange: Exchange, context: RequestContext): Promise<void>
}

export interface PipelineParts {
  readonly table: ServiceTable
  readonly tokens: TokenReplica
  readonly overrides: StoreMirror<OverridesRecord>
  readonly descriptions: KnownDescriptions
  readonly versions: VersionChooser
  readonly asyncRequests: AsyncRequests
  readonly api: ApiServer
}

/**
 * What happens to every request: Waiter's own API, or find the service and hand the request to it. The path to a
 * service whose selection is remembered and which has a free slot is synchronous.
 */
export class Pipeline {
  readonly #options: RouterOptions
  readonly #table: ServiceTable
  readonly #tokens: TokenReplica
  readonly #descriptors: DescriptorCache
  readonly #gates: AdmissionGates
  readonly authentication: RequestAuthentication
  readonly clientFacts: ClientFacts
  readonly foreignPages: ForeignPages
  readonly cors: CorsGate
  readonly #known: KnownDescriptions
  readonly consents: Consents
  readonly interstitials: Interstitials
  readonly asyncRequests: AsyncRequests
  readonly #api: ApiServer
  readonly #environment: RequestEnvironment
  readonly #isWaiterHost: (host: string) => boolean
  readonly #serverHeader: HeaderPair
  readonly #accessLog: AccessLog | undefined
  readonly #plans = new WeakMap<Descriptor, Plan>()

  constructor(options: RouterOptions, parts: PipelineParts) {
    this.#options = options
    this.#table = parts.table
    this.#tokens = parts.tokens
    this.#known = parts.descriptions
    this.#api = parts.api
    this.#accessLog = options.accessLog
    this.asyncRequests = parts.asyncRequests
    const { services } = options
    this.#serverHeader = ['server', `waiter/${options.version}`]
    const hostnames = new Set(services.waiterHostnames)
    this.#isWaiterHost = host => hostnames.has(host)
    this.clientFacts = createClientFacts(options.trustedProxies, options.httpsPort)
    const [isWaiterHost, known] = [this.#isWaiterHost, this.clientFacts]
    this.authentication = createAuthentication(options.authentication, { ...options, clientFacts: known, isWaiterHost })
    this.foreignPages = new ForeignPages({
      isWaiterHost: this.#isWaiterHost,
      isToken: name => this.#tokens.find(name) !== undefined,
      unsupportedHeaders: services.unsupportedHeaders,
    })
    const { clientFacts, foreignPages, authentication } = this
    this.consents = new Consents({
      box: createSealedBox({ ...options.authentication, purpose: 'consent cookie', charsMax: CONSENT_CHARS_MAX }),
      maxAgeSecs: options.consentMaxAgeSecs,
      nowMs: Date.now,
    })
    this.cors = new CorsGate({ ...options.cors, foreignPages, isHttps: exchange => clientFacts.isHttps(exchange) })
    this.#descriptors = new DescriptorCache({
      ...options,
      config: services,
      tokens: parts.tokens,
      isOneUser: authentication.isOneUser,
      findServiceDescription: serviceId => parts.descriptions.find(serviceId),
      findOverrides: serviceId => parts.overrides.find(serviceId)?.overrides,
      versions: parts.versions,
    })
    parts.versions.onChange = (from, to, user) => this.#moveWaiting(from, to, user)
    this.interstitials = new Interstitials(parts.table, Date.now)
    this.#gates = new AdmissionGates({
      authentication,
      clientFacts,
      foreignPages,
      cors: this.cors,
      consent: this.consents.judge,
      interstitials: this.interstitials,
    })
    this.#environment = {
      nowMs: () => performance.now(),
      after: (delayMs, callback) => {
        const timer = setTimeout(callback, delayMs)
        return () => clearTimeout(timer)
      },
      renderHeader: options.renderHeader,
      connectTimeoutMs: options.connectTimeoutMs,
      routerId: options.routerId,
      protocolOf: exchange => clientFacts.protocolOf(exchange),
      accessLog: options.accessLog,
      responseLines: options.renderHeader('via', `1.1 ${options.routerId}`),
      requestLinesOf: (runtime, identity) => this.requestLinesOf(runtime, identity),
      asyncRequests: parts.asyncRequests,
      needService: (runtime, descriptor) => this.#table.need(runtime, descriptor.reference),
      answerError: (request, error) => this.#answerProxied(request, error),
    }
  }

  /** Something that descriptors depend on beside tokens has changed: they are computed anew. */
  forgetDescriptors(): void {
    this.#descriptors.forget()
  }

  /** Takes one request. */
  handle(exchange: Exchange): void {
    const { isApi, waiterHeaders } = classifyRequest(exchange.head, this.#isWaiterHost)
    if (exchange.head.method === 'OPTIONS' && this.cors.isPreflight(exchange)) {
      this.#answerPreflight(exchange, isApi)
      return
    }
    if (isApi) {
      const context = contextOf(exchange)
      void this.#api.serve(this.#own(exchange, context, apiTypeOf(exchange.head.path)), context)
      return
    }
    const context = contextOf(exchange)
    const selection = this.#descriptors.select(exchange.head, waiterHeaders)
    if (isPerhapsNew(selection)) void this.#admitAfresh(exchange, context, waiterHeaders)
    else this.#admit({ exchange, context, headers: waiterHeaders, selection })
  }

  /**
   * The service that a request means; a token that this router does not know may have been written a moment ago.
   *
   * @param options `isLatest`: what the tokens say now, whichever version answers for it
   */
  async resolveAfresh(
    exchange: Exchange,
    headers: WaiterHeaders | undefined,
    requester: Requester,
    { isLatest = false }: { readonly isLatest?: boolean } = {},
  ): Promise<Resolution> {
    const selection = await this.#selectAfresh(exchange, headers)
    const maintenance = selection.discovery.ok ? selection.discovery.value.maintenance : undefined
    if (maintenance !== undefined) return maintenanceError(maintenance)
    return isLatest ? selection.resolveLatestFor(requester) : selection.resolveFor(requester, exchange.head)
  }

  /** What a request to the API that means a service names. */
  async discoverAfresh(exchange: Exchange, headers: WaiterHeaders | undefined): Promise<Discovery | undefined> {
    const { discovery } = await this.#selectAfresh(exchange, headers)
    return discovery.ok ? discovery.value : undefined
  }

  /** What is answered before anybody asks who it is: maintenance and the redirect to https. */
  refuseEarly(exchange: Exchange, discovery: Discovery): RequestError | undefined {
    return this.#gates.refuseEarly(exchange, discovery)
  }

  #admit(visit: Visit): void {
    const admission = this.#gates.admit(visit)
    if (admission instanceof Promise) void this.#settle(visit, admission)
    else this.#onAdmission(visit, admission)
  }

  /** A name that nobody knows may be a token that was written through another router a moment ago. */
  async #admitAfresh(exchange: Exchange, context: RequestContext, headers: WaiterHeaders | undefined): Promise<void> {
    const own = this.#own(exchange, context, 'waiter-proxy')
    const selection = await this.#selectAfresh(exchange, headers)
    if (exchange.isFinished) return
    if (own instanceof LoggedExchange) own.release()
    const visit = { exchange, context, headers, selection }
    await this.#settle(visit, this.#gates.admit(visit))
  }

  async #settle(visit: Visit, admission: Admission | Promise<Admission>): Promise<void> {
    const { exchange, context } = visit
    try {
      const settled = await admission
      if (!exchange.isFinished) this.#onAdmission(visit, settled)
    } catch (error) {
      this.#options.log.error({ err: error }, 'could not handle a request')
      this.answerError(this.#own(exchange, context, 'waiter-proxy'), context, toRequestError(error))
    }
  }

  async #selectAfresh(exchange: Exchange, headers: WaiterHeaders | undefined): Promise<Selection> {
    const { head } = exchange
    const selection = this.#descriptors.select(head, headers)
    if (!isPerhapsNew(selection)) return selection
    const names = headers?.get('token') ?? head.host
    try {
      return (await this.#learnTokens(names)) ? this.#descriptors.select(head, headers) : selection
    } catch (cause) {
      this.#options.log.warn({ err: cause, token: names }, 'could not ask the store for a token')
      return selection
    }
  }

  #onAdmission(visit: Visit, admission: Admission): void {
    if (admission.kind === 'admitted') {
      this.#proxy(visit, admission)
      return
    }
    const { exchange, headers } = visit
    const token = headers?.get('token') ?? exchange.head.host
    // Waiter's own name is no token, though a request to it may bring a description in headers.
    const isToken = headers?.has('token') || !this.#isWaiterHost(token)
    const { identity, answerHeaders, error, descriptor } = admission
    const context = { ...visit.context, identity, answerHeaders }
    const service = descriptor && this.#planOf(descriptor).logPart
    const own = this.#own(exchange, context, 'waiter-proxy', isToken ? { service, token } : { service })
    this.answerError(own, context, error, isToken ? { token } : {})
  }

  #answerPreflight(original: Exchange, isApi: boolean): void {
    const context = contextOf(original)
    const { head } = original
    const isToken = !isApi && !this.#isWaiterHost(head.host)
    const meant = isToken ? { token: head.host } : undefined
    const exchange = this.#own(original, context, isApi ? 'waiter-api' : 'waiter-proxy', meant)
    const origin = head.get('origin') ?? ''
    const { discovery } = this.#descriptors.select(head, undefined)
    const rules = discovery.ok ? discovery.value.metadata['cors-rules'] : undefined
    const verdict =
      isApi && !isCorsByToken(head.path)
        ? this.cors.judgeApi(exchange, origin)
        : this.cors.judge(exchange, origin, rules)
    const answer = this.cors.answerPreflight(verdict, exchange)
    if ('message' in answer) this.answerError(exchange, context, answer)
    else exchange.respond({ ...answer, headers: [...answer.headers, ...this.ownHeaders(context)] })
  }

  /** What every answer of Waiter's own carries (spec §1.1). */
  ownHeaders(context: RequestContext): readonly HeaderPair[] {
    return [['x-cid', context.cid], this.#serverHeader, ...(context.answerHeaders ?? [])]
  }

  /** Answers with an error in the form that the client understands. */
  answerError(
    exchange: Exchange,
    context: RequestContext,
    error: RequestError,
    about: { serviceId?: string | null; instanceId?: string | null; token?: string | undefined } = {},
  ): void {
    if (exchange instanceof LoggedExchange) {
      exchange.errorClass = error.errorClass
      exchange.identity = context.identity
    }
    const own = this.ownHeaders(context)
    const told = withMessages(error, this.#options.messages)
    // A redirect says everything in its head.
    if (error.status < 400) exchange.respond({ status: error.status, headers: [...own, ...(error.headers ?? [])] })
    else exchange.respond(renderError(exchange, told, { ...this.#errorContext(exchange, context, about), own }))
  }

  /** The page for bytes that the engine refuses by itself. */
  renderRefusal(
    status: number,
    message: string,
    head: RequestHead | null,
  ): { readonly headers: readonly HeaderPair[]; readonly body: string } {
    const own: readonly HeaderPair[] = [['x-cid', nextRequestId()], this.#serverHeader]
    const { headers, body } = renderRequestError(
      { status, message },
      {
        own,
        cid: own[0]?.[1] ?? '',
        method: head?.method ?? '',
        host: head?.authority ?? '',
        path: head?.path ?? '',
        query: head?.query ?? null,
        accept: head?.get('accept'),
        contentType: head?.get('content-type'),
        principal: null,
        serviceId: null,
        instanceId: null,
        supportInfo: this.#options.supportInfo,
        timestamp: new Date(),
      },
    )
    return { headers, body: String(body ?? '') }
  }

  #errorContext(
    exchange: Exchange,
    context: RequestContext,
    about: { serviceId?: string | null; instanceId?: string | null; token?: string | undefined },
  ): Omit<ErrorContext, 'own'> {
    const { head } = exchange
    const owner = about.token === undefined ? undefined : this.#tokens.find(about.token)?.record.owner
    return {
      cid: context.cid,
      method: head.method,
      host: head.authority,
      path: head.path,
      query: head.query,
      accept: head.get('accept'),
      contentType: head.get('content-type'),
      isGrpc: isGrpcRequest(head),
      principal: context.identity?.principal ?? this.authentication.onlyPrincipal,
      serviceId: about.serviceId ?? null,
      instanceId: about.instanceId ?? null,
      supportInfo: this.#options.supportInfo,
      timestamp: new Date(),
      ...(about.token === undefined ? {} : { token: about.token }),
      ...(owner === undefined ? {} : { serviceOwner: owner }),
    }
  }

  /** An exchange that is answered here, so that its answer is logged. */
  #own(exchange: Exchange, context: RequestContext, type: RequestType, meant?: MeantService): Exchange {
    if (this.#accessLog === undefined) return exchange
    const own = new LoggedExchange(exchange, this.#accessLog, { cid: context.cid, type })
    own.meant = meant
    return own
  }

  /** A version cannot serve any more: what waits for it and was not sent anywhere goes to the one that serves instead. */
  #moveWaiting(from: Descriptor, to: Descriptor, user: string | undefined): void {
    const waiters = this.#table.get(from.serviceId)?.machine.waiters() ?? []
    const runtime = this.#table.open(to.definition)
    for (const waiter of waiters) {
      const isMeant = waiter instanceof ProxiedRequest && waiter.isFor(from, user)
      const parts = isMeant ? waiter.leaveQueue() : undefined
      if (parts === undefined) continue
      this.#table.countFallback(from.serviceId, runtime)
      const { logPart } = this.#planOf(to)
      new ProxiedRequest({ ...parts, runtime, descriptor: to, logPart }, this.#environment).start()
    }
  }

  #proxy(
    { exchange, context, headers }: Visit,
    { descriptor, fallbackFrom, identity, answerHeaders, requestTarget }: Extract<Admission, { kind: 'admitted' }>,
  ): void {
    const plan = this.#planOf(descriptor)
    const runtime = this.#table.open(descriptor.definition)
    if (runtime.suspension !== undefined) {
      runtime.metrics.onError('suspended', performance.now())
      const about = { serviceId: runtime.id, token: descriptor.tokens[0]?.token }
      const own = this.#own(exchange, context, 'waiter-proxy', { service: plan.logPart })
      this.answerError(own, { ...context, identity, answerHeaders }, suspendedError(runtime, runtime.suspension), about)
      return
    }
    if (fallbackFrom !== undefined) this.#table.countFallback(fallbackFrom, runtime)
    new ProxiedRequest(
      {
        exchange,
        runtime,
        descriptor,
        timeouts: timeoutsOf(plan, exchange.head, descriptor, headers),
        logPart: plan.logPart,
        cid: context.cid,
        isDebug: headers?.has('debug') ?? false,
        identity,
        answerHeaders,
        requestTarget,
      },
      this.#environment,
    ).start()
  }

  async #learnTokens(names: string): Promise<boolean> {
    const TOKENS_MAX = 16
    let isNews = false
    for (const name of names.split(',').slice(0, TOKENS_MAX)) {
      const token = name.trim()
      if (token.startsWith(RAW_SERVICE_ID_PREFIX)) {
        const serviceId = token.slice(RAW_SERVICE_ID_PREFIX.length)
        if (this.#known.find(serviceId) === undefined && (await this.#known.learn(serviceId))) isNews = true
        continue
      }
      if (!/^[A-Za-z][\w.$-]{1,252}$/.test(token)) continue
      const entry = await this.#options.store.get(TOKEN_PREFIX + token)
      if (entry === undefined || (this.#tokens.find(token)?.version ?? -1) >= entry.version) continue
      this.#tokens.learn(token, entry.value, entry.version)
      isNews = true
    }
    return isNews
  }

  #planOf(descriptor: Descriptor): Plan {
    const known = this.#plans.get(descriptor)
    if (known !== undefined) return known
    const plan = {
      timeouts: computeRequestTimeouts({ headers: NO_HEADERS, timeouts: descriptor.timeouts }),
      logPart: this.#accessLog?.servicePart(descriptor),
    }
    this.#plans.set(descriptor, plan)
    return plan
  }

  /** `authorization`, principal and `via` (spec §1.5): the same for every request of one user to a service. */
  requestLinesOf(runtime: ServiceRuntime, identity: Identity | undefined): string {
    const known = runtime.requestLines
    if (known !== undefined && known.identity === identity) return known.lines
    const { renderHeader, passwordFor, routerId } = this.#options
    const forAll =
      known?.forAll ??
      renderHeader('authorization', `Basic ${Buffer.from(`waiter:${passwordFor(runtime.id)}`).toString('base64')}`) +
        renderHeader('via', `1.1 ${routerId}`)
    const lines = forAll + (identity?.requestLines ?? '')
    runtime.requestLines = { identity, forAll, lines }
    return lines
  }

  #answerProxied(request: ProxiedRequest, error: RequestError): void {
    const { exchange, runtime, descriptor } = request.parts
    this.answerError(exchange, request.parts, error, {
      serviceId: runtime.id,
      instanceId: request.instanceId,
      token: descriptor.tokens[0]?.token,
    })
  }
}

const PING_PATH = '/waiter-ping'
const ASYNC_PATH = '/waiter-async/'

function apiTypeOf(path: string): RequestType {
  if (path === PING_PATH) return 'ping'
  return path.startsWith(ASYNC_PATH) ? 'async-status-check' : 'waiter-api'
}

/** The request names nothing that is known here. */
function isPerhapsNew({ discovery }: Selection): boolean {
  if (!discovery.ok) return discovery.error.kind === 'token-not-found'
  return discovery.value.source === 'host' && discovery.value.records.length === 0
}

function renderError(exchange: Exchange, error: RequestError, context: ErrorContext): OwnResponse {
  try {
    return renderRequestError(error, context)
  } catch {
    // Details that cannot be rendered must not cost the client its answer.
    return {
      status: error.status,
      headers: [['content-type', 'text/plain']],
      body: `${error.status} ${exchange.head.method}\n`,
    }
  }
}

/** Makes a request error of whatever was thrown; unknown things become a 500 without their text. */
export function toRequestError(error: unknown): RequestError {
  if (error instanceof WaiterError)
    return { status: error.status, message: error.message, details: { ...error.details, code: error.code } }
  return { status: 500, message: 'Internal error: see the router log', details: { code: 'WTR_INTERNAL' } }
}
