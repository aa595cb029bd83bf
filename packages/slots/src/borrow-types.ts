import type { InstanceId, Millis, RouterId, ServiceId } from '@waiter/base'
import type { ReservationMachine } from './reservation-machine.ts'
import type { ReleaseStatus, Slot } from './slot.ts'

/** An instance as a lender tells a borrower of it. */
export interface BorrowedInstance {
  readonly instanceId: InstanceId
  readonly host: string
  readonly port: number
  readonly startedAtMs: Millis
  readonly expired?: boolean
  readonly extraPorts: readonly number[]
  readonly logDirectory: string | null
}

/** Who waits at a borrower for a slot of one service; replaces what it said before. */
export interface SlotNeed {
  readonly serviceId: ServiceId
  /** The last grant that the borrower had seen when it wrote this; later ones have served the first of `waiting`. */
  readonly lastGrantId: number
  /** The next ones to be served there, at most `NEED_WAITERS_MAX`; empty: nobody waits any more. */
  readonly waiting: readonly NeedingWaiter[]
}

/** A request that waits, as its router tells others of it. */
export interface NeedingWaiter {
  readonly ageMs: number
  readonly priority: number
  /** Whose it is; 0: nobody's in particular. */
  readonly flow: number
  /** Until it gives up; `Infinity`: never. */
  readonly leftMs: number
}

/** A slot, lent for one request. */
export interface SlotGrant {
  /** Grows; never used twice by one lender. */
  readonly grantId: number
  readonly serviceId: ServiceId
  readonly instance: BorrowedInstance
  /** Requests that have waited longer than this may have the slot next, without going back: nobody else waits longer. */
  readonly keepAgeMs: number
}

/** A lent slot comes back. */
export interface SlotReturn {
  readonly grantId: number
  readonly status: ReleaseStatus
  /** As `ReservationMachine.release` takes it. */
  readonly latencyMs: number
}

/** A service of this router, as lending and borrowing need it. */
export interface SharedService {
  readonly machine: ReservationMachine
  /** Requests for it came here: others that have slots are worth a stream before anybody waits. */
  readonly isAskedFor: boolean
  /** A slot of the machine goes to another router; says what that must know of its instance. */
  lend(slot: Slot): BorrowedInstance
  /** A lent slot, or one that was adopted, comes back to the machine. */
  giveBack(slot: Slot, status: ReleaseStatus, latencyMs?: number): void
  /** Counts a borrowed slot's request in the machine as well, and lets the leader know. */
  adopt(instance: BorrowedInstance): Slot
}

/** Finds a service; undefined: this router does not know it (any more). */
export type FindService = (serviceId: ServiceId) => SharedService | undefined

/** Waiters that one router tells another of, for one service: more could not be served before it tells again. */
export const NEED_WAITERS_MAX = 8
/** Requests that one grant serves, one after the other: somebody else may have come meanwhile. */
export const KEEPS_MAX = 8
/** Lenders that a router asks for one service: more would answer more often in vain than they would help. */
export const LENDERS_MAX = 8

/** One lent or borrowed slot, for people. */
export interface BorrowedUse {
  readonly routerId: RouterId
  readonly serviceId: ServiceId
  readonly instanceId: InstanceId
}
