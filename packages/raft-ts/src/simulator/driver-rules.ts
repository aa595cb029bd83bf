import type { HardState } from '../types.ts'

/**
 * What a driver must do right, each as one replaceable decision: the counterpart of the core's `Rules` for the planted
 * bugs that live outside of the core.
 */
export interface DriverRules {
  /** D2: what is written of the hard state. */
  persistedHardState(hardState: HardState): HardState
  /** D2: promises wait for the disk. */
  sendsPromisesBeforeSync: boolean
  /** D4: a received snapshot replaces the log. */
  keepsTailAfterSnapshot: boolean
  /** D6: entries by which the stored applied index is older than the stored data. */
  appliedIndexLag: number
  /** D7: a node that lost its disk comes back under its old id. */
  reusesIdAfterWipe: boolean
  /** K3: sessions answer retries. */
  remembersWrites: boolean
}

/** A driver as it must be. */
export const DRIVER_RULES: DriverRules = {
  persistedHardState: hardState => hardState,
  sendsPromisesBeforeSync: false,
  keepsTailAfterSnapshot: false,
  appliedIndexLag: 0,
  reusesIdAfterWipe: false,
  remembersWrites: true,
}
