import { WaiterError } from '@waiter/base'
import {
  ADMIN_TOKEN_BODY_LIMITS,
  chooseTokenNameForPost,
  chooseTokenNameForRead,
  readToken,
  TOKEN_BODY_LIMITS,
} from '@waiter/services'
import type { Hono } from 'hono'
import { FOREIGN_HOST } from '../request/foreign-pages.ts'
import { tokenFailure } from '../tokens/token-service.ts'
import { type ApiCall, type ApiEnvironment, type ApiParts, includesOf } from './api-context.ts'
import { readJsonObject } from './read-json.ts'

/** `/token` (spec §3.2–3.4). */
export function addTokenRoutes(app: Hono<ApiEnvironment>, parts: ApiParts): void {
  const { options, tokenService } = parts
  const { services: config } = options
  const nameSources = (call: ApiCall) => ({
    queryToken: call.req.query('token'),
    headerToken: call.env.waiterHeaders.get('token'),
    host: call.env.exchange.head.authority,
    config,
  })
  const requireName = (call: ApiCall): string => {
    const name = chooseTokenNameForRead(nameSources(call))
    if (!name.ok) throw tokenFailure(name.error)
    return name.value
  }

  app.get('/token', async call => {
    const name = requireName(call)
    const { queryToken, headerToken } = nameSources(call)
    if ((queryToken ?? headerToken) !== undefined && parts.pipeline().foreignPages.isForeignHost(call.env.exchange))
      throw new WaiterError(FOREIGN_HOST.message, { code: 'WTR_FOREIGN_HOST', status: FOREIGN_HOST.status })
    const include = includesOf(call)
    const { record } = await tokenService.read(name)
    const found = readToken(name, record, { metadata: include.has('metadata'), deleted: include.has('deleted') })
    if (!found.ok) throw tokenFailure(found.error)
    return call.json(found.value.body, 200, { etag: found.value.etag })
  })

  app.post('/token', async call => {
    const updateMode = call.req.query('update-mode')
    const limits = updateMode === 'admin' ? ADMIN_TOKEN_BODY_LIMITS : TOKEN_BODY_LIMITS
    const body = await readJsonObject(call.env.exchange, limits)
    const token = chooseTokenNameForPost(body, nameSources(call))
    if (!token.ok) throw tokenFailure(token.error)
    const decision = await tokenService.post({
      token: token.value,
      body,
      updateMode,
      ifMatch: call.req.header('if-match'),
      host: call.env.exchange.head.authority,
      requester: call.env.requester,
      nowMs: Date.now(),
    })
    return call.json(decision.body, 200, {
      etag: decision.etag,
      'x-waiter-operation-result': decision.operationResult,
    })
  })

  app.delete('/token', async call => {
    const ifMatch = call.req.header('if-match')
    const decision = await tokenService.delete({
      token: requireName(call),
      isHardDelete: call.req.query('hard-delete') === 'true',
      ifMatch,
      requester: call.env.requester,
      nowMs: Date.now(),
    })
    return call.json(decision.body, 200, {
      ...(ifMatch === undefined ? {} : { etag: ifMatch }),
      'x-waiter-operation-result': decision.operationResult,
    })
  })
}
