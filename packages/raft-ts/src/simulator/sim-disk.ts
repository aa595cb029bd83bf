import type { Prng } from '@waiter/base'
import type { Ready } from '../ready.ts'
import type { ConfState, Entry, HardState, LogIndex, Snapshot } from '../types.ts'
import type { DriverRules } from './driver-rules.ts'

type DiskRecord =
  | { readonly kind: 'termAndVote'; readonly hardState: HardState }
  | { readonly kind: 'snapshot'; readonly snapshot: Snapshot }
  | { readonly kind: 'entry'; readonly entry: Entry }
  | { readonly kind: 'commit'; readonly commit: LogIndex }

/** The state machine's own durable state: data and applied index in one atomic write (rule D6). */
export interface MachineImage {
  readonly bytes: Uint8Array
  readonly conf: ConfState
}

/**
 * A disk with a write-ahead log: one batch at a time, records in order (term and vote first, commit last). A crash
 * during a write keeps any prefix of its records; what was synced stays.
 */
export class SimDisk {
  term = 0
  vote = 0
  commit: LogIndex = 0
  snapshot: Snapshot
  /** Entries after `#before`, durable. */
  entries: Entry[] = []
  machine: MachineImage | undefined
  #pending: DiskRecord[] | undefined
  #unsyncedCommit: LogIndex | undefined
  readonly #rules: DriverRules

  constructor(rules: DriverRules, snapshot: Snapshot) {
    this.#rules = rules
    this.snapshot = snapshot
    this.term = snapshot.term
    this.commit = snapshot.index
  }

  get isWriting(): boolean {
    return this.#pending !== undefined
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.commit }
  }

  get lastIndex(): LogIndex {
    return this.entries.at(-1)?.index ?? this.snapshot.index
  }

  /** True when a crash now could not lose the entry. */
  holds(index: LogIndex, term: number): boolean {
    if (index <= this.snapshot.index) return true
    const first = this.entries[0]
    return first !== undefined && this.entries[index - first.index]?.term === term
  }

  /** Starts to write what a Ready wants durable. */
  begin(ready: Ready): void {
    const records: DiskRecord[] = []
    if (ready.hardState !== undefined) {
      records.push({ kind: 'termAndVote', hardState: this.#rules.persistedHardState(ready.hardState) })
    }
    if (ready.snapshot !== undefined) records.push({ kind: 'snapshot', snapshot: ready.snapshot })
    for (const entry of ready.entries) records.push({ kind: 'entry', entry })
    if (ready.hardState !== undefined) records.push({ kind: 'commit', commit: ready.hardState.commit })
    this.#pending = records
  }

  /** The sync came back: all of it is durable. */
  finish(): void {
    this.#syncCommitHint()
    for (const record of this.#pending ?? []) this.#write(record)
    this.#pending = undefined
  }

  /** Written without a sync: a crash may lose it. */
  writeCommitHint(commit: LogIndex): void {
    this.#unsyncedCommit = commit
  }

  /** Power goes: of an unfinished write any prefix survives (or, when writes cannot be torn, nothing). */
  crash(random: Prng, options: { readonly canTear: boolean }): void {
    const pending = this.#pending
    this.#pending = undefined
    if (random.next() < 0.5) this.#syncCommitHint()
    this.#unsyncedCommit = undefined
    if (pending === undefined || !options.canTear) return
    for (const record of pending.slice(0, random.below(pending.length + 1))) this.#write(record)
  }

  /** A snapshot of this node's own state machine, written to a side file and renamed; then the log is cut. */
  compact(snapshot: Snapshot, through: LogIndex): void {
    this.snapshot = snapshot
    this.entries = this.entries.filter(entry => entry.index > through)
  }

  #syncCommitHint(): void {
    this.commit = this.#unsyncedCommit ?? this.commit
    this.#unsyncedCommit = undefined
  }

  #write(record: DiskRecord): void {
    if (record.kind === 'termAndVote') {
      this.term = record.hardState.term
      this.vote = record.hardState.vote
    } else if (record.kind === 'commit') {
      this.commit = record.commit
    } else if (record.kind === 'entry') {
      const { entry } = record
      const first = this.entries[0]
      if (first !== undefined)
        this.entries.length = Math.min(this.entries.length, Math.max(0, entry.index - first.index))
      this.entries.push(entry)
    } else this.#writeSnapshot(record.snapshot)
  }

  #writeSnapshot(snapshot: Snapshot): void {
    this.snapshot = snapshot
    this.machine = undefined
    this.entries = this.#rules.keepsTailAfterSnapshot ? this.entries.filter(entry => entry.index > snapshot.index) : []
  }
}
