import type { InstanceId, Millis } from '@waiter/base'

/**
 * One instance as a router may use it: how many requests it may have there at the same time. This is what the leader
 * assigns (`SlotLedger`) and what a router works from (`ReservationMachine`). Plain JSON.
 */
export interface AssignedInstance {
  readonly instanceId: InstanceId
  readonly host: string
  readonly port: number
  /** Requests that this router may have in flight there; 0 means none, but remember it. */
  readonly slots: number
  readonly startedAtMs: Millis
  /** Too old or failing too often: granted only when no other instance has a free slot (spec §5.5). */
  readonly expired?: boolean
}

/**
 * What a grant hands out: the instance to send the request to. One mutable object per instance, shared by all requests
 * there, so that a grant allocates nothing. Each grant must be answered by exactly one `release` of the same object.
 */
export interface Slot {
  readonly instanceId: InstanceId
  readonly host: string
  readonly port: number
  readonly startedAtMs: Millis
  /** Assigned slots; may fall below `inUse` after a new assignment. */
  readonly slots: number
  readonly inUse: number
  readonly isExpired: boolean
  /** True when the leader took the instance away: running requests finish, none is added. */
  readonly isRetired: boolean
}

/**
 * How a request ended, seen from the instance (spec §5.6).
 *
 * - `success`, `client-error`, `client-eagerly-closed`, `server-eagerly-closed`, `generic-error`: not the instance's
 *   fault; its failure history is cleared.
 * - `success-async`: answered 202; the history is cleared and the slot *stays in use* until a second release.
 * - `instance-error` (timeout, broken stream), `instance-busy` (503, gRPC status 14): ejects, see `EjectionConfig`.
 * - `connect-failed`: nothing listens there; ejects at once and definitely, for a short while.
 * - `unused`: nothing was sent; history is kept.
 */
export type ReleaseStatus =
  | 'success'
  | 'success-async'
  | 'client-error'
  | 'client-eagerly-closed'
  | 'server-eagerly-closed'
  | 'generic-error'
  | 'instance-error'
  | 'instance-busy'
  | 'connect-failed'
  | 'unused'

/** Which free instance a grant takes (spec §5.5); `least-loaded` is ours. */
export type LoadBalancing = 'oldest' | 'youngest' | 'random' | 'least-loaded'

/** How long failing instances are left alone (spec §5.6, §12 `ejection-config`). */
export interface EjectionConfig {
  /** First ejection after an `instance-error` or `instance-busy`; doubles with each further one, at most 4 times. */
  readonly baseMs: number
  readonly maxMs: number
  /** First ejection after a `connect-failed`; doubles with each further one. */
  readonly connectBaseMs: number
  readonly connectMaxMs: number
  /** From this many consecutive failures on, the instance is reported as suspect, so that the leader replaces it. */
  readonly suspectAfterFailures: number
}

/**
 * Defaults of spec §12. A refused connection is retried within a second or two, because what refuses now is either
 * about to be replaced or about to listen.
 */
export const DEFAULT_EJECTION: EjectionConfig = {
  baseMs: 10_000,
  maxMs: 300_000,
  connectBaseMs: 100,
  connectMaxMs: 2_000,
  suspectAfterFailures: 5,
}
