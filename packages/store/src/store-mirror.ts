import type { Logger } from '@waiter/base'
import type { Key, KeyValueStore, Version } from './key-value-store.ts'

/** A lost watch is opened anew after this, doubling up to the maximum. */
const RETRY_MS_FIRST = 50
const RETRY_MS_MAX = 2_000
/** So late a retry has seen several fail, over more than a second and a half. */
const WARN_FROM_MS = 1_600

export interface StoreMirrorOptions<T> {
  readonly store: KeyValueStore
  /** What is mirrored; names are keys without it. */
  readonly prefix: Key
  /** Makes a value of its stored text. May throw: that entry is then ignored, and the log says so. */
  readonly parse: (text: string, version: Version) => T
  /** Called after each change, in order; not for entries that could not be read. */
  readonly onChange?: (name: string, before: T | undefined, after: T | undefined) => void
  readonly log: Logger
}

interface Mirrored<T> {
  readonly value: T
  readonly version: Version
}

/**
 * Everything below one prefix of the store, parsed, in memory, a few milliseconds behind. Before `ready` resolves it
 * knows nothing; when the store is away it keeps what it had.
 */
export class StoreMirror<T> {
  readonly #options: StoreMirrorOptions<T>
  readonly #entries = new Map<string, Mirrored<T>>()
  readonly #stopped = new AbortController()
  /** Everything up to here the watch has told; what is older and not known here has been deleted since. */
  #watchedVersion: Version = 0
  /** Deleted by ourselves; the watch may still tell of earlier writes. */
  readonly #deleted = new Map<string, Version>()
  #isSynced = false
  #resolveReady: () => void = () => undefined
  /** Resolves when everything that the store held has been read once. */
  readonly ready: Promise<void>

  constructor(options: StoreMirrorOptions<T>) {
    this.#options = options
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
        const { log, prefix } = this.#options
        // A change of leader ends every watch for some hundred milliseconds: no news for whoever reads warnings.
        const level = retryMs < WARN_FROM_MS ? 'info' : 'warn'
        const cause = error instanceof Error ? error.message : String(error)
        log[level]({ cause, prefix, retryMs }, 'lost a watch of the store; what is known goes on being used')
      }
      await pause(retryMs, this.#stopped.signal)
      retryMs = Math.min(RETRY_MS_MAX, retryMs * 2)
    }
  }

  stop(): void {
    this.#stopped.abort()
  }

  get isSynced(): boolean {
    return this.#isSynced
  }

  get size(): number {
    return this.#entries.size
  }

  find(name: string): T | undefined {
    return this.#entries.get(name)?.value
  }

  *entries(): Generator<[name: string, value: T]> {
    for (const [name, { value }] of this.#entries) yield [name, value]
  }

  /** Learns of one entry: from a write or read of our own, which the watch will repeat. */
  learn(name: string, text: string | undefined, version: Version): T | undefined {
    const isOutdated = version <= this.#watchedVersion && !this.#entries.has(name)
    if (isOutdated) return undefined
    if (text === undefined && version > this.#watchedVersion) this.#deleted.set(name, version)
    return this.#take(name, text, version)
  }

  #take(name: string, text: string | undefined, version: Version): T | undefined {
    const known = this.#entries.get(name)
    if (known !== undefined && known.version >= version) return known.value
    if ((this.#deleted.get(name) ?? 0) > version) return undefined
    const { parse, onChange } = this.#options
    if (text === undefined) {
      this.#entries.delete(name)
      if (known !== undefined) onChange?.(name, known.value, undefined)
      return undefined
    }
    const value = parse(text, version)
    this.#entries.set(name, { value, version })
    onChange?.(name, known?.value, value)
    return value
  }

  async #follow(onSynced: () => void): Promise<void> {
    const { store, prefix } = this.#options
    const seen = new Set<string>()
    let isListing = true
    for await (const change of store.watch(prefix, this.#stopped.signal)) {
      switch (change.kind) {
        case 'put': {
          const name = change.entry.key.slice(prefix.length)
          if (isListing) seen.add(name)
          else this.#watched(change.entry.version)
          this.#takeWatched(name, change.entry.value, change.entry.version)
          break
        }
        case 'delete':
          this.#take(change.key.slice(prefix.length), undefined, change.version)
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
    for (const [name, entry] of this.#entries)
      if (!seen.has(name) && entry.version <= version) this.#take(name, undefined, version + 1)
  }

  /** One value that cannot be read must not keep all others from being known. */
  #takeWatched(name: string, text: string, version: Version): void {
    try {
      this.#take(name, text, version)
    } catch (error) {
      const { log, prefix } = this.#options
      log.error({ err: error, key: prefix + name, version }, 'a stored value cannot be read; it is ignored')
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
