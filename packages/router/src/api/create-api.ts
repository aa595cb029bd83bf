import type { Exchange, OwnResponse } from '@waiter/proxy'
import { Hono } from 'hono'
import { LoggedExchange } from '../access-log/logged-exchange.ts'
import { toRequestError } from '../pipeline.ts'
import type { HeaderPair } from '../request/admission.ts'
import type { RequestContext } from '../request/request-context.ts'
import { enterApi } from './api-access.ts'
import type { ApiEnvironment, ApiParts } from './api-context.ts'
import { addAppRoutes } from './apps.ts'
import { addAuthRoutes } from './auth.ts'
import { addBasicRoutes } from './basic.ts'
import { addPingRoutes } from './ping.ts'
import { addStateRoutes } from './state.ts'
import { addTokenListRoutes } from './token-lists.ts'
import { addTokenRoutes } from './tokens.ts'

/**
 * Waiter's REST API (spec §4) on the engine's own exchanges: a connection may carry API calls and proxied requests in
 * turn. Handlers are ordinary Hono handlers; whatever they throw becomes an error answer with a code.
 */
export function createApi(parts: ApiParts): { serve(exchange: Exchange, context: RequestContext): Promise<void> } {
  const app = new Hono<ApiEnvironment>()
  addBasicRoutes(app, parts)
  addAuthRoutes(app, parts)
  addTokenRoutes(app, parts)
  addTokenListRoutes(app, parts)
  addAppRoutes(app, parts)
  addStateRoutes(app, parts)
  addPingRoutes(app, parts)
  // Errors are rendered by the bridge, which knows the form that the client wants.
  app.onError(error => {
    throw error
  })

  const answer = async (exchange: Exchange, plain: RequestContext): Promise<OwnResponse | undefined> => {
    const { head } = exchange
    const pipeline = parts.pipeline()
    if (!METHODS.has(head.method) || head.path === '*') {
      pipeline.answerError(exchange, plain, WRONG_METHOD)
      return undefined
    }
    const headers = new Headers()
    const waiterHeaders = new Map<string, string>()
    head.forEach((name, value) => {
      headers.append(name, value)
      const lower = name.toLowerCase()
      if (lower.startsWith('x-waiter-')) waiterHeaders.set(lower.slice('x-waiter-'.length), value)
    })
    const entry = await enterApi(pipeline, exchange, waiterHeaders)
    const { answerHeaders } = entry
    if (entry.isRefused) {
      if (!exchange.isFinished) pipeline.answerError(exchange, { ...plain, answerHeaders }, entry.error)
      return undefined
    }
    const { identity } = entry
    if (exchange instanceof LoggedExchange) exchange.identity = identity
    const context = { ...plain, identity, answerHeaders }
    const query = head.query === null ? '' : `?${head.query}`
    const method = head.method === 'HEAD' ? 'GET' : head.method
    const request = new Request(`http://waiter.invalid${head.path}${query}`, { method, headers })
    const bindings = { exchange, context, identity, requester: identity?.user ?? '', waiterHeaders }
    const response = await app.fetch(request, bindings)
    if (response.status === 404 && response.headers.get('x-waiter-answered') === null) {
      const isKnown = KNOWN_PATHS.some(pattern => pattern.test(head.path))
      pipeline.answerError(exchange, context, isKnown ? WRONG_METHOD : NOT_FOUND)
      return undefined
    }
    // The answer goes on by itself, or has been given already.
    if (response.headers.has('x-waiter-streamed')) return undefined
    return await toOwnResponse(response, pipeline.ownHeaders(context))
  }

  return {
    serve: async (exchange, context) => {
      try {
        const response = await answer(exchange, context)
        if (response !== undefined && !exchange.isFinished) exchange.respond(response)
      } catch (error) {
        const requestError = toRequestError(error)
        if (requestError.status >= 500) parts.options.log.warn({ err: error, cid: context.cid }, 'an API call failed')
        parts.pipeline().answerError(exchange, context, requestError)
      }
    },
  }
}

const NOT_FOUND = { status: 404, message: 'Not found' }
const WRONG_METHOD = { status: 405, message: 'Invalid request method' }
/** What a `Request` can be made of; other methods (TRACE, CONNECT) no route takes anyway. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])
/** Paths that exist: for them a call that no route takes has the wrong method. */
const KNOWN_PATHS: readonly RegExp[] = [
  /^\/$/,
  /^\/(?:app-name|service-id|apps|settings|state|status|token|tokens|waiter-ping|waiter-auth|profiles)$/,
  /^\/apps\/[^/]+(?:\/logs)?$/,
  /^\/state\/[^/]+$/,
  /^\/(?:tokens\/(?:owners|refresh|reindex)|token-history|reference\/notify)$/,
  /^\/\.well-known\/(?:auth\/(?:expires-at|keep-alive)|oidc\/v1\/openid-enabled)$/,
]
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
