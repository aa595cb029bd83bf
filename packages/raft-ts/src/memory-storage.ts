import { assert, type Term } from '@waiter/base'
import { sliceLimited } from './entry-size.ts'
import type { LogReader } from './log-storage.ts'
import {
  type ConfState,
  EMPTY_CONF,
  EMPTY_HARD_STATE,
  type Entry,
  type HardState,
  type LogIndex,
  NO_DATA,
  type Snapshot,
} from './types.ts'

/** What a node may be started from. */
export interface InitialLog {
  readonly hardState?: HardState
  readonly conf?: ConfState
  /** Contiguous, starting right after `snapshot` (or at 1). */
  readonly entries?: readonly Entry[]
  readonly snapshot?: Snapshot
}

/** The log in memory: the whole storage in tests, and the readable mirror of the write-ahead log in production. */
export class MemoryStorage implements LogReader {
  #hardState: HardState
  #conf: ConfState
  #snapshot: Snapshot
  #entries: Entry[]
  /** The entry just before the first readable one. */
  #before: { index: LogIndex; term: Term }

  constructor(initial: InitialLog = {}) {
    const snapshot = initial.snapshot ?? { index: 0, term: 0, conf: initial.conf ?? EMPTY_CONF, data: NO_DATA }
    this.#hardState = initial.hardState ?? EMPTY_HARD_STATE
    this.#conf = initial.conf ?? snapshot.conf
    this.#snapshot = snapshot
    this.#before = { index: snapshot.index, term: snapshot.term }
    this.#entries = []
    this.append(initial.entries ?? [])
  }

  initialState(): { readonly hardState: HardState; readonly conf: ConfState } {
    return { hardState: this.#hardState, conf: this.#conf }
  }

  firstIndex(): LogIndex {
    return this.#before.index + 1
  }

  lastIndex(): LogIndex {
    return this.#before.index + this.#entries.length
  }

  term(index: LogIndex): Term | undefined {
    if (index === this.#before.index) return this.#before.term
    return this.#entries[index - this.#before.index - 1]?.term
  }

  entries(from: LogIndex, to: LogIndex, maxBytes: number): readonly Entry[] | undefined {
    if (from <= this.#before.index) return undefined
    assert(to <= this.lastIndex() + 1, `entries up to ${to} were asked for, the log ends at ${this.lastIndex()}`)
    const start = from - this.#before.index - 1
    return sliceLimited(this.#entries, { from: start, to: to - this.#before.index - 1, maxBytes })
  }

  snapshot(): Snapshot | undefined {
    return this.#snapshot
  }

  setHardState(hardState: HardState): void {
    this.#hardState = hardState
  }

  /** Writing entry i discards the entries from i on (rule D3). */
  append(entries: readonly Entry[]): void {
    const first = entries[0]
    if (first === undefined) return
    assert(first.index <= this.lastIndex() + 1, `gap in the log: ${first.index} after ${this.lastIndex()}`)
    const readable = entries.filter(entry => entry.index > this.#before.index)
    if (readable[0] === undefined) return
    this.#entries.length = readable[0].index - this.#before.index - 1
    for (const entry of readable) this.#entries.push(entry)
  }

  /** Takes a snapshot from the leader: it replaces the log entirely (rule D4). */
  restore(snapshot: Snapshot): void {
    if (snapshot.index <= this.#snapshot.index) return
    this.#snapshot = snapshot
    this.#before = { index: snapshot.index, term: snapshot.term }
    this.#entries = []
  }

  /** Remembers a snapshot of this node's own state machine; the log stays until `compact`. */
  saveSnapshot(index: LogIndex, conf: ConfState, data: Uint8Array): Snapshot {
    const term = this.term(index)
    assert(term !== undefined, `snapshot of ${index}, the log holds ${this.firstIndex()}..${this.lastIndex()}`)
    if (index > this.#snapshot.index) this.#snapshot = { index, term, conf, data }
    return this.#snapshot
  }

  /** Forgets entries up to and including `index`. Never beyond the snapshot: a slow follower could not be served. */
  compact(index: LogIndex): void {
    if (index <= this.#before.index) return
    assert(index <= this.#snapshot.index, `compaction to ${index} beyond the snapshot at ${this.#snapshot.index}`)
    const term = this.term(index)
    assert(term !== undefined, `compaction to ${index} beyond the log's end ${this.lastIndex()}`)
    this.#entries = this.#entries.slice(index - this.#before.index)
    this.#before = { index, term }
  }
}
