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
  for (const name of ['maxMessageBytes', 'maxUncommittedBytes', 'maxInflightBytes', 'maxPendingReads'] as const) {
    if (!(settings[name] >= 0)) complain(`${name} must not be negative`)
  }
  for (const name of ['maxInflightMessages', 'maxApplyBytes'] as const) {
    if (!(settings[name] >= 1)) complain(`${name} must be at least 1`)
  }
  return settings
}
