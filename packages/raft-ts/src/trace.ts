import type { Term } from '@waiter/base'
import type { ConfState, LogIndex, NodeId, Role } from './types.ts'

/** What happens inside a node, in order: for logs, metrics and invariant checkers. */
export type TraceEvent =
  | { readonly kind: 'roleChanged'; readonly role: Role; readonly term: Term; readonly leader: NodeId }
  | { readonly kind: 'campaigned'; readonly term: Term; readonly isPreVote: boolean; readonly isTransfer: boolean }
  | { readonly kind: 'campaignRefused'; readonly reason: 'notPromotable' | 'unappliedConfChange' }
  | {
      readonly kind: 'voteRefused'
      readonly candidate: NodeId
      readonly term: Term
      readonly reason: 'hearsLeader' | 'log'
    }
  | { readonly kind: 'quorumLost'; readonly term: Term }
  | { readonly kind: 'leaderGone'; readonly leader: NodeId; readonly term: Term }
  | { readonly kind: 'confChanged'; readonly conf: ConfState }
  | { readonly kind: 'confChangeRefused'; readonly reason: string }
  | { readonly kind: 'proposalDropped'; readonly reason: string }
  | { readonly kind: 'snapshotSent'; readonly to: NodeId; readonly index: LogIndex }
  | { readonly kind: 'snapshotRestored'; readonly index: LogIndex; readonly term: Term }
  | { readonly kind: 'snapshotIgnored'; readonly index: LogIndex; readonly commit: LogIndex }
  | { readonly kind: 'transferStarted' | 'transferAborted'; readonly to: NodeId }
  | { readonly kind: 'appendRefused'; readonly index: LogIndex; readonly hint: LogIndex }
