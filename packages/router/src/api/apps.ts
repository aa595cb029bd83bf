import { WaiterError } from '@waiter/base'
import type { LeaderLink } from '@waiter/control'
import type { Hono } from 'hono'
import { schemeOf } from '../request/scheme.ts'
import { type ApiCall, type ApiEnvironment, type ApiParts, includesOf, queryOf } from './api-context.ts'
import { isSelectedApp, type RenderAppContext, renderApp, renderAppDetails } from './render-app.ts'

/** `/apps`, `/apps/:service-id` and its logs (spec §4.2, §4.3). */
export function addAppRoutes(app: Hono<ApiEnvironment>, parts: ApiParts): void {
  const leader = (): LeaderLink => {
    const link = parts.leader()
    if (link !== undefined) return link
    throw new WaiterError('this router is still starting', { code: 'WTR_STARTING', status: 503, retryable: true })
  }
  const contextOf = (call: ApiCall): RenderAppContext => ({
    host: call.env.exchange.head.authority,
    include: includesOf(call),
    hasEffectiveParameters:
      call.req.query('effective-parameters') === 'true' || includesOf(call).has('effective-parameters'),
    isCurrentVersion: (token, version) => parts.tokens.find(token)?.etag === version,
    routerId: parts.options.routerId,
    scheme: schemeOf(call.env.exchange),
  })

  app.get('/apps', async call => {
    const view = await leader().viewServices()
    const query = queryOf(call)
    const isManager = (user: string): boolean => parts.options.entitlements.mayManageToken(call.env.requester, user)
    const selected = view.services.filter(service => isSelectedApp(service, query, isManager))
    return call.json(selected.map(service => renderApp(service, contextOf(call))))
  })

  app.get('/apps/:id', async call => {
    const id = call.req.param('id')
    const view = await leader().viewServices(id)
    const service = view.services[0]
    if (service === undefined) throw serviceNotFound(id)
    return call.json(renderAppDetails(service, contextOf(call), view.routers.length))
  })

  app.delete('/apps/:id', async call => {
    const id = call.req.param('id')
    requireWholeNumber(call.req.query('timeout'))
    const view = await leader().viewServices(id)
    const service = view.services[0]
    if (service === undefined)
      return call.json(
        { message: 'Service does not exist', result: 'no-such-service-exists', 'service-id': id, success: false },
        404,
        { 'x-waiter-answered': 'true' },
      )
    requireManager(call, parts, service.definition.effective['run-as-user'])
    await leader().deleteService(id)
    return call.json({
      message: `Deleted ${id}`,
      result: 'deleted',
      'routers-agree': true,
      'service-id': id,
      success: true,
    })
  })

  app.get('/apps/:id/logs', async call => {
    const id = call.req.param('id')
    const instanceId = call.req.query('instance-id')
    const host = call.req.query('host')
    if (!instanceId || !host)
      throw new WaiterError(`${instanceId ? 'Host' : 'Instance id'} is missing: give both instance-id and host`, {
        code: 'WTR_BAD_REQUEST',
        status: 400,
      })
    const view = await leader().viewServices(id)
    const service = view.services[0]
    if (service === undefined) throw serviceNotFound(id)
    requireManager(call, parts, service.definition.effective['run-as-user'], 401)
    const directory = call.req.query('directory') ?? ''
    const entries = await leader().listLogs(id, instanceId, directory)
    return call.json(
      entries.map(({ name, type, size, path }) =>
        type === 'directory' ? { name, type, path } : { name, type, size, path },
      ),
    )
  })
}

function serviceNotFound(id: string): WaiterError {
  return new WaiterError('Service not found', {
    code: 'WTR_NO_SUCH_SERVICE',
    status: 404,
    details: { 'service-id': id },
  })
}

function requireManager(call: ApiCall, { options }: ApiParts, user: string, status = 403): void {
  if (options.entitlements.mayManageToken(call.env.requester, user)) return
  throw new WaiterError('User not allowed to manage this service', {
    code: 'WTR_FORBIDDEN',
    status,
    details: { 'run-as-user': user },
  })
}

function requireWholeNumber(timeout: string | undefined): void {
  if (timeout === undefined || /^\d{1,9}$/.test(timeout)) return
  throw new WaiterError('timeout must be an integer', { code: 'WTR_BAD_REQUEST', status: 400 })
}
