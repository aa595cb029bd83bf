import type { ConfState, LogIndex, NodeId, Role, TraceEvent } from '../index.ts'
import type { RaftNodeError } from './errors.ts'

/** What happens on a node, in order: for logs, metrics and checkers. */
export type RaftNodeEvent =
  /** Something inside the protocol. */
  | { readonly kind: 'core'; readonly event: TraceEvent }
  /** Who leads as far as this node knows; 0: nobody. */
  | { readonly kind: 'leaderChanged'; readonly leader: NodeId; readonly role: Role; readonly term: number }
  | { readonly kind: 'confApplied'; readonly index: LogIndex; readonly conf: ConfState }
  /** A write has not come back within an election time-out: this node cannot lead until it does. */
  | { readonly kind: 'storageStalled'; readonly sinceMs: number }
  | { readonly kind: 'storageRecovered'; readonly afterMs: number }
  | { readonly kind: 'snapshotCreated' | 'snapshotReceived' | 'snapshotIgnored'; readonly index: LogIndex }
  | { readonly kind: 'snapshotSent'; readonly to: NodeId; readonly index: LogIndex }
  | {
      readonly kind: 'snapshotFailed'
      readonly peer: NodeId
      readonly index: LogIndex
      readonly error: unknown
    }
  | { readonly kind: 'compacted'; readonly through: LogIndex }
  | { readonly kind: 'failed'; readonly error: RaftNodeError }
  | { readonly kind: 'stopped' }

/** Counters since the node started; they only grow. Times are in ticks or milliseconds as named. */
export interface RaftNodeMetrics {
  ticks: number
  proposals: number
  /** Proposals that ended with an error. */
  proposalsFailed: number
  readsServed: number
  readRounds: number
  readies: number
  writes: number
  entriesWritten: number
  entriesApplied: number
  bytesApplied: number
  messagesSent: number
  messagesReceived: number
  peersUnreachable: number
  /** Told that a peer's process had ended. */
  peersGone: number
  campaigns: number
  leaderChanges: number
  storageStalls: number
  snapshotsCreated: number
  snapshotsSent: number
  snapshotsReceived: number
  snapshotsFailed: number
}

/** All counters at zero. */
export function createMetrics(): RaftNodeMetrics {
  return {
    ticks: 0,
    proposals: 0,
    proposalsFailed: 0,
    readsServed: 0,
    readRounds: 0,
    readies: 0,
    writes: 0,
    entriesWritten: 0,
    entriesApplied: 0,
    bytesApplied: 0,
    messagesSent: 0,
    messagesReceived: 0,
    peersUnreachable: 0,
    peersGone: 0,
    campaigns: 0,
    leaderChanges: 0,
    storageStalls: 0,
    snapshotsCreated: 0,
    snapshotsSent: 0,
    snapshotsReceived: 0,
    snapshotsFailed: 0,
  }
}
