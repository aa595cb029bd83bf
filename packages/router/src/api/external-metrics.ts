import type { ExternalMetricsRow } from '@waiter/control'
import { parseIsoTime } from '@waiter/services'
import { z } from 'zod'
import { type ApiCall, type ApiParts, leaderOf, requireManager } from './api-context.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { badRequest } from './contract/query.ts'

/** Instances of one report. */
const ROWS_MAX = 10_000

const bodySchema = z.object({
  cluster: z.string({ error: "Invalid 'cluster' field. Must be a string." }),
  'service-metrics': z.record(z.string(), z.unknown(), {
    error: "Invalid 'service-metrics' field. Must be an object.",
  }),
})

/** `/metrics/external` (spec §4.5): what instances of bypass services say of their own load. */
export function addExternalMetricsRoutes(endpoints: Endpoints, parts: ApiParts): void {
  const path = '/metrics/external'
  endpoints.add(
    {
      method: 'post',
      path,
      summary: 'Report the load of instances that clients reach past Waiter',
      description:
        'Body: `{cluster, "service-metrics": {service-id: {instance-id: {"updated-at", metrics: {"active-request-count", "last-request-time"}}}}}`. The caller must manage every service of it that runs.',
      tag: 'metrics',
      access: 'user',
      body: bodySchema,
      answers: {
        200: {
          description: 'no-op: nothing in it was news of an instance that runs.',
          json: z.strictObject({ 'no-op': z.boolean() }),
        },
      },
    },
    async ({ call, body }) => {
      if (body.cluster !== parts.options.services.clusterName)
        throw badRequest('Metrics are for a different cluster.', { cluster: parts.options.services.clusterName })
      const rows = parseRows(body['service-metrics'])
      await requireManagerOfAll(call, parts, rows)
      const { isUsed } = await leaderOf(parts).reportExternalMetrics(rows)
      return call.json({ 'no-op': !isUsed })
    },
  )
  for (const method of ['get', 'put', 'delete'] as const)
    endpoints.add(
      {
        method,
        path,
        summary: 'Refused',
        tag: 'metrics',
        access: 'user',
        answers: { 400: { description: 'Only POST is supported.' } },
      },
      () => {
        throw badRequest('Invalid request method. Only POST is supported.')
      },
    )
}

async function requireManagerOfAll(call: ApiCall, parts: ApiParts, rows: readonly ExternalMetricsRow[]): Promise<void> {
  const wanted = new Set(rows.map(row => row.serviceId))
  if (wanted.size === 0) return
  const { services } = await leaderOf(parts).viewServices()
  for (const { definition } of services)
    if (wanted.has(definition.id)) requireManager(call, parts, definition.effective['run-as-user'])
}

type Fields = Readonly<Record<string, unknown>>

/** @throws WaiterError 400 naming the field */
function parseRows(services: Fields): ExternalMetricsRow[] {
  const rows: ExternalMetricsRow[] = []
  for (const [serviceId, instances] of Object.entries(services))
    for (const [instanceId, given] of Object.entries(fieldsOf(instances, `service-metrics.${serviceId}`))) {
      if (rows.length >= ROWS_MAX) throw badRequest(`A report has at most ${ROWS_MAX} instances`)
      rows.push(parseRow(serviceId, instanceId, given))
    }
  return rows
}

function parseRow(serviceId: string, instanceId: string, given: unknown): ExternalMetricsRow {
  const place = `service-metrics.${serviceId}.${instanceId}`
  const row = fieldsOf(given, place)
  const metrics = fieldsOf(row['metrics'], `${place}.metrics`)
  const active = metrics['active-request-count']
  const lastRequest = metrics['last-request-time']
  return {
    serviceId,
    instanceId,
    updatedAtMs: timeOf(row['updated-at'], `${place}.updated-at`),
    activeRequests: active === undefined ? 0 : countOf(active, `${place}.metrics.active-request-count`),
    lastRequestMs: lastRequest === undefined ? 0 : timeOf(lastRequest, `${place}.metrics.last-request-time`),
  }
}

function fieldsOf(value: unknown, field: string): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields
  throw badRequest(`Invalid '${field}' field. Must be an object.`)
}

function timeOf(value: unknown, field: string): number {
  const parsed = typeof value === 'string' ? parseIsoTime(value) : undefined
  if (parsed !== undefined && parsed >= 0) return parsed
  throw badRequest(`Invalid '${field}' field. Must be ISO-8601 time.`)
}

/** The wire carries 32 bits; nobody serves more at once. */
const COUNT_MAX = 2 ** 32 - 1

function countOf(value: unknown, field: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= COUNT_MAX) return value
  throw badRequest(`Invalid '${field}' field. Must be non-negative integer.`)
}
