import { z } from 'zod'
import { type ApiParts, answer, requireManager, serviceNotFound } from './api-context.ts'
import type { Endpoints } from './contract/endpoint.ts'

/** The longest ejection that may be asked for. */
const EJECT_MS_MAX = 300_000

const bodySchema = z.object({
  instance: z.object({ id: z.string().min(1).max(512), 'service-id': z.string().min(1).max(256) }),
  'period-in-ms': z.int().min(1).max(EJECT_MS_MAX),
  reason: z.string().max(256),
})

const refusalSchema = z.strictObject({
  'instance-id': z.string(),
  message: z.string(),
  reason: z.enum(['in-use', 'no-such-instance']),
})

/** `/eject` and `/ejected/:service-id` (spec §4.1): ejections are this router's own. */
export function addEjectRoutes(endpoints: Endpoints, parts: ApiParts): void {
  endpoints.add(
    {
      method: 'post',
      path: '/eject',
      summary: 'Have this router leave an instance alone for a while',
      tag: 'instances',
      access: 'user',
      body: bodySchema,
      answers: {
        200: {
          description: 'It is left alone.',
          json: z.strictObject({ 'instance-id': z.string(), 'eject-period': z.int() }),
        },
        423: { description: 'Requests run there.', json: refusalSchema },
        503: { description: 'This router does not use it.', json: refusalSchema },
      },
    },
    ({ call, body }) => {
      const { id, 'service-id': serviceId } = body.instance
      const runtime = parts.table.get(serviceId)
      if (runtime === undefined) throw serviceNotFound(serviceId)
      requireManager(call, parts, runtime.definition.effective['run-as-user'])
      const refuse = (status: number, reason: string): Response =>
        answer(call, status, { 'instance-id': id, message: 'Unable to eject instance.', reason })
      if ((runtime.machine.inUseByInstance().get(id) ?? 0) > 0) return refuse(423, 'in-use')
      if (!runtime.eject(id, body['period-in-ms'])) return refuse(503, 'no-such-instance')
      parts.options.log.info({ serviceId, instanceId: id, ...body }, 'ejected an instance on request')
      return call.json({ 'instance-id': id, 'eject-period': body['period-in-ms'] })
    },
  )
  endpoints.add(
    {
      method: 'get',
      path: '/ejected/:service-id',
      summary: 'Instances of a service that this router leaves alone now',
      tag: 'instances',
      access: 'user',
      answers: {
        200: { description: 'Their ids.', json: z.strictObject({ 'ejected-instances': z.array(z.string()) }) },
      },
    },
    ({ call, param }) => {
      const ids = parts.table.get(param('service-id'))?.machine.counts().ejectedInstanceIds ?? []
      return call.json({ 'ejected-instances': ids })
    },
  )
}
