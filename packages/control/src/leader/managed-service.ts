import type { InstanceId, Millis, RouterId, ServiceId } from '@waiter/base'
import {
  type DeploymentErrorConfig,
  decideDeploymentError,
  decideExpired,
  type ScaleDecision,
  type ScaleSnapshot,
  statusLabel,
  type VictimCandidate,
} from '@waiter/scaling'
import type { InstanceRecord } from '@waiter/schedulers'
import {
  type EffectiveDescription,
  isBypassService,
  RAW_SERVICE_ID_PREFIX,
  type ServiceDefinition,
  type ServiceReference,
  type Staleness,
} from '@waiter/services'
import { chooseLenders, type LedgerInstance, type RouterAssignment, SlotLedger } from '@waiter/slots'
import type {
  ExternalMetricsRow,
  InstanceLease,
  ServiceLeases,
  ServiceLoadRow,
  ServiceProblem,
  ServiceSummary,
  SourceToken,
} from '../agent/leader-link.ts'

import type { Succession } from './succession.ts'
import { TrafficTotals } from './traffic-totals.ts'
import { Unanswering } from './unanswering.ts'

/** Ended instances that are remembered for people (spec §5.2). */
const FAILED_MAX = 10
const KILLED_MAX = 12

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

/** Usage of a service, summed over all routers. */
export interface Usage {
  readonly outstanding: number
  readonly waiting: number
  readonly total: number
  readonly lastRequestMs: Millis
}

/**
 * What the leader knows of one service. Holds state and derives views of it; decides nothing and acts on nothing.
 */
export class ManagedService {
  readonly id: ServiceId
  #definition: ServiceDefinition
  readonly ledger: SlotLedger = new SlotLedger()
  readonly instances: Map<InstanceId, InstanceRecord> = new Map()
  readonly removals: Map<InstanceId, Removal> = new Map()
  readonly loads: Map<RouterId, ServiceLoadRow> = new Map()
  readonly assignments: Map<RouterId, RouterAssignment> = new Map()
  /** Instances that somebody wants replaced. */
  readonly expireRequests: Set<InstanceId> = new Set()
  /** What instances of a bypass service say of themselves. */
  readonly externalMetrics: Map<InstanceId, ExternalMetricsRow> = new Map()
  readonly #sourceTokens = new Map<string, readonly SourceToken[]>()
  /** Reached without any token at least once. */
  isOnTheFly = false
  /** Set by the leader: nothing leads to it any more. */
  staleness: Staleness | undefined
  isWithdrawn = false
  readonly traffic: TrafficTotals = new TrafficTotals()
  /** Versions that it takes over from, by their id. */
  readonly successions: Map<ServiceId, Succession> = new Map()
  /** So many instances stay until then, in case that everything comes back. */
  hold: { readonly untilMs: Millis; readonly size: number } = { untilMs: 0, size: 0 }
  /** The last request because of which its successor was looked for. */
  succeededAtRequestMs: Millis = 0
  requested = 0
  /** What the scaling policy keeps between decisions. */
  memory: unknown
  lastDecision: (ScaleDecision & { readonly atMs: Millis }) | undefined
  lastModifiedMs: Millis
  problem: ServiceProblem | null = null
  /** The scheduler knows the service: it listed it, or `create` succeeded. Until then it cannot be scaled. */
  isCreated = false
  /** Why the scheduler refuses to run it at all, for example because it asks for an image; and when it said so. */
  refusal: (ServiceProblem & { readonly sinceMs: Millis }) | null = null
  /** Why the scheduler cannot start instances at present, though it keeps trying. */
  startTrouble: string | null = null
  /** A call to the scheduler that changes the requested count is under way: the next decision waits for it. */
  isScaling = false
  /** Set from the decision to delete until the scheduler has done it. */
  deletion: Deletion | undefined
  /** A request came for it meanwhile: it is created anew as soon as it is gone. */
  isWantedAgain = false
  #hadHealthyAtMs: Millis
  /** For how long nothing but failures has been seen, and on how many hosts at most (spec §5.9). */
  #broken: { readonly failedHosts: number; readonly sinceMs: Millis } | undefined
  readonly #unanswering = new Unanswering()
  #told = ''
  /** Routers that have slots of it. */
  #holders: readonly RouterId[] = []
  #isQueueNearlyFull = false
  #resolveGone: () => void = () => undefined
  /** Resolves when the service is deleted. */
  readonly gone: Promise<void>

  constructor(definition: ServiceDefinition, nowMs: Millis) {
    this.id = definition.id
    this.#definition = definition
    this.lastModifiedMs = nowMs
    this.#hadHealthyAtMs = 0
    this.gone = new Promise(resolve => {
      this.#resolveGone = resolve
    })
  }

  get definition(): ServiceDefinition {
    return this.#definition
  }

  /** Takes changed overrides. @returns false when nothing follows from them */
  redefine(effective: EffectiveDescription): boolean {
    if (JSON.stringify(effective) === JSON.stringify(this.#definition.effective)) return false
    this.#definition = { ...this.#definition, effective }
    return true
  }

  resolveGone(): void {
    this.#resolveGone()
  }

  get sourceTokens(): readonly (readonly SourceToken[])[] {
    return [...this.#sourceTokens.values()]
  }

  /** @returns true when this way of reaching the service is new */
  addSourceTokens(tokens: readonly SourceToken[]): boolean {
    const SOURCES_MAX = 100
    if (tokens.length === 0) {
      const isNew = !this.isOnTheFly
      this.isOnTheFly = true
      return isNew
    }
    // Asking for a service by its id says nothing about whether anybody still means it.
    if (tokens.every(source => source.token.startsWith(RAW_SERVICE_ID_PREFIX))) return false
    const key = JSON.stringify(tokens)
    if (this.#sourceTokens.has(key)) return false
    if (this.#sourceTokens.size >= SOURCES_MAX) this.#sourceTokens.delete(this.#sourceTokens.keys().next().value ?? '')
    this.#sourceTokens.set(key, tokens)
    return true
  }

  /** Takes what an instance says of its load itself. @returns false when that is no news of an instance that runs */
  setExternalMetrics(row: ExternalMetricsRow, nowMs: Millis): boolean {
    const record = this.instances.get(row.instanceId)
    if (record === undefined || isEnded(record)) return false
    const known = this.externalMetrics.get(row.instanceId)
    if (known !== undefined && known.updatedAtMs >= row.updatedAtMs) return false
    const lastRequestMs = Math.max(row.lastRequestMs, known?.lastRequestMs ?? 0)
    this.externalMetrics.set(row.instanceId, { ...row, lastRequestMs })
    const isNews = row.activeRequests !== (known?.activeRequests ?? 0) || lastRequestMs !== known?.lastRequestMs
    if (isNews) this.lastModifiedMs = nowMs
    return true
  }

  references(): readonly ServiceReference[] {
    const named = this.sourceTokens.map(sources => ({ sources }))
    return this.isOnTheFly ? [{ sources: [] }, ...named] : named
  }

  /** Requests that have begun on an instance, and those that have ended, as long as this leader has heard of them. */
  progress(): { readonly begun: number; readonly ended: number } {
    const { total, outstanding, waiting } = this.usage()
    return { begun: total - waiting, ended: total - outstanding }
  }

  failedSince(sinceMs: Millis): number {
    let count = 0
    for (const record of this.instances.values())
      if (record.state === 'failed' && (record.endedAtMs ?? 0) >= sinceMs) count += 1
    return count
  }

  /** Takes one instance's news. */
  setInstance(record: InstanceRecord, nowMs: Millis): void {
    this.instances.set(record.instanceId, record)
    if (record.state === 'healthy') this.#hadHealthyAtMs = nowMs
    this.#unanswering.observe(record)
    if (isEnded(record)) {
      this.removals.delete(record.instanceId)
      this.expireRequests.delete(record.instanceId)
      this.externalMetrics.delete(record.instanceId)
      this.#forgetEnded(record.state, record.state === 'failed' ? FAILED_MAX : KILLED_MAX)
    }
  }

  /** Running instances that are not on their way out. */
  staying(): InstanceRecord[] {
    return [...this.instances.values()].filter(record => !isEnded(record) && !this.removals.has(record.instanceId))
  }

  /** Those whose host answers: only they can be stopped. */
  #reachable(): InstanceRecord[] {
    return this.staying().filter(record => record.hostContact === undefined)
  }

  get healthyCount(): number {
    return this.staying().filter(record => record.state === 'healthy').length
  }

  /** Removals that have not lowered the scheduler's requested count yet. */
  get pendingRemovals(): number {
    let count = 0
    for (const [instanceId, removal] of this.removals)
      if (!removal.isStopping && this.instances.get(instanceId)?.hostContact !== 'given-up') count += 1
    return count
  }

  /** A removal leads nowhere when its instance is gone: nothing of it is left to stop. */
  forgetVainRemovals(): void {
    for (const instanceId of this.removals.keys()) if (!this.instances.has(instanceId)) this.removals.delete(instanceId)
  }

  /** Failed hosts since the service was healthy last, and since when that is so; undefined: it is not in trouble. */
  observeBroken(nowMs: Millis): { readonly failedHosts: number; readonly sinceMs: Millis } | undefined {
    if (this.healthyCount > 0) {
      this.#broken = undefined
      return undefined
    }
    const hosts = new Set<string>()
    for (const { state, endedAtMs, host } of this.instances.values())
      if (state === 'failed' && (endedAtMs ?? 0) >= this.#hadHealthyAtMs) hosts.add(host)
    if (hosts.size > (this.#broken?.failedHosts ?? 0)) this.#broken = { failedHosts: hosts.size, sinceMs: nowMs }
    return this.#broken
  }

  /**
   * Other routers judge `max-queue-length` with what waits here: they hear of it while the queues together are at least
   * half full, and once more when they are not any longer. @returns whether they must be told
   */
  observeWaiting(): boolean {
    const wasNearlyFull = this.#isQueueNearlyFull
    this.#isQueueNearlyFull = this.#waiting() * 2 >= this.definition.effective['max-queue-length']
    return wasNearlyFull || this.#isQueueNearlyFull
  }

  /** Looks which routers have slots, or will soon. @returns true when others, so that all must be told whom to ask for some */
  observeHolders(): boolean {
    const holders = this.ledger.holderIds
    const isSame = holders.length === this.#holders.length && holders.every((id, at) => id === this.#holders[at])
    this.#holders = holders
    return !isSame
  }

  #waiting(): number {
    let waiting = 0
    for (const row of this.loads.values()) waiting += row.waiting
    return waiting
  }

  usage(): Usage {
    let outstanding = 0
    let waiting = 0
    let total = 0
    let lastRequestMs = 0
    for (const row of this.loads.values()) {
      outstanding += row.outstanding
      waiting += row.waiting
      total += row.total
      lastRequestMs = Math.max(lastRequestMs, row.lastRequestMs)
    }
    if (isBypassService(this.definition.effective)) {
      // Its requests do not come through routers; those that wait here for it to start count as well (spec §2.7).
      outstanding = waiting
      for (const row of this.externalMetrics.values()) {
        outstanding += row.activeRequests
        lastRequestMs = Math.max(lastRequestMs, row.lastRequestMs)
      }
    }
    return { outstanding, waiting, total, lastRequestMs }
  }

  /** Requests in flight on an instance, as routers reported last. */
  inUse(instanceId: InstanceId): number {
    let count = 0
    for (const row of this.loads.values())
      for (const instance of row.instances) if (instance.instanceId === instanceId) count += instance.inUse
    return count
  }

  /** Which instances are to be replaced, and when the next one will be. */
  expired(nowMs: Millis, suspectAfterFailures: number): { ids: ReadonlySet<InstanceId>; nextMs: Millis } {
    const suspects = new Set<InstanceId>()
    for (const row of this.loads.values())
      for (const { instanceId, consecutiveFailures } of row.instances)
        if (consecutiveFailures >= suspectAfterFailures) suspects.add(instanceId)
    const { expired, nextExpiryMs } = decideExpired({
      instances: this.#reachable(),
      nowMs,
      instanceExpiryMins: this.definition.effective['instance-expiry-mins'],
      suspects,
    })
    const ids = new Set(expired.map(entry => entry.instanceId))
    for (const { instanceId } of this.#reachable()) if (this.expireRequests.has(instanceId)) ids.add(instanceId)
    return { ids, nextMs: nextExpiryMs }
  }

  snapshot(expired: ReadonlySet<InstanceId>): ScaleSnapshot {
    const staying = this.staying().filter(record => record.hostContact !== 'given-up')
    const healthy = staying.filter(record => record.state === 'healthy')
    const expiredHealthy = healthy.filter(record => expired.has(record.instanceId)).length
    return {
      outstanding: this.usage().outstanding,
      healthy: healthy.length,
      requested: this.requested - this.pendingRemovals,
      scheduled: staying.length,
      expiredHealthy,
      expiredUnhealthy: expired.size - expiredHealthy,
    }
  }

  /** Running instances as the choice of victims sees them. */
  victimCandidates(expired: ReadonlySet<InstanceId>, nowMs: Millis): VictimCandidate[] {
    return this.#reachable().map(record => {
      const inUse = this.inUse(record.instanceId)
      return {
        instanceId: record.instanceId,
        inUse,
        // Routers do not report when requests began: now protects them.
        newestRequestStartedAtMs: inUse === 0 ? null : nowMs,
        startedAtMs: record.startedAtMs,
        health: record.state === 'healthy' ? 'healthy' : record.state === 'starting' ? 'starting' : 'unhealthy',
        isEjected: false,
        isExpired: expired.has(record.instanceId),
        isLeaving: false,
      }
    })
  }

  /** What the scheduler says of the number of instances. */
  setRequested({ requested, startTrouble }: { requested: number; startTrouble?: string | null }): void {
    this.requested = requested
    this.startTrouble = startTrouble ?? null
  }

  /** Healthy instances to share out among routers. */
  ledgerInstances(expired: ReadonlySet<InstanceId>): LedgerInstance[] {
    if (this.deletion !== undefined) return []
    return this.staying()
      .filter(record => record.state === 'healthy' && !this.#unanswering.has(record, this.loads.values()))
      .map(record => ({
        instanceId: record.instanceId,
        host: record.host,
        port: record.port,
        slots: this.definition.effective['concurrency-level'],
        startedAtMs: record.startedAtMs,
        expired: expired.has(record.instanceId),
      }))
  }

  /** Looks for a reason why nothing comes up. @returns true when routers have something new to hear of the service */
  reviewProblem(config: DeploymentErrorConfig): boolean {
    const failed = [...this.instances.values()].filter(
      record =>
        record.state === 'failed' && record.healthyAtMs === null && (record.endedAtMs ?? 0) >= this.#hadHealthyAtMs,
    )
    const unhealthy = this.staying().filter(record => record.state !== 'healthy')
    const found = decideDeploymentError({ healthy: this.healthyCount, failed, unhealthy, config })
    const problem: ServiceProblem | null =
      found === undefined
        ? problemOf(this.refusal)
        : {
            key: found.code,
            message: found.message,
            details: {
              advice: found.advice,
              'failed-instances': found.failedInstances,
              ...(found.newestFailure === null
                ? {}
                : {
                    'instance-id': found.newestFailure.instanceId,
                    'exit-code': found.newestFailure.exitCode,
                    'instance-message': found.newestFailure.message,
                    stderr: found.newestFailure.stderrLines,
                  }),
            },
          }
    this.problem = problem
    // Routers answer with these figures ("is it starting, failing, scaling?"): they hear of every change.
    const { status, healthy, unhealthy: sick, requested, startTrouble } = this.summary()
    const told = JSON.stringify({ problem, status, healthy, sick, requested, startTrouble })
    const isSame = told === this.#told
    this.#told = told
    return !isSame
  }

  summary(): ServiceSummary {
    const staying = this.staying()
    const healthy = this.healthyCount
    return {
      status: statusLabel({
        hasDeploymentError: this.problem !== null,
        requested: this.requested,
        scheduled: staying.length,
        healthy,
      }),
      healthy,
      unhealthy: staying.length - healthy,
      requested: this.requested,
      scalingState: this.lastDecision?.label ?? 'stable',
      problem: this.problem,
      startTrouble: staying.length < this.requested ? this.startTrouble : null,
      sourceTokens: this.sourceTokens,
      isOnTheFly: this.isOnTheFly,
      isStale: this.staleness !== undefined,
      successions: [...this.successions.values()].map(succession => succession.describe()),
      ...this.usage(),
    }
  }

  /** What one router is to work from. */
  leasesFor(routerId: RouterId): ServiceLeases {
    const assigned = this.assignments.get(routerId)?.instances ?? []
    const leases = assigned.flatMap((instance): InstanceLease[] => {
      const record = this.instances.get(instance.instanceId)
      if (record === undefined) return []
      return [
        {
          instanceId: instance.instanceId,
          host: instance.host,
          port: instance.port,
          slots: instance.slots,
          startedAtMs: instance.startedAtMs,
          expired: instance.expired === true,
          extraPorts: record.extraPorts,
          logDirectory: record.logDirectory,
        },
      ]
    })
    const waitingElsewhere = this.#isQueueNearlyFull ? this.#waiting() - (this.loads.get(routerId)?.waiting ?? 0) : 0
    const closingInstanceIds = this.#closingInstanceIds()
    const lenderIds = chooseLenders(this.#holders, routerId)
    const summary = this.summary()
    return { definition: this.definition, leases, summary, waitingElsewhere, closingInstanceIds, lenderIds }
  }

  #closingInstanceIds(): InstanceId[] {
    if (this.deletion?.isClosing)
      return [...this.instances.values()].filter(it => !isEnded(it)).map(it => it.instanceId)
    return [...this.removals].filter(([, removal]) => removal.isClosing).map(([instanceId]) => instanceId)
  }

  #forgetEnded(state: InstanceRecord['state'], keep: number): void {
    const ended = [...this.instances.values()].filter(record => record.state === state)
    ended.sort((a, b) => (b.endedAtMs ?? 0) - (a.endedAtMs ?? 0))
    for (const record of ended.slice(keep)) this.instances.delete(record.instanceId)
  }
}

function problemOf(refusal: ServiceProblem | null): ServiceProblem | null {
  return refusal && { key: refusal.key, message: refusal.message, details: refusal.details }
}

export function isEnded(record: InstanceRecord): boolean {
  return record.state === 'failed' || record.state === 'killed'
}
