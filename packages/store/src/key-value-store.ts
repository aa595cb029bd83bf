import type { Brand } from '@waiter/base'

/** A key: 1–512 bytes of UTF-8. Prefixes are literal. */
export type Key = Brand<string, 'Key'>
/** Counts every change of the whole store: grows by one with each write, never reused. 0 means "does not exist". */
export type Version = Brand<number, 'Version'>

/** A value with the version of the write that made it. Values are opaque text, at most 1 MiB. */
export interface Versioned {
  readonly key: Key
  readonly value: string
  readonly version: Version
}

export type Outcome =
  | { readonly kind: 'written'; readonly version: Version }
  /** Somebody else wrote first: `current` is what is there now. Nothing was changed. */
  | { readonly kind: 'conflict'; readonly current: Versioned | undefined }

export type Change =
  | { readonly kind: 'put'; readonly entry: Versioned }
  | { readonly kind: 'delete'; readonly key: Key; readonly version: Version }
  /** All entries up to `version` have been delivered: the watcher now knows the present. Sent once, then changes follow. */
  | { readonly kind: 'synced'; readonly version: Version }

/**
 * What must survive: tokens and their history, service definitions, overrides. Small and strongly consistent.
 *
 * Failures are `WaiterError`s: `WTR_STORE_UNAVAILABLE` (retryable, nothing is known about the write),
 * `WTR_STORE_LIMIT` (key or value too large), `WTR_STORE_CORRUPT` (refuses to start).
 */
export interface KeyValueStore {
  /** Linearizable read. */
  get(key: Key): Promise<Versioned | undefined>
  /**
   * Writes `value` (or deletes, when undefined) if the key's version is still `expected` (0: must not exist).
   * Resolves only when the write is durable.
   */
  compareAndSet(key: Key, expected: Version, value: string | undefined): Promise<Outcome>
  /**
   * The same for several keys, each named once: all of them, or none when any is a conflict. Absent: the store cannot.
   *
   * @throws {WaiterError} `WTR_STORE_LIMIT` too when they are more than `WRITES_BYTES_MAX` together
   */
  compareAndSetAll?(writes: readonly Write[]): Promise<Outcome>
  /** Everything below a prefix, in key order, as of one moment. */
  list(prefix: Key): AsyncIterable<Versioned>
  /**
   * All present entries below `prefix`, then `synced`, then every later change in version order. A watcher that reads
   * too slowly is ended with `WTR_WATCH_LAGGED` and starts again. Ends when `signal` aborts.
   */
  watch(prefix: Key, signal: AbortSignal): AsyncIterable<Change>
  /** Releases files and ends watches. Later calls fail with `WTR_STORE_UNAVAILABLE`. */
  close(): Promise<void>
}

/** Names a write for ever, so that it can be tried again. */
export interface WriteId {
  readonly session: number
  /** Unique in its session; a retry repeats it. */
  readonly sequence: number
  /** No write of the session below this one will be tried again. */
  readonly firstPending: number
}

/** What a write is to do. */
export interface Write {
  readonly key: Key
  readonly expected: Version
  readonly value: string | undefined
}

/** What a store offers besides, of which the members each take writes: the same write may be put to several of them. */
export interface WriteSessions {
  openSession(): Promise<number>
  /**
   * As `compareAndSet`; a write of the same name is answered as the first time.
   */
  compareAndSetOnce(write: Write, id: WriteId): Promise<OnceOutcome>
}

export type OnceOutcome =
  | Outcome
  /** The session is not known any more. Nothing was changed now; an attempt that was made for this call before may have been. */
  | { readonly kind: 'refused'; readonly mayHaveHappened: boolean }
