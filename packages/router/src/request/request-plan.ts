import type { RequestHead } from '@waiter/proxy'
import { computeRequestTimeouts, type Descriptor, type RequestTimeouts, type WaiterHeaders } from '@waiter/services'
import type { ServiceLogPart } from '../access-log/access-log.ts'
import { isGrpcRequest } from './grpc.ts'

const NO_HEADERS: WaiterHeaders = new Map()
const TIMEOUT_HEADERS = [
  'timeout',
  'queue-timeout',
  'streaming-timeout',
  'total-timeout',
  'async-request-timeout',
  'async-check-interval',
]

/** What all requests of one descriptor share, made with its first request. */
export interface Plan {
  /** Of requests that bring none of their own. */
  readonly timeouts: RequestTimeouts
  readonly logPart: ServiceLogPart | undefined
}

/** The plan's time-outs, unless the request brings some of its own. */
export function timeoutsOf(
  plan: Plan,
  head: RequestHead,
  descriptor: Descriptor,
  headers: WaiterHeaders | undefined,
): RequestTimeouts {
  const hasOwn = headers !== undefined && TIMEOUT_HEADERS.some(name => headers.has(name))
  const grpcTimeout = isGrpcRequest(head) ? head.get('grpc-timeout') : undefined
  if (!hasOwn && grpcTimeout === undefined) return plan.timeouts
  return computeRequestTimeouts({ headers: headers ?? NO_HEADERS, timeouts: descriptor.timeouts, grpcTimeout })
}
