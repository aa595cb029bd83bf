import { WaiterError } from '@waiter/base'

/** Every failure a scheduler reports: status of the answer it ends a request with, and whether trying again may help. */
const ERRORS = {
  WTR_FENCED: { status: 409, retryable: false },
  WTR_NO_SUCH_SERVICE: { status: 404, retryable: false },
  WTR_NO_SUCH_INSTANCE: { status: 404, retryable: false },
  WTR_UNSUPPORTED_SERVICE: { status: 400, retryable: false },
  WTR_BAD_PATH: { status: 400, retryable: false },
  WTR_NO_FREE_PORT: { status: 503, retryable: true },
  WTR_START_FAILED: { status: 503, retryable: true },
  WTR_STATE_NOT_WRITTEN: { status: 503, retryable: true },
  WTR_SCHEDULER_STOPPED: { status: 503, retryable: true },
  WTR_HOST_UNREACHABLE: { status: 503, retryable: true },
  WTR_NO_HOST: { status: 503, retryable: true },
  WTR_TOO_MANY_WATCHERS: { status: 503, retryable: true },
} as const

/** Codes of the failures that schedulers report. */
export type SchedulerErrorCode = keyof typeof ERRORS

/** Makes the error for a code; `message` is written for users: what, where, how to mend. */
export function schedulerError(code: SchedulerErrorCode, message: string, cause?: unknown): WaiterError {
  return new WaiterError(message, { code, ...ERRORS[code], ...(cause === undefined ? {} : { cause }) })
}
