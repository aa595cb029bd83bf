import type { Millis } from '@waiter/base'

/** How long a request that its backend works on asynchronously is looked after, as it asked itself (spec §8.3). */
export interface AsyncTimes {
  /** Longest that a result waits for its client, and that checks may go unanswered. */
  readonly requestTimeoutMs: number
  readonly checkIntervalMs: number
}

/** Where an answer's `location` leads: nowhere, to the instance itself, or away from it. */
export type LocationKind = 'none' | 'own' | 'foreign'

/** What became of asking the instance for the status of its work. */
export type StatusCheck =
  | { readonly kind: 'answered'; readonly status: number; readonly location: LocationKind }
  /** It took the question and said nothing in time: it may be busy with that very work. */
  | { readonly kind: 'unanswered' }
  /** Nobody there, or it broke off. */
  | { readonly kind: 'unreachable' }

/** What to do next: ask again at that time, or give the slot back with this status. */
export type AsyncVerdict =
  | { readonly kind: 'check'; readonly atMs: Millis }
  | { readonly kind: 'end'; readonly status: 'success' | 'instance-error' }

/** One call of a client about its asynchronous request, and how the instance answered. */
export interface AsyncCall {
  readonly about: 'status' | 'result'
  readonly method: string
  readonly status: number
  readonly location: LocationKind
}

/** So many checks within the request's time (spec §12 `async-request-max-status-checks`). */
export const ASYNC_CHECKS_MAX = 50
/** Whatever a request wishes, an instance is not asked more often. */
export const ASYNC_CHECK_INTERVAL_MS_MIN = 50
/** Whatever an instance says, a slot is not kept longer: four hours (spec §12 `async-request-max-timeout-ms`). */
export const ASYNC_SLOT_MS_MAX = 14_400_000

const ENDED: AsyncVerdict = { kind: 'end', status: 'success' }
const LOST: AsyncVerdict = { kind: 'end', status: 'instance-error' }

/**
 * Decides how long the slot of one asynchronous request stays in use (rules AS1 to AS6). Pure: time and answers come in,
 * verdicts go out; whoever owns it asks the instance.
 */
export class AsyncMonitor {
  readonly #times: AsyncTimes
  readonly #startedAtMs: Millis

  constructor(times: AsyncTimes, startedAtMs: Millis) {
    this.#times = times
    this.#startedAtMs = startedAtMs
  }

  /** When to ask for the first time. */
  get firstCheckAtMs(): Millis {
    return this.#startedAtMs + this.#intervalMs(this.#startedAtMs)
  }

  /** The instance was asked for the status. */
  onCheck(check: StatusCheck, nowMs: Millis): AsyncVerdict {
    const ageMs = nowMs - this.#startedAtMs
    if (check.kind === 'unreachable') return LOST
    if (ageMs >= ASYNC_SLOT_MS_MAX) return ENDED
    const isInTime = ageMs < this.#times.requestTimeoutMs
    if (check.kind === 'unanswered') return isInTime ? this.#again(nowMs) : LOST
    if (isWorking(check.status)) return this.#again(nowMs)
    return isReady(check) && isInTime ? this.#again(nowMs) : ENDED
  }

  #again(nowMs: Millis): AsyncVerdict {
    return { kind: 'check', atMs: Math.min(nowMs + this.#intervalMs(nowMs), this.#startedAtMs + ASYNC_SLOT_MS_MAX) }
  }

  /** Grows with age, so that the longest work costs a few hundred questions. */
  #intervalMs(nowMs: Millis): number {
    const { requestTimeoutMs, checkIntervalMs } = this.#times
    const spreadMs = Math.max(requestTimeoutMs, nowMs - this.#startedAtMs) / ASYNC_CHECKS_MAX
    return Math.max(ASYNC_CHECK_INTERVAL_MS_MIN, Math.min(Math.max(checkIntervalMs, spreadMs), requestTimeoutMs))
  }
}

/** Is the request over once its client has got this answer (rule AS6, spec §8.4 to §8.6)? */
export function endsAsyncRequest({ about, method, status, location }: AsyncCall): boolean {
  if (about === 'result') return true
  if (method === 'DELETE') return status === 200 || status === 204
  return status === 410 || (status === 303 && location === 'foreign')
}

function isWorking(status: number): boolean {
  return status === 200 || status === 202
}

/** The result can be fetched from the instance. */
function isReady({ status, location }: { readonly status: number; readonly location: LocationKind }): boolean {
  return status === 303 && location === 'own'
}
