/**
 * Runs instances of services somewhere, behind one port: {@link Scheduler}.
 *
 * The scheduler is the database of instances. It keeps the requested number running, checks health, replaces what
 * fails, and tells watchers everything that changes. It decides nothing about *how many*: that is the leader's, whose
 * orders carry a fence so that a deposed leader cannot act.
 *
 * `process/` runs services as processes of this machine and adopts them again after a restart. The contract that every
 * scheduler keeps is a test suite of its own: `@waiter/schedulers/contract`.
 */
export { type SchedulerErrorCode, schedulerError } from './errors.ts'
export { EventHub } from './event-hub.ts'
export type { HostCapacity } from './fleet/choose-hosts.ts'
export { FleetScheduler, type FleetSchedulerOptions, type HostReport } from './fleet/fleet-scheduler.ts'
export { type ContactLimits, DEFAULT_CONTACT_LIMITS } from './fleet/host-contact.ts'
export type { FleetHost } from './fleet/host-follower.ts'
export type { PortRange } from './process/port-pool.ts'
export type { InstanceNetwork, InstanceSeat, ProcessSchedulerOptions } from './process/process-options.ts'
export { createProcessScheduler, type ProcessScheduler } from './process/process-scheduler.ts'
export { systemTimers, type Timer, type Timers } from './process/timers.ts'
export type {
  Fence,
  InstanceFlag,
  InstanceRecord,
  InstanceRef,
  InstanceState,
  KillRequest,
  KillResult,
  LogEntry,
  LogPiece,
  LogRange,
  Scheduler,
  SchedulerEvent,
  ServiceRecord,
} from './scheduler.ts'
