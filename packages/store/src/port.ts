/**
 * The port alone: its types and the limits that every implementation keeps. What other shells may import at run time, so
 * that an implementation elsewhere (over the network, replicated) refuses exactly what these here refuse.
 */
export { storeCorrupt, storeLimit, storeUnavailable, watchLagged } from './errors.ts'
export type { Change, Key, KeyValueStore, Outcome, Version, Versioned } from './key-value-store.ts'
export { checkKey, checkValue, KEY_BYTES_MAX, VALUE_BYTES_MAX } from './limits.ts'
