import { randomInt, randomUUID } from 'node:crypto'
import { createPrng } from '@waiter/base'
import { DEFAULTS, type NodeId, type RaftOptions } from '../index.ts'
import type { RaftNodeEvent } from './events.ts'
import type { LogStorage } from './log-storage.ts'
import type { StateMachine } from './state-machine.ts'
import { createIntervalTicker, type Ticker } from './ticker.ts'
import type { Transport } from './transport.ts'

/** Everything a node is made of. */
export interface RaftNodeOptions<R> {
  readonly id: NodeId
  /** Opened; the node closes it. */
  readonly storage: LogStorage
  /** Not started; the node starts and stops it. */
  readonly transport: Transport
  readonly machine: StateMachine<R>
  /**
   * The first members of a new group, the same on each of them. Used only when the storage is empty; without it an
   * empty node waits until a leader of a group that added it sends it everything (rule D9).
   */
  readonly bootstrap?: readonly NodeId[]
  /**
   * The term that a new group begins in, the same on each of its first members; 1 unless given. For whoever uses terms to
   * fence something that has seen terms of an earlier group.
   */
  readonly bootstrapTerm?: number
  /** How the protocol behaves; see `RaftOptions`. */
  readonly raft?: Partial<Omit<RaftOptions, 'id' | 'applied' | 'trace' | 'rules'>>
  readonly ticker?: Ticker
  /** Unique for each start of this node, for ever; a random one unless given. */
  readonly incarnation?: string
  readonly limits?: Partial<RaftNodeLimits>
  /** Told everything from the first moment on; `subscribe` comes too late for what happens while starting. */
  readonly onEvent?: (event: RaftNodeEvent) => void
}

/** The bounds of a node. */
export interface RaftNodeLimits {
  /** Callers that wait, whatever for; more are told to try again later. */
  readonly maxOpenRequests: number
  readonly maxQueuedProposals: number
  readonly maxQueuedBytes: number
  /** A larger proposal is refused: it would have to travel in one frame, and be written by one call. */
  readonly maxProposalBytes: number
  /** Data bytes that enter the log together. */
  readonly maxBatchBytes: number
  /** For requests that name no time-out. */
  readonly requestTimeoutMs: number
  /** A snapshot is taken when so much has been applied since the last one: it bounds the log and the time to restart. */
  readonly snapshotEveryBytes: number
  readonly snapshotEveryEntries: number
  /** Entries kept before a snapshot, for followers that are a little behind. */
  readonly trailingEntries: number
  /** Larger snapshots are refused. */
  readonly maxSnapshotBytes: number
  /** A snapshot on its way is given up after this time. */
  readonly snapshotTimeoutMs: number
  /** Also when no piece of it has moved for so long: who sends or takes it may be gone without a word. */
  readonly snapshotStallTimeoutMs: number
  /** How long `stop` waits for a write that does not come back. */
  readonly stopTimeoutMs: number
}

const MEBIBYTE = 1024 * 1024

/** What production uses. */
export const DEFAULT_RAFT_NODE_LIMITS: RaftNodeLimits = {
  maxOpenRequests: 65_536,
  maxQueuedProposals: 16_384,
  maxQueuedBytes: 64 * MEBIBYTE,
  maxProposalBytes: 16 * MEBIBYTE,
  maxBatchBytes: MEBIBYTE,
  // Several elections fit into it.
  requestTimeoutMs: 10_000,
  snapshotEveryBytes: 64 * MEBIBYTE,
  snapshotEveryEntries: 200_000,
  trailingEntries: 10_000,
  maxSnapshotBytes: 4096 * MEBIBYTE,
  // 4 GiB at 10 MB/s take seven minutes.
  snapshotTimeoutMs: 600_000,
  // A piece has 256 KiB; a disk that syncs a large snapshot at the end may take a while.
  snapshotStallTimeoutMs: 30_000,
  // A disk that has not answered by then will not.
  stopTimeoutMs: 5000,
}

/** Append messages on their way to one follower: what a slow one may cost in memory. */
const MAX_INFLIGHT_BYTES = 16 * MEBIBYTE

/**
 * Heartbeat 40 ms, election 400–800 ms: the next leader is there within a second, and an event loop may still pause for a
 * third of a second without losing its leadership. Processes that pause longer want longer ticks.
 */
const TICK_MS = 40

/** Options with every default filled in. */
export interface ResolvedOptions {
  readonly raft: Omit<RaftOptions, 'id'>
  readonly electionTicks: number
  readonly ticker: Ticker
  readonly incarnation: string
  readonly limits: RaftNodeLimits
}

/** Fills in the defaults. */
export function resolveOptions<R>(options: RaftNodeOptions<R>): ResolvedOptions {
  const raft = { random: createPrng(randomInt(2 ** 32)), maxInflightBytes: MAX_INFLIGHT_BYTES, ...options.raft }
  return {
    raft,
    electionTicks: raft.electionTicks ?? DEFAULTS.electionTicks,
    ticker: options.ticker ?? createIntervalTicker(TICK_MS),
    incarnation: options.incarnation ?? randomUUID(),
    limits: { ...DEFAULT_RAFT_NODE_LIMITS, ...options.limits },
  }
}
