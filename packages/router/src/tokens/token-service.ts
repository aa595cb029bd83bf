import { WaiterError } from '@waiter/base'
import {
  decideTokenDelete,
  decideTokenPost,
  type Entitlements,
  type ServicesConfig,
  type TokenDeleteDecision,
  type TokenError,
  type TokenPostDecision,
  type TokenRecord,
} from '@waiter/services'
import type { KeyValueStore, Version } from '@waiter/store'
import { TOKEN_PREFIX, type TokenReplica } from './token-replica.ts'

/** Two writers of one token meet rarely; who loses this often in a row is told to try again. */
const CONFLICTS_MAX = 10

export interface TokenServiceOptions {
  readonly store: KeyValueStore
  readonly replica: TokenReplica
  readonly services: ServicesConfig
  readonly entitlements: Entitlements
}

/** A stored token and where in its life it is. */
export interface StoredToken {
  readonly record: TokenRecord | undefined
  readonly version: Version
}

type PostInput = Omit<Parameters<typeof decideTokenPost>[0], 'existing' | 'entitlements' | 'config' | 'countLiveTokens'>
type DeleteInput = Omit<Parameters<typeof decideTokenDelete>[0], 'existing' | 'entitlements' | 'config'>

/**
 * Reads and writes tokens. What to write is decided by pure rules on what is stored; the write goes through only if that
 * is still stored, else everything is decided anew. There is no lock, and routers learn of it by their watch.
 */
export class TokenService {
  readonly #options: TokenServiceOptions

  constructor(options: TokenServiceOptions) {
    this.#options = options
  }

  /** Linearizable. */
  async read(name: string): Promise<StoredToken> {
    const entry = await this.#options.store.get(TOKEN_PREFIX + name)
    if (entry === undefined) return { record: undefined, version: 0 }
    this.#options.replica.learn(name, entry.value, entry.version)
    return { record: JSON.parse(entry.value) as TokenRecord, version: entry.version }
  }

  async post(input: PostInput): Promise<TokenPostDecision> {
    const { services, entitlements, replica } = this.#options
    const countLiveTokens = (owner: string): number => {
      let count = 0
      for (const [, { record }] of replica.entries()) if (record.owner === owner && record.deleted !== true) count += 1
      return count
    }
    return await this.#write(input.token, existing => {
      const decision = decideTokenPost({ ...input, existing, entitlements, config: services, countLiveTokens })
      if (!decision.ok) throw tokenFailure(decision.error)
      const { kind, record } = decision.value
      return { result: decision.value, change: kind === 'no-op' ? 'none' : { value: JSON.stringify(record) } }
    })
  }

  async delete(input: DeleteInput): Promise<TokenDeleteDecision> {
    const { services, entitlements } = this.#options
    return await this.#write(input.token, existing => {
      const decision = decideTokenDelete({ ...input, existing, entitlements, config: services })
      if (!decision.ok) throw tokenFailure(decision.error)
      const value = decision.value.kind === 'soft-deleted' ? JSON.stringify(decision.value.record) : undefined
      return { result: decision.value, change: { value } }
    })
  }

  async #write<T>(
    name: string,
    decide: (existing: TokenRecord | undefined) => { result: T; change: 'none' | { value: string | undefined } },
  ): Promise<T> {
    for (let attempt = 0; attempt < CONFLICTS_MAX; attempt++) {
      const stored = await this.read(name)
      const { result, change } = decide(stored.record)
      if (change === 'none') return result
      const outcome = await this.#options.store.compareAndSet(TOKEN_PREFIX + name, stored.version, change.value)
      if (outcome.kind === 'written') {
        // The answer means: from now on this router works with what was written.
        this.#options.replica.learn(name, change.value, outcome.version)
        return result
      }
    }
    throw new WaiterError(`Token ${name} is being changed by others right now: try again`, {
      code: 'WTR_TOKEN_BUSY',
      status: 503,
      retryable: true,
    })
  }
}

/** A refusal of a token rule as a failure with its status. */
export function tokenFailure(error: TokenError): WaiterError {
  return new WaiterError(error.message, {
    code: 'WTR_TOKEN_REFUSED',
    status: error.status,
    details: error.details,
  })
}
