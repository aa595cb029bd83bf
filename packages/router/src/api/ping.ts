import { computeHealthCheckTarget, type Descriptor } from '@waiter/services'
import { type QueueFailure, type ReleaseStatus, type Slot, Waiter } from '@waiter/slots'
import { askRouters } from '../cluster/questions.ts'
import type { Resolution } from '../request/descriptor-cache.ts'
import { queueTimeoutError, requestErrorOf, serviceFailureError, suspendedError } from '../request/request-errors.ts'
import type { ServiceRuntime } from '../services/service-runtime.ts'
import { type ApiCall, type ApiParts, mayManage, takenOver } from './api-context.ts'
import { askPage } from './ask-page.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { flag, include, text } from './contract/query.ts'
import { pingSchema } from './schemas/ping.ts'
import { visibleDescription } from './visible-description.ts'

const PING_TIMEOUT_MS = 300_000
const PING_TIMEOUT_MS_MAX = 3_600_000
/** Before every ordinary request (spec §4.8). */
const PING_PRIORITY = 1_000_000
/** After an answer, all routers get so long to agree about the service. */
const AGREE_TIMEOUT_MS = 5_000
/** A question needs a moment to get there and back. */
const ROUND_TRIP_MS = 1_000

interface PingResult {
  readonly result: 'received-response' | 'timed-out' | 'waiter-response' | 'ping-internal-error'
  readonly status: number
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
  readonly instance?: { readonly id: string; readonly host: string; readonly port: number }
}

/** `/waiter-ping`, `/service-id` and `/app-name` (spec §4.1, §4.8): what would serve this request, and does it? */
export function addPingRoutes(endpoints: Endpoints, parts: ApiParts): void {
  const resolve = (call: ApiCall, isLatest: boolean): Promise<Resolution> => {
    const { exchange, identity, waiterHeaders } = call.env
    return parts.pipeline().resolveAfresh(exchange, waiterHeaders, { user: identity?.user }, { isLatest })
  }

  for (const path of ['/service-id', '/app-name'])
    endpoints.add(
      {
        method: 'get',
        path,
        summary: "The id of the service that the request's headers or host mean",
        tag: 'services',
        access: 'user',
        query: { latest: flag('Never an older version.') },
        answers: { 200: { description: 'The id.', media: ['text/plain'] } },
      },
      async ({ call, query }) => {
        const resolution = await resolve(call, query.latest === true)
        if (resolution.ok) {
          // From now on the id alone names the service (`x-waiter-token: ^SERVICE-ID#…`).
          parts.descriptions.remember(resolution.value.serviceId, resolution.value.core)
          return call.text(resolution.value.serviceId)
        }
        const { exchange, context, waiterHeaders } = call.env
        const about = { token: waiterHeaders.get('token') }
        parts.pipeline().answerError(exchange, context, requestErrorOf(resolution.error), about)
        return takenOver()
      },
    )

  for (const method of ['get', 'post'] as const)
    endpoints.add(
      {
        method,
        path: '/waiter-ping',
        summary: 'Does the service that the headers or host mean answer its health check? Starts it if needed',
        description: 'Always 200. `x-waiter-timeout` (ms, 300000 when absent) limits the whole.',
        tag: 'services',
        access: 'user',
        query: {
          exclude: text('`service-state`: do not ask all routers.'),
          include: include('include', ['fallback']),
        },
        answers: { 200: { description: 'What became of it.', json: pingSchema } },
      },
      async ({ call, query }) => {
        const resolution = await resolve(call, !query.include.has('fallback'))
        if (!resolution.ok) {
          const { status, message } = resolution.error
          return call.json({
            'ping-response': { result: 'descriptor-error', status, body: message, headers: {} },
            'service-description': null,
            'service-state': { 'exists?': false, 'healthy?': false, 'service-id': null, status: 'Inactive' },
          })
        }
        const descriptor = resolution.value
        const runtime = parts.table.open(descriptor.definition)
        const result = await pingService(parts, call, runtime, descriptor)
        const isExcluded = query.exclude === 'service-state'
        const state = isExcluded
          ? { result: 'excluded', 'service-id': runtime.id }
          : await agree(parts, runtime, result)
        const isManager = mayManage(call, parts, descriptor.effective['run-as-user'])
        const body = {
          'ping-response': result,
          'service-description': visibleDescription(descriptor.core, isManager),
          'service-state': state,
        }
        const isDebug = call.env.waiterHeaders.has('debug')
        return call.json(body, 200, isDebug ? { 'x-waiter-service-id': runtime.id } : {})
      },
    )
}

/** What all routers say of the service; after an answer they get a moment to hear of it. */
async function agree(parts: ApiParts, runtime: ServiceRuntime, ping: PingResult): Promise<Record<string, unknown>> {
  const isSettled = ping.result === 'timed-out' || ping.result === 'waiter-response'
  const timeoutMs = isSettled ? 0 : AGREE_TIMEOUT_MS
  const goal = ping.instance === undefined ? 'exist' : 'healthy'
  const link = parts.leader()
  const asked = await (link === undefined
    ? undefined
    : askRouters(link, 'await', { serviceId: runtime.id, goal, timeoutMs }, timeoutMs + ROUND_TRIP_MS).catch(
        () => undefined,
      ))
  // Without a leader, this router speaks for itself.
  const { exists, isHealthy } = parts.table.statusOf(runtime.id)
  const answers = asked === undefined ? [{ exists, isHealthy }] : [...asked.answers.values()]
  const allHealthy = answers.every(answer => answer.isHealthy)
  const status = runtime.summary?.status ?? 'Starting'
  return {
    'exists?': answers.every(answer => answer.exists),
    'healthy?': allHealthy,
    'service-id': runtime.id,
    status: ping.result === 'timed-out' && !allHealthy ? 'Starting' : status,
  }
}

/** Takes a slot like any request, but before all others, and asks the instance how it is. */
async function pingService(
  parts: ApiParts,
  call: ApiCall,
  runtime: ServiceRuntime,
  descriptor: Descriptor,
): Promise<PingResult> {
  if (runtime.suspension !== undefined) return toResult('waiter-response', suspendedError(runtime, runtime.suspension))
  const timeoutMs = pingTimeoutOf(call)
  const deadlineMs = performance.now() + timeoutMs
  const waiter = new PingWaiter()
  const { exchange } = call.env
  runtime.accept()
  exchange.onClientGone = () => {
    if (runtime.machine.cancel(waiter)) waiter.failed({ kind: 'queue-timeout' })
  }
  try {
    const slot = runtime.machine.reserve(performance.now())
    if (slot !== undefined) waiter.granted(slot)
    else {
      const refusal = runtime.machine.enqueue(waiter, deadlineMs, PING_PRIORITY, performance.now())
      if (refusal !== undefined) waiter.failed(refusal)
      runtime.armTimer()
      if (waiter.isWaiting && runtime.leases.size === 0) parts.table.need(runtime, descriptor.reference)
    }
    const outcome = await waiter.outcome
    if (!('slot' in outcome)) return failureResult(runtime, outcome.failure, timeoutMs)
    return await askInstance(parts, runtime, outcome.slot, { deadlineMs, cid: call.env.context.cid })
  } finally {
    runtime.finish()
  }
}

function pingTimeoutOf(call: ApiCall): number {
  const given = call.env.waiterHeaders.get('timeout') ?? ''
  const valueMs = /^\d{1,9}$/.test(given) ? Number(given) : 0
  return valueMs > 0 ? Math.min(valueMs, PING_TIMEOUT_MS_MAX) : PING_TIMEOUT_MS
}

function failureResult(runtime: ServiceRuntime, failure: QueueFailure, timeoutMs: number): PingResult {
  switch (failure.kind) {
    case 'queue-timeout':
      return toResult('timed-out', queueTimeoutError(runtime, timeoutMs))
    case 'service-failure':
      return toResult('received-response', serviceFailureError(runtime, failure.failure))
    default:
      return toResult('waiter-response', { status: 503, message: 'Max queue length exceeded' })
  }
}

function toResult(
  result: PingResult['result'],
  error: { readonly status: number; readonly message: string },
): PingResult {
  return { result, status: error.status, body: error.message, headers: {} }
}

async function askInstance(
  parts: ApiParts,
  runtime: ServiceRuntime,
  slot: Slot,
  { deadlineMs, cid }: { readonly deadlineMs: number; readonly cid: string },
): Promise<PingResult> {
  const target = computeHealthCheckTarget(runtime.definition.effective)
  const lease = runtime.leaseOf(slot)
  const port = target.portIndex === 0 ? slot.port : (lease?.extraPorts[target.portIndex - 1] ?? slot.port)
  const instance = { id: slot.instanceId, host: slot.host, port }
  let status: ReleaseStatus = 'instance-error'
  try {
    const page = await askPage({
      proto: target.proto,
      host: slot.host,
      port,
      path: target.url,
      headers: {
        authorization: `Basic ${Buffer.from(`waiter:${parts.options.passwordFor(runtime.id)}`).toString('base64')}`,
        'user-agent': 'waiter-ping',
        'x-cid': cid,
        'x-waiter-request-type': 'ping',
      },
      timeoutMs: Math.max(1, deadlineMs - performance.now()),
    })
    status = page.status === 503 ? 'instance-busy' : 'success'
    return { result: 'received-response', ...page, instance }
  } catch (error) {
    parts.options.log.info({ err: error, instanceId: slot.instanceId }, 'a ping got no answer')
    const isTimeout = performance.now() >= deadlineMs
    return isTimeout
      ? { ...toResult('timed-out', { status: 504, message: 'Request to service backend timed out' }), instance }
      : { ...toResult('received-response', { status: 502, message: 'Request to service backend failed' }), instance }
  } finally {
    runtime.release(slot, status)
  }
}

/** A ping in the queue. */
class PingWaiter extends Waiter {
  readonly outcome: Promise<{ slot: Slot } | { failure: QueueFailure }>
  #resolve: (outcome: { slot: Slot } | { failure: QueueFailure }) => void = () => undefined

  constructor() {
    super()
    this.outcome = new Promise(resolve => {
      this.#resolve = resolve
    })
  }

  granted(slot: Slot): void {
    this.#resolve({ slot })
  }

  failed(failure: QueueFailure): void {
    this.#resolve({ failure })
  }
}
