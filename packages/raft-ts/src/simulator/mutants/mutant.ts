import type { Rules } from '../../rules.ts'
import type { DriverRules } from '../driver-rules.ts'

/** A planted bug: one decision of core or driver made wrongly. The simulator must notice it. */
export interface Mutant {
  readonly name: string
  /** What is wrong and who has made the mistake before. */
  readonly story: string
  readonly rules?: Partial<Rules>
  readonly driverRules?: Partial<DriverRules>
  /** A seed at which it is found: run with every test. */
  readonly knownSeed: number
}
