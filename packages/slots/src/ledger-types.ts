import type { InstanceId, RouterId } from '@waiter/base'
import type { AssignedInstance } from './slot.ts'

/** An instance whose slots are to be shared out: healthy and not draining. `slots` is its concurrency level. */
export interface LedgerInstance extends AssignedInstance {
  /** It was started under this leader, and no router can have heard of it from another. */
  readonly isFresh?: boolean
}

/** What one router is to work from, whole; each version replaces the one before. */
export interface RouterAssignment {
  readonly routerId: RouterId
  /** Grows with every change within one ledger; never reused. */
  readonly version: number
  readonly instances: readonly AssignedInstance[]
}

/** What a router says it was told before, when it attaches to a leader that does not know. */
export interface RouterBelief {
  readonly slotsByInstance: ReadonlyMap<InstanceId, number>
  readonly inUseByInstance: ReadonlyMap<InstanceId, number>
}

/** One router as `/state` shows it. */
export interface LedgerRouterState {
  readonly routerId: RouterId
  readonly isLeaving: boolean
  readonly demand: number
  readonly ackedVersion: number
  readonly sentVersion: number
  /** Slots it may believe it has, or uses, by instance. */
  readonly held: Readonly<Record<InstanceId, number>>
}
