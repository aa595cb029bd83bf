import type { Term } from '@waiter/base'
import type { Entry, EntryId, HardState, LogIndex, NodeId, ProposedEntry, Snapshot } from './types.ts'

interface Envelope {
  readonly from: NodeId
  readonly to: NodeId
  /** The sender's term; 0 for local messages, proposals and read requests. Pre-votes carry the term they would start. */
  readonly term: Term
}

/** Local: start an election now. */
export interface MsgHup extends Envelope {
  readonly type: 'MsgHup'
}
/** Local: a leader sends heartbeats now. */
export interface MsgBeat extends Envelope {
  readonly type: 'MsgBeat'
}
/** Local: a leader asks itself whether it still hears a quorum. */
export interface MsgCheckQuorum extends Envelope {
  readonly type: 'MsgCheckQuorum'
}
/** Entries somebody wants in the log. Travels only when proposals are forwarded. */
export interface MsgProp extends Envelope {
  readonly type: 'MsgProp'
  readonly entries: readonly ProposedEntry[]
}
/** Leader to follower: entries after `(index, logTerm)`, and how far the log is committed. */
export interface MsgApp extends Envelope {
  readonly type: 'MsgApp'
  readonly index: LogIndex
  readonly logTerm: Term
  readonly entries: readonly Entry[]
  readonly commit: LogIndex
}
/**
 * Follower to leader. Accepted: the log agrees up to `index`. Rejected: it does not at `index`; try `rejectHint`, the
 * last place whose term (`logTerm`) could agree.
 */
export interface MsgAppResp extends Envelope {
  readonly type: 'MsgAppResp'
  readonly index: LogIndex
  readonly reject: boolean
  readonly rejectHint: LogIndex
  readonly logTerm: Term
}
/** Candidate to voters: my log ends at `(index, logTerm)`. `isTransfer` overrides the refusal of those who hear a leader. */
export interface MsgVote extends Envelope {
  readonly type: 'MsgVote' | 'MsgPreVote'
  readonly index: LogIndex
  readonly logTerm: Term
  readonly isTransfer: boolean
}
/** The answer to a vote or pre-vote. */
export interface MsgVoteResp extends Envelope {
  readonly type: 'MsgVoteResp' | 'MsgPreVoteResp'
  readonly reject: boolean
  /** The last entry the voter knows to be committed: a candidate may still count by a configuration that is over (rule E9). */
  readonly knownCommit?: EntryId
}
/** Leader to follower: your log no longer reaches mine; take this state instead. */
export interface MsgSnap extends Envelope {
  readonly type: 'MsgSnap'
  readonly snapshot: Snapshot
}
/** Leader to follower: I am here. `readRound` (not 0) asks the follower to confirm the leadership for reads. */
export interface MsgHeartbeat extends Envelope {
  readonly type: 'MsgHeartbeat'
  readonly commit: LogIndex
  readonly readRound: number
}
/** Follower to leader: heard you, in this round. */
export interface MsgHeartbeatResp extends Envelope {
  readonly type: 'MsgHeartbeatResp'
  readonly readRound: number
}
/** Local: the transport could not reach `from`. */
export interface MsgUnreachable extends Envelope {
  readonly type: 'MsgUnreachable'
}
/** Local: the process of `from` is gone for certain: it does not merely fail to answer. */
export interface MsgGone extends Envelope {
  readonly type: 'MsgGone'
}
/** Local: the snapshot for `from` arrived (or not, with `reject`). */
export interface MsgSnapStatus extends Envelope {
  readonly type: 'MsgSnapStatus'
  readonly reject: boolean
}
/** To the leader: hand leadership to `from`. */
export interface MsgTransferLeader extends Envelope {
  readonly type: 'MsgTransferLeader'
}
/** Leader to the chosen successor: campaign at once. */
export interface MsgTimeoutNow extends Envelope {
  readonly type: 'MsgTimeoutNow'
}
/** Local: a follower forgets its leader, so that it may vote for another at once. */
export interface MsgForgetLeader extends Envelope {
  readonly type: 'MsgForgetLeader'
}
/** To the leader: what index makes a read linearizable? */
export interface MsgReadIndex extends Envelope {
  readonly type: 'MsgReadIndex'
  readonly readId: string
}
/** From the leader: serve the read once `index` is applied. */
export interface MsgReadIndexResp extends Envelope {
  readonly type: 'MsgReadIndexResp'
  readonly readId: string
  readonly index: LogIndex
}
/**
 * To `APPEND_THREAD`, with asynchronous storage only: make this durable, in this order, and after what was asked for
 * before; then deliver `responses` to whom they name, this node included.
 */
export interface MsgStorageAppend extends Envelope {
  readonly type: 'MsgStorageAppend'
  readonly hardState: HardState | undefined
  readonly entries: readonly Entry[]
  readonly snapshot: Snapshot | undefined
  readonly responses: readonly Message[]
}
/** To `APPLY_THREAD`, with asynchronous storage only: apply these, then deliver `responses` to this node. */
export interface MsgStorageApply extends Envelope {
  readonly type: 'MsgStorageApply'
  readonly entries: readonly Entry[]
  readonly responses: readonly Message[]
}
/** Local: a write is durable. `upTo` names the last entry written, `snapshot` the index of a saved snapshot; 0: none. */
export interface MsgStorageAppendResp extends Envelope {
  readonly type: 'MsgStorageAppendResp'
  readonly upTo: EntryId
  readonly snapshot: LogIndex
}
/** Local: the state machine has applied up to `index`. */
export interface MsgStorageApplyResp extends Envelope {
  readonly type: 'MsgStorageApplyResp'
  readonly index: LogIndex
  /** Bytes of the applied batch, as counted when it was handed out. */
  readonly batchBytes: number
  /** Payload bytes that leave the leader's uncommitted budget. */
  readonly payloadBytes: number
}

/** Everything that can be stepped into a node; the names are etcd's. */
export type Message =
  | MsgHup
  | MsgBeat
  | MsgCheckQuorum
  | MsgProp
  | MsgApp
  | MsgAppResp
  | MsgVote
  | MsgVoteResp
  | MsgSnap
  | MsgHeartbeat
  | MsgHeartbeatResp
  | MsgUnreachable
  | MsgGone
  | MsgSnapStatus
  | MsgTransferLeader
  | MsgTimeoutNow
  | MsgForgetLeader
  | MsgReadIndex
  | MsgReadIndexResp
  | MsgStorageAppend
  | MsgStorageAppendResp
  | MsgStorageApply
  | MsgStorageApplyResp

type WithoutSender<M> = M extends Message
  ? Omit<M, 'from' | 'term'> & { readonly from?: NodeId; readonly term?: Term }
  : never
/** A message before the sender put its name and term on it. */
export type OutgoingMessage = WithoutSender<Message>

const LOCAL: ReadonlySet<Message['type']> = new Set([
  'MsgHup',
  'MsgBeat',
  'MsgCheckQuorum',
  'MsgUnreachable',
  'MsgGone',
  'MsgSnapStatus',
  'MsgForgetLeader',
  'MsgStorageAppend',
  'MsgStorageAppendResp',
  'MsgStorageApply',
  'MsgStorageApplyResp',
])

const RESPONSES: ReadonlySet<Message['type']> = new Set([
  'MsgAppResp',
  'MsgVoteResp',
  'MsgPreVoteResp',
  'MsgHeartbeatResp',
  'MsgUnreachable',
  'MsgReadIndexResp',
])

/** True for messages that never come from the network. */
export function isLocalMessage(type: Message['type']): boolean {
  return LOCAL.has(type)
}

/** True for answers, which only a member's answer may be. */
export function isResponseMessage(type: Message['type']): boolean {
  return RESPONSES.has(type)
}

/** True for the promises that must not leave before this node's disk has what they promise (rule D2). */
export function isPromise(type: Message['type']): boolean {
  return type === 'MsgAppResp' || type === 'MsgVoteResp' || type === 'MsgPreVoteResp'
}
