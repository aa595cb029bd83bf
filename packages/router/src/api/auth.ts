import { WaiterError } from '@waiter/base'
import { type Discovery, decideKeepAlive } from '@waiter/services'
import type { Hono } from 'hono'
import { toHeaderValue } from '../request/debug-headers.ts'
import type { ApiCall, ApiEnvironment, ApiParts } from './api-context.ts'

const MS_PER_S = 1000
const NOT_IMPLEMENTED = 501

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

  app.get('/.well-known/oidc/v1/openid-enabled', async call => {
    const token = (await discover(call, parts))?.records[0]?.token
    return call.json(
      { 'client-id': call.env.exchange.head.host, enabled: false, ...(token === undefined ? {} : { token }) },
      NOT_IMPLEMENTED,
    )
  })

  app.get('/oidc/v1/callback', () => {
    throw new WaiterError('OpenID Connect is not configured', { code: 'WTR_NO_OIDC', status: NOT_IMPLEMENTED })
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
  const outcome = await pipeline.authentication.anew(exchange, waiterHeaders)
  if (outcome.kind === 'refused') {
    pipeline.answerError(exchange, context, outcome.error)
    return call.body(null)
  }
  for (const [name, value] of pipeline.authentication.cookiesFor(outcome, pipeline.clientFacts.isHttps(exchange)))
    call.header(name, value, { append: true })
  return call.body(null, 204)
}

/** The token of the host, when it names one. */
function discover(call: ApiCall, parts: ApiParts): Promise<Discovery | undefined> {
  return parts.pipeline().discoverAfresh(call.env.exchange, call.env.waiterHeaders)
}
