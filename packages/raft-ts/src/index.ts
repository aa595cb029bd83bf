/**
 * # raft-ts
 *
 * Raft as a deterministic, synchronous machine, and a replicated key-value map on top of it. No sockets, files, clocks
 * or chance: ticks, messages and completions go in, a `Ready` comes out and says what to persist, send and apply, in
 * which order. That is what makes it testable: the same code runs in production and, thousands of lives per minute, in
 * the simulator that ships beside it.
 *
 * ## The contract with the caller
 * 1. Call `tick()` in regular intervals, `step()` for every message from the network, and the request methods.
 * 2. While `hasReady()`: take `ready()`, carry it out in the order written at `Ready`, then call `advance()`.
 *    Input may be fed between the two; at most one Ready is out.
 * 3. What a Ready gives to persist must be durable before its `messagesAfterAppend` leave. A disk that fails ends the
 *    node: there is nothing safe to do with a promise that cannot be kept.
 * 4. A `MsgSnap` must be answered by `reportSnapshot`; lost messages may be reported by `reportUnreachable`.
 * 5. Node ids are never reused. A node that lost its disk comes back under a new id.
 *
 * ## What it does not do
 * No reads by leases (they trust clocks), no encryption, no retries: requests that are dropped say so, requests that are
 * lost are silent, and only the proposer knows whether trying again is right. `KeyValueMachine` has sessions for that.
 *
 * The rules are numbered in SPEC.md; `rules.ts` holds those that decide safety.
 */
export {
  applyConfChange,
  changeSimple,
  confStateFault,
  enterJoint,
  isJoint,
  isLeaveJoint,
  isMember,
  isSameConf,
  jointTransition,
  leaveJoint,
  restoreConf,
} from './config-change.ts'
export { crc32c } from './crc32c.ts'
export {
  type DataFormatter,
  describeConf,
  describeConfChange,
  describeConfState,
  describeData,
  describeEntries,
  describeEntry,
  describeHardState,
  describeMessage,
  describeProgress,
  describeReady,
  describeSnapshot,
  describeSoftState,
  describeStatus,
} from './describe.ts'
export { entriesBytes, entryBytes, limitEntries, payloadBytes, payloadsBytes } from './entry-size.ts'
export { Inflights } from './inflights.ts'
export { ByteReader, ByteWriter, encodeText, MalformedBytes } from './kv/bytes.ts'
export { decodeCommand, encodeCommand, type KeyValueCommand, type SessionId, type WriteCommand } from './kv/command.ts'
export {
  type Applied,
  DEFAULT_KEY_VALUE_LIMITS,
  type KeyValueEntry,
  type KeyValueLimits,
  KeyValueMachine,
  type KeyValueOptions,
  type KeyValueResult,
} from './kv/key-value-machine.ts'
export type { ChangesSince, KeyValueChange } from './kv/recent-changes.ts'
export type { SessionFault } from './kv/session-table.ts'
export { cutSnapshot, SnapshotAssembler, type SnapshotChunk } from './kv/snapshot-stream.ts'
export { RaftLog } from './log.ts'
export type { LogReader } from './log-storage.ts'
export type { ReadState } from './machine.ts'
export { type InitialLog, MemoryStorage } from './memory-storage.ts'
export type {
  Message,
  MsgApp,
  MsgAppResp,
  MsgBeat,
  MsgCheckQuorum,
  MsgForgetLeader,
  MsgHeartbeat,
  MsgHeartbeatResp,
  MsgHup,
  MsgProp,
  MsgReadIndex,
  MsgReadIndexResp,
  MsgSnap,
  MsgSnapStatus,
  MsgStorageAppend,
  MsgStorageAppendResp,
  MsgStorageApply,
  MsgStorageApplyResp,
  MsgTimeoutNow,
  MsgTransferLeader,
  MsgGone,
  MsgUnreachable,
  MsgVote,
  MsgVoteResp,
} from './message.ts'
export { isLocalMessage, isPromise, isResponseMessage } from './message.ts'
export { Progress, type ProgressOptions, type ProgressState } from './progress.ts'
export type { DropReason, ProposeOutcome } from './proposal.ts'
export {
  ALL_INDEXES,
  jointCommitted,
  jointVote,
  majorityCommitted,
  majorityVote,
  quorumSize,
  type VoteResult,
  voterIds,
} from './quorum.ts'
export { RawNode, type StepOutcome } from './raw-node.ts'
export type { ReadOutcome } from './reads.ts'
export type { Ready } from './ready.ts'
export { type ConfChangeState, RULES, type Rules } from './rules.ts'
export { DEFAULTS, ETCD_OPTIONS, type RaftOptions, type Settings } from './settings.ts'
export type { ProgressStatus, Status } from './status.ts'
export type { TraceEvent } from './trace.ts'
export { type InflightLimits, Tracker } from './tracker.ts'
export {
  APPEND_THREAD,
  APPLY_THREAD,
  type ConfChange,
  type ConfChangeEntry,
  type ConfChangeSingle,
  type ConfState,
  EMPTY_CONF,
  EMPTY_HARD_STATE,
  type Entry,
  type EntryId,
  type HardState,
  type LogIndex,
  NO_DATA,
  NONE,
  type NodeId,
  type NormalEntry,
  type ProposedEntry,
  type Role,
  type Snapshot,
  type SoftState,
} from './types.ts'
