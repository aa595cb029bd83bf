import type { NodeId } from 'raft-ts'

/** Group sizes that survive something: an even one survives no more than the odd one below it. */
const SIZES = [1, 3, 5]

/** A control node that may vote. */
export interface Candidate {
  readonly id: NodeId
  readonly hostId: string
  /** Whom to prefer: those that vote already, then those that could at once. */
  readonly rank: 'voter' | 'ready' | 'other'
}

const RANKS = ['voter', 'ready', 'other']

/**
 * Chooses who votes: one, three or five, spread over hosts so that the group survives the loss of as many hosts as
 * possible, and then of as many nodes. Of equals those stay that vote now.
 */
export function chooseVoters(candidates: readonly Candidate[]): readonly NodeId[] {
  let best: readonly Candidate[] = []
  for (const size of SIZES) {
    if (size > candidates.length) break
    const chosen = spread(candidates, size)
    if (best.length === 0 || hostLosses(chosen) >= hostLosses(best)) best = chosen
  }
  return best.map(({ id }) => id).sort((a, b) => a - b)
}

/** One of each host in turn, until there are enough. */
function spread(candidates: readonly Candidate[], size: number): readonly Candidate[] {
  const byHost = Map.groupBy(candidates.toSorted(byPreference), ({ hostId }) => hostId)
  const chosen: Candidate[] = []
  for (let round = 0; chosen.length < size; round++) {
    const next = [...byHost.values()].flatMap(ofHost => ofHost[round] ?? []).sort(byPreference)
    chosen.push(...next.slice(0, size - chosen.length))
  }
  return chosen
}

function byPreference(a: Candidate, b: Candidate): number {
  return RANKS.indexOf(a.rank) - RANKS.indexOf(b.rank) || a.id - b.id
}

/** How many hosts may be lost, whichever they are, with a majority left. */
function hostLosses(chosen: readonly Candidate[]): number {
  const sizes = [...Map.groupBy(chosen, ({ hostId }) => hostId).values()].map(ofHost => ofHost.length)
  sizes.sort((a, b) => b - a)
  let left = chosen.length
  let losses = 0
  for (const size of sizes) {
    left -= size
    if (left * 2 <= chosen.length) break
    losses += 1
  }
  return losses
}
