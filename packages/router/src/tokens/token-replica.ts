import type { Logger } from '@waiter/base'
import { type TokenRecord, tokenEtag } from '@waiter/services'
import type { KeyValueStore, Version } from '@waiter/store'

/** Where tokens live in the store. */
export const TOKEN_PREFIX = 'tokens/'

/** A lost watch is opened anew after this, doubling up to the maximum. */
const RETRY_MS_FIRST = 50
const RETRY_MS_MAX = 2_000

/** A token with what identifies its content. */
export interface KnownToken {
  readonly record: TokenRecord
  /** Undefined when the token is soft-deleted (spec §3.1). */
  readonly etag: string | undefined
  /** Version of the store entry; 0 when the token does not exist (any more). */
  readonly version: Version
}

/**
 * All tokens, in memory, a few milliseconds behind the store: what routing reads. Before `ready` resolves it knows
 * nothing; when the store is away it keeps what it had.
 */
export class TokenReplica {
  readonly #store: KeyValueStore
  readonly #log: Logger
  readonly #tokens = new Map<string, KnownToken>()
  readonly #stopped = new AbortController()
  /** Everything up to here the watch has told; what is older and not known here has been deleted since. */
  #watchedVersion: Version = 0
  /** Deleted by ourselves; the watch may still tell of earlier writes. */
  readonly #deleted = new Map<string, Version>()
  #generation = 0
  #isSynced = false
  #resolveReady: () => void = () => undefined
  /** Resolves when everything that the store held has been read once. */
  readonly ready: Promise<void>

  constructor(store: KeyValueStore, log: Logger) {
    this.#store = store
    this.#log = log
    this.ready = new Promise(resolve => {
      this.#resolveReady = resolve
    })
  }

  /** Begins to follow the store. The returned promise ends with `stop`. */
  async run(): Promise<void> {
    let retryMs = RETRY_MS_FIRST
    while (!this.#stopped.signal.aborted) {
      try {
        await this.#follow(() => {
          retryMs = RETRY_MS_FIRST
        })
      } catch (error) {
        this.#log.warn({ err: error, retryMs }, 'lost the token watch; routing uses what is known')
      }
      await pause(retryMs, this.#stopped.signal)
      retryMs = Math.min(RETRY_MS_MAX, retryMs * 2)
    }
  }

  stop(): void {
    this.#stopped.abort()
  }

  /** Grows with every change: whoever caches conclusions from tokens compares it. */
  get generation(): number {
    return this.#generation
  }

  get isSynced(): boolean {
    return this.#isSynced
  }

  get size(): number {
    return this.#tokens.size
  }

  /** The token's record, soft-deleted ones included. */
  find(name: string): KnownToken | undefined {
    return this.#tokens.get(name)
  }

  /** All tokens, soft-deleted ones included. */
  entries(): IterableIterator<[name: string, token: KnownToken]> {
    return this.#tokens.entries()
  }

  /** Learns of one entry: from the watch, or from a write or read of our own that the watch will repeat. */
  learn(name: string, value: string | undefined, version: Version): KnownToken | undefined {
    const isOutdated = version <= this.#watchedVersion && !this.#tokens.has(name)
    if (isOutdated) return undefined
    if (value === undefined && version > this.#watchedVersion) this.#deleted.set(name, version)
    return this.#take(name, value, version)
  }

  #take(name: string, value: string | undefined, version: Version): KnownToken | undefined {
    const known = this.#tokens.get(name)
    if (known !== undefined && known.version >= version) return known
    if ((this.#deleted.get(name) ?? 0) > version) return undefined
    this.#generation += 1
    if (value === undefined) {
      this.#tokens.delete(name)
      return undefined
    }
    const record = JSON.parse(value) as TokenRecord
    const token = { record, etag: tokenEtag(record), version }
    this.#tokens.set(name, token)
    return token
  }

  async #follow(onSynced: () => void): Promise<void> {
    const seen = new Set<string>()
    let isListing = true
    for await (const change of this.#store.watch(TOKEN_PREFIX, this.#stopped.signal)) {
      switch (change.kind) {
        case 'put': {
          const name = change.entry.key.slice(TOKEN_PREFIX.length)
          if (isListing) seen.add(name)
          else this.#watched(change.entry.version)
          this.#takeWatched(name, change.entry.value, change.entry.version)
          break
        }
        case 'delete':
          this.#take(change.key.slice(TOKEN_PREFIX.length), undefined, change.version)
          this.#watched(change.version)
          break
        case 'synced':
          isListing = false
          this.#forgetUnseen(seen, change.version)
          this.#watched(change.version)
          seen.clear()
          this.#isSynced = true
          this.#resolveReady()
          onSynced()
          break
      }
    }
  }

  /** What a fresh listing does not contain has been deleted meanwhile. */
  #forgetUnseen(seen: ReadonlySet<string>, version: Version): void {
    for (const [name, token] of this.#tokens)
      if (!seen.has(name) && token.version <= version) this.#take(name, undefined, version + 1)
  }

  /** One value that cannot be read must not keep all others from being known. */
  #takeWatched(name: string, value: string, version: Version): void {
    try {
      this.#take(name, value, version)
    } catch (error) {
      this.#log.error({ err: error, token: name, version }, 'a stored token cannot be read; it is ignored')
    }
  }

  #watched(version: Version): void {
    this.#watchedVersion = version
    for (const [name, deletedAt] of this.#deleted) if (deletedAt <= version) this.#deleted.delete(name)
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) return resolve()
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end, { once: true })
  })
}
