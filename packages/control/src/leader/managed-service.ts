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
import { EVERYBODY_MAX, type ExpectedRouters, hashText, type LedgerInstance, SlotLedger } from '@waiter/slots'
import type {
  ExternalMetricsRow,
  InstanceLease,
  ServiceLeases,
  ServiceProblem,
  ServiceSummary,
  SourceToken,
} from '../agent/leader-link.ts'
import { Followers } from './followers.ts'
import { ledgerInstanceOf } from './ledger-instance-of.ts'
import { LenderLists } from './lender-lists.ts'
import type { Deletion, Removal } from './service-ending.ts'
import { ServiceLoads } from './service-loads.ts'
import { describeProblem } from './service-problem.ts'
import type { Succession } from './succession.ts'
import { TrafficTotals } from './traffic-totals.ts'
import { Unanswering } from './unanswering.ts'

/** Ended instances that are remembered for people (spec §5.2). */
const FAILED_MAX = 10
const KILLED_MAX = 12
/** Very many routers hear at most this often that there are more instances, or fewer; the more they are, the less often. */
const FIGURES_FLOOR_MS = 1_000
const FIGURES_MS_PER_FOLLOWER = 50

const NONE_EXPIRED: ReadonlySet<InstanceId> = new Set()
const NO_INSTANCES: readonly InstanceId[] = []

/** Instances that are to be replaced, and when the next one will be. */
export interface Expired {
  readonly ids: ReadonlySet<InstanceId>
  readonly nextMs: Millis
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
  /** `hashText` of the id. */
  readonly hash: number
  readonly ledger: SlotLedger
  readonly followers: Followers = new Followers()
  readonly loads: ServiceLoads = new ServiceLoads()
  /** Whom each router was told to ask for slots. */
  readonly lenders: LenderLists
  readonly #instances = new Map<InstanceId, InstanceRecord>()
  readonly #removals = new Map<InstanceId, Removal>()
  /** Started under this leader, and unknown to all before. */
  readonly #fresh: Set<InstanceId> = new Set()
  readonly #expireRequests = new Set<InstanceId>()
  /** What instances of a bypass service say of themselves. */
  readonly externalMetrics: Map<InstanceId, ExternalMetricsRow> = new Map()
  readonly #sourceTokens = new Map<string, readonly SourceToken[]>()
  #sourceTokensNow: readonly (readonly SourceToken[])[] | undefined
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
  #requested = 0
  /** What the scaling policy keeps between decisions. */
  memory: unknown
  lastDecision: (ScaleDecision & { readonly atMs: Millis }) | undefined
  lastModifiedMs: Millis
  problem: ServiceProblem | null = null
  /** The scheduler knows the service: it listed it, or `create` succeeded. Until then it cannot be scaled. */
  isCreated = false
  /** Why the scheduler refuses to run it at all, for example because it asks for an image; and when it said so. */
  #refusal: (ServiceProblem & { readonly sinceMs: Millis }) | null = null
  /** Why the scheduler cannot start instances at present, though it keeps trying. */
  #startTrouble: string | null = null
  /** A call to the scheduler that changes the requested count is under way: the next decision waits for it. */
  isScaling = false
  /** Set from the decision to delete until the scheduler has done it. */
  #deletion: Deletion | undefined
  /** A request came for it meanwhile: it is created anew as soon as it is gone. */
  isWantedAgain = false
  #hadHealthyAtMs: Millis
  /** For how long nothing but failures has been seen, and on how many hosts at most (spec §5.9). */
  #broken: { readonly failedHosts: number; readonly sinceMs: Millis } | undefined
  readonly #unanswering = new Unanswering()
  #told: { readonly state: string; readonly figures: string; readonly atMs: Millis } = {
    state: '',
    figures: '',
    atMs: 0,
  }
  #isQueueNearlyFull = false
  /** Grow with every change to the instances, and to anything that routers hear of; what follows is kept until then. */
  #instancesRevision = 0
  #revision = 0
  #reviewedRevision = -1
  #nextTellMs: Millis = Number.POSITIVE_INFINITY
  #stayingNow: readonly InstanceRecord[] | undefined
  #healthyNow = 0
  /** The host of some instance does not answer. */
  #isAnyAway = false
  #expiredNow: (Expired & { readonly revision: number; readonly failingRevision: number }) | undefined
  #ledgerKey: unknown
  #resolveGone: () => void = () => undefined
  /** Resolves when the service is deleted. */
  readonly gone: Promise<void>

  /** @param expected routers that may use it from before and have not been heard; absent: it is new */
  constructor(definition: ServiceDefinition, nowMs: Millis, expected?: ExpectedRouters) {
    this.id = definition.id
    this.hash = hashText(definition.id)
    this.ledger = new SlotLedger(expected)
    this.lenders = new LenderLists(this.ledger, this.followers)
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
    this.#change()
    return true
  }

  get instances(): ReadonlyMap<InstanceId, InstanceRecord> {
    return this.#instances
  }

  get removals(): ReadonlyMap<InstanceId, Removal> {
    return this.#removals
  }

  /** Instances that somebody wants replaced. */
  get expireRequests(): ReadonlySet<InstanceId> {
    return this.#expireRequests
  }

  get requested(): number {
    return this.#requested
  }

  set requested(requested: number) {
    if (requested === this.#requested) return
    this.#requested = requested
    this.#changeFigures()
  }

  get refusal(): (ServiceProblem & { readonly sinceMs: Millis }) | null {
    return this.#refusal
  }

  set refusal(refusal: (ServiceProblem & { readonly sinceMs: Millis }) | null) {
    this.#refusal = refusal
    this.#changeFigures()
  }

  get deletion(): Deletion | undefined {
    return this.#deletion
  }

  set deletion(deletion: Deletion | undefined) {
    this.#deletion = deletion
    this.#change()
  }

  /** Has one instance taken away from the routers, then stopped. */
  beginRemoval(instanceId: InstanceId, removal: Removal): void {
    this.#removals.set(instanceId, removal)
    this.#change()
  }

  /** It stays after all, or there is nothing to stop. */
  endRemoval(instanceId: InstanceId): void {
    this.#removals.delete(instanceId)
    this.#change()
  }

  requestExpiry(instanceId: InstanceId): void {
    this.#expireRequests.add(instanceId)
    this.#change()
  }

  /** A figure that routers hear of changed. */
  #changeFigures(): void {
    this.#revision += 1
  }

  /** So did the instances, or what is to become of them. */
  #change(): void {
    this.#changeFigures()
    this.#instancesRevision += 1
    this.#stayingNow = undefined
  }

  resolveGone(): void {
    this.#resolveGone()
  }

  get sourceTokens(): readonly (readonly SourceToken[])[] {
    this.#sourceTokensNow ??= [...this.#sourceTokens.values()]
    return this.#sourceTokensNow
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
    this.#sourceTokensNow = undefined
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

  /** The scheduler lists its instances anew. */
  clearInstances(): void {
    this.#instances.clear()
    this.#change()
  }

  /** Takes one instance's news; `isFresh`: it was started under this leader, and nobody has heard of it from another. */
  setInstance(record: InstanceRecord, nowMs: Millis, isFresh = false): void {
    this.#change()
    if (isFresh) this.#fresh.add(record.instanceId)
    this.#instances.set(record.instanceId, record)
    if (record.state === 'healthy') this.#hadHealthyAtMs = nowMs
    this.#unanswering.observe(record)
    if (isEnded(record)) {
      this.#removals.delete(record.instanceId)
      this.#fresh.delete(record.instanceId)
      this.#expireRequests.delete(record.instanceId)
      this.externalMetrics.delete(record.instanceId)
      this.#forgetEnded(record.state, record.state === 'failed' ? FAILED_MAX : KILLED_MAX)
    }
  }

  /** Running instances that are not on their way out. */
  staying(): readonly InstanceRecord[] {
    if (this.#stayingNow === undefined) {
      const isStaying = (it: InstanceRecord): boolean => !isEnded(it) && !this.#removals.has(it.instanceId)
      this.#stayingNow = [...this.#instances.values()].filter(isStaying)
      this.#healthyNow = this.#stayingNow.filter(record => record.state === 'healthy').length
      this.#isAnyAway = this.#stayingNow.some(record => record.hostContact !== undefined)
    }
    return this.#stayingNow
  }

  /** Those whose host answers: only they can be stopped. */
  #reachable(): readonly InstanceRecord[] {
    const staying = this.staying()
    return this.#isAnyAway ? staying.filter(record => record.hostContact === undefined) : staying
  }

  /** Some instance's host is about to stop. */
  get isAnyLeft(): boolean {
    return this.staying().some(record => record.hostDrains)
  }

  get healthyCount(): number {
    this.staying()
    return this.#healthyNow
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
    for (const instanceId of this.#removals.keys()) if (!this.#instances.has(instanceId)) this.endRemoval(instanceId)
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
    this.#isQueueNearlyFull = this.loads.waiting * 2 >= this.definition.effective['max-queue-length']
    return wasNearlyFull || this.#isQueueNearlyFull
  }

  usage(): Usage {
    const { waiting, total } = this.loads
    let { outstanding, lastRequestMs } = this.loads
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

  /** Which instances are to be replaced, and when the next one will be. */
  expired(nowMs: Millis, suspectAfterFailures: number): Expired {
    const known = this.#expiredNow
    const revision = this.#instancesRevision
    const { failingRevision } = this.loads
    const isKnown = known?.revision === revision && known.failingRevision === failingRevision
    if (isKnown && nowMs < known.nextMs) return known
    const { expired, nextExpiryMs } = decideExpired({
      instances: this.#reachable(),
      nowMs,
      instanceExpiryMins: this.definition.effective['instance-expiry-mins'],
      suspects: this.loads.suspects(suspectAfterFailures),
    })
    const due = expired.map(entry => entry.instanceId)
    for (const { instanceId, hostDrains } of this.#reachable())
      if (hostDrains || this.#expireRequests.has(instanceId)) due.push(instanceId)
    const ids = due.length === 0 ? NONE_EXPIRED : new Set(due)
    this.#expiredNow = { ids, nextMs: nextExpiryMs, revision, failingRevision }
    return this.#expiredNow
  }

  snapshot(expired: ReadonlySet<InstanceId>): ScaleSnapshot {
    const all = this.staying()
    const staying = this.#isAnyAway ? all.filter(record => record.hostContact !== 'given-up') : all
    const isHealthy = (it: InstanceRecord): boolean => it.state === 'healthy'
    const isExpiredHealthy = (it: InstanceRecord): boolean => isHealthy(it) && expired.has(it.instanceId)
    const expiredHealthy = expired.size === 0 ? 0 : staying.filter(isExpiredHealthy).length
    return {
      outstanding: this.usage().outstanding,
      healthy: this.#isAnyAway ? staying.filter(isHealthy).length : this.healthyCount,
      requested: this.requested - this.pendingRemovals,
      scheduled: staying.length,
      expiredHealthy,
      expiredUnhealthy: expired.size - expiredHealthy,
    }
  }

  /** Running instances as the choice of victims sees them. */
  victimCandidates(expired: ReadonlySet<InstanceId>, nowMs: Millis): VictimCandidate[] {
    const inUseByInstance = this.loads.inUseByInstance()
    return this.#reachable().map(record => {
      // Its host does not wait until nobody asks for anything: what runs there may finish, and nothing more comes.
      const inUse = record.hostDrains ? 0 : (inUseByInstance.get(record.instanceId) ?? 0)
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
    this.#startTrouble = startTrouble ?? null
    this.#changeFigures()
  }

  /** Gives the ledger the healthy instances to share out among routers, if they are others than before. */
  shareInstances(expired: ReadonlySet<InstanceId>): void {
    const key = this.#expiredNow?.ids === expired ? this.#expiredNow : expired
    if (this.#ledgerKey === key) return
    this.#ledgerKey = key
    const isShared = (record: InstanceRecord): boolean =>
      record.state === 'healthy' && !this.#unanswering.has(record, this.loads.rows())
    const shared = this.deletion === undefined ? this.staying().filter(isShared) : []
    const slots = this.definition.effective['concurrency-level']
    const rowOf = (record: InstanceRecord): LedgerInstance =>
      ledgerInstanceOf(record, {
        slots,
        expired: expired.has(record.instanceId),
        isFresh: this.#fresh.has(record.instanceId),
        known: this.ledger.find(record.instanceId),
      })
    this.ledger.setInstances(shared.map(rowOf))
  }

  /** Looks for a reason why nothing comes up. @returns true when routers have something new to hear of the service */
  reviewProblem(config: DeploymentErrorConfig, nowMs: Millis): boolean {
    if (this.#reviewedRevision === this.#revision && nowMs < this.#nextTellMs) return false
    this.#reviewedRevision = this.#revision
    this.#nextTellMs = Number.POSITIVE_INFINITY
    const failed = [...this.instances.values()].filter(
      record =>
        record.state === 'failed' && record.healthyAtMs === null && (record.endedAtMs ?? 0) >= this.#hadHealthyAtMs,
    )
    const unhealthy = this.staying().filter(record => record.state !== 'healthy')
    const found = decideDeploymentError({ healthy: this.healthyCount, failed, unhealthy, config })
    const problem = describeProblem(found, this.refusal)
    this.problem = problem
    // Routers answer with these figures ("is it starting, failing, scaling?"): they hear of every change, very many of them
    // of mere numbers once a second.
    const { status, healthy, unhealthy: sick, requested, startTrouble } = this.summary()
    const state = JSON.stringify({ problem, status, startTrouble, isHealthy: healthy > 0, isSick: sick > 0 })
    const figures = `${healthy} ${sick} ${requested}`
    if (state === this.#told.state && figures === this.#told.figures) return false
    const { size } = this.followers
    const floorMs = size > EVERYBODY_MAX ? Math.max(FIGURES_FLOOR_MS, size * FIGURES_MS_PER_FOLLOWER) : 0
    if (state === this.#told.state && nowMs < this.#told.atMs + floorMs) {
      this.#nextTellMs = this.#told.atMs + floorMs
      return false
    }
    this.#told = { state, figures, atMs: nowMs }
    return true
  }

  /** When figures that have not been told yet may be. */
  get nextTellMs(): Millis {
    return this.#nextTellMs
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
      startTrouble: staying.length < this.requested ? this.#startTrouble : null,
      sourceTokens: this.sourceTokens,
      isOnTheFly: this.isOnTheFly,
      isStale: this.staleness !== undefined,
      successions: [...this.successions.values()].map(succession => succession.describe()),
      ...this.usage(),
    }
  }

  /** What one router is to work from. */
  leasesFor(routerId: RouterId): ServiceLeases {
    const assigned = this.ledger.assignmentOf(routerId)?.instances ?? []
    const leases: InstanceLease[] = []
    for (const { instanceId, host, port, slots, startedAtMs, expired = false } of assigned) {
      const record = this.instances.get(instanceId)
      if (record === undefined) continue
      const { extraPorts, logDirectory } = record
      leases.push({ instanceId, host, port, slots, startedAtMs, expired, extraPorts, logDirectory })
    }
    const waitingElsewhere = this.#isQueueNearlyFull ? this.loads.waiting - (this.loads.of(routerId)?.waiting ?? 0) : 0
    const closingInstanceIds = this.#closingInstanceIds()
    const lenderIds = this.lenders.of(routerId)
    const summary = this.summary()
    return { definition: this.definition, leases, summary, waitingElsewhere, closingInstanceIds, lenderIds }
  }

  #closingInstanceIds(): readonly InstanceId[] {
    if (this.deletion === undefined && this.removals.size === 0) return NO_INSTANCES
    if (this.deletion?.isClosing)
      return [...this.instances.values()].filter(it => !isEnded(it)).map(it => it.instanceId)
    return [...this.removals].filter(([, removal]) => removal.isClosing).map(([instanceId]) => instanceId)
  }

  #forgetEnded(state: InstanceRecord['state'], keep: number): void {
    const ended = [...this.instances.values()].filter(record => record.state === state)
    ended.sort((a, b) => (b.endedAtMs ?? 0) - (a.endedAtMs ?? 0))
    for (const record of ended.slice(keep)) this.#instances.delete(record.instanceId)
  }
}

export function isEnded(record: InstanceRecord): boolean {
  return record.state === 'failed' || record.state === 'killed'
}
