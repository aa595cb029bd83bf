import type { Millis } from '@waiter/base'

/** An instance on its way out: taken away from routers, then stopped. */
export interface Removal {
  readonly reason: string
  readonly sinceMs: Millis
  isStopping: boolean
  /** Somebody wants exactly this instance gone: returning load does not bring it back. */
  readonly isFinal?: boolean
  /** Until then what runs there may go on; absent: as long as the settings say. */
  readonly drainUntilMs?: Millis
  /** Routers have been told that its time is nearly over. */
  isClosing?: boolean
  /** Stopped without a grace period. */
  readonly isHard?: boolean
}

/** A service on its way out: taken away from routers, then deleted. */
export interface Deletion {
  readonly reason: string
  /** Until then requests that run may finish. */
  readonly drainUntilMs: Millis
  /** A request that comes in time keeps the service. */
  readonly isRevocable: boolean
  /** Routers have been told that its time is nearly over. */
  isClosing?: boolean
  isStarted: boolean
}
