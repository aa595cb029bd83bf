import type { Exchange, OwnResponse, RequestHead } from '@waiter/proxy'
import { Hono } from 'hono'
import { LoggedExchange } from '../access-log/logged-exchange.ts'
import { InstanceWatch } from '../cluster/instance-watch.ts'
import type { RequestError } from '../errors/error-response.ts'
import { toRequestError } from '../pipeline.ts'
import type { HeaderPair } from '../request/admission.ts'
import type { RequestContext } from '../request/request-context.ts'
import { enterApi } from './api-access.ts'
import type { ApiEnvironment, ApiParts } from './api-context.ts'
import { addInstanceRoutes } from './app-instances.ts'
import { addLogRoutes } from './app-logs.ts'
import { addSwitchRoutes } from './app-switches.ts'
import { addAppRoutes } from './apps.ts'
import { addAsyncRoutes } from './async-routes.ts'
import { addAuthRoutes } from './auth.ts'
import { addBasicRoutes } from './basic.ts'
import { addClusterRoutes, addSnapshotRoutes } from './cluster-routes.ts'
import { addConsentRoutes } from './consent.ts'
import { Endpoints } from './contract/endpoint.ts'
import { addDrainRoutes } from './drain-routes.ts'
import { addEjectRoutes } from './eject.ts'
import { addExternalMetricsRoutes } from './external-metrics.ts'
import { addInstanceWatchRoutes } from './instance-watch-routes.ts'
import { addMetricsRoutes } from './metrics.ts'
import { addOpenApiRoutes } from './openapi-routes.ts'
import { addPingRoutes } from './ping.ts'
import { addStateRoutes } from './state.ts'
import { addStaticRoutes } from './static.ts'
import { addTokenListRoutes } from './token-lists.ts'
import { addTokenRoutes } from './tokens.ts'

/** The running API. */
export interface Api {
  serve(exchange: Exchange, context: RequestContext): Promise<void>
  /** Ends what goes on by itself. */
  close(): void
}

/**
 * Waiter's REST API (spec §4) on the engine's own exchanges: a connection may carry API calls and proxied requests in
 * turn. Handlers are ordinary Hono handlers; whatever they throw becomes an error answer with a code.
 */
export function createApi(parts: ApiParts): Api {
  const app = new Hono<ApiEnvironment>()
  const endpoints = new Endpoints(app)
  const watch = new InstanceWatch(parts.leader, parts.options.log)
  addBasicRoutes(endpoints, parts)
  addAuthRoutes(app, parts)
  addConsentRoutes(app, parts)
  addTokenRoutes(app, parts)
  const tokenWatchers = addTokenListRoutes(app, parts)
  // Before `/apps/:id`, which would take it for a service.
  addInstanceWatchRoutes(endpoints, parts, watch)
  addAppRoutes(endpoints, parts)
  addInstanceRoutes(endpoints, parts)
  addLogRoutes(endpoints, parts)
  addSwitchRoutes(endpoints, parts)
  addStateRoutes(endpoints, parts, { instances: watch, tokens: tokenWatchers })
  addPingRoutes(endpoints, parts)
  addAsyncRoutes(endpoints, parts)
  addMetricsRoutes(endpoints, parts)
  addExternalMetricsRoutes(endpoints, parts)
  addEjectRoutes(endpoints, parts)
  addDrainRoutes(endpoints, parts)
  addClusterRoutes(endpoints, parts)
  addSnapshotRoutes(endpoints, parts)
  addStaticRoutes(endpoints)
  addOpenApiRoutes(endpoints, parts.options.version)
  endpoints.assertAllDescribed()
  // Errors are rendered by the bridge, which knows the form that the client wants.
  app.onError(error => {
    throw error
  })

  /** Undefined: it has been answered already, or goes on by itself. */
  const answer = async (exchange: Exchange, plain: RequestContext): Promise<OwnResponse | undefined> => {
    const pipeline = parts.pipeline()
    const { request, waiterHeaders, refusal } = readRequest(exchange.head)
    if (refusal !== undefined) {
      pipeline.answerError(exchange, plain, refusal, namedToken(exchange.head))
      return undefined
    }
    const entry = await enterApi(pipeline, exchange, waiterHeaders)
    const { answerHeaders } = entry
    if (entry.isRefused) {
      if (!exchange.isFinished)
        pipeline.answerError(exchange, { ...plain, answerHeaders }, entry.error, namedToken(exchange.head))
      return undefined
    }
    const { identity } = entry
    if (exchange instanceof LoggedExchange) exchange.identity = identity
    const context = { ...plain, identity, answerHeaders }
    const bindings = { exchange, context, identity, requester: identity?.user ?? '', waiterHeaders }
    try {
      const response = await app.fetch(request, bindings)
      if (response.status === 404 && response.headers.get('x-waiter-answered') === null) {
        const { head } = exchange
        const refusal = endpoints.isKnownPath(head.path) ? WRONG_METHOD : NOT_FOUND
        pipeline.answerError(exchange, context, refusal, namedToken(head))
        return undefined
      }
      if (response.headers.has('x-waiter-streamed')) return undefined
      return await toOwnResponse(response, pipeline.ownHeaders(context))
    } catch (error) {
      answerFailure(exchange, context, error)
      return undefined
    }
  }

  const answerFailure = (exchange: Exchange, context: RequestContext, error: unknown): void => {
    const requestError = toRequestError(error)
    if (requestError.status >= 500) {
      parts.metrics.errors.mark(performance.now())
      parts.options.log.warn({ err: error, cid: context.cid }, 'an API call failed')
    }
    parts.pipeline().answerError(exchange, context, requestError, namedToken(exchange.head))
  }

  return {
    close: () => watch.stop(),
    serve: async (exchange, context) => {
      const { head } = exchange
      const spec = endpoints.find(head.method === 'HEAD' ? 'GET' : head.method, head.path)
      parts.metrics.onApiCall(spec === undefined ? 'other' : `${spec.method} ${spec.path}`)
      try {
        const response = await answer(exchange, context)
        if (response !== undefined && !exchange.isFinished) exchange.respond(response)
      } catch (error) {
        answerFailure(exchange, context, error)
      }
    },
  }
}

/** The token that a call is about, by its query or header, for the error that says so. */
function namedToken(head: RequestHead): { readonly token?: string } {
  const token = new URLSearchParams(head.query ?? '').get('token') ?? head.get('x-waiter-token')
  return token ? { token } : {}
}

interface ReadRequest {
  readonly request: Request
  /** By name without prefix. */
  readonly waiterHeaders: ReadonlyMap<string, string>
  readonly refusal: RequestError | undefined
}

/** The request as handlers take it, unless it is none that any of them could take. */
function readRequest(head: RequestHead): ReadRequest {
  const headers = new Headers()
  const waiterHeaders = new Map<string, string>()
  const refuse = (refusal: RequestError): ReadRequest => ({ request: NO_REQUEST, waiterHeaders, refusal })
  if (!METHODS.has(head.method) || head.path === '*') return refuse(WRONG_METHOD)
  head.forEach((name, value) => {
    headers.append(name, value)
    const lower = name.toLowerCase()
    if (lower.startsWith('x-waiter-')) waiterHeaders.set(lower.slice('x-waiter-'.length), value)
  })
  const url = `http://waiter.invalid${head.path}${head.query === null ? '' : `?${head.query}`}`
  // Who may call is decided by the path as it was sent, the handler by the path as URLs are read (`..` taken away, also
  // when percent-encoded): a path that is not the same in both is none of ours.
  if (!URL.canParse(url) || !isSamePath(new URL(url).pathname, head.path)) return refuse(NOT_FOUND)
  const method = head.method === 'HEAD' ? 'GET' : head.method
  return { request: new Request(url, { method, headers }), waiterHeaders, refusal: undefined }
}

/** Up to characters that URLs only write in another way. */
function isSamePath(one: string, other: string): boolean {
  if (one === other) return true
  try {
    return decodeURI(one) === decodeURI(other)
  } catch {
    return false // percent signs that encode nothing
  }
}

const NO_REQUEST: Request = new Request('http://waiter.invalid/')
const NOT_FOUND: RequestError = { status: 404, message: 'Not found' }
const WRONG_METHOD: RequestError = { status: 405, message: 'Invalid request method' }
/** What a `Request` can be made of; other methods (TRACE, CONNECT) no route takes anyway. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])
/** Framing and connection belong to the engine. */
const ENGINE_HEADERS: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'connection',
  'x-waiter-answered',
])

async function toOwnResponse(response: Response, own: readonly HeaderPair[]): Promise<OwnResponse> {
  const headers: HeaderPair[] = [...own]
  response.headers.forEach((value, name) => {
    if (!ENGINE_HEADERS.has(name)) headers.push([name, value])
  })
  return { status: response.status, headers, body: new Uint8Array(await response.arrayBuffer()) }
}
