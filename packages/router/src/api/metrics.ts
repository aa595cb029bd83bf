import { z } from 'zod'
import { keepMatching } from '../metrics/keep-matching.ts'
import { renderJvm } from '../metrics/render-process.ts'
import { measureForPrometheus, measureSilence, renderPrometheus } from '../metrics/render-prometheus.ts'
import { renderServiceMetrics } from '../metrics/render-service.ts'
import { renderWaiterMetrics } from '../metrics/render-waiter.ts'
import type { ApiCall, ApiParts } from './api-context.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { badRequest, flag, text } from './contract/query.ts'
import { serviceMetricsSchema } from './schemas/service.ts'

const PROMETHEUS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** `/metrics` (spec §9.1): what this router measured, as a tree of JSON or for Prometheus. */
export function addMetricsRoutes(endpoints: Endpoints, parts: ApiParts): void {
  endpoints.add(
    {
      method: 'get',
      path: '/metrics',
      summary: 'What this router measured',
      description:
        'JSON; Prometheus text, of all workers of its node, with `format=prometheus`, or when `accept` asks for it.',
      tag: 'metrics',
      access: 'public',
      query: {
        'exclude-services': flag('Only what belongs to no service.'),
        'include-jvm-metrics': flag('Adds the process itself where it is left out.'),
        'service-id': text('Only this service.'),
        name: text('Only metrics whose name contains this.'),
        format: text('json or prometheus.'),
      },
      answers: {
        200: {
          description: 'The tree.',
          json: z.strictObject({
            jvm: z.looseObject({}).optional(),
            services: z.record(z.string(), serviceMetricsSchema).optional(),
            waiter: z.looseObject({}).optional(),
          }),
          media: ['text/plain'],
        },
      },
    },
    async ({ call, query }) => {
      const { format } = query
      if (format !== undefined && format !== 'json' && format !== 'prometheus')
        throw badRequest('format must be json or prometheus')
      if (format === 'prometheus' || (format === undefined && wantsPrometheus(call)))
        return call.body(await renderPage(parts), 200, { 'content-type': PROMETHEUS_TYPE })
      const tree = renderTree(parts, {
        serviceId: query['service-id'],
        hasServices: !query['exclude-services'],
        hasJvm: query['include-jvm-metrics'],
      })
      return call.json(query.name === undefined ? tree : keepMatching(tree, query.name))
    },
  )
}

/** Whichever worker of a node is scraped answers for all of them: they share a port. */
async function renderPage(parts: ApiParts): Promise<string> {
  const own = measureForPrometheus(parts, performance.now())
  const siblings = await parts.options.measureSiblings?.()
  if (siblings === undefined) return renderPrometheus([own])
  return renderPrometheus([own, ...siblings.pages, measureSilence(siblings.silent)])
}

/** Prometheus names its formats; browsers and curl do not. */
function wantsPrometheus(call: ApiCall): boolean {
  const accept = call.env.exchange.head.get('accept') ?? ''
  return /application\/openmetrics-text|text\/plain;\s*version=0\.0\.4/.test(accept)
}

interface Selection {
  readonly serviceId: string | undefined
  readonly hasServices: boolean
  readonly hasJvm: boolean
}

function renderTree(parts: ApiParts, { serviceId, hasServices, hasJvm }: Selection): Record<string, unknown> {
  const nowMs = performance.now()
  const jvm = { jvm: renderJvm() }
  if (serviceId !== undefined) {
    const runtime = parts.table.get(serviceId)
    const services = runtime === undefined ? {} : { [serviceId]: renderServiceMetrics(runtime, nowMs) }
    return { ...(hasJvm ? jvm : {}), services }
  }
  const waiter = renderWaiterMetrics(parts, nowMs)
  if (!hasServices) return { ...(hasJvm ? jvm : {}), waiter }
  const services = [...parts.table.values()].map(runtime => [runtime.id, renderServiceMetrics(runtime, nowMs)] as const)
  return { ...jvm, services: Object.fromEntries(services), waiter }
}
