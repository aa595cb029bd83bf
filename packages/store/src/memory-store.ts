import { storeUnavailable } from './errors.ts'
import type { Key, KeyValueStore, Outcome } from './key-value-store.ts'
import { checkKey, checkValue, checkWrites } from './limits.ts'
import { createStoreState } from './store-state.ts'
import type { WatchLimits } from './watch-hub.ts'

/** How a memory store differs from the default. */
export interface MemoryStoreOptions {
  readonly watchLimits?: Partial<WatchLimits>
}

/**
 * A store that forgets everything with its process. For tests, and as the plainest statement of what the port means:
 * nothing happens between looking and writing, so every operation is linearizable.
 */
export function createMemoryStore(options: MemoryStoreOptions = {}): KeyValueStore {
  const state = createStoreState(options.watchLimits === undefined ? {} : { watchLimits: options.watchLimits })
  let isClosed = false
  const checkOpen = (): void => {
    if (isClosed) throw storeUnavailable('The store is closed.')
  }
  return {
    get: async key => {
      checkOpen()
      return state.get(key)
    },
    compareAndSet: async (key, expected, value): Promise<Outcome> => {
      checkOpen()
      checkKey(key)
      if (value !== undefined) checkValue(value)
      const current = state.get(key)
      if ((current?.version ?? 0) !== expected) return { kind: 'conflict', current }
      const version = state.version() + 1
      state.apply(
        value === undefined ? { kind: 'delete', key, version } : { kind: 'put', entry: { key, value, version } },
      )
      return { kind: 'written', version }
    },
    compareAndSetAll: async (writes): Promise<Outcome> => {
      checkOpen()
      checkWrites(writes)
      const misfit = writes.find(({ key, expected }) => (state.get(key)?.version ?? 0) !== expected)
      if (misfit !== undefined) return { kind: 'conflict', current: state.get(misfit.key) }
      for (const { key, value } of writes) {
        const version = state.version() + 1
        state.apply(
          value === undefined ? { kind: 'delete', key, version } : { kind: 'put', entry: { key, value, version } },
        )
      }
      return { kind: 'written', version: state.version() }
    },
    list: async function* (prefix: Key) {
      checkOpen()
      yield* state.list(prefix)
    },
    watch: async function* (prefix, signal) {
      checkOpen()
      yield* state.watch(prefix, signal)
    },
    close: async () => {
      isClosed = true
      state.endWatches()
    },
  }
}
