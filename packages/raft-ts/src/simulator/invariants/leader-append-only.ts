import { Violation } from '../violation.ts'
import type { Invariant, NodeView } from './invariant.ts'

/** Invariant 2: a leader never overwrites or deletes entries of its own log. */
export class LeaderAppendOnly implements Invariant {
  readonly #lastByLeader = new Map<string, { index: number; term: number }>()

  check({ node, status }: NodeView): void {
    if (status.role !== 'leader') return
    const key = `${status.id} ${status.hardState.term}`
    const last = this.#lastByLeader.get(key)
    if (last !== undefined) {
      const term = node.raw.logTerm(last.index)
      if (status.lastIndex < last.index || (term !== undefined && term !== last.term)) {
        throw new Violation('leader-append-only', `leader ${status.id} lost its entry ${last.term}/${last.index}`)
      }
    }
    const term = node.raw.logTerm(status.lastIndex)
    if (term !== undefined) this.#lastByLeader.set(key, { index: status.lastIndex, term })
  }
}
