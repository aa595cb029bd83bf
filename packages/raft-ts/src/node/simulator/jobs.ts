import type { FaultKind } from '../../simulator/profile.ts'
import type { SimulationResult } from '../../simulator/simulation.ts'

/** Work for one worker: some seeds, of the real code or of a planted bug. */
export interface SeedJob {
  readonly from: number
  readonly count: number
  readonly mutant: string | undefined
  readonly without: readonly FaultKind[]
}

/** What a worker found. */
export interface SeedReport {
  readonly job: SeedJob
  readonly seeds: number
  readonly events: number
  readonly operations: number
  readonly failures: readonly SimulationResult[]
}
