import { type CallOptions, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { WaiterError } from '@waiter/base'

/** A call that takes longer than this is answered with an error: a person waits behind it. */
export const CALL_TIMEOUT_MS = 5_000

type Start<Response> = (
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => { cancel(): void }

/**
 * Makes one call as a promise. When the signal aborts it fails as if nobody had answered.
 *
 * @throws WaiterError the far side's own failure, or `WTR_CONTROL_UNREACHABLE` (503, retryable)
 */
export function callUnary<Response>(
  start: Start<Response>,
  timeoutMs: number = CALL_TIMEOUT_MS,
  signal?: AbortSignal,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const cancel = (): void => call.cancel()
    const call = start(new Metadata(), { deadline: Date.now() + timeoutMs }, (error, response) => {
      signal?.removeEventListener('abort', cancel)
      if (error === null) resolve(response)
      else reject(fromServiceError(error))
    })
    if (signal?.aborted) cancel()
    else signal?.addEventListener('abort', cancel, { once: true })
  })
}

/** Somebody else leads, or nobody does: nothing has happened. */
export function notLeader(leaderId: string): WaiterError {
  const who = leaderId === '' ? 'no leader is known at present' : `${leaderId} leads`
  return new WaiterError(`this control node does not lead; ${who}`, {
    code: 'WTR_NOT_LEADER',
    status: 503,
    retryable: true,
  })
}

/** A failed call as gRPC tells it: the `WTR_` code leads the text; nothing of the cause travels. */
export function toServiceError(error: unknown): ServiceError {
  const isKnown = error instanceof WaiterError
  const details = isKnown ? `${error.code}: ${error.message}` : 'WTR_INTERNAL: internal error'
  const code = !isKnown ? status.INTERNAL : error.retryable ? status.UNAVAILABLE : status.FAILED_PRECONDITION
  const metadata = new Metadata()
  if (isKnown) metadata.set(STATUS_KEY, String(error.status))
  return Object.assign(new Error(details), { code, details, metadata })
}

/** Metadata key of the HTTP status that a failure is to be answered with. */
const STATUS_KEY = 'waiter-status'

/** Rebuilds the failure that the far side described. */
export function fromServiceError(error: ServiceError): WaiterError {
  const isUnreachable = error.code === status.UNAVAILABLE || error.code === status.DEADLINE_EXCEEDED
  const [, code, message] = /^(WTR_[A-Z_]+): (.*)$/s.exec(error.details ?? '') ?? []
  if (code !== undefined && message !== undefined)
    return new WaiterError(message, {
      code,
      status: isUnreachable ? 503 : statusOf(error),
      retryable: isUnreachable,
      cause: error,
    })
  return new WaiterError('no control node answers: tokens and services cannot be changed now, try again shortly', {
    code: 'WTR_CONTROL_UNREACHABLE',
    status: 503,
    retryable: true,
    cause: error,
  })
}

function statusOf(error: ServiceError): number {
  const status = Number(error.metadata?.get(STATUS_KEY)[0])
  return Number.isInteger(status) && status >= 400 && status < 600 ? status : 400
}
