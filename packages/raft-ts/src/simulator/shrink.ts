import type { Mutant } from './mutants/mutant.ts'
import { FAULT_KINDS, type FaultKind } from './profile.ts'
import { type SimulationResult, simulate } from './simulation.ts'

/** A failing run with as few kinds of faults as still make it fail the same check. */
export interface Shrunk {
  readonly result: SimulationResult
  readonly without: readonly FaultKind[]
}

/** Leaves out one kind of fault after another and keeps it out while the same check still fails. */
export function shrink(failed: SimulationResult, mutant?: Mutant): Shrunk {
  let result = failed
  let without: readonly FaultKind[] = FAULT_KINDS.filter(kind => !failed.faults.includes(kind))
  for (const kind of failed.faults) {
    const fewer = [...without, kind]
    const options = { seed: failed.seed, without: new Set(fewer) }
    const attempt = simulate(mutant === undefined ? options : { ...options, mutant })
    if (attempt.violation?.check !== failed.violation?.check) continue
    result = attempt
    without = fewer
  }
  return { result, without }
}
