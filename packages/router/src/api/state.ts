import { WaiterError } from '@waiter/base'
import { type ApiCall, type ApiParts, baseUrlOf, mayManage } from './api-context.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { include } from './contract/query.ts'
import { stateIndexSchema, stateSchema } from './schemas/state.ts'
import { renderServiceState } from './service-state.ts'
import { createSections, type SectionRequest, type Watches } from './state-sections.ts'

/** `/state` (spec §4.7): what this router and the leader know and believe, for people who ask why. */
export function addStateRoutes(endpoints: Endpoints, parts: ApiParts, watches: Watches): void {
  const { routerId } = parts.options
  const sections = createSections(parts, watches)
  const requestOf = (call: ApiCall, included: ReadonlySet<string>): SectionRequest => ({
    include: included,
    baseUrl: baseUrlOf(call),
    mayManage: user => mayManage(call, parts, user),
  })

  endpoints.add(
    {
      method: 'get',
      path: '/state',
      summary: 'What there is to look at',
      tag: 'state',
      access: 'user',
      answers: { 200: { description: 'Addresses of the parts.', json: stateIndexSchema } },
    },
    async ({ call }) => {
      const view = await parts
        .leader()
        ?.viewServices('')
        .catch(() => undefined)
      const base = `${baseUrlOf(call)}/state`
      return call.json({
        details: Object.fromEntries([...sections.keys()].map(name => [name, `${base}/${name}`])),
        'router-id': routerId,
        routers: Object.fromEntries((view?.routers ?? []).map(router => [router.routerId, router.httpUrl])),
      })
    },
  )

  for (const [name, section] of sections)
    endpoints.add(
      {
        method: 'get',
        path: `/state/${name}`,
        summary: `State: ${name}`,
        tag: 'state',
        access: 'user',
        query: { include: include('include', section.include) },
        answers: { 200: { description: "This router's view.", json: stateSchema } },
      },
      async ({ call, query }) => {
        const state = await section.read(requestOf(call, query.include))
        const supported = section.include.length === 0 ? {} : { 'supported-include-params': section.include }
        return call.json({ 'router-id': routerId, state: { ...state, ...supported } })
      },
    )

  endpoints.add(
    {
      method: 'get',
      path: '/state/:service-id',
      summary: 'State: one service',
      tag: 'state',
      access: 'user',
      answers: { 200: { description: "This router's view, and the leader's.", json: stateSchema } },
    },
    async ({ call, param }) => {
      const id = param('service-id')
      const runtime = parts.table.get(id)
      const view = await parts
        .leader()
        ?.viewServices(id)
        .catch(() => undefined)
      const service = view?.services[0]
      if (runtime === undefined && service === undefined)
        throw new WaiterError('Not found: neither a part of the state nor a service', {
          code: 'WTR_NO_SUCH_STATE',
          status: 404,
          details: { supported: [...sections.keys()] },
        })
      return call.json({
        'router-id': routerId,
        state: renderServiceState(runtime, service, requestOf(call, new Set())),
      })
    },
  )
}
