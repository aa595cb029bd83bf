import { assert, type Term } from '@waiter/base'
import { sliceLimited } from './entry-size.ts'
import type { Entry, EntryId, LogIndex, Snapshot } from './types.ts'

/**
 * The part of the log that is not yet durable: entries from `offset` on, and perhaps a snapshot received. Everything
 * below `offsetInProgress` has been handed to the disk and is being written.
 */
export class Unstable {
  snapshot: Snapshot | undefined
  isSnapshotInProgress = false
  entries: Entry[] = []
  offset: LogIndex
  offsetInProgress: LogIndex

  constructor(offset: LogIndex) {
    this.offset = offset
    this.offsetInProgress = offset
  }

  lastIndex(): LogIndex | undefined {
    if (this.entries.length > 0) return this.offset + this.entries.length - 1
    return this.snapshot?.index
  }

  term(index: LogIndex): Term | undefined {
    if (index < this.offset) return this.snapshot?.index === index ? this.snapshot.term : undefined
    return this.entries[index - this.offset]?.term
  }

  /** Entries not yet handed to the disk. */
  nextEntries(): readonly Entry[] {
    return this.entries.slice(this.offsetInProgress - this.offset)
  }

  /** The snapshot, unless it is being written already. */
  nextSnapshot(): Snapshot | undefined {
    return this.isSnapshotInProgress ? undefined : this.snapshot
  }

  /** Everything there is has been handed to the disk. */
  accept(): void {
    if (this.entries.length > 0) this.offsetInProgress = this.offset + this.entries.length
    if (this.snapshot !== undefined) this.isSnapshotInProgress = true
  }

  /** Forgets entries up to `id`, which are durable now. `isCurrent` has compared the terms (rule D5). */
  stableTo(id: EntryId, isCurrent: boolean): void {
    if (!isCurrent) return
    this.entries = this.entries.slice(id.index + 1 - this.offset)
    this.offset = id.index + 1
    this.offsetInProgress = Math.max(this.offsetInProgress, this.offset)
  }

  stableSnapshotTo(index: LogIndex): void {
    if (this.snapshot?.index !== index) return
    this.snapshot = undefined
    this.isSnapshotInProgress = false
  }

  restore(snapshot: Snapshot): void {
    this.offset = snapshot.index + 1
    this.offsetInProgress = this.offset
    this.entries = []
    this.snapshot = snapshot
    this.isSnapshotInProgress = false
  }

  truncateAndAppend(entries: readonly Entry[]): void {
    const from = entries[0]!.index
    if (from === this.offset + this.entries.length) {
      for (const entry of entries) this.entries.push(entry)
    } else if (from <= this.offset) {
      this.entries = [...entries]
      this.offset = from
      this.offsetInProgress = from
    } else {
      this.entries = [...this.slice(this.offset, from), ...entries]
      this.offsetInProgress = Math.min(this.offsetInProgress, from)
    }
  }

  /** Entries in `[from, to)` within `maxBytes`, but at least one. */
  slice(from: LogIndex, to: LogIndex, maxBytes: number = Number.POSITIVE_INFINITY): readonly Entry[] {
    assert(from >= this.offset && to <= this.offset + this.entries.length, `unstable slice ${from}..${to} out of range`)
    return sliceLimited(this.entries, { from: from - this.offset, to: to - this.offset, maxBytes })
  }
}
