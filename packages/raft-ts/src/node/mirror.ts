import { assert } from '@waiter/base'
import {
  EMPTY_CONF,
  type Entry,
  type HardState,
  type LogIndex,
  type LogReader,
  MemoryStorage,
  NO_DATA,
  type Snapshot,
} from '../index.ts'
import type { LogBatch, SnapshotId } from './log-storage.ts'

/** What a storage holds when it is opened. */
export interface MirrorContent {
  readonly hardState: HardState
  readonly snapshot: SnapshotId | undefined
  readonly entries: readonly Entry[]
}

/** The durable log in memory, for the core to read. Changed only after the disk has been. */
export class LogMirror {
  readonly #log: MemoryStorage
  #hardState: HardState
  #snapshot: SnapshotId | undefined

  constructor({ hardState, snapshot, entries }: MirrorContent) {
    const base = snapshot === undefined ? { index: 0, term: 0, conf: EMPTY_CONF } : snapshot
    this.#log = new MemoryStorage({ hardState, snapshot: withoutData(base), entries })
    this.#hardState = hardState
    this.#snapshot = snapshot
  }

  get reader(): LogReader {
    return this.#log
  }

  get hardState(): HardState {
    return this.#hardState
  }

  get snapshot(): SnapshotId | undefined {
    return this.#snapshot
  }

  get lastIndex(): LogIndex {
    return this.#log.lastIndex()
  }

  /** A batch has become durable. */
  apply({ hardState, snapshot, entries }: LogBatch): void {
    if (snapshot !== undefined) {
      this.#log.restore(withoutData(snapshot))
      this.#snapshot = snapshot
    }
    this.#log.append(entries)
    if (hardState !== undefined) this.setHardState(hardState)
  }

  setHardState(hardState: HardState): void {
    this.#hardState = hardState
    this.#log.setHardState(hardState)
  }

  /** A snapshot of this node's own state has become durable. */
  saved(id: SnapshotId): void {
    if (this.#snapshot !== undefined && id.index <= this.#snapshot.index) return
    // The first snapshot of a group comes before any entry.
    if (this.lastIndex === 0) this.#log.restore(withoutData(id))
    else this.#log.saveSnapshot(id.index, id.conf, NO_DATA)
    this.#snapshot = id
  }

  compact(through: LogIndex): void {
    const newest = this.#snapshot?.index ?? 0
    assert(through <= newest, `compaction through ${through} beyond the snapshot at ${newest}`)
    this.#log.compact(through)
  }
}

// The core sees a handle; the content is read when it is sent.
function withoutData({ index, term, conf }: SnapshotId): Snapshot {
  return { index, term, conf, data: NO_DATA }
}
