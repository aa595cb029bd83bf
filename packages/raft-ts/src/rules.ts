import type { Term } from '@waiter/base'
import { computeElectorates } from './electorates.ts'
import type { RaftLog } from './log.ts'
import { jointCommitted, jointVote, type VoteResult } from './quorum.ts'
import type { ConfChange, ConfState, Entry, EntryId, LogIndex, NodeId, ProposedEntry } from './types.ts'
import { NO_DATA } from './types.ts'

/**
 * The decisions that make Raft safe, each as one small pure function. The machine asks them instead of deciding inline,
 * so that each can be read, tested and, by the simulator's planted bugs, broken on its own.
 */
export interface Rules {
  /** M1: a leader counts acknowledgements only for entries of its own term; older ones are committed with them. */
  mayCommit(log: RaftLog, index: LogIndex, term: Term): boolean
  /** M2: what a new leader writes first. */
  entriesAtTermStart(): readonly ProposedEntry[]
  /** Q3: how far the configuration agrees. */
  committedIndex(conf: ConfState, acked: (id: NodeId) => LogIndex | undefined): LogIndex
  /** Q4: how an election or a round of heartbeats stands. */
  voteResult(conf: ConfState, votes: ReadonlyMap<NodeId, boolean>): VoteResult
  /** E11: the configurations in which a candidate must win. */
  electorates(conf: ConfState, changesInLog: readonly ConfChange[]): readonly ConfState[]
  /** R1: a read is confirmed by a quorum that answered in its round or later. */
  isReadConfirmed(result: VoteResult): boolean
  /** R2: rounds only grow, so that a late answer never confirms a newer read. */
  nextReadRound(previous: number): number
  /** E4: a pre-vote is a question; its term is not adopted. */
  adoptsPreVoteTerm(type: 'MsgPreVote' | 'MsgPreVoteResp'): boolean
  /** E6: who heard a leader within the election time-out refuses to vote. */
  refusesVotesInLease(): boolean
  /** E10: who is told that the leader is gone asks first whether it would be elected. */
  asksBeforeHastenedElection(): boolean
  /** L3: where the log first differs from what the leader sent; 0: nowhere. */
  firstConflict(log: RaftLog, entries: readonly Entry[]): LogIndex
  /** D5: a write is acknowledged only for the entry that is still there. */
  isStableAckCurrent(log: RaftLog, id: EntryId): boolean
  /** C5: why a membership change must wait. */
  confChangeRefusal(state: ConfChangeState): string | undefined
  /** D1: a leader counts its own entries only when its own disk has them. */
  countsOwnEntriesAtOnce(): boolean
}

/** What decides whether a membership change may be proposed. */
export interface ConfChangeState {
  readonly pendingIndex: LogIndex
  readonly applied: LogIndex
  readonly isJoint: boolean
  readonly wantsLeave: boolean
}

/** The rules of Raft as they must be. */
export const RULES: Rules = {
  mayCommit: (log, index, term) => log.term(index) === term,
  entriesAtTermStart: () => [{ kind: 'normal', data: NO_DATA }],
  committedIndex: jointCommitted,
  voteResult: jointVote,
  electorates: computeElectorates,
  isReadConfirmed: result => result === 'won',
  nextReadRound: previous => previous + 1,
  adoptsPreVoteTerm: () => false,
  refusesVotesInLease: () => true,
  asksBeforeHastenedElection: () => true,
  firstConflict: (log, entries) => log.findConflict(entries),
  isStableAckCurrent: (log, id) => id.index >= log.unstable.offset && log.unstable.term(id.index) === id.term,
  confChangeRefusal: state => {
    if (state.pendingIndex > state.applied) {
      return `a change at index ${state.pendingIndex} may not be applied yet (applied up to ${state.applied})`
    }
    if (state.isJoint && !state.wantsLeave) return 'the joint configuration must be left first'
    if (!state.isJoint && state.wantsLeave) return 'there is no joint configuration to leave'
    return undefined
  },
  countsOwnEntriesAtOnce: () => false,
}
