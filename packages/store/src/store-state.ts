import { assert } from '@waiter/base'
import { compareKeys } from './compare-keys.ts'
import type { Change, Key, Version, Versioned } from './key-value-store.ts'
import { createWatchHub, type WatchLimits } from './watch-hub.ts'

/** A write as it is remembered: what a watcher is told, less `synced`. */
export type StateChange = Exclude<Change, { readonly kind: 'synced' }>

/**
 * What is in a store, in memory: entries in order, the version of the last write, and the watchers. Holds only what is
 * durable: implementations apply a write after it is safe, and before they acknowledge it.
 */
export interface StoreState {
  version(): Version
  get(key: Key): Versioned | undefined
  list(prefix: Key): readonly Versioned[]
  /** @throws {AssertionFailed} unless the version is higher than all before */
  apply(change: StateChange): void
  /** Puts another content in the place of all. Watches end with `WTR_WATCH_LAGGED`: they have missed something. */
  replace(entries: Iterable<Versioned>, version: Version): void
  /** Ends quietly with `signal` or `endWatches`, and with `WTR_WATCH_LAGGED` when read too slowly. */
  watch(prefix: Key, signal: AbortSignal): AsyncIterable<Change>
  endWatches(): void
}

/** What a state begins with. */
export interface StoreStateOptions {
  readonly watchLimits?: Partial<WatchLimits>
  readonly entries?: Iterable<Versioned>
  readonly version?: Version
}

/** Begins with `entries` as of `version`. */
export function createStoreState(options: StoreStateOptions = {}): StoreState {
  const entryByKey = new Map<Key, Versioned>()
  for (const entry of options.entries ?? []) entryByKey.set(entry.key, entry)
  let sortedKeys: Key[] = [...entryByKey.keys()].sort(compareKeys)
  let version: Version = options.version ?? 0
  const hub = createWatchHub(options.watchLimits)

  const list = (prefix: Key): Versioned[] => {
    const entries: Versioned[] = []
    for (let at = lowerBound(sortedKeys, prefix); sortedKeys[at]?.startsWith(prefix); at++) {
      entries.push(entryByKey.get(sortedKeys[at] as Key) as Versioned)
    }
    return entries
  }
  const put = (entry: Versioned): void => {
    if (!entryByKey.has(entry.key)) sortedKeys.splice(lowerBound(sortedKeys, entry.key), 0, entry.key)
    entryByKey.set(entry.key, entry)
  }
  const remove = (key: Key): void => {
    if (entryByKey.delete(key)) sortedKeys.splice(lowerBound(sortedKeys, key), 1)
  }
  return {
    version: () => version,
    get: key => entryByKey.get(key),
    list,
    apply: change => {
      const next = change.kind === 'put' ? change.entry.version : change.version
      assert(Number.isSafeInteger(next) && next > version, 'versions grow')
      version = next
      if (change.kind === 'put') put(change.entry)
      else remove(change.key)
      hub.publish(change)
    },
    replace: (entries, nextVersion) => {
      entryByKey.clear()
      for (const entry of entries) entryByKey.set(entry.key, entry)
      sortedKeys = [...entryByKey.keys()].sort(compareKeys)
      version = nextVersion
      hub.restart('A watch was ended: this node was so far behind that it was sent everything anew. Start it again.')
    },
    watch: (prefix, signal) => hub.watch({ prefix, signal, present: () => ({ entries: list(prefix), version }) }),
    endWatches: hub.end,
  }
}

/** The first index whose key is not before `key`. */
function lowerBound(sortedKeys: readonly Key[], key: Key): number {
  let low = 0
  let high = sortedKeys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareKeys(sortedKeys[middle] as Key, key) < 0) low = middle + 1
    else high = middle
  }
  return low
}
