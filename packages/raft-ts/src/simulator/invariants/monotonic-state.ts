import type { Message } from '../../message.ts'
import type { SimNode } from '../sim-node.ts'
import { Violation } from '../violation.ts'
import type { Invariant, NodeView } from './invariant.ts'

interface Seen {
  diskTerm: number
  term: number
  vote: number
  commit: number
  applied: number
}

/**
 * Invariant 9: term, vote within a term, commit and applied index of a node never go back, across restarts too; nobody
 * votes twice in a term; and no term begins without a candidate.
 */
export class MonotonicState implements Invariant {
  readonly #seenById = new Map<number, Seen>()
  readonly #voteByVoterAndTerm = new Map<string, number>()
  readonly #startedTerms = new Set<number>([0, 1])

  onCampaign(term: number): void {
    this.#startedTerms.add(term)
  }

  onRestart(node: SimNode): void {
    const seen = this.#seenById.get(node.id)
    if (seen === undefined) return
    const { term, vote } = node.raw.status().hardState
    if (term < seen.diskTerm) throw new Violation('monotonic-state', `node ${node.id} forgot its term ${seen.diskTerm}`)
    // What was not durable may be forgotten, as long as nobody was told (see the vote below and invariant 12).
    seen.term = term
    seen.vote = vote
    seen.commit = 0
    seen.applied = 0
  }

  check({ node, status }: NodeView): void {
    const { term, vote, commit } = status.hardState
    const { applied } = node.machine
    const seen = this.#seenById.get(status.id)
    if (!this.#startedTerms.has(term)) {
      throw new Violation('monotonic-state', `node ${status.id} is in term ${term}, which nobody campaigned for`)
    }
    if (seen === undefined) {
      this.#seenById.set(status.id, { diskTerm: node.disk.term, term, vote, commit, applied })
      return
    }
    const isBack = term < seen.term || commit < seen.commit || applied < seen.applied
    if (isBack || (term === seen.term && seen.vote !== 0 && vote !== seen.vote)) {
      const now = `term ${term}, vote ${vote}, commit ${commit}, applied ${applied}`
      throw new Violation('monotonic-state', `node ${status.id} went back to ${now} from ${JSON.stringify(seen)}`)
    }
    seen.diskTerm = node.disk.term
    seen.term = term
    seen.vote = vote
    seen.commit = commit
    seen.applied = applied
  }

  onSent(_node: SimNode, message: Message): void {
    if (message.type !== 'MsgVoteResp' || message.reject) return
    const key = `${message.from} ${message.term}`
    const before = this.#voteByVoterAndTerm.get(key)
    if (before !== undefined && before !== message.to) {
      const both = `${before} and ${message.to}`
      throw new Violation('monotonic-state', `node ${message.from} voted for ${both} in term ${message.term}`)
    }
    this.#voteByVoterAndTerm.set(key, message.to)
  }
}
