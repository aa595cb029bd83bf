import { type Prng, WaiterError } from '@waiter/base'
import type { Rules } from './rules.ts'
import type { TraceEvent } from './trace.ts'
import type { LogIndex, NodeId } from './types.ts'

/** How a node behaves. Everything but `id` and `random` has a default. */
export interface RaftOptions {
  readonly id: NodeId
  /** Source of election jitter; seeded in tests. */
  readonly random: Prng
  /** Ticks without a leader before an election; each node adds up to as many at random. Must exceed `heartbeatTicks`. */
  readonly electionTicks?: number
  /** Ticks between heartbeats. */
  readonly heartbeatTicks?: number
  /** Ask before an election whether it could be won: a node that comes back does not disturb (rule E4). */
  readonly preVote?: boolean
  /** A leader that does not hear a quorum steps down; those who hear a leader refuse votes (rules E5, E6). */
  readonly checkQuorum?: boolean
  /** Bytes of entries in one append message. */
  readonly maxMessageBytes?: number
  /** Bytes of committed entries in one Ready: keeps the event loop alive while a long log is replayed. */
  readonly maxApplyBytes?: number
  /** Payload bytes a leader takes before they are committed; further proposals are dropped (rule F2). */
  readonly maxUncommittedBytes?: number
  /** Append messages on their way to one follower. */
  readonly maxInflightMessages?: number
  /** Payload bytes on their way to one follower. */
  readonly maxInflightBytes?: number
  /** Reads that wait for a confirmed leadership; further ones are dropped. */
  readonly maxPendingReads?: number
  /** A follower passes proposals on to the leader. Off by default: the proposer then knows that nothing happened. */
  readonly forwardProposals?: boolean
  /** A leader that is no longer a voter steps down once that is applied (rule C8). */
  readonly stepDownOnRemoval?: boolean
  /** Refuse changes that must wait for another (rule C5). Off only for conformance scripts. */
  readonly validateConfChanges?: boolean
  /**
   * The driver writes and applies beside the machine: a Ready carries `MsgStorageAppend` and `MsgStorageApply` messages
   * whose responses are stepped when done, and there is no `advance()`.
   */
  readonly asyncStorageWrites?: boolean
  /**
   * How reads are made linearizable: `safe` asks a quorum for every round of reads; `leaseBased` trusts that clocks run
   * alike and answers at once as long as check-quorum has not failed. The second is for conformance scripts.
   */
  readonly readOnly?: 'safe' | 'leaseBased'
  /** Reads that come before a round's heartbeats have left share the round (rule R2). */
  readonly sharesReadRounds?: boolean
  /** Answers to votes tell how far the voter knows the log to be committed (rule E9). */
  readonly votesTellCommit?: boolean
  /** A snapshot is not sent to whom it does not know: it would be ignored (rule S6). */
  readonly snapshotsToMembersOnly?: boolean
  /** What the state machine holds already; from its own durable storage. */
  readonly applied?: LogIndex
  /** Told what happens inside; for logs, metrics and invariant checkers. Must not throw and must not call the node. */
  readonly trace?: (event: TraceEvent) => void
  /** The protocol's decisions, replaceable one by one to prove that tests notice. Never set this outside of tests. */
  readonly rules?: Rules
}

/** Options with every default filled in. */
export type Settings = Required<Omit<RaftOptions, 'rules' | 'trace' | 'applied'>>

const MEBIBYTE = 1024 * 1024

/** The defaults, in ticks. With the driver's ticks of 40 ms: heartbeat 40 ms, election 400–800 ms. */
export const DEFAULTS: Omit<Settings, 'id' | 'random'> = {
  electionTicks: 10,
  heartbeatTicks: 1,
  preVote: true,
  checkQuorum: true,
  maxMessageBytes: MEBIBYTE,
  maxApplyBytes: MEBIBYTE,
  maxUncommittedBytes: 64 * MEBIBYTE,
  maxInflightMessages: 256,
  maxInflightBytes: Number.POSITIVE_INFINITY,
  maxPendingReads: 4096,
  forwardProposals: false,
  stepDownOnRemoval: true,
  validateConfChanges: true,
  asyncStorageWrites: false,
  readOnly: 'safe',
  sharesReadRounds: true,
  votesTellCommit: true,
  snapshotsToMembersOnly: true,
}

/**
 * What etcd's raft does where it differs from these defaults: for conformance scripts written in its terms. See
 * conformance.md.
 */
export const ETCD_OPTIONS: Partial<RaftOptions> = {
  preVote: false,
  checkQuorum: false,
  maxMessageBytes: Number.MAX_SAFE_INTEGER,
  maxApplyBytes: Number.MAX_SAFE_INTEGER,
  maxUncommittedBytes: Number.MAX_SAFE_INTEGER,
  maxPendingReads: Number.MAX_SAFE_INTEGER,
  forwardProposals: true,
  stepDownOnRemoval: false,
  sharesReadRounds: false,
  votesTellCommit: false,
  snapshotsToMembersOnly: false,
}

/**
 * Fills in the defaults.
 *
 * @throws {WaiterError} `RAFT_BAD_OPTIONS` naming the option that cannot work
 */
export function resolveSettings(options: RaftOptions): Settings {
  const { rules: _rules, trace: _trace, applied: _applied, ...given } = options
  const settings: Settings = { ...DEFAULTS, ...given }
  const complain = (message: string): never => {
    throw new WaiterError(`raft node ${options.id}: ${message}`, { code: 'RAFT_BAD_OPTIONS' })
  }
  if (!Number.isSafeInteger(settings.id) || settings.id < 1) complain('id must be a positive safe integer')
  if (!(settings.heartbeatTicks >= 1)) complain('heartbeatTicks must be at least 1')
  if (!(settings.electionTicks > settings.heartbeatTicks)) complain('electionTicks must be larger than heartbeatTicks')
  if (settings.readOnly === 'leaseBased' && !settings.checkQuorum) {
    complain('readOnly leaseBased needs checkQuorum: without it a leader that is cut off would answer for ever')
  }
  for (const name of ['maxMessageBytes', 'maxUncommittedBytes', 'maxInflightBytes', 'maxPendingReads'] as const) {
    if (!(settings[name] >= 0)) complain(`${name} must not be negative`)
  }
  for (const name of ['maxInflightMessages', 'maxApplyBytes'] as const) {
    if (!(settings[name] >= 1)) complain(`${name} must be at least 1`)
  }
  return settings
}
