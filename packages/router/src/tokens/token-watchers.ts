import { WaiterError } from '@waiter/base'
import {
  renderTokenEntry,
  renderTokenListing,
  type TokenListingContext,
  type TokenListingEntry,
  type TokenListingQuery,
  type TokenRecord,
} from '@waiter/services'
import type { KnownToken, TokenReplica } from './token-replica.ts'

/** Watch streams of one router. */
export const TOKEN_WATCHERS_MAX = 1_000

/** What a watcher is sent (spec §3.6). */
export type TokenWatchMessage =
  | {
      readonly id: string
      readonly type: 'INITIAL'
      readonly object: readonly TokenListingEntry[]
      readonly 'reference-type': 'token'
    }
  | { readonly id: string; readonly type: 'EVENTS'; readonly object: readonly TokenEvent[] }

export type TokenEvent =
  | { readonly type: 'UPDATE'; readonly object: TokenListingEntry; readonly 'reference-type': 'token' }
  | { readonly type: 'DELETE'; readonly object: { readonly owner: string; readonly token: string } }
  | { readonly type: 'UPDATE'; readonly object: ReferenceUpdate; readonly 'reference-type': string }

/** Something that tokens refer to, for example an image, has changed (spec §3.7). */
export interface ReferenceUpdate {
  readonly 'reference-name': string
  readonly 'reference-type': string
  readonly 'update-time': string
}

export interface TokenWatcher {
  readonly query: TokenListingQuery
  send(message: TokenWatchMessage): void
}

interface Changed {
  readonly before: TokenRecord | undefined
  readonly after: TokenRecord | undefined
}

/**
 * Tells watchers of changed tokens, in batches: all changes of a turn are one message. A token that a watcher's query
 * selected and does not select any more, because it was deleted or otherwise, is a `DELETE` to that watcher.
 */
export class TokenWatchers {
  readonly #watchers = new Set<TokenWatcher>()
  readonly #tokens: TokenReplica
  readonly #context: TokenListingContext
  readonly #nextId: () => string
  readonly #changed = new Map<string, Changed>()
  #isFlushDue = false

  constructor(options: { tokens: TokenReplica; context: TokenListingContext; nextId: () => string }) {
    this.#tokens = options.tokens
    this.#context = options.context
    this.#nextId = options.nextId
    this.#tokens.onChange((name, before, after) => this.#note(name, before, after))
  }

  get size(): number {
    return this.#watchers.size
  }

  /**
   * Sends what there is, then what changes.
   *
   * @returns what ends it
   * @throws WaiterError 503 WTR_TOO_MANY_WATCHERS
   */
  add(watcher: TokenWatcher): () => void {
    if (this.#watchers.size >= TOKEN_WATCHERS_MAX)
      throw new WaiterError(`This router has ${TOKEN_WATCHERS_MAX} watchers of tokens already: ask another, or later`, {
        code: 'WTR_TOO_MANY_WATCHERS',
        status: 503,
        retryable: true,
      })
    // Those who were there before hear of pending changes as news; the new one sees them in its first message.
    this.#flush()
    const records = [...this.#tokens.entries()].map(([name, { record }]): [string, TokenRecord] => [name, record])
    const object = renderTokenListing(records, watcher.query, this.#context)
    this.#watchers.add(watcher)
    watcher.send({ id: this.#nextId(), type: 'INITIAL', object, 'reference-type': 'token' })
    return () => this.#watchers.delete(watcher)
  }

  /** Tells those who asked for updates of references. */
  tellReference(update: ReferenceUpdate): void {
    const event = { type: 'UPDATE', object: update, 'reference-type': update['reference-type'] } as const
    for (const watcher of this.#watchers)
      if (watcher.query.wantsReferenceUpdates) watcher.send({ id: this.#nextId(), type: 'EVENTS', object: [event] })
  }

  #note(name: string, before: KnownToken | undefined, after: KnownToken | undefined): void {
    if (this.#watchers.size === 0) return
    const first = this.#changed.get(name)
    this.#changed.set(name, { before: first === undefined ? before?.record : first.before, after: after?.record })
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    setImmediate(() => this.#flush())
  }

  #flush(): void {
    this.#isFlushDue = false
    if (this.#changed.size === 0) return
    const changed = [...this.#changed]
    this.#changed.clear()
    for (const watcher of this.#watchers) {
      const events = changed.flatMap(([name, change]) => this.#eventFor(name, change, watcher.query))
      if (events.length > 0) watcher.send({ id: this.#nextId(), type: 'EVENTS', object: events })
    }
  }

  #eventFor(token: string, { before, after }: Changed, query: TokenListingQuery): TokenEvent[] {
    const about = { query, context: this.#context }
    const entry = after && renderTokenEntry(token, after, about)
    if (entry !== undefined) return [{ type: 'UPDATE', object: entry, 'reference-type': 'token' }]
    const wasShown = before !== undefined && renderTokenEntry(token, before, about) !== undefined
    return wasShown ? [{ type: 'DELETE', object: { owner: before.owner, token } }] : []
  }
}
