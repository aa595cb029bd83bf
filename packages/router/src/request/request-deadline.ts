import type { RequestTimeouts } from '@waiter/services'
import type { RequestError } from '../errors/error-response.ts'
import type { ServiceRuntime } from '../services/service-runtime.ts'
import { queueTimeoutError, totalTimeoutError } from './request-errors.ts'

/** Until when a request may wait for an instance: what would be too late as a whole is not begun. */
export function queueDeadlineMs(arrivedAtMs: number, { queueTimeoutMs, totalTimeoutMs }: RequestTimeouts): number {
  return arrivedAtMs + Math.min(queueTimeoutMs, totalTimeoutMs)
}

/** Why a request that waited until then is refused. */
export function lateError(runtime: ServiceRuntime, { queueTimeoutMs, totalTimeoutMs }: RequestTimeouts): RequestError {
  return totalTimeoutMs <= queueTimeoutMs
    ? totalTimeoutError(totalTimeoutMs, runtime.id)
    : queueTimeoutError(runtime, queueTimeoutMs)
}

/**
 * Tells the instance how much of the time that the client gave is left, by the header in which the client gave it: a
 * backend that asks another service can pass it on.
 */
export function timeLeftLine(arrivedAtMs: number, { totalTimeoutMs }: RequestTimeouts, nowMs: number): string {
  if (totalTimeoutMs === Number.POSITIVE_INFINITY) return ''
  const leftMs = Math.max(1, Math.floor(arrivedAtMs + totalTimeoutMs - nowMs))
  return `x-waiter-total-timeout: ${leftMs}\r\n`
}
