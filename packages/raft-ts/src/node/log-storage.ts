import type { ConfState, Entry, EntryId, HardState, LogIndex, LogReader } from '../index.ts'

/** Which state a snapshot holds, without its bytes. */
export interface SnapshotId extends EntryId {
  /** The members as of that entry. */
  readonly conf: ConfState
}

/** What one `Ready` wants durable, together or not at all from the outside's point of view. */
export interface LogBatch {
  readonly hardState: HardState | undefined
  /** A snapshot that was received and finished: it takes the log's place (rule D4). Its content is here already. */
  readonly snapshot: SnapshotId | undefined
  /** Writing entry i discards what was at i and after (rule D3). */
  readonly entries: readonly Entry[]
}

/**
 * Where a node keeps what it promised: hard state, entries and snapshots. One owner at a time.
 *
 * After any rejected call the storage is in an unknown state: every later call is rejected with the same error, nothing
 * is retried, and the node must end (rule D8). `createLogStorageContract` in the tests says what each implementation
 * must survive.
 */
export interface LogStorage {
  /** What is durable, readable at once. Changes exactly when a call resolves. */
  readonly reader: LogReader
  /** The newest snapshot; undefined when there has never been one. */
  readonly snapshot: SnapshotId | undefined
  /** Resolves when all of it is durable. Calls may overlap: they are written in call order and may share one sync. */
  write(batch: LogBatch): Promise<void>
  /** Notes a commit index that may be lost (rule D6); never synced for its own sake. A failure shows in the next call. */
  noteCommit(commit: LogIndex): void
  /** Saves a snapshot of this node's own state machine. Resolves when durable; the log stays until `compact`. */
  saveSnapshot(id: SnapshotId, content: Iterable<Uint8Array>): Promise<void>
  /** Takes the content of a snapshot that comes from elsewhere; it counts once a batch names it. One at a time. */
  receiveSnapshot(id: SnapshotId): Promise<SnapshotSink>
  /** Reads a snapshot; undefined when it is not the newest any more. An open one stays readable whatever comes after it. */
  openSnapshot(id: EntryId): Promise<SnapshotSource | undefined>
  /** Forgets entries up to and including `through`, which the newest snapshot must cover. */
  compact(through: LogIndex): Promise<void>
  /** Ends it. What was resolved stays; nothing may be called afterwards. */
  close(): Promise<void>
}

/** Takes a snapshot's bytes in order. */
export interface SnapshotSink {
  write(bytes: Uint8Array): Promise<void>
  /** Resolves when everything written is durable. */
  finish(): Promise<void>
  /** Drops what has been written; also after `finish`, for a snapshot nobody wanted. */
  abort(): Promise<void>
}

/** Gives a snapshot's bytes in order. */
export interface SnapshotSource {
  readonly id: SnapshotId
  readonly totalBytes: number
  /** @throws {RaftNodeError} `RAFT_LOG_CORRUPT` when a piece is not what was written */
  chunks(): AsyncIterable<Uint8Array>
  close(): Promise<void>
}
