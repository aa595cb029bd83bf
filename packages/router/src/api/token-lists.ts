import { md5, WaiterError } from '@waiter/base'
import {
  parseIsoTime,
  parseTokenListingQuery,
  renderTokenHistory,
  renderTokenListing,
  TOKEN_HISTORY_LENGTH_DEFAULT,
  type TokenListingQuery,
  type TokenRecord,
} from '@waiter/services'
import type { Hono } from 'hono'
import { nextRequestId } from '../request/request-context.ts'
import { requestErrorOf } from '../request/request-errors.ts'
import { TOKEN_PREFIX } from '../tokens/token-replica.ts'
import { tokenFailure } from '../tokens/token-service.ts'
import { TokenWatchers } from '../tokens/token-watchers.ts'
import { type ApiCall, type ApiEnvironment, type ApiParts, queryOf } from './api-context.ts'
import { JsonStream } from './json-stream.ts'
import { readJsonObject } from './read-json.ts'

/** What a call to refresh or notify may carry. */
const NOTICE_LIMITS = { charsMax: 4_096, depthMax: 2, itemsMax: 16 }
const HISTORY_LENGTH_MAX = 100

/** `/tokens` with its watch, `/tokens/…`, `/token-history`, `/reference/notify` (spec §3.5–3.7). */
export function addTokenListRoutes(app: Hono<ApiEnvironment>, parts: ApiParts): TokenWatchers {
  const { options, tokens } = parts
  const context = { entitlements: options.entitlements, config: options.services }
  const watchers = new TokenWatchers({ tokens, context, nextId: nextRequestId })

  app.get('/tokens', call => {
    const query = parseTokenListingQuery(queryOf(call))
    if (!query.ok) throw tokenFailure(query.error)
    if (query.value.isWatch) return watch(call, query.value, watchers, parts)
    const records = [...tokens.entries()].map(([name, { record }]): [string, TokenRecord] => [name, record])
    return call.json(renderTokenListing(records, query.value, context))
  })

  app.get('/tokens/owners', call => {
    const owners = new Set<string>()
    for (const [, { record }] of tokens.entries()) owners.add(record.owner)
    return call.json(Object.fromEntries([...owners].sort().map(owner => [owner, `^TOKEN_OWNERS_${md5(owner)}`])))
  })

  app.post('/tokens/reindex', async call => {
    let count = 0
    for await (const { key, value, version } of options.store.list(TOKEN_PREFIX)) {
      tokens.learn(key.slice(TOKEN_PREFIX.length), value, version)
      count += 1
    }
    return call.json({ message: 'Successfully re-indexed', tokens: count })
  })

  app.post('/tokens/refresh', async call => {
    requireAdministrator(call, parts)
    const body = await readJsonObject(call.env.exchange, NOTICE_LIMITS)
    if (body.index !== true && typeof body.token !== 'string')
      throw badRequest('Name what to refresh: {"token": "…"} or {"index": true}')
    if (typeof body.token === 'string') await parts.tokenService.read(body.token)
    return call.json({ success: true })
  })

  app.get('/token-history', async call => {
    const token = call.req.query('token') ?? ''
    if (token === '') throw badRequest('Name a token: /token-history?token=…')
    const length = call.req.query('length') ?? String(TOKEN_HISTORY_LENGTH_DEFAULT)
    if (!/^[1-9]\d{0,8}$/.test(length)) throw badRequest('length must be a positive integer')
    const { record } = await parts.tokenService.read(token)
    const history = renderTokenHistory(
      {
        headers: new Map([['token', token]]),
        host: undefined,
        findToken: name => (name === token ? record : undefined),
        requester: call.env.requester,
        isOneUser: parts.pipeline().authentication.isOneUser,
        config: options.services,
      },
      {
        lengthMax: Math.min(Number(length), HISTORY_LENGTH_MAX),
        findWithdrawals: name => parts.withdrawals.find(name),
      },
    )
    if (history.ok) return call.json(history.value)
    const { status, message, details } = requestErrorOf(history.error)
    throw new WaiterError(message, { code: 'WTR_TOKEN_REFUSED', status, details: details ?? {} })
  })

  app.post('/reference/notify', async call => {
    requireAdministrator(call, parts)
    const body = await readJsonObject(call.env.exchange, NOTICE_LIMITS)
    const { 'reference-name': name, 'reference-type': type, 'update-time': time } = body
    if (typeof name !== 'string' || typeof type !== 'string' || typeof time !== 'string')
      throw badRequest('reference-name, reference-type and update-time must be given as strings')
    if (parseIsoTime(time) === undefined) throw badRequest('update-time must be an ISO-8601 time')
    watchers.tellReference({ 'reference-name': name, 'reference-type': type, 'update-time': time })
    return call.json({ success: true })
  })
  return watchers
}

/** The answer goes on by itself; what is returned only says so. */
function watch(call: ApiCall, query: TokenListingQuery, watchers: TokenWatchers, parts: ApiParts): Response {
  const { exchange, context } = call.env
  let stop = (): void => undefined
  // Headers are sent by the first message: a refusal must come before.
  let stream: JsonStream | undefined
  stop = watchers.add({
    query,
    send: message => {
      stream ??= new JsonStream({
        exchange,
        headers: parts.pipeline().ownHeaders(context),
        idleTimeoutMs: query.streamingTimeoutMs ?? parts.options.services.token.defaults['streaming-timeout-ms'],
        onEnd: () => stop(),
      })
      stream.send(message)
    },
  })
  return call.body(null, 200, { 'x-waiter-streamed': 'true' })
}

function requireAdministrator(call: ApiCall, { options }: ApiParts): void {
  if (options.entitlements.mayAdminister(call.env.requester)) return
  throw new WaiterError('Only administrators may do this: routers follow the store by themselves', {
    code: 'WTR_FORBIDDEN',
    status: 403,
  })
}

function badRequest(message: string): WaiterError {
  return new WaiterError(message, { code: 'WTR_BAD_REQUEST', status: 400 })
}
