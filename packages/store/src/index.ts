/**
 * The store for what must survive: tokens and their history, service definitions, overrides. `KeyValueStore` is the
 * port; `createMemoryStore` the reference, `openJournalStore` the one that keeps its data on the local disk,
 * `openRaftStore` the one that a group of nodes keeps together. Small data by design: everything is held in memory. The contract that every implementation passes is in `@waiter/store/contract`.
 * It knows nothing of what the values mean.
 */
export { compareKeys } from './compare-keys.ts'
export { storeCorrupt, storeLimit, storeUnavailable, watchLagged } from './errors.ts'
export type { FileSystem, JournalFile } from './journal/file-system.ts'
export { type JournalStoreOptions, openJournalStore } from './journal/journal-store.ts'
export type { ProcessTable } from './journal/lock.ts'
export { nodeFileSystem } from './journal/node-file-system.ts'
export type {
  Change,
  Key,
  KeyValueStore,
  OnceOutcome,
  Outcome,
  Version,
  Versioned,
  Write,
  WriteId,
  WriteSessions,
} from './key-value-store.ts'
export { checkKey, checkValue, KEY_BYTES_MAX, VALUE_BYTES_MAX } from './limits.ts'
export { createMemoryStore, type MemoryStoreOptions } from './memory-store.ts'
export type { ProposeOutcome } from './raft/propose.ts'
export { openRaftStore, type RaftStore, type RaftStoreOptions } from './raft/raft-store.ts'
export type { FirstState } from './raft/replicated-map.ts'
export { createStoreState, type StateChange, type StoreState, type StoreStateOptions } from './store-state.ts'
export type { WatchLimits } from './watch-hub.ts'
