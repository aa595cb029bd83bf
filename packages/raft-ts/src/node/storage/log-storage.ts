import type { Entry, HardState, LogIndex, Snapshot } from '../../index.ts'

/** What a node finds on its disk when it starts. */
export interface DurableState {
  readonly hardState: HardState
  /** The newest snapshot; undefined on a new node. */
  readonly snapshot: Snapshot | undefined
  /** Entries after the snapshot (or from 1), without gaps. */
  readonly entries: readonly Entry[]
}

/** What must be durable together: all of it or nothing survives a crash. */
export interface LogBatch {
  readonly hardState?: HardState
  /** A snapshot from the leader: replaces the log (rule D4). */
  readonly snapshot?: Snapshot
  readonly entries: readonly Entry[]
}

/**
 * Where a node keeps its promises. One writer. Every failure but `RAFT_STORAGE_CORRUPT` on opening means that nothing is
 * known about the last write: the node must end (rule D8).
 */
export interface LogStorage {
  /** What was there when it was opened. */
  readonly initial: DurableState
  /** Resolves when the batch is durable. Batches are written in order; those that wait for a sync share the next one. */
  append(batch: LogBatch): Promise<void>
  /** Keeps a commit index for the next batch: a hint that may be lost (rule D6). */
  hintCommit(commit: LogIndex): void
  /** Makes a snapshot of the own state machine durable, then forgets the log up to `discardThrough`. */
  saveSnapshot(snapshot: Snapshot, discardThrough: LogIndex): Promise<void>
  close(): Promise<void>
}
