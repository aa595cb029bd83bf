import { type RequestTimeouts, renderGrpcTimeout } from '@waiter/services'
import type { RequestError } from '../errors/error-response.ts'
import type { ServiceRuntime } from '../services/service-runtime.ts'
import { deadlineExceededError, queueTimeoutError, totalTimeoutError } from './request-errors.ts'

/** A request that was held for less did not wait. */
const WAITED_MS_MIN = 1

/** Until when a request may wait for an instance: what would be too late as a whole is not begun. */
export function queueDeadlineMs(arrivedAtMs: number, { queueTimeoutMs, totalTimeoutMs }: RequestTimeouts): number {
  return arrivedAtMs + Math.min(queueTimeoutMs, totalTimeoutMs)
}

/** Why a request that waited until then is refused. */
export function lateError(runtime: ServiceRuntime, timeouts: RequestTimeouts): RequestError {
  const { queueTimeoutMs, totalTimeoutMs, grpcTimeoutMs } = timeouts
  if (totalTimeoutMs <= queueTimeoutMs) return totalTimeoutError(totalTimeoutMs, runtime.id)
  const error = queueTimeoutError(runtime, queueTimeoutMs)
  return grpcTimeoutMs <= queueTimeoutMs ? deadlineExceededError(error, grpcTimeoutMs) : error
}

/**
 * What a gRPC instance is told instead of the client's `grpc-timeout`: what is left of it. Undefined: the request did not
 * wait, so that the client's own words, in its own unit, say it best.
 */
export function grpcTimeLeft(
  arrivedAtMs: number,
  { grpcTimeoutMs }: RequestTimeouts,
  nowMs: number,
): { readonly name: string; readonly value: string } | undefined {
  if (grpcTimeoutMs === Number.POSITIVE_INFINITY || nowMs - arrivedAtMs < WAITED_MS_MIN) return undefined
  return { name: 'grpc-timeout', value: renderGrpcTimeout(arrivedAtMs + grpcTimeoutMs - nowMs) }
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
