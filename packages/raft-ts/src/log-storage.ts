import type { Term } from '@waiter/base'
import type { ConfState, Entry, HardState, LogIndex, Snapshot } from './types.ts'

/**
 * What the core reads of the durable log. Synchronous: a driver keeps the tail since the last compaction in memory and
 * writes it to disk on its own; the core only ever sees here what the driver has reported durable.
 */
export interface LogReader {
  /** What a starting node knows: its hard state and the configuration as of its last applied entry or snapshot. */
  initialState(): { readonly hardState: HardState; readonly conf: ConfState }
  /** Index of the first entry that can still be read: one after the last compacted. */
  firstIndex(): LogIndex
  /** Index of the last entry; `firstIndex() - 1` when there is none. */
  lastIndex(): LogIndex
  /** The term at an index in `[firstIndex - 1, lastIndex]`; undefined outside. */
  term(index: LogIndex): Term | undefined
  /** Entries in `[from, to)`, at most `maxBytes` but at least one; undefined when `from` is compacted. */
  entries(from: LogIndex, to: LogIndex, maxBytes: number): readonly Entry[] | undefined
  /** The newest snapshot; undefined when none is at hand right now (the leader asks again later). */
  snapshot(): Snapshot | undefined
}
