/**
 * The port alone: its types, the limits that every implementation keeps, and a mirror of what any of them holds. What
 * other shells may import at run time, so that an implementation elsewhere (over the network, replicated) refuses
 * exactly what these here refuse.
 */
export { outcomeUnknown, storeCorrupt, storeLimit, storeUnavailable, watchLagged } from './errors.ts'
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
export {
  bytesOf,
  checkKey,
  checkValue,
  checkWrites,
  KEY_BYTES_MAX,
  VALUE_BYTES_MAX,
  WRITES_BYTES_MAX,
} from './limits.ts'
export { WriteGate } from './raft/write-gate.ts'
export { StoreMirror, type StoreMirrorOptions } from './store-mirror.ts'
export {
  encodeSnapshotFile,
  parseSnapshotFile,
  type SnapshotContent,
  type SnapshotEntry,
  type SnapshotHeader,
} from './snapshot-file.ts'
