import type { Logger } from '@waiter/base'
import { STORE_PREFIXES, type TokenRecord, tokenEtag } from '@waiter/services'
import { type KeyValueStore, StoreMirror, type Version } from '@waiter/store/port'

/** Where tokens live in the store. */
export const TOKEN_PREFIX: string = STORE_PREFIXES.tokens

/** A token with what identifies its content. */
export interface KnownToken {
  readonly record: TokenRecord
  /** Of the record, also when that says that the token is deleted. */
  readonly etag: string
  /** Version of the store entry; 0 when the token does not exist (any more). */
  readonly version: Version
}

/** Hears of every change of a token: what was known before, and what is now. */
export type TokenListener = (name: string, before: KnownToken | undefined, after: KnownToken | undefined) => void

/**
 * All tokens, in memory, a few milliseconds behind the store: what routing reads. Before `ready` resolves it knows
 * nothing; when the store is away it keeps what it had.
 */
export class TokenReplica extends StoreMirror<KnownToken> {
  #generation = 0
  readonly #listeners: Set<TokenListener>

  constructor(store: KeyValueStore, log: Logger) {
    const listeners = new Set<TokenListener>()
    super({
      store,
      prefix: TOKEN_PREFIX,
      parse: (text, version) => {
        const record = JSON.parse(text) as TokenRecord
        return { record, etag: tokenEtag(record), version }
      },
      onChange: (name, before, after) => {
        this.#generation += 1
        for (const listener of listeners) listener(name, before, after)
      },
      log,
    })
    this.#listeners = listeners
  }

  /** Grows with every change: whoever caches conclusions from tokens compares it. */
  get generation(): number {
    return this.#generation
  }

  /** @returns what ends it */
  onChange(listener: TokenListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}
