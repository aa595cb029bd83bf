import { assert, type Term } from '@waiter/base'
import { entriesBytes } from './entry-size.ts'
import type { LogReader } from './log-storage.ts'
import type { Entry, EntryId, LogIndex, Snapshot } from './types.ts'
import { Unstable } from './unstable.ts'

/** The log as the protocol sees it: the durable part, the part on its way to the disk, and how far it is decided. */
export class RaftLog {
  readonly storage: LogReader
  readonly unstable: Unstable
  committed: LogIndex
  /** Handed out for application. `applied <= applying <= committed`. */
  applying: LogIndex
  applied: LogIndex
  readonly #maxApplyBytes: number
  /** Entries may be applied that are still being written: the caller does both in one Ready, in that order. */
  readonly #appliesUnstable: boolean
  #applyingBytes = 0
  #isApplyPaused = false

  constructor(storage: LogReader, maxApplyBytes: number, appliesUnstable: boolean = true) {
    this.storage = storage
    this.#appliesUnstable = appliesUnstable
    this.#maxApplyBytes = maxApplyBytes
    const first = storage.firstIndex()
    this.unstable = new Unstable(storage.lastIndex() + 1)
    this.committed = first - 1
    this.applying = first - 1
    this.applied = first - 1
  }

  firstIndex(): LogIndex {
    return this.unstable.snapshot === undefined ? this.storage.firstIndex() : this.unstable.snapshot.index + 1
  }

  lastIndex(): LogIndex {
    return this.unstable.lastIndex() ?? this.storage.lastIndex()
  }

  lastId(): EntryId {
    const index = this.lastIndex()
    const term = this.term(index)
    assert(term !== undefined, `the last entry ${index} has no term`)
    return { index, term }
  }

  /** The term at an index; undefined when it is compacted or not there. */
  term(index: LogIndex): Term | undefined {
    const unstable = this.unstable.term(index)
    if (unstable !== undefined) return unstable
    if (index + 1 < this.firstIndex() || index >= this.unstable.offset) return undefined
    if (this.unstable.snapshot !== undefined) return undefined
    return this.storage.term(index)
  }

  /** The last entry known to be committed. */
  committedId(): EntryId {
    return { index: this.committed, term: this.term(this.committed) ?? 0 }
  }

  matches(id: EntryId): boolean {
    return this.term(id.index) === id.term
  }

  /** True when a log that ends at `id` holds at least as much as this one (rule V3): term first, then length. */
  isUpToDate(id: EntryId): boolean {
    const last = this.lastId()
    return id.term > last.term || (id.term === last.term && id.index >= last.index)
  }

  /**
   * Appends what follows `previous`, if that place agrees. Entries that are here already stay; the first that differs
   * and all after it are replaced.
   *
   * @returns the last index known to agree with the sender; undefined when `previous` does not match
   */
  maybeAppend(
    previous: EntryId,
    entries: readonly Entry[],
    options: { readonly commit: LogIndex; readonly conflict: LogIndex },
  ): LogIndex | undefined {
    if (!this.matches(previous)) return undefined
    const lastNew = previous.index + entries.length
    if (options.conflict !== 0) {
      assert(options.conflict > this.committed, `entry ${options.conflict} conflicts with committed ${this.committed}`)
      this.append(entries.slice(options.conflict - previous.index - 1))
    }
    this.commitTo(Math.min(options.commit, lastNew))
    return lastNew
  }

  append(entries: readonly Entry[]): LogIndex {
    const first = entries[0]
    if (first === undefined) return this.lastIndex()
    assert(first.index - 1 >= this.committed, `append at ${first.index} below committed ${this.committed}`)
    this.unstable.truncateAndAppend(entries)
    return this.lastIndex()
  }

  /** Index of the first entry that is not here with the same term; 0 when all are. */
  findConflict(entries: readonly Entry[]): LogIndex {
    for (const entry of entries) if (!this.matches(entry)) return entry.index
    return 0
  }

  /**
   * The last place at or below `index` whose term is at most `term`: where the logs could still agree. One round trip
   * then skips a whole term of differences. The term is 0 when it is compacted.
   */
  findConflictByTerm(index: LogIndex, term: Term): EntryId {
    for (let at = index; at > 0; at--) {
      const ours = this.term(at)
      if (ours === undefined) return { index: at, term: 0 }
      if (ours <= term) return { index: at, term: ours }
    }
    return { index: 0, term: 0 }
  }

  commitTo(index: LogIndex): void {
    if (index <= this.committed) return
    assert(index <= this.lastIndex(), `commit ${index} beyond the last entry ${this.lastIndex()}: was the log damaged?`)
    this.committed = index
  }

  appliedTo(index: LogIndex, bytes: number): void {
    assert(
      index <= this.committed && index >= this.applied,
      `applied ${index} not in ${this.applied}..${this.committed}`,
    )
    this.applied = index
    this.applying = Math.max(this.applying, index)
    this.#applyingBytes = Math.max(0, this.#applyingBytes - bytes)
    this.#isApplyPaused = this.#applyingBytes >= this.#maxApplyBytes
  }

  acceptApplying(index: LogIndex, bytes: number): void {
    assert(index <= this.committed, `applying ${index} beyond committed ${this.committed}`)
    this.applying = index
    this.#applyingBytes += bytes
    this.#isApplyPaused = this.#applyingBytes >= this.#maxApplyBytes || index < this.#appliableIndex
  }

  hasNextCommitted(): boolean {
    if (this.#isApplyPaused || this.unstable.snapshot !== undefined) return false
    return this.#appliableIndex > this.applying
  }

  get #appliableIndex(): LogIndex {
    return this.#appliesUnstable ? this.committed : Math.min(this.committed, this.unstable.offset - 1)
  }

  /** Committed entries to apply next, bounded by the apply batch. A snapshot on its way goes first. */
  nextCommitted(): readonly Entry[] {
    if (!this.hasNextCommitted()) return []
    const room = this.#maxApplyBytes - this.#applyingBytes
    const entries = this.slice(this.applying + 1, this.#appliableIndex + 1, room)
    assert(entries !== undefined, `committed entries after ${this.applying} are compacted`)
    return entries
  }

  /** Entries from `from` on; undefined when they are compacted. */
  entriesFrom(from: LogIndex, maxBytes: number): readonly Entry[] | undefined {
    return from > this.lastIndex() ? [] : this.slice(from, this.lastIndex() + 1, maxBytes)
  }

  /** Entries in `[from, to)`, at most `maxBytes` but at least one; undefined when compacted. */
  slice(from: LogIndex, to: LogIndex, maxBytes: number): readonly Entry[] | undefined {
    if (from < this.firstIndex()) return undefined
    assert(to <= this.lastIndex() + 1, `slice to ${to} beyond the last entry ${this.lastIndex()}`)
    if (from >= to) return []
    const offset = this.unstable.offset
    if (from >= offset) return this.unstable.slice(from, to, maxBytes)
    const until = Math.min(to, offset)
    const stable = this.storage.entries(from, until, maxBytes)
    if (stable === undefined || until === to || stable.length < until - from) return stable
    const bytes = entriesBytes(stable)
    if (bytes >= maxBytes) return stable
    const rest = this.unstable.slice(offset, to, maxBytes - bytes)
    return bytes + entriesBytes(rest.slice(0, 1)) > maxBytes ? stable : [...stable, ...rest]
  }

  snapshot(): Snapshot | undefined {
    return this.unstable.snapshot ?? this.storage.snapshot()
  }

  /** A snapshot from the leader takes the log's place (rule S3). */
  restore(snapshot: Snapshot): void {
    this.committed = snapshot.index
    this.unstable.restore(snapshot)
  }
}
