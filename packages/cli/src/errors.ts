import { WaiterError } from '@waiter/base'

/** Exit codes: 0 done, 1 it did not work, 2 the command line cannot be understood. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const

/** Errors of the command line itself. What a Waiter refused has the code that Waiter gave. */
export const ERRORS = {
  usage: 'WTR_USAGE',
  config: 'WTR_CLI_CONFIG',
  document: 'WTR_CLI_DOCUMENT',
  unreachable: 'WTR_CLI_UNREACHABLE',
  authentication: 'WTR_CLI_AUTHENTICATION',
  refused: 'WTR_CLI_REFUSED',
  notFound: 'WTR_CLI_NOT_FOUND',
  notDone: 'WTR_CLI_NOT_DONE',
} as const

/** An error whose message says what, where and how to mend it. */
export function cliError(kind: keyof typeof ERRORS, message: string, cause?: unknown): WaiterError {
  return new WaiterError(message, { code: ERRORS[kind], ...(cause === undefined ? {} : { cause }) })
}

/** The exit code that says what kind of error it was. */
export function exitCodeOf(error: unknown): number {
  return error instanceof WaiterError && error.code === ERRORS.usage ? EXIT.usage : EXIT.failed
}
