import { Violation } from '../violation.ts'
import type { Invariant, NodeView } from './invariant.ts'

/** Invariant 10: a leader's picture of its followers is possible: match < next, window within its limit. */
export class ProgressBounds implements Invariant {
  readonly #maxInflightMessages: number

  constructor(maxInflightMessages: number) {
    this.#maxInflightMessages = maxInflightMessages
  }

  check({ status }: NodeView): void {
    for (const { id, match, next, inflightCount } of status.progress) {
      const isPossible = match < next && next <= status.lastIndex + 1 && inflightCount <= this.#maxInflightMessages
      if (!isPossible) {
        const picture = `match ${match}, next ${next}, last ${status.lastIndex}, ${inflightCount} in flight`
        throw new Violation('progress-bounds', `leader ${status.id} believes of ${id}: ${picture}`)
      }
    }
  }
}
