import { type ServiceError, status } from '@grpc/grpc-js'
import { WaiterError } from '@waiter/base'
import { type OnceOutcome, type Outcome, outcomeUnknown, type Write, WriteGate } from '@waiter/store/port'
import type { CompareAndSetResponse, OpenSessionResponse } from '../generated/waiter/v1/key_value.ts'
import { type LedCalls, mayDoElsewhere, wasNeverSent } from './led-calls.ts'

/** What a control node answers that knows no sessions: of an earlier release, or with a store of its own. */
const NO_SESSION = 0

/**
 * Writes of one router. Each has a name within the router's session, so that it can be put to the next leader when the former one
 * has died or was cut off meanwhile, and is applied once.
 */
export class RemoteWrites {
  readonly #calls: LedCalls
  readonly #gate = new WriteGate()
  #session: Promise<number> | undefined

  constructor(calls: LedCalls) {
    this.#calls = calls
  }

  async compareAndSet(write: Write): Promise<Outcome> {
    const sequence = await this.#gate.enter()
    try {
      for (let isRenewed = false; ; isRenewed = true) {
        this.#session ??= this.#openSession()
        const opening = this.#session
        const outcome = await this.#attempt(write, { session: await opening, sequence })
        if (outcome.kind !== 'refused') return outcome
        if (this.#session === opening) this.#session = undefined
        if (outcome.mayHaveHappened || isRenewed) throw outcomeUnknown()
      }
    } finally {
      this.#gate.leave(sequence)
    }
  }

  async #attempt(write: Write, id: { readonly session: number; readonly sequence: number }): Promise<OnceOutcome> {
    let mayHaveHappened = false
    const response = await this.#calls.call<CompareAndSetResponse>(
      (client, ...rest) => {
        const named = id.session === NO_SESSION ? undefined : { ...id, firstPending: this.#gate.firstPending }
        return client.compareAndSet({ ...write, id: named }, ...rest)
      },
      error => {
        if (wasNeverSent(error)) return true
        mayHaveHappened = true
        return id.session !== NO_SESSION && mayDoElsewhere(error)
      },
    )
    if (response.refused) return { kind: 'refused', mayHaveHappened: mayHaveHappened || response.mayHaveHappened }
    if (response.written) return { kind: 'written', version: response.version }
    return { kind: 'conflict', current: response.current }
  }

  async #openSession(): Promise<number> {
    try {
      // Opened twice and used once is as good: sessions that nobody uses are forgotten.
      const response = await this.#calls.call<OpenSessionResponse>(
        (client, ...rest) => client.openSession({}, ...rest),
        error => !isUnknownMethod(error) && mayDoElsewhere(error),
      )
      return response.session
    } catch (error) {
      if (isUnknownMethod(error)) return NO_SESSION
      this.#session = undefined
      throw error
    }
  }
}

function isUnknownMethod(error: unknown): boolean {
  return error instanceof WaiterError && (error.cause as ServiceError | undefined)?.code === status.UNIMPLEMENTED
}
