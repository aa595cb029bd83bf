import type { RouterId, ServiceId } from '@waiter/base'
import {
  type BorrowedUse,
  type FindService,
  NEED_WAITERS_MAX,
  type SharedService,
  type SlotGrant,
  type SlotNeed,
  type SlotReturn,
} from './borrow-types.ts'
import type { Slot } from './slot.ts'
import { Waiter } from './waiter.ts'

/** Services for which one borrower's needs are remembered; a need beyond that is not heard. */
const NEEDS_MAX = 10_000

export interface SlotLenderOptions {
  readonly find: FindService
  /** Sends a grant; the shell gathers those of one turn. */
  readonly send: (borrowerId: RouterId, grant: SlotGrant) => void
  readonly nowMs: () => number
}

interface LentSlot {
  readonly serviceId: ServiceId
  readonly service: SharedService
  readonly slot: Slot
}

interface Borrower {
  readonly id: RouterId
  isConnected: boolean
  readonly grants: Map<number, LentSlot>
  readonly needs: Map<ServiceId, { readonly need: SlotNeed; readonly heardAtMs: number }>
  readonly waiters: Map<ServiceId, ForeignWaiter[]>
}

/**
 * Lends free slots of this router to other routers (rules P1 to P6): their waiters stand in the same line as ours, by
 * age. A lent slot stays in use here until it is returned, or until its borrower is known not to use it.
 */
export class SlotLender {
  readonly #options: SlotLenderOptions
  readonly #borrowers: Map<RouterId, Borrower> = new Map()
  #lastGrantId = 0
  /** Slots lent so far. */
  lent = 0

  constructor(options: SlotLenderOptions) {
    this.#options = options
  }

  /**
   * A borrower opened a stream, for the first time or again. What it does not hold, of what was lent to it before, it
   * does not use and never will.
   */
  connected(borrowerId: RouterId, heldGrantIds: readonly number[]): void {
    const borrower = this.#open(borrowerId)
    this.#forgetNeeds(borrower)
    borrower.isConnected = true
    const held = new Set(heldGrantIds)
    for (const grantId of [...borrower.grants.keys()]) if (!held.has(grantId)) this.#takeBack(borrower, grantId)
  }

  /** Takes who waits at a borrower now; grants at once what is free. */
  need(borrowerId: RouterId, need: SlotNeed): void {
    const borrower = this.#borrowers.get(borrowerId)
    if (borrower === undefined || !borrower.isConnected) return
    const { serviceId } = need
    if (need.waiting.length === 0) borrower.needs.delete(serviceId)
    else if (borrower.needs.size >= NEEDS_MAX && !borrower.needs.has(serviceId)) return
    else borrower.needs.set(serviceId, { need, heardAtMs: this.#options.nowMs() })
    this.#register(borrower, serviceId)
  }

  /** A lent slot comes back. One that is not out (any more) is ignored. */
  returned(borrowerId: RouterId, { grantId, status, latencyMs }: SlotReturn): void {
    const borrower = this.#borrowers.get(borrowerId)
    const lent = borrower?.grants.get(grantId)
    if (borrower === undefined || lent === undefined) return
    borrower.grants.delete(grantId)
    lent.service.giveBack(lent.slot, status, latencyMs)
    this.#forgetIfDone(borrower)
  }

  /** The stream broke: its waiters are not known any more; what it may be using stays in use. */
  lost(borrowerId: RouterId): void {
    const borrower = this.#borrowers.get(borrowerId)
    if (borrower === undefined) return
    borrower.isConnected = false
    this.#forgetNeeds(borrower)
    this.#forgetIfDone(borrower)
  }

  /** The borrower uses nothing of ours any more: it said so, or it is dead. */
  gone(borrowerId: RouterId): void {
    const borrower = this.#borrowers.get(borrowerId)
    if (borrower === undefined) return
    borrower.isConnected = false
    this.#forgetNeeds(borrower)
    for (const grantId of [...borrower.grants.keys()]) this.#takeBack(borrower, grantId)
    this.#borrowers.delete(borrowerId)
  }

  /** A service became known here: those who asked for it before stand in its line now. */
  serviceOpened(serviceId: ServiceId): void {
    for (const borrower of this.#borrowers.values())
      if (borrower.needs.has(serviceId)) this.#register(borrower, serviceId)
  }

  /** Routers that may be using slots of ours. */
  get borrowerIds(): readonly RouterId[] {
    return [...this.#borrowers.values()].filter(({ grants }) => grants.size > 0).map(({ id }) => id)
  }

  /** What is lent out. */
  uses(): readonly BorrowedUse[] {
    return [...this.#borrowers.values()].flatMap(({ id, grants }) =>
      [...grants.values()].map(({ serviceId, slot }) => ({ routerId: id, serviceId, instanceId: slot.instanceId })),
    )
  }

  #open(id: RouterId): Borrower {
    const known = this.#borrowers.get(id)
    if (known !== undefined) return known
    const borrower = { id, isConnected: false, grants: new Map(), needs: new Map(), waiters: new Map() }
    this.#borrowers.set(id, borrower)
    return borrower
  }

  #register(borrower: Borrower, serviceId: ServiceId): void {
    const service = this.#options.find(serviceId)
    for (const waiter of borrower.waiters.get(serviceId) ?? []) service?.machine.cancelForeign(waiter)
    borrower.waiters.delete(serviceId)
    const heard = borrower.needs.get(serviceId)
    if (heard === undefined || service === undefined) return
    const { need, heardAtMs } = heard
    let unseen = 0
    for (const [grantId, lent] of borrower.grants)
      if (grantId > need.lastGrantId && lent.serviceId === serviceId) unseen += 1
    const waiters = need.waiting.slice(unseen, NEED_WAITERS_MAX).map(({ ageMs, leftMs, priority, flow }) => ({
      waiter: new ForeignWaiter(this, borrower, serviceId, service, flow),
      place: { priority, flow, sinceMs: heardAtMs - ageMs, deadlineMs: heardAtMs + leftMs },
    }))
    borrower.waiters.set(
      serviceId,
      waiters.map(({ waiter }) => waiter),
    )
    for (const { waiter, place } of waiters) service.machine.enqueueForeign(waiter, place)
  }

  /** Called by a waiter that got a slot. */
  grant(waiter: ForeignWaiter, slot: Slot): void {
    const { borrower, serviceId, service } = waiter
    const waiters = borrower.waiters.get(serviceId)
    waiters?.splice(waiters.indexOf(waiter), 1)
    this.#lastGrantId += 1
    this.lent += 1
    borrower.grants.set(this.#lastGrantId, { serviceId, service, slot })
    const nowMs = this.#options.nowMs()
    const isOther = (other: Waiter): boolean => other instanceof ForeignWaiter && other.borrower !== borrower
    const sinceMs = service.machine.oldestSinceMs(waiter.flow, isOther)
    this.#options.send(borrower.id, {
      grantId: this.#lastGrantId,
      serviceId,
      instance: service.lend(slot),
      keepAgeMs: sinceMs === undefined ? 0 : Math.max(0, nowMs - sinceMs),
    })
  }

  #forgetNeeds(borrower: Borrower): void {
    borrower.needs.clear()
    for (const [serviceId, waiters] of borrower.waiters) {
      const machine = this.#options.find(serviceId)?.machine
      for (const waiter of waiters) machine?.cancelForeign(waiter)
    }
    borrower.waiters.clear()
  }

  #takeBack(borrower: Borrower, grantId: number): void {
    const lent = borrower.grants.get(grantId)
    if (lent === undefined) return
    borrower.grants.delete(grantId)
    lent.service.giveBack(lent.slot, 'unused')
  }

  #forgetIfDone(borrower: Borrower): void {
    if (!borrower.isConnected && borrower.grants.size === 0) this.#borrowers.delete(borrower.id)
  }
}

/** A request that waits at another router. */
class ForeignWaiter extends Waiter {
  readonly #lender: SlotLender
  readonly borrower: Borrower
  readonly serviceId: ServiceId
  readonly service: SharedService
  readonly flow: number

  constructor(lender: SlotLender, borrower: Borrower, serviceId: ServiceId, service: SharedService, flow: number) {
    super()
    this.flow = flow
    this.#lender = lender
    this.borrower = borrower
    this.serviceId = serviceId
    this.service = service
  }

  granted(slot: Slot): void {
    this.#lender.grant(this, slot)
  }

  /** Its own router tells it what is wrong, and us when it does not wait any more. */
  failed(): void {}
}
