import type { Millis, RouterId, ServiceId } from '@waiter/base'
import { chooseHomes, EVERYBODY_MAX, ExpectedRouters, type HashedRouter, hashText, preferenceOf } from '@waiter/slots'
import type { ServiceBeliefRow } from '../agent/leader-link.ts'
import type { ManagedService } from './managed-service.ts'
import type { RouterSession } from './router-session.ts'

export interface FollowerDeskOptions {
  readonly services: ReadonlyMap<ServiceId, ManagedService>
  readonly sessions: ReadonlyMap<RouterId, RouterSession>
  readonly nowMs: () => Millis
  /** Have the service reviewed at the end of the turn. */
  readonly touch: (service: ManagedService) => void
}

/**
 * Knows which routers follow which services: are told of them and have a share of their slots (rules H1 and H2, L10 to
 * L12). With a few routers, all follow everything; with many, what a service costs must not grow with their number.
 */
export class FollowerDesk {
  /** Routers that an earlier leader had, and that have not been heard. */
  readonly expected: ExpectedRouters = new ExpectedRouters()
  readonly #options: FollowerDeskOptions
  /** Routers that have attached, or are expected to, and are not dead. */
  readonly #routers: HashedRouter[] = []

  constructor(options: FollowerDeskOptions) {
    this.#options = options
  }

  /** A router lives, and may use what runs; this leader has not heard it. */
  expect(routerId: RouterId): void {
    this.expected.expect(routerId)
    this.#join(routerId)
  }

  /** A service becomes known. */
  admit(service: ManagedService): void {
    this.#settle(service)
  }

  /**
   * A router attached, perhaps again: it says what it works from. What it does not mention, it does not have. After this,
   * it can be told what it follows.
   */
  attached(session: RouterSession, beliefs: readonly ServiceBeliefRow[]): void {
    const { services, touch } = this.#options
    const { routerId } = session
    const beliefByService = new Map(beliefs.map(row => [row.serviceId, row.instances]))
    this.#join(routerId)
    for (const service of services.values()) {
      const belief = beliefByService.get(service.id)
      const { followers } = service
      if (belief === undefined && !followers.has(routerId) && !followers.homes.includes(routerId)) continue
      followers.note(routerId, this.#options.nowMs())
      service.ledger.routerJoined(routerId, {
        slotsByInstance: new Map(belief?.map(row => [row.instanceId, row.slots])),
        inUseByInstance: new Map(belief?.map(row => [row.instanceId, row.inUse])),
      })
      this.#leaveOutIfDraining(service, routerId)
      // In this order: the review comes before the flush, which must not repeat an assignment from before.
      touch(service)
      session.markDirty(service.id)
    }
    this.#heard(routerId)
  }

  /** A router is dead: nobody's home is there any more. Its slots stay taken until `slotsFree`. */
  died(routerId: RouterId): void {
    const at = this.#routers.findIndex(router => router.routerId === routerId)
    if (at < 0) return
    this.#routers.splice(at, 1)
    const isFew = this.#routers.length <= EVERYBODY_MAX
    for (const service of this.#options.services.values())
      if (isFew || service.followers.homes.includes(routerId)) this.#settle(service)
  }

  /** Everybody knows that the router is dead. */
  slotsFree(routerId: RouterId): void {
    for (const service of this.#options.services.values()) {
      if (!service.ledger.has(routerId) && !service.followers.has(routerId)) continue
      service.ledger.routerDead(routerId)
      service.followers.remove(routerId)
      service.lenders.drop(routerId)
      this.#options.touch(service)
    }
    this.#heard(routerId)
  }

  /** A router is asked for a service, or wants to know of it. */
  follow(service: ManagedService, routerId: RouterId): void {
    if (!service.followers.note(routerId, this.#options.nowMs())) {
      service.ledger.routerStays(routerId)
      return
    }
    this.#welcome(service, routerId)
  }

  /** Everybody who follows the service must hear of it (again). */
  tellAll(service: ManagedService): void {
    const { sessions } = this.#options
    for (const routerId of service.followers.ids()) sessions.get(routerId)?.markDirty(service.id)
  }

  /** Lets those go that have lost interest. @returns when to look again */
  review(service: ManagedService, nowMs: Millis): Millis {
    const { followers, ledger, loads } = service
    const { sessions } = this.#options
    // One that is lost for the moment can acknowledge nothing; it is let go when it is back, or dead.
    for (const routerId of followers.lapsed(nowMs, id => (loads.of(id)?.outstanding ?? 0) > 0))
      if (sessions.has(routerId)) ledger.routerLeaving(routerId)
      else followers.note(routerId, nowMs)
    for (const routerId of ledger.takeLeft()) {
      followers.remove(routerId)
      loads.drop(routerId)
      service.lenders.drop(routerId)
      sessions.get(routerId)?.forget(service.id)
    }
    return followers.dueAtMs
  }

  #heard(routerId: RouterId): void {
    if (!this.expected.settle(routerId)) return
    for (const service of this.#options.services.values()) this.#options.touch(service)
  }

  #join(routerId: RouterId): void {
    if (this.#routers.some(router => router.routerId === routerId)) return
    const router = { routerId, hash: hashText(routerId) }
    this.#routers.push(router)
    const isOften = this.#routers.length > EVERYBODY_MAX + 1
    for (const service of this.#options.services.values())
      if (!isOften || this.#isPreferred(service, router.hash)) this.#settle(service)
  }

  /** Might this router be a home of the service? */
  #isPreferred(service: ManagedService, routerHash: number): boolean {
    const preference = preferenceOf(service.hash, routerHash)
    return service.followers.homes.some(home => preference >= preferenceOf(service.hash, hashText(home)))
  }

  #settle(service: ManagedService): void {
    const { sessions, nowMs } = this.#options
    const homes = chooseHomes(service.hash, this.#routers)
    const isHere = (routerId: RouterId): boolean => sessions.has(routerId)
    for (const routerId of service.followers.setHomes(homes, isHere, nowMs())) this.#welcome(service, routerId)
  }

  #leaveOutIfDraining({ ledger }: ManagedService, routerId: RouterId): void {
    if (this.#options.sessions.get(routerId)?.isDraining) ledger.routerDraining(routerId)
  }

  #welcome(service: ManagedService, routerId: RouterId): void {
    if (!service.ledger.has(routerId)) service.ledger.routerJoined(routerId)
    this.#leaveOutIfDraining(service, routerId)
    this.#options.touch(service)
    this.#options.sessions.get(routerId)?.markDirty(service.id)
  }
}
