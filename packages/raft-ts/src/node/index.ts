/**
 * # raft-ts/node
 *
 * Runs the core of raft-ts on Node: a loop that carries out every `Ready` in order, a write-ahead log, a transport over
 * TCP, snapshots that are streamed, requests as promises.
 *
 * ```
 *   propose, read ─▶ queue ─┐                      ┌─▶ Transport ─▶ peers
 *   peers ─▶ Transport ─────┼─▶ RawNode ─▶ Ready ──┼─▶ LogStorage (one sync for everything that came meanwhile)
 *   Ticker ─────────────────┘                      └─▶ StateMachine ─▶ results
 * ```
 *
 * ## What it promises
 * - A proposal resolves when it is durable on a quorum and applied here. One that fails says whether it may have
 *   happened nevertheless (`RaftNodeError.outcome`).
 * - Votes and acknowledgements leave after the sync of what they promise. A failed sync ends the node; nothing is tried
 *   again on the same file (rule D8).
 * - A torn last write is cut off at the next start, with a line in the log. Damage in what was durable stops the node
 *   with a message that names file and byte and says how to mend it.
 * - Every queue is bounded, every promise settles: by its result, its deadline, its signal or the node's end.
 *
 * ## What it asks for
 * - A directory that belongs to one node alone, on a disk whose fsync can be believed.
 * - A state machine that is deterministic and answers at once. One that keeps its own files stores its applied index in
 *   the same atomic write as its data (rule D6).
 * - An event loop that turns: a process that is busy for an election time-out loses leadership. Keep raft in a process
 *   (or worker) of its own, apart from heavy work.
 *
 * ## What it does not do
 * No npm dependency. No retries of proposals: use the sessions of the replicated map.
 */
export { logCorrupt, type Outcome, RaftNodeError, type RaftNodeErrorCode, type RaftNodeErrorOptions } from './errors.ts'
export type { RaftNodeEvent, RaftNodeMetrics } from './events.ts'
export type { LogBatch, LogStorage, SnapshotId, SnapshotSink, SnapshotSource } from './log-storage.ts'
export { MemoryDisk, MemoryLogStorage } from './memory-log-storage.ts'
export type { Committed } from './proposal-queue.ts'
export { RaftNode } from './raft-node.ts'
export { DEFAULT_RAFT_NODE_LIMITS, type RaftNodeLimits, type RaftNodeOptions } from './raft-node-options.ts'
export type { RequestOptions } from './requests.ts'
export { KeyValueStateMachine, type StateMachine } from './state-machine.ts'
export { createIntervalTicker, type Ticker } from './ticker.ts'
export type { TransportSecurity } from './transport/security.ts'
export {
  DEFAULT_TCP_LIMITS,
  type PeerAddress,
  type TcpTransportLimits,
  type TcpTransportOptions,
} from './transport/tcp-options.ts'
export { groupByReceiver, TcpTransport } from './transport/tcp-transport.ts'
export type { Transport, TransportHandler } from './transport.ts'
export type { AppendFile, FileSystem, LockOutcome, ReadFile } from './wal/file-system.ts'
export { nodeFileSystem, openForAppending } from './wal/node-file-system.ts'
export { openWal, type WalLogStorage, type WalMetrics, type WalOptions } from './wal/wal-log-storage.ts'
export { decodeMessages, encodeMessages, isWireMessage } from './wire/message-codec.ts'
