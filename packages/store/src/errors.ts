import { WaiterError } from '@waiter/base'

const UNAVAILABLE_STATUS = 503
const TOO_LARGE_STATUS = 400

/** `WTR_STORE_UNAVAILABLE`: try again later, or elsewhere; whether a write took effect is unknown. */
export function storeUnavailable(message: string, cause?: unknown): WaiterError {
  return new WaiterError(message, { code: 'WTR_STORE_UNAVAILABLE', status: UNAVAILABLE_STATUS, retryable: true, cause })
}

/** The group has forgotten the session of a write that was tried before. */
export function outcomeUnknown(): WaiterError {
  return storeUnavailable(
    'Whether the write took effect is not known: its session has been forgotten. Look, and try again.',
  )
}

/** `WTR_STORE_LIMIT`: the key or the value can never be stored. */
export function storeLimit(message: string): WaiterError {
  return new WaiterError(message, { code: 'WTR_STORE_LIMIT', status: TOO_LARGE_STATUS })
}

/** Where a file is broken. */
export interface CorruptionSite {
  readonly file: string
  readonly offsetBytes: number
  readonly problem: string
}

/** `WTR_STORE_CORRUPT`: the store refuses to start, because going on would lose acknowledged writes. */
export function storeCorrupt({ file, offsetBytes, problem }: CorruptionSite): WaiterError {
  const message =
    `The store's file ${file} is damaged at byte ${offsetBytes}: ${problem}. ` +
    'Writes that were acknowledged would be lost, so the store does not start. ' +
    'Restore the directory from a backup; or, on a control node whose peers are healthy, move the directory away and ' +
    'let the node fetch the data from its peers.'
  return new WaiterError(message, { code: 'WTR_STORE_CORRUPT', details: { file, offsetBytes, problem } })
}

/** `WTR_WATCH_LAGGED`: the watcher read too slowly and has to start again. */
export function watchLagged(message: string): WaiterError {
  return new WaiterError(message, { code: 'WTR_WATCH_LAGGED', status: UNAVAILABLE_STATUS, retryable: true })
}
