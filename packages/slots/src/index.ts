/**
 * Who may send how many requests to which instance, right now.
 *
 * Two machines work hand in hand. In the leader, a `SlotLedger` per service leases the slots of every instance (its
 * `concurrency-level`) to routers, in proportion to what they have to do, never the same slot twice, not even while
 * messages are under way. In every router, a `ReservationMachine` per service spends that lease: it grants slots to
 * requests, queues those that must wait, and leaves failing instances alone.
 *
 * Contract with the caller: time and chance are parameters; call in the order in which things happen; one timer per
 * machine (`wakeAtMs`); one `release` per grant. Both machines answer at once and never throw, except on a broken
 * contract, which is a bug.
 *
 * Between routers, a `SlotLender` lends slots that nobody here needs more, and a `SlotBorrower` borrows for whoever waits
 * here: so that all routers together behave like one queue.
 *
 * Not here: how many instances there are (`@waiter/scaling`), how messages travel.
 *
 * Rules are numbered in SPEC.md.
 */
export type { Accusation } from './advice.ts'
export {
  ASYNC_CHECK_INTERVAL_MS_MIN,
  ASYNC_SLOT_MS_MAX,
  type AsyncCall,
  AsyncMonitor,
  type AsyncTimes,
  type AsyncVerdict,
  endsAsyncRequest,
  type LocationKind,
  type StatusCheck,
} from './async-monitor.ts'
export {
  type BorrowedInstance,
  type BorrowedUse,
  type FindService,
  KEEPS_MAX,
  LENDERS_MAX,
  NEED_WAITERS_MAX,
  type NeedingWaiter,
  type SharedService,
  type SlotGrant,
  type SlotNeed,
  type SlotReturn,
} from './borrow-types.ts'
export { BorrowedSlot } from './borrowed-slot.ts'
export { chooseHomes, EVERYBODY_MAX, type HashedRouter, HOMES } from './choose-homes.ts'
export { chooseLenders } from './choose-lenders.ts'
export { type DealRouter, dealOut } from './deal-out.ts'
export { type DistributeInput, type DistributeRouter, distribute, type Shares } from './distribute.ts'
export { ExpectedRouters } from './expected-routers.ts'
export type { EjectionKind } from './instance-entry.ts'
export type { LedgerInstance, LedgerRouterState, RouterAssignment, RouterBelief } from './ledger-types.ts'
export { flowOf, hashText, preferenceOf } from './rendezvous.ts'
export {
  type InstanceSlotState,
  type ReservationCounts,
  ReservationMachine,
  type ReservationMachineOptions,
  type Suspicion,
} from './reservation-machine.ts'
export {
  type AssignedInstance,
  DEFAULT_EJECTION,
  type EjectionConfig,
  type LoadBalancing,
  type ReleaseStatus,
  type Slot,
} from './slot.ts'
export { type BorrowerNews, SlotBorrower, type SlotBorrowerOptions } from './slot-borrower.ts'
export { SlotLedger } from './slot-ledger.ts'
export { SlotLender, type SlotLenderOptions } from './slot-lender.ts'
export { type QueueFailure, type ServiceFailure, Waiter, type WaiterLink } from './waiter.ts'
