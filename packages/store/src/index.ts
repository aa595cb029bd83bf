export type { Change, Key, KeyValueStore, Outcome, Version, Versioned } from './key-value-store.ts'
