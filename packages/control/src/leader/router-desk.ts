import { type Logger, type RouterId, type ServiceId, type Term, WaiterError } from '@waiter/base'
import type { KeyValueStore } from '@waiter/store/port'
import type { LeaderClock } from '../clock.ts'
import { notLeader } from '../rpc/call-unary.ts'
import type { FollowerDesk } from './follower-desk.ts'
import { isHeardByOthers } from './hears-router.ts'
import { LostRouters } from './lost-routers.ts'
import type { ManagedService } from './managed-service.ts'
import { RouterBurials } from './router-burials.ts'
import type { RouterQuestions } from './router-questions.ts'
import { type HostStart, isSameSeat, type RouterIntroduction, RouterRegistry } from './router-registry.ts'
import { RouterSession, type SessionSource, type SessionStream } from './router-session.ts'

export interface RouterDeskOptions {
  readonly leaderId: string
  readonly term: Term
  readonly host?: HostStart
  readonly store: KeyValueStore
  readonly settings: { readonly routerDeadAfterMs: number }
  readonly clock: LeaderClock
  readonly log: Logger
  /** Attached routers; this desk alone changes them. */
  readonly sessions: Map<RouterId, RouterSession>
  readonly services: ReadonlyMap<ServiceId, ManagedService>
  readonly followers: FollowerDesk
  readonly questions: RouterQuestions
  readonly source: SessionSource
  /** Others must hear how much waits, if it matters to them. */
  readonly tellWaiting: (service: ManagedService) => void
  /** Have the service reviewed at the end of the turn. */
  readonly touch: (service: ManagedService) => void
}

/** Which routers there are: they attach, drain, get lost, come back, and are given up. */
export class RouterDesk {
  readonly #options: RouterDeskOptions
  readonly #lost: LostRouters
  readonly #burials = new RouterBurials()
  readonly #registry: RouterRegistry
  #isStopped = false

  constructor(options: RouterDeskOptions) {
    this.#options = options
    const { clock, settings, questions, sessions, store, host, term, log } = options
    this.#lost = new LostRouters({
      clock,
      deadAfterMs: settings.routerDeadAfterMs,
      isHeard: routerId => isHeardByOthers(routerId, questions, sessions.values()),
      // Only who leads may say that somebody is dead: the store tells. Until then, the router can come back.
      onDead: routerId => this.#registry.giveUp(routerId, () => this.#bury(routerId)),
    })
    this.#registry = new RouterRegistry({ store, own: host ?? { hostId: '', startId: '' }, term, clock, log })
  }

  /** Routers that may be serving although nobody hears them here. */
  get lostIds(): Iterable<RouterId> {
    return this.#lost.ids
  }

  /** Those of them that may have slots. */
  get awaitedIds(): readonly RouterId[] {
    return [...this.#lost.ids].filter(routerId => this.#registry.has(routerId))
  }

  /** Routers that attached to an earlier leader may serve from what it assigned: they are heard first, or given up. */
  async expectEarlier(signal: AbortSignal): Promise<void> {
    for (const router of await this.#registry.takeOver(signal)) {
      const isHere = [...this.#options.sessions.values()].some(session => isSameSeat(session, router))
      if (isHere || this.#lost.has(router.routerId) || signal.aborted) continue
      this.#lost.add(router.routerId, router)
    }
  }

  /** A router is to be left out: its slots go to the others. */
  drain(session: RouterSession): void {
    if (session.isDraining) return
    session.isDraining = true
    this.#options.log.info({ routerId: session.routerId }, 'a router drains: it gets no slots any more')
    for (const service of this.#options.services.values()) {
      service.ledger.routerDraining(session.routerId)
      this.#options.touch(service)
    }
  }

  /** It serves again. */
  serve(session: RouterSession): void {
    if (!session.isDraining) return
    session.isDraining = false
    this.#options.log.info({ routerId: session.routerId }, 'a router does not drain any more')
    for (const service of this.#options.services.values()) {
      service.ledger.routerServing(session.routerId)
      this.#options.touch(service)
    }
  }

  attach(router: RouterIntroduction, stream: SessionStream): RouterSession {
    // Deposed, and not replaced yet: nobody would ever close this session.
    if (this.#isStopped) throw notLeader('')
    const { routerId, httpUrl, peerAddress = '', gossipAddress = '', relatedRouterIds = [], beliefs } = router
    // What others have lent it counts as free for those who have heard of its death, and not for the others: as long as they
    // differ, nothing that it hears here could be right for both. It goes on with what it has, and comes again.
    if (this.#burials.isPending(routerId)) throw beingGivenUp(routerId)
    const former = this.#options.sessions.get(routerId)
    if (former !== undefined) this.#close(former)
    this.#lost.remove(routerId)
    this.#buryPredecessors(router)
    const { term, clock } = this.#options
    const session = new RouterSession({
      ...{ ...router, peerAddress, gossipAddress },
      ...{ stream, source: this.#options.source, term, soon: task => clock.soon(task) },
    })
    for (const other of this.#options.sessions.values()) other.markPeer(routerId)
    this.#options.sessions.set(routerId, session)
    for (const deadId of this.#burials.unheardBy(routerId)) session.markDead(deadId)
    for (const relatedId of relatedRouterIds) if (!this.#isKnown(relatedId)) this.#lost.add(relatedId)
    this.#options.followers.attached(session, beliefs)
    session.begin(this.#options.leaderId)
    // It may hold slots only when a later leader would know that.
    const isStranger = !this.#registry.has(routerId)
    this.#registry.register(router, () => session.allow(isStranger))
    this.#options.log.info({ routerId, httpUrl }, 'a router attached')
    return session
  }

  detach(session: RouterSession): void {
    this.#options.questions.left(session)
    const { routerId } = session
    if (this.#options.sessions.get(routerId) !== session || this.#isStopped) return
    this.#options.sessions.delete(routerId)
    const { settings, log } = this.#options
    log.warn(
      { routerId, deadAfterMs: settings.routerDeadAfterMs },
      'lost a router; its slots stay reserved for a while',
    )
    this.#lost.add(routerId, session, true)
  }

  /** Its host saw its process end. */
  ended(routerId: RouterId): void {
    const session = this.#options.sessions.get(routerId)
    if (session === undefined && !this.#lost.has(routerId)) return
    this.#options.log.info({ routerId }, 'a router has ended: its host says so')
    this.#end(routerId, session)
  }

  /** A router acknowledged this stream version: it may know by now that others are dead. */
  heardDeaths(session: RouterSession, streamVersion: number): void {
    for (const deadId of session.heardDeaths(streamVersion))
      if (this.#burials.heard(deadId, session.routerId)) this.#freeSlots(deadId)
  }

  stop(): void {
    this.#isStopped = true
    this.#lost.stop()
    this.#registry.stop()
    for (const session of this.#options.sessions.values()) session.close()
  }

  #close(session: RouterSession): void {
    session.close()
    this.#options.questions.left(session)
  }

  #isKnown(routerId: RouterId): boolean {
    return this.#options.sessions.has(routerId) || this.#lost.has(routerId)
  }

  /** The seat's new router is the proof that its former one has ended: no need to wait for that one's slots. */
  #buryPredecessors(router: RouterIntroduction): void {
    for (const session of [...this.#options.sessions.values()]) {
      if (!isSameSeat(session, router) || session.routerId === router.routerId) continue
      this.#end(session.routerId, session)
    }
    for (const lostId of this.#lost.at(router)) this.#end(lostId, undefined)
  }

  /** Its process is gone: there is nothing to wait for. */
  #end(routerId: RouterId, session: RouterSession | undefined): void {
    if (session !== undefined) {
      this.#options.sessions.delete(routerId)
      this.#close(session)
    }
    this.#bury(routerId)
  }

  #bury(routerId: RouterId): void {
    this.#lost.remove(routerId)
    this.#options.log.warn({ routerId }, 'gave a lost router up; its slots go to others')
    for (const session of this.#options.sessions.values()) session.markDead(routerId)
    this.#options.followers.died(routerId)
    for (const service of this.#options.services.values()) {
      if (!service.followers.has(routerId)) continue
      // Its clients come again through another router: the time without requests begins now, not with the last one.
      if ((service.loads.of(routerId)?.outstanding ?? 0) > 0) service.lastModifiedMs = this.#options.clock.nowMs()
      service.loads.drop(routerId)
      this.#options.tellWaiting(service)
      this.#options.touch(service)
    }
    const survivors = [...this.#options.sessions.keys(), ...this.#lost.ids].filter(id => id !== routerId)
    for (const deadId of this.#burials.begin(routerId, survivors)) this.#freeSlots(deadId)
  }

  /** Everybody knows that it is dead. Should it live, no later leader must believe what it says that it has. */
  #freeSlots(deadId: RouterId): void {
    this.#registry.remove(deadId, () => this.#options.followers.slotsFree(deadId))
  }
}

function beingGivenUp(routerId: RouterId): WaiterError {
  const message = `router ${routerId} was given up, and not all routers have heard of it: it may attach when they have`
  return new WaiterError(message, { code: 'WTR_ROUTER_GIVEN_UP', status: 503, retryable: true })
}
