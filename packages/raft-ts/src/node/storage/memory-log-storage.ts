import { EMPTY_HARD_STATE, type Entry, type HardState, type LogIndex, type Snapshot } from '../../index.ts'
import type { DurableState, LogBatch, LogStorage } from './log-storage.ts'

/** Keeps promises as long as the process lives: for tests and for nodes that may forget. */
export class MemoryLogStorage implements LogStorage {
  readonly initial: DurableState
  #hardState: HardState
  #snapshot: Snapshot | undefined
  #entries: Entry[]

  constructor(initial: DurableState = { hardState: EMPTY_HARD_STATE, snapshot: undefined, entries: [] }) {
    this.initial = initial
    this.#hardState = initial.hardState
    this.#snapshot = initial.snapshot
    this.#entries = [...initial.entries]
  }

  /** What a storage opened now would find. */
  get state(): DurableState {
    const through = this.#snapshot?.index ?? 0
    const commit = Math.max(this.#hardState.commit, through)
    const entries = this.#entries.filter(entry => entry.index > through)
    return { hardState: { ...this.#hardState, commit }, snapshot: this.#snapshot, entries }
  }

  async append(batch: LogBatch): Promise<void> {
    if (batch.hardState !== undefined) this.#hardState = batch.hardState
    if (batch.snapshot !== undefined) {
      this.#snapshot = batch.snapshot
      this.#entries = []
    }
    for (const entry of batch.entries) {
      this.#entries = this.#entries.filter(known => known.index < entry.index)
      this.#entries.push(entry)
    }
  }

  hintCommit(commit: LogIndex): void {
    this.#hardState = { ...this.#hardState, commit }
  }

  async saveSnapshot(snapshot: Snapshot, discardThrough: LogIndex): Promise<void> {
    this.#snapshot = snapshot
    this.#entries = this.#entries.filter(entry => entry.index > discardThrough)
  }

  async close(): Promise<void> {}
}
