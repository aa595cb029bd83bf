import type { LogIndex } from '../types.ts'

/** What has been committed anywhere, ever, as the simulator saw it: the truth that nodes are compared with. */
export class CommitLedger {
  /** Index 1 is the snapshot every first member starts from. */
  readonly #terms: number[] = [0, 1]
  readonly #committedInTerm: number[] = [0, 1]

  /** The highest index committed on any node so far. */
  get lastIndex(): LogIndex {
    return this.#terms.length - 1
  }

  term(index: LogIndex): number | undefined {
    return this.#terms[index]
  }

  /** The term of the node on which the commit was first seen: its leader's. */
  committedInTerm(index: LogIndex): number | undefined {
    return this.#committedInTerm[index]
  }

  add(term: number, committedInTerm: number): void {
    this.#terms.push(term)
    this.#committedInTerm.push(committedInTerm)
  }
}
