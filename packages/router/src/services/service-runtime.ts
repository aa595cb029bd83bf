import type { InstanceId, ServiceId } from '@waiter/base'
import type { InstanceLease, ServiceLoadRow, ServiceSummary, SourceToken } from '@waiter/control'
import { LATENCY_BUCKETS, latencyBucket, type ServiceDefinition, type SuspensionRecord } from '@waiter/services'
import {
  type Accusation,
  type BorrowedInstance,
  BorrowedSlot,
  type EjectionConfig,
  type ReleaseStatus,
  ReservationMachine,
  type SharedService,
  type Slot,
} from '@waiter/slots'
import { ServiceMetrics } from '../metrics/service-metrics.ts'
import { OpenTunnels } from './open-tunnels.ts'
import { RetryBudget } from './retry-budget.ts'

/** Time as services need it. */
export interface RuntimeTime {
  /** Since any moment; never set back. */
  nowMs(): number
  epochMs(): number
  /** Runs `task` after `delayMs`; the returned function cancels it. */
  schedule(delayMs: number, task: () => void): () => void
}

export const systemTime: RuntimeTime = {
  nowMs: () => performance.now(),
  epochMs: Date.now,
  schedule: (delayMs, task) => {
    const TIMER_MS_MAX = 2 ** 31 - 1
    const timer = setTimeout(task, Math.min(TIMER_MS_MAX, delayMs))
    return () => clearTimeout(timer)
  },
}

/** What the table that owns a runtime wants to hear. */
export interface RuntimeListener {
  /** A figure that the leader hears about changed. */
  onLoadChange(runtime: ServiceRuntime): void
  /** A request ended on an instance that was taken away or shrunk. */
  onReducedUse(runtime: ServiceRuntime): void
  /** More or fewer requests wait than before, or others. */
  onQueueChange(runtime: ServiceRuntime): void
  /** A request ended on a slot that another router lent. */
  onBorrowedRelease(slot: BorrowedSlot, status: ReleaseStatus, latencyMs: number): void
  /** Which instances are left alone here has changed. */
  onSuspicions(runtime: ServiceRuntime): void
  /** A request that runs on a borrowed slot is counted here, too, from now on. */
  onAdopted(runtime: ServiceRuntime): void
}

export interface RuntimeOptions {
  readonly ejection: EjectionConfig
  readonly listener: RuntimeListener
  /** The source of chance for `random` load balancing. */
  readonly random: { next(): number; below(bound: number): number }
  readonly time: RuntimeTime
}

/** Counters of one service on this router (spec §9.1 `request-counts`). */
export interface RequestCounts {
  total: number
  outstanding: number
  /** Of the outstanding ones: answered 202, while their instances work on (spec §8). */
  async: number
  successful: number
  'client-error': number
  'generic-error': number
  'instance-error': number
}

/**
 * One service as this router knows it: its reservation machine, what the leader said last, and its counters. Owns the
 * one timer that the machine needs.
 */
export class ServiceRuntime implements SharedService {
  readonly id: ServiceId
  readonly machine: ReservationMachine
  readonly counts: RequestCounts = {
    total: 0,
    outstanding: 0,
    async: 0,
    successful: 0,
    'client-error': 0,
    'generic-error': 0,
    'instance-error': 0,
  }
  /** Requests that meant this service and went to an older version, and the other way round. */
  readonly fallbacks: { source: number; target: number } = { source: 0, target: 0 }
  readonly #latencyCounts = new Array<number>(LATENCY_BUCKETS).fill(0)
  #finished = 0
  #failed = 0
  readonly leases: Map<InstanceId, InstanceLease> = new Map()
  readonly metrics: ServiceMetrics
  readonly retries: RetryBudget
  readonly tunnels: OpenTunnels = new OpenTunnels()
  /** Set while somebody has suspended the service: its requests are refused. */
  suspension: SuspensionRecord | undefined
  definition: ServiceDefinition
  sourceTokens: readonly SourceToken[] = []
  summary: ServiceSummary | undefined
  lastRequestMs = 0
  /** Lines that requests of this service carry to its backend; kept here for whoever renders them. */
  requestLines: { readonly identity: unknown; readonly forAll: string; readonly lines: string } | undefined
  /** When the leader was asked for it last, while nothing of it was assigned. */
  neededAtMs: number = Number.NEGATIVE_INFINITY
  /** The leader took the service away: forgotten once nothing runs here any more. */
  isRemoved = false
  readonly #listener: RuntimeListener
  readonly #time: RuntimeTime
  #cancelTimer: (() => void) | undefined
  #timerAtMs: number = Number.POSITIVE_INFINITY
  #hadWaiters = false
  #suspicionVersion = 0

  constructor(definition: ServiceDefinition, options: RuntimeOptions) {
    this.id = definition.id
    this.definition = definition
    this.#listener = options.listener
    this.#time = options.time
    this.metrics = new ServiceMetrics(options.time.nowMs())
    this.retries = new RetryBudget(options.time.nowMs())
    this.machine = new ReservationMachine({
      loadBalancing: definition.effective['load-balancing'],
      concurrencyLevel: definition.effective['concurrency-level'],
      ejection: options.ejection,
      maxQueueLength: definition.effective['max-queue-length'],
      prng: options.random,
    })
  }

  /** A request for this service came in. */
  accept(): void {
    this.counts.total += 1
    this.counts.outstanding += 1
    if (this.counts.total === 1) this.#listener.onQueueChange(this)
    this.retries.deposit()
    this.lastRequestMs = this.#time.epochMs()
    this.isRemoved = false
    this.#listener.onLoadChange(this)
  }

  /** That request is over, whatever became of it. */
  finish(): void {
    this.counts.outstanding -= 1
    this.#listener.onLoadChange(this)
  }

  /** Somebody asks how a request goes: the service is in use. */
  touch(): void {
    this.lastRequestMs = this.#time.epochMs()
    this.#listener.onLoadChange(this)
  }

  /** Work that another router looked after goes on under this one. */
  takeOverAsync(): void {
    this.counts.outstanding += 1
    this.#listener.onLoadChange(this)
  }

  /** The answer is over, and the instance works on: the request stays outstanding, its slot in use. */
  keepAsync(slot: Slot): void {
    this.counts.async += 1
    // A borrowed one stays with us by itself.
    if (!(slot instanceof BorrowedSlot)) this.machine.release(slot, 'success-async', this.#time.nowMs())
  }

  /** That work is over. */
  endAsync(slot: Slot, status: 'success' | 'instance-error'): void {
    this.counts.async -= 1
    this.counts[status === 'success' ? 'successful' : status] += 1
    this.finish()
    this.release(slot, status)
  }

  /** An instance has answered, or has failed to; tunnels and vanished clients say nothing about it. */
  record(isFailed: boolean, tookMs: number): void {
    this.#finished += 1
    if (isFailed) this.#failed += 1
    this.#latencyCounts[latencyBucket(tookMs)]! += 1
  }

  /** Ends a grant: the next request in the queue gets the slot at once, or its lender gets it back. */
  release(slot: Slot, status: ReleaseStatus, nowMs: number = this.#time.nowMs(), latencyMs = -1): void {
    if (slot instanceof BorrowedSlot) {
      this.#listener.onBorrowedRelease(slot, status, latencyMs)
      this.armTimer()
    } else this.#releaseOwn(slot, status, nowMs, latencyMs)
  }

  #releaseOwn(slot: Slot, status: ReleaseStatus, nowMs: number, latencyMs: number): void {
    const { waiting } = this.machine
    this.machine.release(slot, status, nowMs, latencyMs)
    this.#tellOfGrants(waiting)
    if (slot.isRetired || slot.inUse >= slot.slots) this.#listener.onReducedUse(this)
    this.armTimer()
  }

  /** A lent slot comes back. */
  giveBack(slot: Slot, status: ReleaseStatus, latencyMs = -1): void {
    this.#releaseOwn(slot, status, this.#time.nowMs(), latencyMs)
    this.#listener.onLoadChange(this)
  }

  /** A slot goes to another router. */
  lend(slot: Slot): BorrowedInstance {
    this.#listener.onLoadChange(this)
    const { instanceId, host, port, startedAtMs, isExpired } = slot
    const lease = this.leases.get(instanceId)
    return {
      instanceId,
      host,
      port,
      startedAtMs,
      expired: isExpired,
      extraPorts: lease?.extraPorts ?? [],
      logDirectory: lease?.logDirectory ?? null,
    }
  }

  adopt(instance: BorrowedInstance): Slot {
    const slot = this.machine.adopt(instance)
    this.#listener.onAdopted(this)
    return slot
  }

  /** What is known of a slot's instance, wherever the slot is from. */
  leaseOf(slot: Slot): InstanceLease | undefined {
    if (!(slot instanceof BorrowedSlot)) return this.leases.get(slot.instanceId)
    return { ...slot.instance, slots: 1, expired: slot.isExpired }
  }

  /** Leaves an instance alone for a while; false: it is not assigned here. */
  eject(instanceId: InstanceId, periodMs: number): boolean {
    const { waiting } = this.machine
    const isKnown = this.machine.eject(instanceId, periodMs, this.#time.nowMs())
    this.#tellOfGrants(waiting)
    this.armTimer()
    return isKnown
  }

  /** Takes what other routers say of its instances: all of it, whenever that changes. */
  advise(accusations: readonly Accusation[]): void {
    const { waiting } = this.machine
    this.machine.advise(accusations, this.#time.nowMs())
    this.#tellOfGrants(waiting)
    this.armTimer()
  }

  /** Takes what the leader assigns: which instances, how many slots, and whether anything comes up at all. */
  apply(definition: ServiceDefinition, leases: readonly InstanceLease[], summary: ServiceSummary | undefined): void {
    const { waiting } = this.machine
    this.definition = definition
    this.summary = summary
    this.machine.configure({
      loadBalancing: definition.effective['load-balancing'],
      concurrencyLevel: definition.effective['concurrency-level'],
      maxQueueLength: definition.effective['max-queue-length'],
    })
    this.leases.clear()
    for (const lease of leases) this.leases.set(lease.instanceId, lease)
    this.machine.update(leases, this.#time.nowMs())
    if (!summary?.problem) this.machine.clearFailure()
    this.#tellOfGrants(waiting)
    this.armTimer()
  }

  /** The leader is away: slots that it took away while in use serve on. */
  keepInUse(): void {
    const { waiting } = this.machine
    this.machine.keepInUse()
    this.#tellOfGrants(waiting)
    this.armTimer()
  }

  /**
   * Requests that were waiting got slots: the leader must hear that their instances are in use, or it takes them for idle
   * and stops one.
   */
  #tellOfGrants(waitingBefore: number): void {
    if (this.machine.waiting < waitingBefore) this.#listener.onLoadChange(this)
  }

  /** Fails whoever waits if nothing comes up: only now, so that who can be served elsewhere had time to go there. */
  failIfHopeless(): void {
    const problem = this.summary?.problem
    if (problem) this.machine.fail({ code: problem.key, message: problem.message, details: problem.details })
    this.armTimer()
  }

  get isAskedFor(): boolean {
    return this.counts.total > 0
  }

  /** True while requests are here, or run elsewhere on slots of ours. */
  get isInUse(): boolean {
    return this.counts.outstanding > 0 || this.machine.slotsInUse > 0
  }

  /** True when requests wait here for a service of which this router has no instance. */
  get isNeeded(): boolean {
    return this.machine.waiting > 0 && this.leases.size === 0
  }

  loadRow(): ServiceLoadRow {
    const inUse = this.machine.inUseByInstance()
    const suspects = new Set(this.machine.suspectInstances())
    const mentioned = new Set([...inUse.keys(), ...suspects])
    const failures = new Map(
      suspects.size === 0
        ? []
        : this.machine.instanceStates().map(state => [state.instanceId, state.consecutiveFailures]),
    )
    return {
      serviceId: this.id,
      outstanding: this.counts.outstanding,
      waiting: this.machine.waiting,
      total: this.counts.total,
      lastRequestMs: this.lastRequestMs,
      finished: this.#finished,
      failed: this.#failed,
      latencyCounts: this.#finished === 0 ? [] : [...this.#latencyCounts],
      instances: [...mentioned].map(instanceId => ({
        instanceId,
        inUse: inUse.get(instanceId) ?? 0,
        consecutiveFailures: failures.get(instanceId) ?? 0,
      })),
    }
  }

  /** To be called after anything that changes who waits: tells others, and sets the timer to when the machine wants to be woken (a deadline, the end of an ejection). */
  armTimer(): void {
    if (this.machine.waiting > 0 || this.#hadWaiters) {
      this.#hadWaiters = this.machine.waiting > 0
      this.#listener.onQueueChange(this)
    }
    const { wakeAtMs, suspicionVersion } = this.machine
    if (suspicionVersion !== this.#suspicionVersion) {
      this.#suspicionVersion = suspicionVersion
      this.#listener.onSuspicions(this)
    }
    if (wakeAtMs === this.#timerAtMs) return
    // A timer that fires too early re-arms itself: moving it later on every change would cost more than it saves.
    if (this.#cancelTimer !== undefined && wakeAtMs > this.#timerAtMs) return
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#timerAtMs = wakeAtMs
    if (wakeAtMs === Number.POSITIVE_INFINITY) return
    const delayMs = Math.max(0, Math.ceil(wakeAtMs - this.#time.nowMs()))
    this.#cancelTimer = this.#time.schedule(delayMs, () => {
      this.#cancelTimer = undefined
      this.#timerAtMs = Number.POSITIVE_INFINITY
      const { waiting } = this.machine
      this.machine.expire(this.#time.nowMs())
      this.#tellOfGrants(waiting)
      this.armTimer()
    })
  }

  dispose(): void {
    this.#cancelTimer?.()
  }
}
