import type { CallOptions, Metadata, ServiceError } from '@grpc/grpc-js'
import { WaiterError } from '@waiter/base'
import type { KeyValueServiceClient } from '../generated/waiter/v1/key_value.ts'
import { CALL_TIMEOUT_MS, callUnary } from './call-unary.ts'
import type { ClientPool } from './client-pool.ts'
import { type ControlLocator, leaderChange } from './control-locator.ts'

/** So long a failed call waits for news of another node that could be asked. */
const NEWS_MS = 200
/** No attempt is begun with less time left. */
const ATTEMPT_MS_MIN = 50
/** gRPC says this when a call could not even begin. */
const NEVER_SENT = /^No connection established/

/** Begins a call of one of the store's methods. */
export type StartCall<Response> = (
  client: KeyValueServiceClient,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => { cancel(): void }

/**
 * Calls whichever control node is best asked: the leader, if it can be reached. One that no longer leads is not waited for,
 * since it may have been cut off, and would not answer: the call is made again at its successor.
 */
export class LedCalls {
  readonly #locator: ControlLocator
  readonly #clients: ClientPool<KeyValueServiceClient>

  constructor(locator: ControlLocator, clients: ClientPool<KeyValueServiceClient>) {
    this.#locator = locator
    this.#clients = clients
  }

  /** @param mayRepeat asked after each failed attempt whether there may be another; called also when there will be none */
  async call<Response>(start: StartCall<Response>, mayRepeat: (error: unknown) => boolean): Promise<Response> {
    const giveUpAtMs = performance.now() + CALL_TIMEOUT_MS
    for (;;) {
      const address = this.#locator.any()
      try {
        return await this.#attempt(address, start, giveUpAtMs - performance.now())
      } catch (error) {
        if (!mayRepeat(error) || !(await this.#isAnotherFound(address))) throw error
        if (giveUpAtMs - performance.now() < ATTEMPT_MS_MIN) throw error
      }
    }
  }

  async #isAnotherFound(asked: string): Promise<boolean> {
    const isFound = (): boolean => this.#locator.any() !== asked
    if (!isFound() && this.#locator.hasOthers) await leaderChange(this.#locator, NEWS_MS)
    return isFound()
  }

  async #attempt<Response>(address: string, start: StartCall<Response>, timeoutMs: number): Promise<Response> {
    const outdated = new AbortController()
    const wasLeader = this.#locator.leader() === address
    const unsubscribe = this.#locator.onLeader(() => {
      if (wasLeader && this.#locator.leader() !== address) outdated.abort()
    })
    try {
      const client = this.#clients.get(address)
      return await callUnary<Response>((...rest) => start(client, ...rest), timeoutMs, outdated.signal)
    } finally {
      unsubscribe()
    }
  }
}

/** Nothing has happened: the call did not even begin. */
export function wasNeverSent(error: unknown): boolean {
  return isCodeOf(error, 'WTR_CONTROL_UNREACHABLE') && NEVER_SENT.test((error.cause as ServiceError).details)
}

/** Another control node may do better. */
export function mayDoElsewhere(error: unknown): boolean {
  return isCodeOf(error, 'WTR_CONTROL_UNREACHABLE') || isCodeOf(error, 'WTR_STORE_UNAVAILABLE')
}

function isCodeOf(error: unknown, code: string): error is WaiterError {
  return error instanceof WaiterError && error.code === code
}
