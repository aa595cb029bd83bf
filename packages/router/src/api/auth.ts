import { WaiterError } from '@waiter/base'
import type { RequestHead } from '@waiter/proxy'
import { type Discovery, decideKeepAlive } from '@waiter/services'
import type { Hono } from 'hono'
import { toHeaderValue } from '../request/debug-headers.ts'
import { targetOf } from '../request/own-targets.ts'
import { type ApiCall, type ApiEnvironment, type ApiParts, answer, takenOver } from './api-context.ts'

const MS_PER_S = 1000
const NOT_IMPLEMENTED = 501
const FOUND = 302

/** `/waiter-auth` and what pages ask about their login (spec §4.1, §7.6). */
export function addAuthRoutes(app: Hono<ApiEnvironment>, parts: ApiParts): void {
  app.get('/waiter-auth', call => {
    const { identity } = call.env
    if (identity === undefined) throw new Error('an authenticated path without an identity')
    return call.text(identity.user, 200, {
      'x-waiter-auth-method': identity.method,
      'x-waiter-auth-principal': toHeaderValue(identity.principal),
      'x-waiter-auth-user': toHeaderValue(identity.user),
    })
  })

  app.get('/.well-known/auth/expires-at', call => {
    const known = parts.pipeline().authentication.byCookie(call.env.exchange)
    return call.json({
      'expires-at': known === undefined ? 0 : Math.floor(known.expiresAtMs / MS_PER_S),
      principal: known?.identity.principal ?? null,
    })
  })

  app.get('/.well-known/auth/keep-alive', call => keepAlive(call, parts))

  app.get('/.well-known/oidc/v1/openid-enabled', call => openIdEnabled(call, parts))

  app.get('/oidc/v1/callback', async call => {
    const { exchange, context } = call.env
    const login = parts.pipeline().authentication.identityProvider?.login
    if (login === undefined)
      throw new WaiterError('OpenID Connect is not configured', { code: 'WTR_NO_OIDC', status: NOT_IMPLEMENTED })
    const completed = await login.complete(exchange)
    if (!completed.ok) {
      if (!exchange.isFinished) parts.pipeline().answerError(exchange, context, completed.error)
      return takenOver()
    }
    for (const [name, value] of completed.value.headers) call.header(name, value, { append: true })
    return call.redirect(completed.value.location, FOUND)
  })
}

/** Do people log in by OpenID Connect on this host? */
async function openIdEnabled(call: ApiCall, parts: ApiParts): Promise<Response> {
  const { host } = call.env.exchange.head
  const login = parts.pipeline().authentication.identityProvider?.login
  const discovery = ofHost(await discover(call, parts))
  const token = discovery?.records[0]?.token
  const isEnabled = (login?.isEnabledFor(discovery) ?? false) && !discovery?.isAuthenticationDisabled
  const status = login === undefined ? NOT_IMPLEMENTED : isEnabled ? 200 : 404
  const clientId = login?.clientIdFor(host) ?? host
  return answer(call, status, {
    'client-id': clientId,
    enabled: isEnabled,
    ...(token === undefined ? {} : { token }),
  })
}

/** Renews the cookie of a page that will run for `offset` seconds more. */
async function keepAlive(call: ApiCall, parts: ApiParts): Promise<Response> {
  const { exchange, waiterHeaders, context } = call.env
  const pipeline = parts.pipeline()
  const discovery = await discover(call, parts)
  if (discovery?.source === 'host' && discovery.records.length === 0)
    throw new WaiterError('Unknown token', { code: 'WTR_NO_SUCH_TOKEN', status: 404 })
  const expiresAtMs = pipeline.authentication.byCookie(exchange)?.expiresAtMs
  const query = { offset: call.req.query('offset'), done: call.req.query('done') }
  const decision = decideKeepAlive(query, Date.now(), expiresAtMs)
  if (decision.kind === 'refused')
    throw new WaiterError(decision.message, { code: 'WTR_BAD_REQUEST', status: 400, details: query })
  if (decision.kind === 'done' || discovery?.isAuthenticationDisabled) return call.body(null, 204)
  const outcome = await pipeline.authentication.anew(
    exchange,
    waiterHeaders,
    ofHost(discovery),
    doneTarget(exchange.head),
  )
  if (outcome.kind === 'refused') {
    if (!exchange.isFinished) pipeline.answerError(exchange, context, outcome.error)
    return takenOver()
  }
  for (const [name, value] of pipeline.authentication.cookiesFor(outcome, pipeline.clientFacts.isHttps(exchange)))
    call.header(name, value, { append: true })
  return call.body(null, 204)
}

/** Where a login in between comes back to. */
function doneTarget({ path, query }: RequestHead): string {
  return targetOf(path, query === null ? 'done=true' : `${query}&done=true`)
}

/** The service of the host's own token: there, a login is one to that service. */
function ofHost(discovery: Discovery | undefined): Discovery | undefined {
  return discovery?.source === 'host' ? discovery : undefined
}

/** The token of the host, when it names one. */
function discover(call: ApiCall, parts: ApiParts): Promise<Discovery | undefined> {
  return parts.pipeline().discoverAfresh(call.env.exchange, call.env.waiterHeaders)
}
