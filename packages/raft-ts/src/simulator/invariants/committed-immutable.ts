import { Violation } from '../violation.ts'
import type { Invariant, NodeView } from './invariant.ts'

/** Invariant 6: an index that is committed holds the same entry on every node, for ever. Keeps the ledger. */
export class CommittedImmutable implements Invariant {
  readonly #checkedById = new Map<string, number>()

  check({ node, status, ledger }: NodeView): void {
    const { commit, term } = status.hardState
    const key = `${status.id} ${node.incarnation}`
    const checked = this.#checkedById.get(key) ?? 0
    if (commit <= checked) return
    this.#checkedById.set(key, commit)
    for (let index = Math.max(checked + 1, status.firstIndex - 1); index <= commit; index++) {
      const entryTerm = node.raw.logTerm(index)
      if (index === 0 || entryTerm === undefined) continue
      if (index === ledger.lastIndex + 1) ledger.add(entryTerm, term)
      else if (ledger.term(index) !== entryTerm) {
        const committed = `${ledger.term(index)}/${index}`
        throw new Violation('committed-immutable', `node ${status.id} commits ${entryTerm}/${index}, was ${committed}`)
      }
    }
  }
}
