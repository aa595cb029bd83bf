import type { Slot } from './slot.ts'
import type { WaiterFlow } from './waiter-flow.ts'

/** Why no instance of the service can serve, as the leader found out; shown to users, so it must say how to mend it. */
export interface ServiceFailure {
  /** Stable key: `bad-startup-command`. */
  readonly code: string
  readonly message: string
  /** Plain data shown beside the message. */
  readonly details?: Readonly<Record<string, unknown>>
}

/** Why a request that asked to wait got no slot. */
export type QueueFailure =
  | { readonly kind: 'queue-timeout' }
  | { readonly kind: 'queue-full'; readonly maxQueueLength: number }
  | { readonly kind: 'service-failure'; readonly failure: ServiceFailure }

/**
 * A request that waits for a slot. Extend it; the machine calls exactly one of the two methods, once, unless the waiter
 * was cancelled or taken.
 *
 * Both are called synchronously from within a call to the machine (release, update, expire, ...). They may call the
 * machine again in any way, and must not throw.
 */
export abstract class Waiter {
  /** The slot is already counted as in use; release it when the request ends. */
  abstract granted(slot: Slot): void
  abstract failed(failure: QueueFailure): void

  /** Links of the queue that holds this waiter; the queue's property, nobody else's. */
  readonly link: WaiterLink = {
    queue: undefined,
    ticket: 0,
    deadlineMs: 0,
    priority: 0,
    sinceMs: 0,
    flow: undefined,
    isForeign: false,
    previous: undefined,
    next: undefined,
  }

  /** True from `enqueue` until the waiter was answered, cancelled or taken. */
  get isWaiting(): boolean {
    return this.link.queue !== undefined
  }
}

/** Where a waiter stands. `queue` is the identity of the queue that holds it; `ticket` numbers its stay there. */
export interface WaiterLink {
  queue: object | undefined
  ticket: number
  deadlineMs: number
  priority: number
  /** When it began to wait: what decides between those who wait at different routers. */
  sinceMs: number
  flow: WaiterFlow | undefined
  /** It waits at another router. */
  isForeign: boolean
  previous: Waiter | undefined
  next: Waiter | undefined
}
