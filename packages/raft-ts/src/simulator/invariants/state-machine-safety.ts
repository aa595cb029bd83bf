import type { SimNode } from '../sim-node.ts'
import { Violation } from '../violation.ts'
import type { Invariant } from './invariant.ts'

/** Invariant 7: state machines that have applied the same index hold the same state. */
export class StateMachineSafety implements Invariant {
  readonly #digestByIndex: number[] = []

  onApplied({ id, machine }: SimNode): void {
    const known = this.#digestByIndex[machine.applied]
    if (known === undefined) this.#digestByIndex[machine.applied] = machine.digest
    else if (known !== machine.digest) {
      throw new Violation('state-machine-safety', `node ${id} differs from others after applying ${machine.applied}`)
    }
  }
}
