import type { FailureReason, Outcome } from '@waiter/proxy'
import type { DescriptorError, Maintenance, SuspensionRecord } from '@waiter/services'
import type { ServiceFailure } from '@waiter/slots'
import type { RequestError } from '../errors/error-response.ts'
import type { ServiceRuntime } from '../services/service-runtime.ts'
import type { Resolution } from './descriptor-cache.ts'

/** No slot came in time (spec §1.7): says how long it waited and where to look. */
export function queueTimeoutError(runtime: ServiceRuntime, queueTimeoutMs: number): RequestError {
  const { summary, machine, counts } = runtime
  const slots = machine.counts()
  const trouble = summary?.startTrouble ?? null
  const hints = [
    trouble === null ? '' : ` No further instance can be started: ${trouble}`,
    summary !== undefined && summary.healthy === 0 && summary.unhealthy > 0
      ? ' Check that your service is able to start properly!'
      : '',
    counts.outstanding > 0 && (summary?.healthy ?? 0) > 0 ? ' Check that your service is able to scale properly!' : '',
  ]
  return {
    status: 503,
    message: `After ${Math.round(queueTimeoutMs / 1000)} seconds, no instance available to handle request.${hints.join('')}`,
    errorClass: 'waiter.RequestTimeout',
    details: {
      code: 'WTR_QUEUE_TIMEOUT',
      'outstanding-requests': counts.outstanding,
      'requests-waiting-to-stream': 0,
      'service-id': runtime.id,
      ...(trouble === null ? {} : { 'start-trouble': trouble }),
      'slots-assigned': slots.slotsAssigned,
      'slots-available': slots.slotsAvailable,
      'slots-in-use': slots.slotsInUse,
      'waiting-for-available-instance': slots.waiting,
      'work-stealing-offers-received': 0,
      'work-stealing-offers-sent': 0,
    },
  }
}

/** A gRPC request whose deadline passed while it waited: gRPC has a code for that, and callers look at it. */
export function deadlineExceededError(error: RequestError, grpcTimeoutMs: number): RequestError {
  const details = { ...error.details, code: 'WTR_GRPC_DEADLINE', 'grpc-timeout-ms': grpcTimeoutMs }
  return { ...error, status: 504, details }
}

/** Not a byte reached a backend, and the request may not try again. */
export function unsentError(
  outcome: Extract<Outcome, { kind: 'not-sent' }>,
  attempts: number,
  serviceId: string,
): RequestError {
  const code = outcome.reason === 'connect-timeout' ? 'WTR_CONNECT_TIMEOUT' : 'WTR_CONNECT_FAILED'
  const details = { code, attempts, reason: outcome.code, 'service-id': serviceId }
  return { status: 502, message: 'Request failed to connect to service backend', details }
}

/** The request took as long as it may in all. */
export function totalTimeoutError(timeoutMs: number, serviceId: string): RequestError {
  return {
    status: 504,
    message: 'Request took longer than its total time-out',
    details: { code: 'WTR_TOTAL_TIMEOUT', 'timeout-ms': timeoutMs, 'service-id': serviceId },
  }
}

/** No answer within the socket time-out. */
export function responseTimeoutError(timeoutMs: number, serviceId: string): RequestError {
  return {
    status: 504,
    message: 'Request to service backend timed out',
    details: { code: 'WTR_RESPONSE_TIMEOUT', 'timeout-ms': timeoutMs, 'service-id': serviceId },
  }
}

/** A backend broke off, or took no more of the body, before it answered. */
export function unansweredError(reason: FailureReason, serviceId: string): RequestError {
  const code = reason === 'request-stalled' ? 'WTR_STREAM_TIMEOUT' : 'WTR_BACKEND_FAILED'
  const details = { code, reason, 'service-id': serviceId }
  return reason === 'request-stalled'
    ? { status: 503, message: 'unable to stream request bytes', errorClass: 'waiter.StreamTimeout', details }
    : { status: 502, message: 'Request to service backend failed', details }
}

/** The service cannot run: the reason in one sentence, what the newest failed instance left behind as details. */
export function serviceFailureError(runtime: ServiceRuntime, failure: ServiceFailure): RequestError {
  return {
    status: 503,
    message: `Deployment error: ${failure.message}`,
    errorClass: 'waiter.DeploymentError',
    details: { ...failure.details, 'deployment-error': failure.code, 'service-id': runtime.id },
  }
}

/** What a user is told when no service was found. */
export function requestErrorOf(error: DescriptorError): RequestError {
  return {
    status: error.status,
    message: error.message,
    details: error.details,
    ...(error.errorClass === undefined ? {} : { errorClass: error.errorClass }),
    ...(error.errorClass === 'waiter.Maintenance' ? { title: `${error.details.token} is Down For Maintenance` } : {}),
  }
}

/** The token's owner took it down (spec §1.13). */
export function maintenanceError({ token, owner, message }: Maintenance): Resolution & { readonly ok: false } {
  const details = { token, owner }
  return { ok: false, error: { kind: 'forbidden', status: 503, message, errorClass: 'waiter.Maintenance', details } }
}
/** Somebody has suspended the service (spec §1.7). */
export function suspendedError(runtime: ServiceRuntime, suspension: SuspensionRecord): RequestError {
  return {
    status: 503,
    message: 'Service has been suspended',
    errorClass: 'waiter.Suspended',
    details: {
      'service-id': runtime.id,
      'suspended-at': new Date(suspension.time).toISOString(),
      'last-updated-by': suspension['last-updated-by'],
    },
  }
}
