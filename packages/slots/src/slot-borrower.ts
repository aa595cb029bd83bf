import type { RouterId, ServiceId } from '@waiter/base'
import {
  type BorrowedUse,
  type FindService,
  KEEPS_MAX,
  NEED_WAITERS_MAX,
  type SharedService,
  type SlotGrant,
  type SlotNeed,
  type SlotReturn,
} from './borrow-types.ts'
import { BorrowedSlot } from './borrowed-slot.ts'
import type { ReleaseStatus } from './slot.ts'
import type { Waiter } from './waiter.ts'
import { AGE_SLACK_MS } from './waiter-flow.ts'

export interface SlotBorrowerOptions {
  readonly find: FindService
  readonly nowMs: () => number
  /** Something is to be sent: call `collect` at the end of the turn. Called once until then. */
  readonly onNews: () => void
}

/** What is to be sent to one lender; needs are to be heard before returns. */
export interface BorrowerNews {
  readonly needs: SlotNeed[]
  readonly returns: SlotReturn[]
}

interface Lender {
  readonly id: RouterId
  isConnected: boolean
  /** It was given up, and is remembered for what still runs on its slots: it may live, and come back. */
  isDead: boolean
  /** The last grant seen on the present stream. */
  lastGrantId: number
  readonly held: Map<number, BorrowedSlot>
  /** By service: tickets of the waiters that it knows of. */
  readonly told: Map<ServiceId, number[]>
  returns: SlotReturn[]
}

const NOBODY: readonly RouterId[] = []
const NOTHING: readonly number[] = []

/** Who knows so many of the next ones need not hear of each that joins behind them. */
const KNOWN_ENOUGH = 2

/**
 * Borrows slots of other routers for requests that wait here (rules P1, P7 to P12). What a slot is for is decided when
 * it arrives: for whoever is next then.
 */
export class SlotBorrower {
  readonly #options: SlotBorrowerOptions
  readonly #lenders: Map<RouterId, Lender> = new Map()
  readonly #lendersByService: Map<ServiceId, readonly RouterId[]> = new Map()
  readonly #dirty: Set<ServiceId> = new Set()
  #hasNews = false
  /** Slots that others lent to us, those of them that came in vain, and requests that they served. */
  borrowed = 0
  borrowedInVain = 0
  served = 0

  constructor(options: SlotBorrowerOptions) {
    this.#options = options
  }

  /** Says which routers have slots of a service; none: forget it. */
  setLenders(serviceId: ServiceId, lenderIds: readonly RouterId[]): void {
    if (lenderIds.length === 0) this.#lendersByService.delete(serviceId)
    else this.#lendersByService.set(serviceId, lenderIds)
    this.#mark(serviceId)
  }

  /** Who waits for this service may have changed. */
  noteQueue(serviceId: ServiceId): void {
    if (this.#lendersByService.has(serviceId)) this.#mark(serviceId)
  }

  /**
   * Says what is to be sent.
   *
   * @param open opens a stream to a lender, by calling `connected`; false: not now (`retry` tells when to try again)
   */
  collect(open: (lenderId: RouterId) => boolean): ReadonlyMap<RouterId, BorrowerNews> {
    this.#hasNews = false
    const nowMs = this.#options.nowMs()
    const news = new Map<RouterId, BorrowerNews>()
    const dirty = [...this.#dirty]
    this.#dirty.clear()
    for (const serviceId of dirty) this.#collectNeeds(serviceId, nowMs, open, news)
    for (const lender of this.#lenders.values()) {
      if (!lender.isConnected || lender.returns.length === 0) continue
      newsFor(news, lender.id).returns.push(...lender.returns)
      lender.returns = []
    }
    return news
  }

  /** A stream to a lender is open. @returns the grants that are still in use, to be said first */
  connected(lenderId: RouterId): readonly number[] {
    const lender = this.#open(lenderId)
    lender.isConnected = true
    lender.isDead = false
    lender.lastGrantId = 0
    lender.told.clear()
    lender.returns = []
    return [...lender.held.keys()]
  }

  /** Tries a lender again that could not be reached. */
  retry(lenderId: RouterId): void {
    for (const [serviceId, lenderIds] of this.#lendersByService)
      if (lenderIds.includes(lenderId)) this.noteQueue(serviceId)
  }

  /**
   * A slot arrives: whoever is next gets it; if nobody waits any more, it goes back.
   */
  granted(lenderId: RouterId, grant: SlotGrant): void {
    const lender = this.#lenders.get(lenderId)
    if (lender === undefined || !lender.isConnected) return
    lender.lastGrantId = grant.grantId
    lender.told.get(grant.serviceId)?.shift()
    const slot = new BorrowedSlot(lenderId, grant, this.#options.nowMs())
    lender.held.set(grant.grantId, slot)
    this.borrowed += 1
    if (this.#bind(slot)) return
    this.borrowedInVain += 1
    this.#giveBack(slot, 'unused')
  }

  /** A request on a borrowed slot ended. `success-async` keeps it. */
  release(slot: BorrowedSlot, status: ReleaseStatus, latencyMs = -1): void {
    if (status === 'success-async' || slot.isOver) return
    if (this.#mayKeep(slot, status) && this.#bind(slot)) {
      slot.keeps += 1
      return
    }
    this.#giveBack(slot, status, latencyMs)
  }

  /** The stream broke: what runs goes on and is counted here too; nothing new begins on it. */
  lost(lenderId: RouterId): void {
    const lender = this.#lenders.get(lenderId)
    if (lender === undefined) return
    lender.isConnected = false
    lender.told.clear()
    lender.returns = []
    for (const slot of lender.held.values()) this.#adopt(slot)
  }

  /** The lender is dead: what runs on its slots is ours to count. Should it live and come back, it hears of that. */
  dead(lenderId: RouterId): void {
    this.lost(lenderId)
    const lender = this.#lenders.get(lenderId)
    if (lender === undefined) return
    lender.isDead = true
    if (lender.held.size === 0) this.#lenders.delete(lenderId)
  }

  /** Counts everything that runs on borrowed slots here too: a leader that knows nothing is about to be told. */
  adoptAll(): void {
    for (const { held } of this.#lenders.values()) for (const slot of held.values()) this.#adopt(slot)
  }

  /** True when a lender could close: nothing of it is used, and it is asked for nothing. */
  isIdle(lenderId: RouterId): boolean {
    const lender = this.#lenders.get(lenderId)
    if (lender === undefined) return true
    if (lender.held.size > 0 || lender.returns.length > 0) return false
    for (const tickets of lender.told.values()) if (tickets.length > 0) return false
    return true
  }

  /** An idle stream was closed. */
  closed(lenderId: RouterId): void {
    this.#lenders.delete(lenderId)
  }

  /** Routers whose slots are in use here. */
  get lenderIds(): readonly RouterId[] {
    return [...this.#lenders.values()].filter(({ held, isDead }) => held.size > 0 && !isDead).map(({ id }) => id)
  }

  /** What is borrowed. */
  uses(): readonly BorrowedUse[] {
    return [...this.#lenders.values()].flatMap(({ id, held }) =>
      [...held.values()].map(({ serviceId, instanceId }) => ({ routerId: id, serviceId, instanceId })),
    )
  }

  #mark(serviceId: ServiceId): void {
    this.#dirty.add(serviceId)
    this.#noteNews()
  }

  #open(id: RouterId): Lender {
    const known = this.#lenders.get(id)
    if (known !== undefined) return known
    const lender = {
      id,
      isConnected: false,
      isDead: false,
      lastGrantId: 0,
      held: new Map(),
      told: new Map(),
      returns: [],
    }
    this.#lenders.set(id, lender)
    return lender
  }

  #collectNeeds(
    serviceId: ServiceId,
    nowMs: number,
    open: (lenderId: RouterId) => boolean,
    news: Map<RouterId, BorrowerNews>,
  ): void {
    const service = this.#options.find(serviceId)
    const waiters = service?.machine.nextWaiters(NEED_WAITERS_MAX) ?? []
    const lenderIds = this.#lendersByService.get(serviceId) ?? NOBODY
    for (const lender of this.#lenders.values())
      if (!lenderIds.includes(lender.id)) this.#tell(lender, serviceId, [], nowMs, news)
    for (const lenderId of lenderIds) {
      const known = this.#lenders.get(lenderId)
      if (!known?.isConnected && !(service?.isAskedFor && open(lenderId))) continue
      const lender = this.#lenders.get(lenderId)
      if (lender !== undefined) this.#tell(lender, serviceId, waiters, nowMs, news)
    }
  }

  #tell(
    lender: Lender,
    serviceId: ServiceId,
    waiters: readonly Waiter[],
    nowMs: number,
    news: Map<RouterId, BorrowerNews>,
  ): void {
    const told = lender.told.get(serviceId)
    if (knowsEnough(told ?? NOTHING, waiters) || !lender.isConnected) return
    if (waiters.length === 0) lender.told.delete(serviceId)
    else
      lender.told.set(
        serviceId,
        waiters.map(({ link }) => link.ticket),
      )
    const waiting = waiters.map(({ link }) => ({
      ageMs: Math.max(0, nowMs - link.sinceMs),
      priority: link.priority,
      flow: link.flow?.key ?? 0,
      leftMs: link.deadlineMs - nowMs,
    }))
    newsFor(news, lender.id).needs.push({ serviceId, lastGrantId: lender.lastGrantId, waiting })
  }

  /** Gives the slot to whoever is next; false: nobody waits. */
  #bind(slot: BorrowedSlot): boolean {
    const waiter = this.#options.find(slot.serviceId)?.machine.takeNextWaiter(this.#options.nowMs())
    if (waiter === undefined) return false
    this.served += 1
    this.noteQueue(slot.serviceId)
    waiter.granted(slot)
    return true
  }

  #mayKeep(slot: BorrowedSlot, status: ReleaseStatus): boolean {
    if (slot.adopted !== undefined || slot.keeps >= KEEPS_MAX || !this.#lenders.get(slot.lenderId)?.isConnected)
      return false
    if (status === 'instance-error' || status === 'instance-busy' || status === 'connect-failed') return false
    const [next] = this.#options.find(slot.serviceId)?.machine.nextWaiters(1) ?? []
    return next !== undefined && next.link.sinceMs <= slot.keepBeforeMs + AGE_SLACK_MS
  }

  #giveBack(slot: BorrowedSlot, status: ReleaseStatus, latencyMs = -1): void {
    slot.isOver = true
    const lender = this.#lenders.get(slot.lenderId)
    if (lender?.held.delete(slot.grantId) && lender.isConnected) {
      lender.returns.push({ grantId: slot.grantId, status, latencyMs })
      this.#noteNews()
    }
    if (lender?.isDead && lender.held.size === 0) this.#lenders.delete(lender.id)
    if (slot.adopted !== undefined) this.#serviceOf(slot)?.giveBack(slot.adopted, status, latencyMs)
  }

  #adopt(slot: BorrowedSlot): void {
    if (slot.adopted === undefined) slot.adopted = this.#serviceOf(slot)?.adopt(slot.instance)
  }

  #serviceOf({ serviceId }: BorrowedSlot): SharedService | undefined {
    return this.#options.find(serviceId)
  }

  #noteNews(): void {
    if (this.#hasNews) return
    this.#hasNews = true
    this.#options.onNews()
  }
}

/** True when a lender that was told these tickets has nothing to learn that matters before one of them is served. */
function knowsEnough(told: readonly number[], waiters: readonly Waiter[]): boolean {
  if (told.length > waiters.length || (told.length < waiters.length && told.length < KNOWN_ENOUGH)) return false
  return told.every((ticket, index) => waiters[index]!.link.ticket === ticket)
}

function newsFor(news: Map<RouterId, BorrowerNews>, lenderId: RouterId): BorrowerNews {
  let found = news.get(lenderId)
  if (found === undefined) {
    found = { needs: [], returns: [] }
    news.set(lenderId, found)
  }
  return found
}
