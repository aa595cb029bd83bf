import { Violation } from '../violation.ts'
import type { Invariant, NodeView } from './invariant.ts'

/** Invariant 3: a new leader's log holds everything that was committed in earlier terms, and opens its own term. */
export class LeaderCompleteness implements Invariant {
  readonly #seen = new Set<string>()

  check(view: NodeView): void {
    const { node, status, ledger } = view
    const { term } = status.hardState
    if (status.role !== 'leader') return
    const key = `${status.id} ${term}`
    if (this.#seen.has(key)) return
    this.#seen.add(key)
    for (let index = status.firstIndex; index <= ledger.lastIndex; index++) {
      if (ledger.committedInTerm(index)! >= term) return
      if (node.raw.logTerm(index) !== ledger.term(index)) {
        const missing = `${ledger.term(index)}/${index}`
        throw new Violation('leader-completeness', `leader ${status.id} of term ${term} lacks committed ${missing}`)
      }
    }
  }
}
