import type { WaiterHeaders } from './waiter-headers.ts'

/** How long one request may take where, in milliseconds. */
export interface RequestTimeouts {
  /** Waiting for an instance. */
  readonly queueTimeoutMs: number
  /** Silence of the backend until its response begins. */
  readonly socketTimeoutMs: number
  /** Back-pressure or silence while a body streams. */
  readonly streamingTimeoutMs: number
  /** From the request's arrival to the end of its response; `Infinity` unless the request asks for one. */
  readonly totalTimeoutMs: number
  /** From the request's arrival to when its gRPC client gives up; `Infinity`: it does not say. */
  readonly grpcTimeoutMs: number
  readonly asyncRequestTimeoutMs: number
  readonly asyncCheckIntervalMs: number
  /** Sentences about header values that were ignored or lowered, for the log and for debug answers. */
  readonly warnings: readonly string[]
}

/** Limits and defaults of requests that do not come from a token (spec §1.3). */
export interface RequestTimeoutLimits {
  readonly headerTimeoutMsMax: number
  readonly asyncRequestTimeoutMs: number
  readonly asyncRequestTimeoutMsMax: number
  readonly asyncCheckIntervalMs: number
}

export const DEFAULT_REQUEST_TIMEOUT_LIMITS: RequestTimeoutLimits = {
  headerTimeoutMsMax: 3_600_000,
  asyncRequestTimeoutMs: 60_000,
  asyncRequestTimeoutMsMax: 14_400_000,
  asyncCheckIntervalMs: 3000,
}

const GRPC_QUEUE_MARGIN_MS = 100

export interface RequestTimeoutsInput {
  readonly headers: WaiterHeaders
  /** From the descriptor: the token's metadata with defaults. */
  readonly timeouts: {
    readonly queueTimeoutMs: number
    readonly socketTimeoutMs: number
    readonly streamingTimeoutMs: number
  }
  /** Value of `grpc-timeout`, given only when the request is gRPC. */
  readonly grpcTimeout?: string | undefined
  readonly limits?: RequestTimeoutLimits
}

/** Timeouts of a request: headers over token over defaults (spec §1.3). Bad values never fail a request; they warn. */
export function computeRequestTimeouts(input: RequestTimeoutsInput): RequestTimeouts {
  const { headers, timeouts } = input
  const limits = input.limits ?? DEFAULT_REQUEST_TIMEOUT_LIMITS
  const warnings: string[] = []
  const read = (name: string, fallbackMs: number, maxMs: number): number => {
    const value = headers.get(name)
    return value === undefined ? fallbackMs : readTimeout({ name, value, fallbackMs, maxMs, warnings })
  }
  const grpcTimeoutMs = readGrpcTimeout(input.grpcTimeout, warnings)
  // A gRPC client gives up by itself at its deadline; our answer comes a little later and only if it did not.
  const grpcQueueMs = Math.min(grpcTimeoutMs + GRPC_QUEUE_MARGIN_MS, limits.headerTimeoutMsMax)
  const queueFallbackMs = grpcTimeoutMs < Number.POSITIVE_INFINITY ? grpcQueueMs : timeouts.queueTimeoutMs
  return {
    queueTimeoutMs: read('queue-timeout', queueFallbackMs, limits.headerTimeoutMsMax),
    grpcTimeoutMs,
    socketTimeoutMs: read('timeout', timeouts.socketTimeoutMs, limits.headerTimeoutMsMax),
    streamingTimeoutMs: read('streaming-timeout', timeouts.streamingTimeoutMs, limits.headerTimeoutMsMax),
    totalTimeoutMs: read('total-timeout', Number.POSITIVE_INFINITY, limits.headerTimeoutMsMax),
    asyncRequestTimeoutMs: read('async-request-timeout', limits.asyncRequestTimeoutMs, limits.asyncRequestTimeoutMsMax),
    asyncCheckIntervalMs: read('async-check-interval', limits.asyncCheckIntervalMs, Number.MAX_SAFE_INTEGER),
    warnings,
  }
}

const GRPC_UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }

const GRPC_DIGITS_MAX = 99_999_999

/** What is left of a gRPC deadline as a `grpc-timeout` value, rounded down; nothing left is the least that can be said. */
export function renderGrpcTimeout(leftMs: number): string {
  if (leftMs < 1) return `${Math.max(1, Math.floor(leftMs / GRPC_UNIT_MS['n']!))}n`
  if (leftMs < GRPC_DIGITS_MAX + 1) return `${Math.floor(leftMs)}m`
  return `${Math.min(GRPC_DIGITS_MAX, Math.floor(leftMs / GRPC_UNIT_MS['S']!))}S`
}

/** Milliseconds of a `grpc-timeout` value such as `100m`, rounded up; undefined when it is malformed. */
export function parseGrpcTimeout(value: string): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(value)
  return match === null ? undefined : Math.ceil(Number(match[1]) * GRPC_UNIT_MS[match[2]!]!)
}

function readGrpcTimeout(value: string | undefined, warnings: string[]): number {
  if (value === undefined) return Number.POSITIVE_INFINITY
  const timeoutMs = parseGrpcTimeout(value)
  if (timeoutMs !== undefined) return timeoutMs
  warnings.push('grpc-timeout was ignored: it must be 1 to 8 digits and a unit out of H, M, S, m, u, n.')
  return Number.POSITIVE_INFINITY
}

interface TimeoutHeader {
  readonly name: string
  readonly value: string
  readonly fallbackMs: number
  readonly maxMs: number
  readonly warnings: string[]
}

function readTimeout({ name, value, fallbackMs, maxMs, warnings }: TimeoutHeader): number {
  const trimmed = value.trim()
  if (!/^[+-]?\d+$/.test(trimmed)) {
    warnings.push(
      `x-waiter-${name} was ignored: it must be a whole number of milliseconds; ${nameOf(fallbackMs)} applies.`,
    )
    return fallbackMs
  }
  const timeoutMs = Number(trimmed)
  if (timeoutMs <= 0) {
    warnings.push(`x-waiter-${name} was ignored: it must be positive; ${nameOf(fallbackMs)} applies.`)
    return fallbackMs
  }
  if (timeoutMs > maxMs) {
    warnings.push(`x-waiter-${name} was lowered to the maximum of ${maxMs} ms.`)
    return maxMs
  }
  return timeoutMs
}

function nameOf(timeoutMs: number): string {
  return timeoutMs === Number.POSITIVE_INFINITY ? 'none' : String(timeoutMs)
}
