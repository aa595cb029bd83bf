import type { InstanceId, Millis, RouterId, ServiceId } from '@waiter/base'
import type { BorrowedInstance, SlotGrant } from './borrow-types.ts'
import type { Slot } from './slot.ts'

/** A slot of another router's, lent for one request at a time. */
export class BorrowedSlot implements Slot {
  readonly lenderId: RouterId
  readonly grantId: number
  readonly serviceId: ServiceId
  readonly instance: BorrowedInstance
  readonly instanceId: InstanceId
  readonly host: string
  readonly port: number
  readonly startedAtMs: Millis
  readonly isExpired: boolean
  readonly slots = 1
  readonly inUse = 1
  readonly isRetired = false
  /** Requests that began to wait before this may have it next. */
  readonly keepBeforeMs: number
  /** Set once the request that runs on it is counted by this router's own machine as well. */
  adopted: Slot | undefined
  /** Requests that it was kept for. */
  keeps = 0
  /** It has gone back. */
  isOver = false

  constructor(lenderId: RouterId, grant: SlotGrant, nowMs: number) {
    const { instance } = grant
    this.lenderId = lenderId
    this.grantId = grant.grantId
    this.serviceId = grant.serviceId
    this.instance = instance
    this.instanceId = instance.instanceId
    this.host = instance.host
    this.port = instance.port
    this.startedAtMs = instance.startedAtMs
    this.isExpired = instance.expired === true
    this.keepBeforeMs = nowMs - grant.keepAgeMs
  }
}
