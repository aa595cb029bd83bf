import type { ServiceView } from '@waiter/control'
import { z } from 'zod'
import { askRouters } from '../cluster/questions.ts'
import { aggregateMetrics } from '../metrics/aggregate.ts'
import {
  type ApiCall,
  type ApiParts,
  answer,
  baseUrlOf,
  leaderOf,
  mayManage,
  queryOf,
  requireManager,
  serviceNotFound,
  viewerOf,
  withIsoTime,
} from './api-context.ts'
import { parseAppFilters } from './app-filters.ts'
import { viewInactive } from './inactive-service.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { flag, include, integer } from './contract/query.ts'
import { type RenderAppContext, renderApp, renderAppDetails } from './render-app.ts'
import { findFallback, withdrawalsOf } from './render-versions.ts'
import { appDetailsSchema, appSchema, deletionSchema } from './schemas/service.ts'
import { visibleDescription } from './visible-description.ts'

/** Routers answer for their metrics within milliseconds, or they are not well. */
const METRICS_TIMEOUT_MS = 3_000
/** Longest wait for all routers to let go of a deleted service. */
const AGREE_TIMEOUT_MS_MAX = 300_000

const TAG = 'services'
const effectiveParameters = flag('Adds `effective-parameters`: the description with defaults and overrides.')

/** `/apps` and `/apps/:id` (spec §4.2, §4.3). Answers are the leader's: they hold for the whole cluster. */
export function addAppRoutes(endpoints: Endpoints, parts: ApiParts): void {
  endpoints.add(
    {
      method: 'get',
      path: '/apps',
      summary: 'Services that run or are known',
      description:
        'Those that the caller manages; with `run-as-user` (`*`: anybody) those of others too, whose `env` shows no values.',
      tag: TAG,
      access: 'user',
      query: {
        include: include('include', ['effective-parameters', 'healthy-instances', 'references', 'token-fallback']),
        'effective-parameters': effectiveParameters,
      },
      otherQuery:
        'Any service parameter (dotted for nested ones: `env.COLOUR=red`), `service-id`, `token` and `token-version` filter by equal text or a pattern that matches all of it; several values of one name: any of them. `*` matches every non-empty value, or with `star-mode=literal` only itself.',
      answers: { 200: { description: 'The services.', json: z.array(appSchema) } },
    },
    async ({ call, query }) => {
      const filters = parseAppFilters(queryOf(call))
      const view = await leaderOf(parts).viewServices()
      const context = contextOf(call, parts, query.include, query['effective-parameters'])
      const selected = view.services.filter(service => {
        const { effective } = service.definition
        const isManager = context.mayManage(effective['run-as-user'])
        if (!filters.namesUser && !isManager) return false
        return filters.selects(service, visibleDescription(effective, isManager), service.summary.sourceTokens.flat())
      })
      return call.json(selected.map(service => renderApp(service, context)))
    },
  )

  endpoints.add(
    {
      method: 'get',
      path: '/apps/:id',
      summary: 'One service with its instances',
      tag: TAG,
      access: 'user',
      query: {
        include: include('include', ['effective-parameters', 'metrics', 'references', 'token-fallback']),
        'effective-parameters': effectiveParameters,
      },
      answers: { 200: { description: 'The service.', json: appDetailsSchema } },
    },
    async ({ call, query, param }) => {
      const id = param('id')
      const view = await leaderOf(parts).viewServices(id)
      const service = view.services[0] ?? (await viewInactive(parts, id))
      if (service === undefined) throw serviceNotFound(id)
      const viewer = viewerOf(call, parts)
      const context = {
        ...contextOf(call, parts, query.include, query['effective-parameters']),
        mayManage: (user: string) => parts.options.entitlements.mayManageToken(viewer, user),
      }
      const overrides = await parts.overrides.read(id)
      const suspension = parts.suspensions.find(id)
      return call.json({
        ...renderAppDetails(service, context, view.routers.length),
        ...(query.include.has('metrics') ? { metrics: await gatherMetrics(parts, id) } : {}),
        ...(overrides === undefined ? {} : { 'service-description-overrides': withIsoTime(overrides) }),
        ...(suspension === undefined ? {} : { 'service-suspended-state': withIsoTime(suspension) }),
      })
    },
  )
  addDeletion(endpoints, parts)
}

function addDeletion(endpoints: Endpoints, parts: ApiParts): void {
  endpoints.add(
    {
      method: 'delete',
      path: '/apps/:id',
      summary: 'Stop a service and forget it; the next request starts it anew',
      tag: TAG,
      access: 'user',
      query: {
        timeout: integer('timeout', 'Milliseconds to wait for all routers to know.', AGREE_TIMEOUT_MS_MAX),
      },
      answers: {
        200: { description: 'It is gone.', json: deletionSchema },
        404: { description: 'There is no such service.', json: deletionSchema },
      },
    },
    async ({ call, query, param }) => {
      const id = param('id')
      const service = (await leaderOf(parts).viewServices(id)).services[0]
      if (service === undefined) return noSuchService(call, id)
      requireManager(call, parts, service.definition.effective['run-as-user'])
      if (!(await leaderOf(parts).deleteService(id)).isDeleted) return noSuchService(call, id)
      // It can still be looked at, and the next request that means it starts it again.
      parts.descriptions.remember(id, service.definition.core)
      return call.json({
        message: `Deleted ${id}`,
        result: 'deleted',
        'routers-agree': await isGoneEverywhere(parts, id, query.timeout ?? 0),
        'service-id': id,
        success: true,
      })
    },
  )
}

function noSuchService(call: ApiCall, id: string): Response {
  const message = 'Service does not exist'
  return answer(call, 404, { message, result: 'no-such-service-exists', 'service-id': id, success: false })
}

/** A service by its id, also one that does not run. @throws WaiterError 404 */
export async function findService(parts: ApiParts, id: string): Promise<ServiceView> {
  const service = (await leaderOf(parts).viewServices(id)).services[0] ?? (await viewInactive(parts, id))
  if (service === undefined) throw serviceNotFound(id)
  return service
}

function contextOf(
  call: ApiCall,
  parts: ApiParts,
  included: ReadonlySet<string>,
  hasEffectiveParameters: boolean,
): RenderAppContext {
  return {
    baseUrl: baseUrlOf(call),
    include: included,
    hasEffectiveParameters: hasEffectiveParameters || included.has('effective-parameters'),
    isCurrentVersion: (token, version) => parts.tokens.find(token)?.etag === version,
    mayManage: user => mayManage(call, parts, user),
    routerId: parts.options.routerId,
    findWithdrawals: serviceId => withdrawalsOf(serviceId, parts.withdrawals.entries()),
    findFallback: service =>
      findFallback(service, {
        findToken: name => parts.tokens.find(name)?.record,
        config: parts.options.services,
      }),
  }
}

/** What every router measured of a service, and all together. */
async function gatherMetrics(parts: ApiParts, serviceId: string): Promise<Record<string, unknown>> {
  const link = leaderOf(parts)
  const { answers, silentRouterIds } = await askRouters(link, 'metrics', { serviceId }, METRICS_TIMEOUT_MS)
  const known = [...answers].flatMap(([routerId, metrics]) => (metrics === null ? [] : [[routerId, metrics] as const]))
  const aggregate = aggregateMetrics(known.map(([, metrics]) => metrics))
  return {
    aggregate: {
      ...aggregate,
      'routers-sent-requests-to': known.filter(([, metrics]) => totalOf(metrics) > 0).length,
    },
    routers: Object.fromEntries(known),
    ...(silentRouterIds.length === 0
      ? {}
      : { 'error-messages': Object.fromEntries(silentRouterIds.map(id => [id, 'did not answer in time'])) }),
  }
}

function totalOf(metrics: Readonly<Record<string, unknown>>): number {
  const { counters } = metrics as { counters?: { 'request-counts'?: { total?: number } } }
  return counters?.['request-counts']?.total ?? 0
}

/** Do all routers know that the service is gone, now or within the time? */
async function isGoneEverywhere(parts: ApiParts, serviceId: string, timeoutMs: number): Promise<boolean> {
  // Also without a time of its own the question needs a moment to get there and back.
  const ROUND_TRIP_MS = 1_000
  const argument = { serviceId, goal: 'deleted', timeoutMs } as const
  const asked = await askRouters(leaderOf(parts), 'await', argument, timeoutMs + ROUND_TRIP_MS)
  return asked.silentRouterIds.length === 0 && [...asked.answers.values()].every(({ isReached }) => isReached)
}
