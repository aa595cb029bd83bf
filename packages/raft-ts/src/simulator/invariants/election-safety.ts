import { Violation } from '../violation.ts'
import type { Invariant, NodeView } from './invariant.ts'

/** Invariant 1: at most one leader per term. */
export class ElectionSafety implements Invariant {
  readonly #leaderByTerm = new Map<number, number>()

  check({ status }: NodeView): void {
    if (status.role !== 'leader') return
    const { term } = status.hardState
    const known = this.#leaderByTerm.get(term)
    if (known === undefined) this.#leaderByTerm.set(term, status.id)
    else if (known !== status.id) {
      throw new Violation('election-safety', `nodes ${known} and ${status.id} both lead in term ${term}`)
    }
  }
}
