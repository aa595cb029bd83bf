import type { NodeId } from '../../types.ts'
import { Violation } from '../violation.ts'
import type { Invariant, NodeView } from './invariant.ts'

/** Invariant 5: what a leader commits is an entry of its own term and durable on a majority of each half. */
export class CommittedOnQuorum implements Invariant {
  readonly #commitById = new Map<string, number>()

  check(view: NodeView): void {
    const { node, status } = view
    const { commit, term } = status.hardState
    if (status.role !== 'leader') return
    const key = `${status.id} ${term}`
    const before = this.#commitById.get(key)
    this.#commitById.set(key, commit)
    // What it had committed as a follower is its former leader's business.
    if (before === undefined || commit <= before) return
    if (node.raw.logTerm(commit) !== term) {
      throw new Violation(
        'committed-on-quorum',
        `leader ${status.id} of term ${term} commits ${commit} of an older term`,
      )
    }
    for (const half of [status.conf.voters, status.conf.votersOutgoing]) {
      if (half.length > 0 && !isDurableOnMajority(view, half)) {
        throw new Violation(
          'committed-on-quorum',
          `leader ${status.id} commits ${commit} without a majority of ${half}`,
        )
      }
    }
  }
}

function isDurableOnMajority({ nodes, status }: NodeView, half: readonly NodeId[]): boolean {
  const { commit, term } = status.hardState
  const holders = half.filter(id => nodes.get(id)?.disk.holds(commit, term) === true)
  return holders.length * 2 > half.length
}
