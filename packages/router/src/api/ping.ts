import type { Descriptor } from '@waiter/services'
import { computeHealthCheckTarget } from '@waiter/services'
import { type QueueFailure, type ReleaseStatus, type Slot, Waiter } from '@waiter/slots'
import type { Hono } from 'hono'
import type { Resolution } from '../request/descriptor-cache.ts'
import { queueTimeoutError, requestErrorOf, serviceFailureError } from '../request/request-errors.ts'
import type { ServiceRuntime } from '../services/service-runtime.ts'
import { askOnce } from './ask-once.ts'
import type { ApiCall, ApiEnvironment, ApiParts } from './api-context.ts'

const PING_TIMEOUT_MS = 300_000
const PING_TIMEOUT_MS_MAX = 3_600_000
/** Before every ordinary request (spec §4.8). */
const PING_PRIORITY = 1_000_000

interface PingResult {
  readonly result: 'received-response' | 'timed-out' | 'descriptor-error' | 'ping-internal-error'
  readonly status: number
  readonly body: string
  readonly headers: Readonly<Record<string, unknown>>
  readonly instance?: { readonly id: string; readonly host: string; readonly port: number }
}

/** `/waiter-ping`, `/service-id` and `/app-name` (spec §4.1, §4.8): what would serve this request, and does it? */
export function addPingRoutes(app: Hono<ApiEnvironment>, parts: ApiParts): void {
  const resolve = (call: ApiCall): Promise<Resolution> => {
    const { exchange, identity, waiterHeaders } = call.env
    return parts.pipeline().resolveAfresh(exchange, waiterHeaders, { user: identity?.user })
  }

  for (const path of ['/service-id', '/app-name'])
    app.get(path, async call => {
      const resolution = await resolve(call)
      if (resolution.ok) return call.text(resolution.value.serviceId)
      parts.pipeline().answerError(call.env.exchange, call.env.context, requestErrorOf(resolution.error))
      return call.body(null)
    })

  const ping = async (call: ApiCall): Promise<Response> => {
    const resolution = await resolve(call)
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
    const isDebug = call.env.waiterHeaders.has('debug')
    const body = {
      'ping-response': result,
      'service-description': descriptor.core,
      'service-state': serviceState(call, runtime, result),
    }
    return call.json(body, 200, isDebug ? { 'x-waiter-service-id': runtime.id } : {})
  }
  app.get('/waiter-ping', ping)
  app.post('/waiter-ping', ping)
}

function serviceState(call: ApiCall, runtime: ServiceRuntime, result: PingResult): Record<string, unknown> {
  if (call.req.query('exclude') === 'service-state') return { result: 'excluded', 'service-id': runtime.id }
  const isHealthy = (runtime.summary?.healthy ?? 0) > 0
  const isTimedOut = result.result === 'timed-out'
  return {
    'exists?': runtime.summary !== undefined && !runtime.isRemoved,
    'healthy?': isHealthy,
    'service-id': runtime.id,
    status: isTimedOut && !isHealthy ? 'Starting' : (runtime.summary?.status ?? 'Starting'),
  }
}

/** Takes a slot like any request, but before all others, and asks the instance how it is. */
async function pingService(
  parts: ApiParts,
  call: ApiCall,
  runtime: ServiceRuntime,
  descriptor: Descriptor,
): Promise<PingResult> {
  const deadlineMs = performance.now() + pingTimeoutOf(call)
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
      const refusal = runtime.machine.enqueue(waiter, deadlineMs, PING_PRIORITY)
      if (refusal !== undefined) waiter.failed(refusal)
      runtime.armTimer()
      if (waiter.isWaiting && runtime.leases.size === 0) parts.table.need(runtime, descriptor.tokens)
    }
    const outcome = await waiter.outcome
    if (!('slot' in outcome)) return failureResult(runtime, outcome.failure, pingTimeoutOf(call))
    return await askInstance(parts, runtime, outcome.slot, deadlineMs)
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
  if (failure.kind === 'queue-timeout') {
    const { status, message } = queueTimeoutError(runtime, timeoutMs)
    return { result: 'timed-out', status, body: message, headers: {} }
  }
  const { status, message } =
    failure.kind === 'service-failure'
      ? serviceFailureError(runtime, failure.failure)
      : { status: 503, message: 'Max queue length exceeded' }
  return { result: 'received-response', status, body: message, headers: {} }
}

async function askInstance(
  parts: ApiParts,
  runtime: ServiceRuntime,
  slot: Slot,
  deadlineMs: number,
): Promise<PingResult> {
  const target = computeHealthCheckTarget(runtime.definition.effective)
  const lease = runtime.leases.get(slot.instanceId)
  const port = target.portIndex === 0 ? slot.port : (lease?.extraPorts[target.portIndex - 1] ?? slot.port)
  const instance = { id: slot.instanceId, host: slot.host, port }
  let status: ReleaseStatus = 'instance-error'
  try {
    const answer = await askOnce({
      proto: target.proto,
      host: slot.host,
      port,
      path: target.url,
      authorization: `Basic ${Buffer.from(`waiter:${parts.options.passwordFor(runtime.id)}`).toString('base64')}`,
      timeoutMs: Math.max(1, deadlineMs - performance.now()),
    })
    status = answer.status === 503 ? 'instance-busy' : 'success'
    return { result: 'received-response', ...answer, instance }
  } catch (error) {
    const isTimeout = performance.now() >= deadlineMs
    parts.options.log.info({ err: error, instanceId: slot.instanceId }, 'a ping got no answer')
    return {
      result: isTimeout ? 'timed-out' : 'received-response',
      status: isTimeout ? 504 : 502,
      body: isTimeout ? 'Request to service backend timed out' : 'Request to service backend failed',
      headers: {},
      instance,
    }
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
