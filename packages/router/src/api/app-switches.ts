import { z } from 'zod'
import { askRouters } from '../cluster/questions.ts'
import { type ApiCall, type ApiParts, leaderOf, requireManager, serviceNotFound, withIsoTime } from './api-context.ts'
import { findService } from './apps.ts'
import type { Endpoints } from './contract/endpoint.ts'

/** Routers learn by their watch of the store anyway; the answer waits so long for them to say that they know. */
const REFRESH_TIMEOUT_MS = 2_000

const TAG = 'services'
const doneSchema = z.strictObject({ 'service-id': z.string(), success: z.boolean() })
const switchedSchema = z.strictObject({
  action: z.enum(['suspend', 'resume']),
  'service-id': z.string(),
  success: z.boolean(),
})

/** `/apps/:id/{override,suspend,resume,refresh}` (spec §4.1, §4.4): kept in the store, in force on all routers. */
export function addSwitchRoutes(endpoints: Endpoints, parts: ApiParts): void {
  addOverrideRoutes(endpoints, parts)
  for (const action of ['suspend', 'resume'] as const)
    for (const method of ['get', 'post'] as const)
      endpoints.add(
        {
          method,
          path: `/apps/:id/${action}`,
          summary: action === 'suspend' ? 'Refuse requests of a service with 503' : 'Take requests of a service again',
          tag: TAG,
          access: 'user',
          isChange: true,
          answers: { 200: { description: 'Every router that answers knows.', json: switchedSchema } },
        },
        async ({ call, param }) => {
          const id = param('id')
          await requireManaged(call, parts, id)
          await parts.suspensions.write(id, {
            suspended: action === 'suspend',
            'last-updated-by': call.env.requester,
            time: Date.now(),
          })
          await tellRouters(parts, id)
          return call.json({ action, 'service-id': id, success: true })
        },
      )

  endpoints.add(
    {
      method: 'get',
      path: '/apps/:id/refresh',
      summary: "Have all routers read a service's overrides and suspension anew",
      description: 'They follow the store by themselves; this is for those who want to be sure.',
      tag: TAG,
      access: 'user',
      answers: { 200: { description: 'success: whether every router said so.', json: doneSchema } },
    },
    async ({ call, param }) => {
      const id = param('id')
      await requireManaged(call, parts, id)
      return call.json({ 'service-id': id, success: await tellRouters(parts, id) })
    },
  )
}

function addOverrideRoutes(endpoints: Endpoints, parts: ApiParts): void {
  const path = '/apps/:id/override'
  endpoints.add(
    {
      method: 'get',
      path,
      summary: 'The overrides of a service',
      tag: TAG,
      access: 'user',
      answers: {
        200: {
          description: 'Empty when there are none.',
          json: z.strictObject({
            overrides: z.looseObject({}),
            'last-updated-by': z.string().optional(),
            time: z.string().optional(),
            'service-id': z.string(),
          }),
        },
      },
    },
    async ({ call, param }) => {
      const id = param('id')
      await requireManaged(call, parts, id)
      const stored = await parts.overrides.read(id)
      return call.json({ ...(stored === undefined ? { overrides: {} } : withIsoTime(stored)), 'service-id': id })
    },
  )

  endpoints.add(
    {
      method: 'post',
      path,
      summary: 'Override parameters of a live service; its id stays',
      description: 'Merged over the overrides in force. Only parameters that may be overridden (docs/services.md).',
      tag: TAG,
      access: 'user',
      body: z.looseObject({}, { error: 'Overrides must be a JSON object from parameter to value.' }),
      answers: { 200: { description: 'In force.', json: doneSchema } },
    },
    async ({ call, param, body }) => {
      const id = param('id')
      const service = await requireManaged(call, parts, id)
      const { core } = service.definition
      const requester = call.env.requester
      await parts.overrides.merge({ serviceId: id, core, body, requester, nowMs: Date.now() })
      await tellRouters(parts, id)
      return call.json({ 'service-id': id, success: true })
    },
  )

  endpoints.add(
    {
      method: 'delete',
      path,
      summary: 'Drop all overrides of a service',
      tag: TAG,
      access: 'user',
      answers: { 200: { description: 'None is in force.', json: doneSchema } },
    },
    async ({ call, param }) => {
      const id = param('id')
      await requireManaged(call, parts, id)
      await parts.overrides.clear(id)
      await tellRouters(parts, id)
      return call.json({ 'service-id': id, success: true })
    },
  )
}

/** @throws WaiterError 404, or 403 when the requester does not manage the service */
async function requireManaged(call: ApiCall, parts: ApiParts, id: string): ReturnType<typeof findService> {
  if (id.length > SERVICE_ID_CHARS_MAX) throw serviceNotFound(id)
  const service = await findService(parts, id)
  requireManager(call, parts, service.definition.effective['run-as-user'])
  return service
}

/** Longer than any id that Waiter makes; keeps keys of the store short. */
const SERVICE_ID_CHARS_MAX = 256

/** @returns whether every router has said that it knows */
async function tellRouters(parts: ApiParts, serviceId: string): Promise<boolean> {
  try {
    const told = await askRouters(leaderOf(parts), 'refresh', { serviceId }, REFRESH_TIMEOUT_MS)
    return told.silentRouterIds.length === 0
  } catch (error) {
    // It is written: routers learn of it by their watch.
    parts.options.log.warn({ err: error, serviceId }, 'could not tell the routers of a switch')
    return false
  }
}
