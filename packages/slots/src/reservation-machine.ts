import { assert, type InstanceId, type Prng } from '@waiter/base'
import type { Accusation } from './advice.ts'
import type { BorrowedInstance } from './borrow-types.ts'
import { type EjectionKind, InstanceEntry } from './instance-entry.ts'
import { InstancePool } from './instance-pool.ts'
import type { AssignedInstance, EjectionConfig, LoadBalancing, ReleaseStatus, Slot } from './slot.ts'
import type { QueueFailure, ServiceFailure, Waiter } from './waiter.ts'
import { type Place, WaiterQueue } from './waiter-queue.ts'

/** What a service's reservation machine is made of. */
export interface ReservationMachineOptions {
  readonly loadBalancing: LoadBalancing
  /** No instance ever gets more requests than this from here, whatever an assignment says. */
  readonly concurrencyLevel: number
  readonly ejection: EjectionConfig
  /** Requests that may wait at the same time (`max-queue-length`); the next one is refused. */
  readonly maxQueueLength: number
  readonly prng: Prng
}

/** Sums over all instances of one machine. */
export interface ReservationCounts {
  /** Slots of assigned instances. */
  readonly slotsAssigned: number
  /** Including those of retired instances. */
  readonly slotsInUse: number
  /** Slots that a `reserve` could take now. */
  readonly slotsAvailable: number
  readonly waiting: number
  readonly ejectedInstanceIds: readonly InstanceId[]
}

/** An instance that this router leaves alone, because requests failed there or somebody asked for it. */
export interface Suspicion {
  readonly instanceId: InstanceId
  readonly untilMs: number
  readonly consecutiveFailures: number
}

/** One instance as `/state` shows it. */
export interface InstanceSlotState {
  readonly instanceId: InstanceId
  readonly host: string
  readonly port: number
  readonly slots: number
  readonly inUse: number
  readonly startedAtMs: number
  readonly isExpired: boolean
  readonly isRetired: boolean
  readonly isUsable: boolean
  readonly consecutiveFailures: number
  readonly ejectedUntilMs: number | null
  /** Other routers advise against it until then. */
  readonly doubtedUntilMs: number | null
}

const QUEUE_TIMEOUT: QueueFailure = { kind: 'queue-timeout' }

/**
 * Decides which request of one service goes to which instance, inside one router (spec §5.5, §5.6).
 *
 * With a free slot, `reserve` and `release` are synchronous and allocate nothing. Without one, requests wait in order;
 * whatever frees a slot serves them at once. The caller keeps one timer, set to `wakeAtMs`, which calls `expire`.
 *
 * Invariant outside of calls: while anybody waits, no slot is available.
 */
export class ReservationMachine {
  readonly #pool: InstancePool
  readonly #queue: WaiterQueue = new WaiterQueue()
  #maxQueueLength: number
  #waitingElsewhere = 0
  #failure: QueueFailure | undefined
  #isServing = false
  /** The latest that any caller said. */
  #nowMs: number = Number.NEGATIVE_INFINITY

  constructor(options: ReservationMachineOptions) {
    this.#pool = new InstancePool(options)
    this.#maxQueueLength = options.maxQueueLength
  }

  /**
   * Grants a slot if one is free and nobody waits for it. `undefined` otherwise: then `enqueue` says why, or waits.
   */
  reserve(nowMs: number): Slot | undefined {
    if (!this.#queue.isEmpty || this.#failure !== undefined) return undefined
    const slot = this.#pool.take()
    if (slot !== undefined || nowMs < this.#pool.nextReadmitMs) return slot
    this.#pool.readmitDue(nowMs)
    return this.#pool.take()
  }

  /** Grants a slot of this very instance, if it has a free one: for work that runs there already. */
  reserveOn(instanceId: InstanceId): Slot | undefined {
    const entry = this.#pool.entries.get(instanceId)
    return entry !== undefined && this.#pool.takeFrom(entry) ? entry : undefined
  }

  /**
   * Ends one grant. A slot that becomes free goes to the head of the queue before this returns.
   *
   * @param latencyMs how long the instance took to answer; negative: not known; `Infinity`: what it answered was a failure
   * @returns true when this was the last request on a retired instance, which the leader is waiting to hear
   */
  release(slot: Slot, status: ReleaseStatus, nowMs: number, latencyMs = -1): boolean {
    assert(slot instanceof InstanceEntry && slot.inUse > 0, 'a slot is released once for each grant')
    this.#nowMs = nowMs
    this.#recordStatus(slot, status, nowMs, latencyMs)
    if (status === 'success-async') return false
    this.#pool.giveBack(slot)
    const isLastOfRetired = slot.isRetired && slot.inUse === 0
    if (!this.#queue.isEmpty) this.#serve()
    return isLastOfRetired
  }

  /**
   * Lets a request wait for a slot.
   *
   * @param deadlineMs when it gives up with `queue-timeout`
   * @param priority bigger ones are served first; equal ones in order of arrival
   * @param sinceMs when it began to wait, for the comparison with waiters of other routers
   * @param flow whose it is (`flowOf`): flows of one priority are served in turns
   * @returns why it may not wait, or undefined when it was accepted (it may have been granted already)
   */
  enqueue(waiter: Waiter, deadlineMs: number, priority = 0, sinceMs = 0, flow = 0): QueueFailure | undefined {
    if (this.#failure !== undefined) return this.#failure
    const place = { deadlineMs, priority, sinceMs, flow }
    if (this.#queue.length + this.#waitingElsewhere < this.#maxQueueLength) {
      this.#queue.push(waiter, place)
      this.#serve()
      return undefined
    }
    const refusal: QueueFailure = { kind: 'queue-full', maxQueueLength: this.#maxQueueLength }
    const surplus = this.#queue.surplusFor(place)
    if (surplus === undefined) return refusal
    this.#queue.remove(surplus)
    this.#queue.push(waiter, place)
    surplus.failed(refusal)
    return undefined
  }

  /** The request does not want a slot any more; false when it was answered already. */
  cancel(waiter: Waiter): boolean {
    return this.#queue.remove(waiter)
  }

  /** Everybody who waits, the next to be served first; for somebody who knows a better place for them. */
  waiters(): readonly Waiter[] {
    return this.#queue.first(Number.POSITIVE_INFINITY)
  }

  /** Takes the head of the queue away unanswered, to serve it with a slot borrowed from another router. */
  takeNextWaiter(nowMs: number = this.#nowMs): Waiter | undefined {
    for (;;) {
      const waiter = this.#queue.shiftOwn()
      if (waiter === undefined || waiter.link.deadlineMs > nowMs) return waiter
      waiter.failed(QUEUE_TIMEOUT)
    }
  }

  /** The next ones to be served here, at most so many: what this router asks others for. */
  nextWaiters(countMax: number): readonly Waiter[] {
    return this.#queue.first(countMax)
  }

  /**
   * Lets a request of another router wait for a slot of ours; it may have been granted when this returns. When its deadline
   * comes, it is forgotten: its own router knows.
   */
  enqueueForeign(waiter: Waiter, place: Place): void {
    this.#queue.pushForeign(waiter, place)
    this.#serve()
  }

  cancelForeign(waiter: Waiter): boolean {
    return this.#queue.remove(waiter)
  }

  /**
   * Since when the oldest waits that `isOther` says yes to, here or at another router; undefined: nobody does; minus
   * infinity: somebody of another flow does, whose turn it may be.
   */
  oldestSinceMs(flow: number, isOther: (waiter: Waiter) => boolean): number | undefined {
    return this.#queue.oldestSinceMs(flow, isOther)
  }

  /**
   * Counts a request that runs on a borrowed slot here as well, because the lender may no longer be able to. Ended by
   * `release` of the slot that this returns.
   */
  adopt(instance: BorrowedInstance): Slot {
    return this.#pool.adopt(instance)
  }

  /**
   * Takes a new assignment. Instances missing from it are retired: never granted again, counted until released.
   * An assignment with at least one slot ends a failure set by `fail`.
   *
   * @returns the retired instances on which nothing runs (any more)
   */
  update(assignment: readonly AssignedInstance[], nowMs: number): readonly InstanceId[] {
    this.#nowMs = nowMs
    const idle = this.#pool.assign(assignment, nowMs)
    if (this.#pool.slotsAssigned > 0) this.#failure = undefined
    this.#serve()
    return idle
  }

  /**
   * There is no leader to give slots back to: what was taken away while in use serves on, because nobody else can have got
   * it before we acknowledged that it is not in use. Until the next `update`.
   */
  keepInUse(): void {
    this.#pool.keepInUse()
    this.#serve()
  }

  /** Leaves an instance alone for a while; `suspected` spares the last usable one. False: no such instance. */
  eject(instanceId: InstanceId, periodMs: number, nowMs: number, kind: EjectionKind = 'suspected'): boolean {
    const entry = this.#pool.entries.get(instanceId)
    if (entry === undefined) return false
    this.#nowMs = nowMs
    this.#pool.eject(entry, kind, nowMs + periodMs)
    this.#serve()
    return true
  }

  /**
   * Takes what other routers say of this service's instances now: all of it, again whenever it changes. Advice: it makes
   * an instance the last choice, or leaves it alone when enough agree, but never most of them (rules V1–V5).
   */
  advise(accusations: readonly Accusation[], nowMs: number): void {
    this.#nowMs = nowMs
    this.#pool.advise(accusations, nowMs)
    this.#serve()
  }

  /**
   * Does what time demands: readmits instances, serves waiters, then gives up those whose deadline has come.
   *
   * @returns the new `wakeAtMs`
   */
  expire(nowMs: number): number {
    this.#nowMs = nowMs
    this.#pool.readmitDue(nowMs)
    this.#serve()
    const due = this.#queue.due(nowMs)
    const tickets = due.map(waiter => waiter.link.ticket)
    due.forEach((waiter, index) => {
      // An earlier callback may have answered this one, and even let it wait again.
      if (waiter.link.ticket === tickets[index] && this.#queue.remove(waiter)) waiter.failed(QUEUE_TIMEOUT)
    })
    this.#queue.settleDeadlines()
    return this.wakeAtMs
  }

  /** When `expire` wants to be called; may be too early, never too late. `Infinity`: nothing is due. */
  get wakeAtMs(): number {
    return Math.min(this.#queue.earliestDeadlineMs, this.#pool.nextReadmitMs)
  }

  /** No instance can serve: every waiter fails now, and every new one at once, until an `update` brings a slot. */
  fail(failure: ServiceFailure): void {
    this.#failure = { kind: 'service-failure', failure }
    this.#serve()
  }

  /** The reason given to `fail` does not hold any more. */
  clearFailure(): void {
    this.#failure = undefined
    this.#serve()
  }

  /**
   * Takes changed settings; running requests and waiters keep what they have, and a new concurrency level holds from the
   * next assignment on.
   */
  configure(
    settings: Partial<Pick<ReservationMachineOptions, 'loadBalancing' | 'maxQueueLength' | 'concurrencyLevel'>>,
  ): void {
    if (settings.concurrencyLevel !== undefined) this.#pool.setConcurrencyLevel(settings.concurrencyLevel)
    if (settings.loadBalancing !== undefined) this.#pool.setLoadBalancing(settings.loadBalancing)
    if (settings.maxQueueLength !== undefined) this.#maxQueueLength = settings.maxQueueLength
  }

  /** Takes how many requests of the same service wait in other machines: the limit is for all of them together. */
  noteWaitingElsewhere(count: number): void {
    this.#waitingElsewhere = count
  }

  /** Requests waiting in other machines, as far as it was told. */
  get waitingElsewhere(): number {
    return this.#waitingElsewhere
  }

  /** Requests of other routers that wait for a slot of ours, as far as they told. */
  get waitingForeign(): number {
    return this.#queue.foreignLength
  }

  /** Whether the latency given to `release` makes a difference: where it does not, working it out is a waste. */
  get wantsLatency(): boolean {
    return this.#pool.wantsLatency
  }

  /** Requests waiting. */
  get waiting(): number {
    return this.#queue.length
  }

  /** Requests in flight, including those on retired instances. */
  get slotsInUse(): number {
    return this.#pool.slotsInUse
  }

  /** Slots that a `reserve` could take now. */
  get slotsAvailable(): number {
    return this.#pool.slotsAvailable
  }

  counts(): ReservationCounts {
    const { slotsAssigned, slotsInUse, slotsAvailable, ejected } = this.#pool
    const ejectedInstanceIds = [...ejected].filter(entry => !entry.isRetired).map(entry => entry.instanceId)
    return { slotsAssigned, slotsInUse, slotsAvailable, waiting: this.#queue.length, ejectedInstanceIds }
  }

  /** Requests in flight by instance, only those with any: what a router acknowledges an assignment with. */
  inUseByInstance(): Map<InstanceId, number> {
    const inUse = new Map<InstanceId, number>()
    for (const entry of this.#pool.entries.values()) if (entry.inUse > 0) inUse.set(entry.instanceId, entry.inUse)
    return inUse
  }

  /** Assigned instances that failed so often in a row that they should be replaced (spec §5.2). */
  suspectInstances(): readonly InstanceId[] {
    return [...this.#pool.suspects].map(entry => entry.instanceId)
  }

  /** Suspicions of this router that hold now: what it advises others (rule V6). Definite ejections are over too soon. */
  suspicions(): readonly Suspicion[] {
    const found: Suspicion[] = []
    for (const { instanceId, isRetired, suspectedUntilMs, consecutiveFailures } of this.#pool.ejected)
      if (!isRetired && suspectedUntilMs > 0) found.push({ instanceId, untilMs: suspectedUntilMs, consecutiveFailures })
    return found
  }

  /** Changes whenever `suspicions` does. */
  get suspicionVersion(): number {
    return this.#pool.suspicionVersion
  }

  /** For people; not for decisions. */
  instanceStates(): readonly InstanceSlotState[] {
    return [...this.#pool.entries.values()].map(entry => ({
      instanceId: entry.instanceId,
      host: entry.host,
      port: entry.port,
      slots: entry.slots,
      inUse: entry.inUse,
      startedAtMs: entry.startedAtMs,
      isExpired: entry.isExpired,
      isRetired: entry.isRetired,
      isUsable: entry.isUsable,
      consecutiveFailures: entry.consecutiveFailures,
      ejectedUntilMs: entry.isEjected ? Math.max(entry.suspectedUntilMs, entry.definiteUntilMs) : null,
      doubtedUntilMs: entry.isDoubted ? entry.doubtedUntilMs : null,
    }))
  }

  #recordStatus(entry: InstanceEntry, status: ReleaseStatus, nowMs: number, latencyMs: number): void {
    switch (status) {
      case 'unused':
        return
      case 'instance-error':
      case 'instance-busy':
        this.#pool.observe(entry, Number.POSITIVE_INFINITY)
        this.#pool.recordFailure(entry, 'suspected', nowMs)
        return
      case 'connect-failed':
        this.#pool.observe(entry, Number.POSITIVE_INFINITY)
        this.#pool.recordFailure(entry, 'definite', nowMs)
        return
      default:
        this.#pool.observe(entry, latencyMs)
        this.#pool.clearFailures(entry, nowMs)
    }
  }

  /**
   * Answers waiters while that is possible. Callbacks may come back into any method: the state is consistent before
   * each one, and an inner call leaves the serving to the outermost one, so that chains of grants do not grow the stack.
   */
  #serve(): void {
    if (this.#isServing) return
    this.#isServing = true
    try {
      while (!this.#queue.isEmpty) {
        if (this.#failure !== undefined) {
          // Others know the reason as well; their waiters stay registered in case that it ends.
          if (this.#queue.length === 0) return
          this.#queue.shiftOwn()?.failed(this.#failure)
          continue
        }
        if (this.#pool.slotsAvailable === 0) return
        const waiter = this.#queue.shift()
        if (waiter === undefined) return
        if (waiter.link.deadlineMs <= this.#nowMs) waiter.failed(QUEUE_TIMEOUT)
        else waiter.granted(this.#pool.take()!)
      }
    } finally {
      this.#isServing = false
    }
  }
}
