import { WaiterError } from '@waiter/base'
import type { Exchange, OwnResponse } from '@waiter/proxy'
import {
  computeRequestTimeouts,
  type Descriptor,
  isCacheableSelection,
  type OverridesRecord,
  type RequestTimeouts,
  type WaiterHeaders,
} from '@waiter/services'
import type { StoreMirror } from '@waiter/store/port'
import type { AccessLog, RequestType, ServiceLogPart } from './access-log/access-log.ts'
import { LoggedExchange } from './access-log/logged-exchange.ts'
import { type ErrorContext, type RequestError, renderRequestError } from './errors/error-response.ts'
import { classifyRequest } from './request/classify.ts'
import { toHeaderValue } from './request/debug-headers.ts'
import { DescriptorCache, type Resolution } from './request/descriptor-cache.ts'
import { ProxiedRequest, type RequestEnvironment } from './request/proxied-request.ts'
import { contextOf, type RequestContext } from './request/request-context.ts'
import type { RouterOptions } from './router-options.ts'
import type { ServiceTable } from './services/service-table.ts'
import { TOKEN_PREFIX, type TokenReplica } from './tokens/token-replica.ts'

const NO_HEADERS: WaiterHeaders = new Map()

/** Answers requests to Waiter itself. */
export interface ApiServer {
  serve(exchange: Exchange, context: RequestContext): Promise<void>
}

export interface PipelineParts {
  readonly table: ServiceTable
  readonly tokens: TokenReplica
  readonly overrides: StoreMirror<OverridesRecord>
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
  readonly #api: ApiServer
  readonly #environment: RequestEnvironment
  readonly #isWaiterHost: (host: string) => boolean
  readonly #accessLog: AccessLog | undefined
  readonly #plans = new WeakMap<Descriptor, Plan>()

  constructor(options: RouterOptions, parts: PipelineParts) {
    this.#options = options
    this.#table = parts.table
    this.#tokens = parts.tokens
    this.#api = parts.api
    this.#accessLog = options.accessLog
    this.#descriptors = new DescriptorCache({
      ...options,
      config: options.services,
      tokens: parts.tokens,
      findOverrides: serviceId => parts.overrides.find(serviceId)?.overrides,
    })
    const hostnames = new Set(options.services.waiterHostnames)
    this.#isWaiterHost = host => hostnames.has(host)
    this.#environment = {
      nowMs: () => performance.now(),
      renderHeader: options.renderHeader,
      connectTimeoutMs: options.connectTimeoutMs,
      routerId: options.routerId,
      principal: options.principal,
      accessLog: options.accessLog,
      responseLines: options.renderHeader('via', `1.1 ${options.routerId}`),
      requestLinesOf: runtime => (runtime.requestLines ??= this.#renderRequestLines(runtime.id)),
      needService: (runtime, descriptor) => this.#table.need(runtime, descriptor.tokens),
      answerError: (request, error) => this.#answerProxied(request, error),
    }
  }

  /** Overrides changed: descriptors are computed anew. */
  forgetDescriptors(): void {
    this.#descriptors.forget()
  }

  /** Takes one request. */
  handle(exchange: Exchange): void {
    const { isApi, waiterHeaders } = classifyRequest(exchange.head, this.#isWaiterHost)
    if (isApi) {
      const context = contextOf(exchange)
      const type = exchange.head.path === PING_PATH ? 'ping' : 'waiter-api'
      void this.#api.serve(this.#own(exchange, context, type), context)
      return
    }
    const refusal = this.#refuseForeignPage(exchange, waiterHeaders)
    // A name that nobody knows may be a token that was written through another router a moment ago: asks for it below.
    if (refusal !== undefined && refusal !== FOREIGN_HOST) {
      const context = contextOf(exchange)
      this.answerError(this.#own(exchange, context, 'waiter-proxy'), context, refusal)
      return
    }
    if (refusal !== undefined) {
      void this.#resolveAgain(exchange, waiterHeaders)
      return
    }
    const resolution = this.resolve(exchange, waiterHeaders)
    if (resolution.ok)
      this.#proxy(exchange, contextOf(exchange), { descriptor: resolution.value, headers: waiterHeaders })
    else void this.#resolveAgain(exchange, waiterHeaders)
  }

  /** The service that a request means. */
  resolve(exchange: Exchange, headers: WaiterHeaders | undefined): Resolution {
    return this.#descriptors.resolve(exchange.head, headers, this.#options.principal)
  }

  /** The same; but a token that this router does not know may have been written through another a moment ago. */
  async resolveAfresh(exchange: Exchange, headers: WaiterHeaders | undefined): Promise<Resolution> {
    const resolution = this.resolve(exchange, headers)
    if (resolution.ok) return resolution
    const token = headers?.get('token') ?? exchange.head.host
    const { kind } = resolution.error
    const mayBeNew = kind === 'token-not-found' || (kind === 'unknown-service' && token !== '')
    try {
      return mayBeNew && (await this.#learnTokens(token)) ? this.resolve(exchange, headers) : resolution
    } catch (cause) {
      this.#options.log.warn({ err: cause, token }, 'could not ask the store for a token')
      return resolution
    }
  }

  /** Answers with an error in the form that the client understands. */
  answerError(
    exchange: Exchange,
    context: RequestContext,
    error: RequestError,
    about: { serviceId?: string | null; instanceId?: string | null; token?: string | undefined } = {},
  ): void {
    if (exchange instanceof LoggedExchange) exchange.errorClass = error.errorClass
    exchange.respond(renderError(exchange, error, this.#errorContext(exchange, context, about)))
  }

  #errorContext(
    exchange: Exchange,
    context: RequestContext,
    about: { serviceId?: string | null; instanceId?: string | null; token?: string | undefined },
  ): ErrorContext {
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
      principal: this.#options.principal,
      serviceId: about.serviceId ?? null,
      instanceId: about.instanceId ?? null,
      supportInfo: this.#options.supportInfo,
      timestamp: new Date(),
      ...(about.token === undefined ? {} : { token: about.token }),
      ...(owner === undefined ? {} : { serviceOwner: owner }),
    }
  }

  /** An exchange that is answered here, so that its answer is logged. */
  #own(exchange: Exchange, context: RequestContext, type: RequestType): Exchange {
    return this.#accessLog === undefined
      ? exchange
      : new LoggedExchange(exchange, this.#accessLog, { cid: context.cid, type })
  }

  #proxy(
    exchange: Exchange,
    context: RequestContext,
    { descriptor, headers }: { descriptor: Descriptor; headers: WaiterHeaders | undefined },
  ): void {
    const plan = this.#planOf(descriptor)
    new ProxiedRequest(
      {
        exchange,
        runtime: this.#table.open(descriptor.definition),
        descriptor,
        timeouts: headers === undefined ? plan.timeouts : timeoutsOf(plan, descriptor, headers),
        logPart: plan.logPart,
        cid: context.cid,
        isDebug: headers?.has('debug') ?? false,
      },
      this.#environment,
    ).start()
  }

  async #resolveAgain(original: Exchange, headers: WaiterHeaders | undefined): Promise<void> {
    const context = contextOf(original)
    const exchange = this.#own(original, context, 'waiter-proxy')
    const refusal = await this.refuseForeignStart(exchange, headers)
    if (refusal !== undefined) {
      if (!exchange.isFinished) this.answerError(exchange, context, refusal)
      return
    }
    const resolution = await this.resolveAfresh(exchange, headers)
    if (exchange.isFinished) return
    const token = headers?.get('token') ?? exchange.head.host
    try {
      if (resolution.ok) {
        if (exchange instanceof LoggedExchange) exchange.release()
        this.#proxy(original, context, { descriptor: resolution.value, headers })
        return
      }
      // Waiter's own name is no token, though a request to it may bring a description in headers.
      const isToken = headers?.has('token') || !this.#isWaiterHost(token)
      this.answerError(exchange, context, requestErrorOf(resolution.error), isToken ? { token } : {})
    } catch (error) {
      this.#options.log.error({ err: error, token }, 'could not handle a request')
      this.answerError(exchange, context, toRequestError(error))
    }
  }

  async #learnTokens(names: string): Promise<boolean> {
    const TOKENS_MAX = 16
    let isNews = false
    for (const name of names.split(',').slice(0, TOKENS_MAX)) {
      const token = name.trim()
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

  /** `authorization`, principal and `via` (spec §1.5): the same for every request of a service. */
  #renderRequestLines(serviceId: string): string {
    const { renderHeader, passwordFor, principal, routerId } = this.#options
    const user = principal.split(/[@/]/, 1)[0] ?? principal
    const credentials = Buffer.from(`waiter:${passwordFor(serviceId)}`).toString('base64')
    return (
      renderHeader('authorization', `Basic ${credentials}`) +
      renderHeader('x-waiter-auth-principal', toHeaderValue(user)) +
      renderHeader('x-waiter-authenticated-principal', toHeaderValue(principal)) +
      renderHeader('via', `1.1 ${routerId}`)
    )
  }

  /**
   * A web page of another origin must not start commands here: requests with description headers are taken from
   * Waiter's own pages and from programs (which send no `origin`) only. A page whose own name its owner let point to
   * this machine (DNS rebinding) sends no `origin` with a GET, but the name as `host`: a description is therefore
   * taken on Waiter's own names, on addresses and on tokens only.
   */
  #refuseForeignPage(exchange: Exchange, headers: WaiterHeaders | undefined): RequestError | undefined {
    if (headers === undefined) return undefined
    const { head } = exchange
    const origin = head.get('origin')
    if (origin !== undefined && !isOwnOrigin(origin, head.authority, this.#isWaiterHost)) return FOREIGN_ORIGIN
    if (origin === undefined && FOREIGN_SITES.has(head.get('sec-fetch-site') ?? '')) return FOREIGN_ORIGIN
    if (isCacheableSelection(headers, this.#options.services.unsupportedHeaders)) return undefined
    return this.isForeignHost(exchange) ? FOREIGN_HOST : undefined
  }

  /** The same; but a host that this router does not know may be a token written through another a moment ago. */
  async refuseForeignStart(exchange: Exchange, headers: WaiterHeaders | undefined): Promise<RequestError | undefined> {
    const refusal = this.#refuseForeignPage(exchange, headers)
    if (refusal !== FOREIGN_HOST) return refusal
    await this.#learnTokens(exchange.head.host).catch(cause =>
      this.#options.log.warn({ err: cause, token: exchange.head.host }, 'could not ask the store for a token'),
    )
    return this.#refuseForeignPage(exchange, headers)
  }

  /**
   * A page whose name was made to point here could read tokens as if it were ours: whoever names one that is not the
   * host itself must have come by one of Waiter's own names, by an address, or by a token.
   */
  isForeignHost(exchange: Exchange): boolean {
    const { host } = exchange.head
    return host !== '' && !ADDRESS.test(host) && !this.#isWaiterHost(host) && !this.#findHostToken(exchange)
  }

  /** Is the host a token, as it was written or in lower case? */
  #findHostToken({ head }: Exchange): boolean {
    const written = head.authority.replace(/:\d*$/, '')
    return this.#tokens.find(written) !== undefined || this.#tokens.find(head.host) !== undefined
  }

  #answerProxied(request: ProxiedRequest, error: RequestError): void {
    const { exchange, runtime, descriptor, cid } = request.parts
    this.answerError(exchange, { cid }, error, {
      serviceId: runtime.id,
      instanceId: request.instanceId,
      token: descriptor.tokens[0]?.token,
    })
  }
}

/** What all requests of one descriptor share, made with its first request. */
interface Plan {
  /** Of requests that bring none of their own. */
  readonly timeouts: RequestTimeouts
  readonly logPart: ServiceLogPart | undefined
}

function timeoutsOf(plan: Plan, descriptor: Descriptor, headers: WaiterHeaders): RequestTimeouts {
  const hasOwn = TIMEOUT_HEADERS.some(name => headers.has(name))
  return hasOwn ? computeRequestTimeouts({ headers, timeouts: descriptor.timeouts }) : plan.timeouts
}

const PING_PATH = '/waiter-ping'
const TIMEOUT_HEADERS = [
  'timeout',
  'queue-timeout',
  'streaming-timeout',
  'async-request-timeout',
  'async-check-interval',
]

/** A browser sent the request from a page that is not Waiter's. */
export const FOREIGN_ORIGIN: RequestError = {
  status: 403,
  message: 'Cross-origin request not allowed',
  errorClass: 'waiter.CorsRequestForbidden',
}

/** Something that a foreign page must not do came on a host name that is neither Waiter's nor a token. */
export const FOREIGN_HOST: RequestError = {
  status: 403,
  message:
    "This is answered on Waiter's own host names only (descriptions in x-waiter- headers, tokens by name): add the name to `hostname` in Waiter's configuration, or use an address",
  errorClass: 'waiter.CorsRequestForbidden',
}

/** Values of `sec-fetch-site` that only a browser on somebody else's page sends. */
const FOREIGN_SITES: ReadonlySet<string> = new Set(['cross-site', 'same-site'])
/** IPv4 and IPv6 as hosts: no name that somebody could let point here. */
const ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\])$/i
/** Names of the machine itself: pages of any program on it, told apart only by their ports. */
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/i

/**
 * Does a browser's `origin` belong to Waiter itself?
 *
 * @param authority what the request itself was sent to; a page of this machine must be of exactly that host and port
 */
export function isOwnOrigin(origin: string, authority: string, isWaiterHost: (host: string) => boolean): boolean {
  const [, originAuthority, host] = /^https?:\/\/((\[[0-9a-f:.]+\]|[^/:]+)(?::\d+)?)$/i.exec(origin) ?? []
  if (originAuthority === undefined || host === undefined || !isWaiterHost(host.toLowerCase())) return false
  return !LOOPBACK.test(host) || originAuthority.toLowerCase() === authority.toLowerCase()
}

/** What a user is told when no service was found. */
export function requestErrorOf(error: Extract<Resolution, { ok: false }>['error']): RequestError {
  return {
    status: error.status,
    message: error.message,
    details: error.details,
    ...(error.errorClass === undefined ? {} : { errorClass: error.errorClass }),
    ...(error.errorClass === 'waiter.Maintenance' ? { title: `${error.details.token} is Down For Maintenance` } : {}),
  }
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
