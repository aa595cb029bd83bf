import type { Brand, Term } from '@waiter/base'

/** Names one member of a Raft group for ever: a node that lost its disk must come back under a new id. 0 is nobody. */
export type NodeId = Brand<number, 'NodeId'>
/** Position in the log, from 1. A safe integer; 0 stands before the first entry. */
export type LogIndex = Brand<number, 'LogIndex'>

/** Who carries out `MsgStorageAppend` when storage is asynchronous. No member has this id. */
export const APPEND_THREAD: NodeId = Number.MAX_SAFE_INTEGER
/** Who carries out `MsgStorageApply`. */
export const APPLY_THREAD: NodeId = Number.MAX_SAFE_INTEGER - 1

/** Nobody: no leader known, no vote given. */
export const NONE: NodeId = 0

/** What tells one entry from every other that may ever stand at its index: index and term together (rule L1). */
export interface EntryId {
  readonly index: LogIndex
  readonly term: Term
}

/** An entry whose bytes belong to the user's state machine. Empty data is the no-op a new leader writes. */
export interface NormalEntry extends EntryId {
  readonly kind: 'normal'
  readonly data: Uint8Array
}

/** An entry that changes who is a member, once it is applied (rule C1). */
export interface ConfChangeEntry extends EntryId {
  readonly kind: 'confChange'
  readonly change: ConfChange
}

/** One record of the replicated log. Immutable. */
export type Entry = NormalEntry | ConfChangeEntry

/** An entry before the leader gave it a place in the log. */
export type ProposedEntry =
  | { readonly kind: 'normal'; readonly data: Uint8Array }
  | { readonly kind: 'confChange'; readonly change: ConfChange }

/** What must be durable before any promise made under it leaves the node. */
export interface HardState {
  readonly term: Term
  /** Whom this node voted for in `term`; 0: nobody. */
  readonly vote: NodeId
  /** May be persisted lazily: it is a hint that saves replay, never a promise. */
  readonly commit: LogIndex
}

/** What changes quickly and is never persisted. */
export interface SoftState {
  readonly leader: NodeId
  readonly role: Role
}

/** What a node is in its term. */
export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader'

/**
 * Who belongs to the group. With `votersOutgoing` not empty the configuration is *joint*: every decision needs a
 * majority of both halves. All arrays are sorted and free of duplicates.
 */
export interface ConfState {
  readonly voters: readonly NodeId[]
  readonly votersOutgoing: readonly NodeId[]
  /** Receive the log but never count. */
  readonly learners: readonly NodeId[]
  /** Voters of the outgoing half that become learners when the joint configuration is left. */
  readonly learnersNext: readonly NodeId[]
  /** The leader leaves the joint configuration by itself once it is applied. */
  readonly autoLeave: boolean
}

/** One step of a membership change. */
export interface ConfChangeSingle {
  readonly kind: 'addVoter' | 'addLearner' | 'remove' | 'update'
  readonly id: NodeId
}

/**
 * A membership change. One single change with `auto` is applied at once; more of them, or another transition, pass
 * through a joint configuration. No changes at all leave the joint configuration.
 */
export interface ConfChange {
  readonly changes: readonly ConfChangeSingle[]
  /** `auto`: joint only when needed, left automatically; `implicit`: joint, left automatically; `explicit`: joint, left by request. */
  readonly transition: 'auto' | 'implicit' | 'explicit'
  /** Opaque to Raft: an address book entry, for example. */
  readonly context: Uint8Array
  /** Told by descriptions only: it was asked for in etcd's older form, which knows a single change without joint phase. */
  readonly isV1?: boolean
}

/** The state machine as of one index, with the configuration as of that index. */
export interface Snapshot extends EntryId {
  readonly conf: ConfState
  /** Opaque to Raft; a driver that streams snapshots may keep only a handle here. */
  readonly data: Uint8Array
}

/** A configuration without members: what a node knows that waits for its first snapshot. */
export const EMPTY_CONF: ConfState = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
}
/** The hard state of a node that has never run. */
export const EMPTY_HARD_STATE: HardState = { term: 0, vote: NONE, commit: 0 }
/** No bytes. */
export const NO_DATA: Uint8Array = new Uint8Array(0)
