import type { ConfState, LogIndex, NodeId } from './types.ts'

/** The outcome of an election so far. */
export type VoteResult = 'won' | 'lost' | 'pending'

/** The index an empty half of a configuration agrees to: every one. */
export const ALL_INDEXES: LogIndex = Number.MAX_SAFE_INTEGER

/** Members whose agreement makes a decision: more than half. */
export function quorumSize(voterCount: number): number {
  return Math.floor(voterCount / 2) + 1
}

/**
 * The highest index a majority of `voters` has acknowledged (rule Q1). No voters: everything, so that an empty half
 * of a joint configuration never holds back the other.
 */
export function majorityCommitted(voters: readonly NodeId[], acked: (id: NodeId) => LogIndex | undefined): LogIndex {
  if (voters.length === 0) return ALL_INDEXES
  const indexes: number[] = []
  for (const id of voters) insertDescending(indexes, acked(id) ?? 0)
  return indexes[quorumSize(voters.length) - 1]!
}

/** Whether a majority of `voters` said yes, can no longer say yes, or is still out (rule Q2). No voters: won. */
export function majorityVote(voters: readonly NodeId[], votes: ReadonlyMap<NodeId, boolean>): VoteResult {
  if (voters.length === 0) return 'won'
  let yes = 0
  let missing = 0
  for (const id of voters) {
    const vote = votes.get(id)
    if (vote === undefined) missing++
    else if (vote) yes++
  }
  const needed = quorumSize(voters.length)
  if (yes >= needed) return 'won'
  return yes + missing >= needed ? 'pending' : 'lost'
}

/** The highest index acknowledged by a majority of *each* half (rule Q3). */
export function jointCommitted(
  conf: Pick<ConfState, 'voters' | 'votersOutgoing'>,
  acked: (id: NodeId) => LogIndex | undefined,
): LogIndex {
  return Math.min(majorityCommitted(conf.voters, acked), majorityCommitted(conf.votersOutgoing, acked))
}

/** An election is won when both halves are won, lost when either is lost (rule Q4). */
export function jointVote(
  conf: Pick<ConfState, 'voters' | 'votersOutgoing'>,
  votes: ReadonlyMap<NodeId, boolean>,
): VoteResult {
  const incoming = majorityVote(conf.voters, votes)
  const outgoing = majorityVote(conf.votersOutgoing, votes)
  if (incoming === outgoing) return incoming
  return incoming === 'lost' || outgoing === 'lost' ? 'lost' : 'pending'
}

/** All voters of both halves, sorted. */
export function voterIds(conf: Pick<ConfState, 'voters' | 'votersOutgoing'>): readonly NodeId[] {
  if (conf.votersOutgoing.length === 0) return conf.voters
  return [...new Set([...conf.voters, ...conf.votersOutgoing])].sort((a, b) => a - b)
}

function insertDescending(indexes: number[], index: number): void {
  let at = indexes.length
  while (at > 0 && indexes[at - 1]! < index) at--
  indexes.splice(at, 0, index)
}
