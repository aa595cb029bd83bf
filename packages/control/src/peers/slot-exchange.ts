import type { ServerDuplexStream } from '@grpc/grpc-js'
import { type Logger, type RouterId, type ServiceId, WaiterError } from '@waiter/base'
import {
  type BorrowedSlot,
  type BorrowedUse,
  chooseHomes,
  EVERYBODY_MAX,
  type FindService,
  hashText,
  type ReleaseStatus,
  SlotBorrower,
  type SlotGrant,
  SlotLender,
} from '@waiter/slots'
import { type MonotonicClock, systemClock } from '../clock.ts'
import type { BorrowRequest, BorrowResponse, RouterServiceServer } from '../generated/waiter/v1/router.ts'
import type { RpcClients } from '../rpc/clients.ts'
import { LenderLine } from './lender-line.ts'
import { fromGrant, toNeed, toReturn } from './peer-wire.ts'

/** A lender that cannot be reached is tried again after this, doubling up to the maximum. */
const RETRY_MS_FIRST = 20
const RETRY_MS_MAX = 1_000
/** A stream of which nothing was used for one to two such periods is closed: a new one costs whoever waits for it. */
const IDLE_CHECK_MS = 300_000

/** Routers that are remembered as given up. */
const GIVEN_UP_MAX = 1_000

export interface SlotExchangeOptions {
  readonly routerId: RouterId
  readonly clients: Pick<RpcClients, 'router'>
  readonly find: FindService
  /** The clock of the requests that `find` leads to. */
  readonly clock?: MonotonicClock
  readonly log: Logger
}

/** What the leader says of other routers. */
export interface PeerChange {
  /** True: who is not listed may not be asked any more; only `dead` ones are known to have ended. */
  readonly isFull: boolean
  readonly peers: readonly {
    readonly routerId: RouterId
    readonly address: string
    /** Where it gossips; absent or empty: it does not. */
    readonly gossipAddress?: string
  }[]
  readonly dead: readonly RouterId[]
  /** With `isFull`: others that may be serving. Who is not listed either is dead; absent: that is not known. */
  readonly awaited?: readonly RouterId[]
}

/** For people and metrics. */
export interface ExchangeCounts {
  readonly lent: number
  readonly borrowed: number
  readonly borrowedInVain: number
  readonly served: number
  readonly lentNow: readonly BorrowedUse[]
  readonly borrowedNow: readonly BorrowedUse[]
}

type BorrowCall = ServerDuplexStream<BorrowRequest, BorrowResponse>

/**
 * Lends and borrows slots over gRPC: one stream per borrower and lender, opened when something is wanted and closed when
 * nothing has been for a while. What is to be sent is gathered until the end of the turn. Who lends what to whom is
 * decided by `SlotLender` and `SlotBorrower`.
 */
export class SlotExchange {
  readonly #options: SlotExchangeOptions
  readonly #lender: SlotLender
  readonly #borrower: SlotBorrower
  readonly #addresses: Map<RouterId, string> = new Map()
  /** The leader gave them up: nothing is lent to them until it says that they are back. Whether the log has told so. */
  readonly #givenUp: Map<RouterId, boolean> = new Map()
  readonly #lines: Map<RouterId, LenderLine> = new Map()
  readonly #borrowers: Map<RouterId, BorrowCall> = new Map()
  readonly #grants: Map<RouterId, SlotGrant[]> = new Map()
  readonly #retries: Map<RouterId, { readonly cancel: (() => void) | undefined; readonly delayMs: number }> = new Map()
  readonly #idleOnce: Set<RouterId> = new Set()
  readonly #clock: MonotonicClock
  #cancelIdleCheck: () => void = () => undefined
  #isFlushDue = false
  #isClosed = false

  constructor(options: SlotExchangeOptions) {
    this.#options = options
    const { find, clock = systemClock } = options
    const nowMs = (): number => clock.elapsedMs()
    this.#clock = clock
    this.#lender = new SlotLender({ find, nowMs, send: (borrowerId, grant) => this.#sendGrant(borrowerId, grant) })
    this.#borrower = new SlotBorrower({ find, nowMs, onNews: () => this.#scheduleFlush() })
    this.#checkIdleLater()
  }

  /** What is offered to other routers. */
  get handlers(): Pick<RouterServiceServer, 'borrow'> {
    return { borrow: (call: BorrowCall) => this.#serve(call) }
  }

  /** Who waits for this service may have changed. */
  noteQueue(serviceId: ServiceId): void {
    this.#borrower.noteQueue(serviceId)
  }

  setLenders(serviceId: ServiceId, lenderIds: readonly RouterId[]): void {
    this.#borrower.setLenders(serviceId, lenderIds)
  }

  /**
   * This router knows the service from now on. Until the leader says who lends slots of it, its homes do (rule H2): that
   * is one message sooner, and works while nobody leads.
   */
  serviceOpened(serviceId: ServiceId): void {
    this.#lender.serviceOpened(serviceId)
    const { routerId } = this.#options
    if (this.#addresses.size < EVERYBODY_MAX) return
    const routers = [routerId, ...this.#addresses.keys()].map(id => ({ routerId: id, hash: hashText(id) }))
    const homes = chooseHomes(hashText(serviceId), routers).filter(id => id !== routerId)
    this.#borrower.setLenders(serviceId, homes)
  }

  release(slot: BorrowedSlot, status: ReleaseStatus, latencyMs?: number): void {
    this.#borrower.release(slot, status, latencyMs)
  }

  /** Counts everything that runs on borrowed slots here too: for a leader that knows nothing yet. */
  adoptAll(): void {
    this.#borrower.adoptAll()
  }

  /** Routers that a new leader must wait for, or declare dead. */
  get relatedRouterIds(): readonly RouterId[] {
    return [...new Set([...this.#lender.borrowerIds, ...this.#borrower.lenderIds])]
  }

  applyPeers({ isFull, peers, dead, awaited }: PeerChange): void {
    if (isFull) this.#addresses.clear()
    if (isFull && awaited !== undefined)
      this.#buryAllBut(new Set([...awaited, ...peers.map(({ routerId }) => routerId)]))
    for (const { routerId, address } of peers) {
      this.#addresses.set(routerId, address)
      const isBack = this.#givenUp.delete(routerId)
      // It may count as ours what we gave up with it, or what was lost on its way: it has to hear what we hold.
      if ((isBack || this.#retries.has(routerId)) && !this.#lines.has(routerId)) this.#open(routerId)
      this.#borrower.retry(routerId)
    }
    for (const routerId of dead) this.#bury(routerId)
  }

  counts(): ExchangeCounts {
    const { borrowed, borrowedInVain, served } = this.#borrower
    return {
      lent: this.#lender.lent,
      borrowed,
      borrowedInVain,
      served,
      lentNow: this.#lender.uses(),
      borrowedNow: this.#borrower.uses(),
    }
  }

  close(): void {
    this.#isClosed = true
    this.#cancelIdleCheck()
    for (const { cancel } of this.#retries.values()) cancel?.()
    for (const [lenderId, line] of this.#lines) {
      if (this.#borrower.isIdle(lenderId)) line.sayGoodbye()
      else line.cut()
    }
    for (const call of this.#borrowers.values()) call.end()
  }

  // -- borrowing ----------------------------------------------------------------------------------------------------

  /** At the end of the turn: however much happened in it, each peer gets one message. */
  #scheduleFlush(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.#clock.soon(() => {
      this.#isFlushDue = false
      if (this.#isClosed) return
      const news = this.#borrower.collect(lenderId => this.#open(lenderId))
      for (const [lenderId, message] of news) this.#lines.get(lenderId)?.send(message)
      for (const [borrowerId, grants] of this.#grants)
        this.#borrowers.get(borrowerId)?.write({ grants: grants.map(fromGrant) })
      this.#grants.clear()
    })
  }

  #open(lenderId: RouterId): boolean {
    const address = this.#addresses.get(lenderId)
    if (address === undefined || this.#isClosed || this.#retries.get(lenderId)?.cancel !== undefined) return false
    const { clients, routerId } = this.#options
    this.#idleOnce.delete(lenderId)
    const line = new LenderLine({
      client: clients.router(address),
      borrowerId: routerId,
      lenderId,
      heldGrantIds: this.#borrower.connected(lenderId),
      onGrant: grant => {
        this.#retries.delete(lenderId)
        this.#borrower.granted(lenderId, grant)
      },
      onLost: error => this.#onLineLost(lenderId, error),
    })
    this.#lines.set(lenderId, line)
    return true
  }

  /** Tried again until the lender answers or is dead: it counts as in use what we had, until we say that it is not. */
  #onLineLost(lenderId: RouterId, error: Error | undefined): void {
    const delayMs = this.#retries.get(lenderId)?.delayMs ?? RETRY_MS_FIRST
    this.#options.log.info({ err: error, lenderId, delayMs }, 'lost a router that lends slots; trying again')
    this.#lines.delete(lenderId)
    this.#borrower.lost(lenderId)
    const cancel = this.#clock.schedule(delayMs, () => {
      this.#retries.set(lenderId, { cancel: undefined, delayMs: Math.min(RETRY_MS_MAX, delayMs * 2) })
      if (!this.#lines.has(lenderId)) this.#open(lenderId)
      this.#borrower.retry(lenderId)
    })
    this.#retries.set(lenderId, { cancel, delayMs })
  }

  #checkIdleLater(): void {
    this.#cancelIdleCheck = this.#clock.schedule(IDLE_CHECK_MS, () => {
      this.#closeIdle()
      this.#checkIdleLater()
    })
  }

  #closeIdle(): void {
    for (const [lenderId, line] of this.#lines) {
      if (!this.#borrower.isIdle(lenderId)) this.#idleOnce.delete(lenderId)
      else if (this.#idleOnce.has(lenderId)) {
        this.#idleOnce.delete(lenderId)
        this.#lines.delete(lenderId)
        this.#borrower.closed(lenderId)
        line.sayGoodbye()
      } else this.#idleOnce.add(lenderId)
    }
  }

  // -- lending ------------------------------------------------------------------------------------------------------

  #sendGrant(borrowerId: RouterId, grant: SlotGrant): void {
    const grants = this.#grants.get(borrowerId)
    if (grants === undefined) this.#grants.set(borrowerId, [grant])
    else grants.push(grant)
    this.#scheduleFlush()
  }

  #serve(call: BorrowCall): void {
    let borrowerId: RouterId | undefined
    const leave = (): void => {
      if (borrowerId === undefined || this.#borrowers.get(borrowerId) !== call) return
      this.#borrowers.delete(borrowerId)
      this.#grants.delete(borrowerId)
      this.#lender.lost(borrowerId)
    }
    call.on('data', (request: BorrowRequest) => {
      try {
        if (request.hello !== undefined) borrowerId = this.#greet(call, request.hello)
        if (borrowerId === undefined || this.#borrowers.get(borrowerId) !== call) return
        this.#receive(borrowerId, request)
      } catch (error) {
        this.#explain(error, request.hello?.borrowerId ?? borrowerId)
        leave()
        call.end()
      }
    })
    call.on('end', () => {
      leave()
      call.end()
    })
    call.on('cancelled', leave)
    call.on('error', leave)
  }

  /** A router that was given up and lives tries again and again: that is told once. */
  #explain(error: unknown, borrowerId: RouterId | undefined): void {
    const { log } = this.#options
    if (!(error instanceof WaiterError) || error.code !== 'WTR_ROUTER_GIVEN_UP' || borrowerId === undefined) {
      log.error({ err: error, borrowerId }, 'a message of a router could not be read; closing its stream')
      return
    }
    if (this.#givenUp.get(borrowerId) === true) return
    this.#givenUp.set(borrowerId, true)
    log.warn(
      { borrowerId },
      'a router that the leader gave up wants slots; it gets none until the leader lists it again',
    )
  }

  #greet(call: BorrowCall, { borrowerId, lenderId, heldGrantIds }: NonNullable<BorrowRequest['hello']>): RouterId {
    if (lenderId !== this.#options.routerId)
      throw new WaiterError(`router ${borrowerId} looks for ${lenderId} here`, { code: 'WTR_OTHER_ROUTER' })
    // It may live; but when it ends, nobody would tell us that it uses nothing any more.
    if (this.#givenUp.has(borrowerId))
      throw new WaiterError(`router ${borrowerId} was given up by the leader`, { code: 'WTR_ROUTER_GIVEN_UP' })
    const former = this.#borrowers.get(borrowerId)
    this.#borrowers.set(borrowerId, call)
    this.#grants.delete(borrowerId)
    former?.end()
    this.#lender.connected(borrowerId, heldGrantIds)
    return borrowerId
  }

  #receive(borrowerId: RouterId, { needs, returns, goodbye }: BorrowRequest): void {
    for (const need of needs) this.#lender.need(borrowerId, toNeed(need))
    for (const slot of returns) this.#lender.returned(borrowerId, toReturn(slot))
    if (!goodbye) return
    this.#borrowers.delete(borrowerId)
    this.#grants.delete(borrowerId)
    this.#lender.gone(borrowerId)
  }

  /** Who was given up while this router was away is not told of again: it is missing. */
  #buryAllBut(living: ReadonlySet<RouterId>): void {
    const known = [...this.relatedRouterIds, ...this.#lines.keys(), ...this.#borrowers.keys(), ...this.#retries.keys()]
    for (const routerId of new Set(known)) if (!living.has(routerId)) this.#bury(routerId)
  }

  #bury(routerId: RouterId): void {
    this.#givenUp.set(routerId, false)
    if (this.#givenUp.size > GIVEN_UP_MAX) this.#givenUp.delete(this.#givenUp.keys().next().value ?? '')
    this.#addresses.delete(routerId)
    this.#retries.get(routerId)?.cancel?.()
    this.#retries.delete(routerId)
    this.#lines.get(routerId)?.cut()
    this.#lines.delete(routerId)
    this.#borrower.dead(routerId)
    this.#borrowers.get(routerId)?.end()
    this.#borrowers.delete(routerId)
    this.#grants.delete(routerId)
    this.#lender.gone(routerId)
  }
}
