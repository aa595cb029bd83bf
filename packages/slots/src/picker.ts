import { assertNever, type Prng } from '@waiter/base'
import type { InstanceEntry } from './instance-entry.ts'
import { LeastLoadedPicker } from './least-loaded-picker.ts'
import { RandomPicker } from './random-picker.ts'
import { RankPicker } from './rank-picker.ts'
import type { LoadBalancing } from './slot.ts'

/**
 * Chooses among the instances that have a free slot. The machine tells it which those are; it answers without looking
 * at the others, so that a grant costs the same with three instances as with three thousand.
 */
export interface Picker {
  /** Forgets everything; `entries` are all that may be added from now on, each with a distinct `rank` below its count. */
  reset(entries: readonly InstanceEntry[]): void
  /** The instance got a free slot. */
  add(entry: InstanceEntry): void
  /** The instance has no free slot any more. */
  remove(entry: InstanceEntry): void
  /** The instance's number of used slots changed, and some are still free. */
  touch(entry: InstanceEntry): void
  pick(): InstanceEntry | undefined
  /** The instance has answered after so long; `Infinity`: it failed, however soon. Absent: that does not matter. */
  observe?(entry: InstanceEntry, latencyMs: number, isListed: boolean): void
}

/** The picker for a way of load balancing. */
export function createPicker(loadBalancing: LoadBalancing, prng: Prng): Picker {
  switch (loadBalancing) {
    case 'oldest':
    case 'youngest':
      return new RankPicker()
    case 'random':
      return new RandomPicker(prng)
    case 'least-loaded':
      return new LeastLoadedPicker(prng)
    default:
      return assertNever(loadBalancing)
  }
}

/**
 * The order of preference (spec §5.5): fresh instances by age, then expired ones, the youngest first. Ties by id, so
 * that all routers agree.
 */
export function compareByPreference(loadBalancing: LoadBalancing, a: InstanceEntry, b: InstanceEntry): number {
  if (a.isExpired !== b.isExpired) return a.isExpired ? 1 : -1
  const isYoungestFirst = a.isExpired || loadBalancing === 'youngest'
  const byAge = isYoungestFirst ? b.startedAtMs - a.startedAtMs : a.startedAtMs - b.startedAtMs
  if (byAge !== 0) return byAge
  if (a.instanceId === b.instanceId) return 0
  return a.instanceId < b.instanceId ? -1 : 1
}
