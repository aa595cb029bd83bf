import type { RouterId, ServiceId } from '@waiter/base'
import type {
  AgentHost,
  AssignmentChange,
  ExchangeCounts,
  LeaderLink,
  PeerChange,
  ReferenceRow,
  ServiceBeliefRow,
  ServiceLoadRow,
  ServiceUseRow,
  SlotExchange,
  SourceToken,
  SuccessionRequest,
} from '@waiter/control'
import type { ServiceDefinition, SuspensionRecord } from '@waiter/services'
import type { Accusation, BorrowedSlot, EjectionConfig, ReleaseStatus } from '@waiter/slots'
import { BoundedMap } from '../auth/bounded-map.ts'
import type { ReferenceRecorder } from '../versions/reference-recorder.ts'
import { type RuntimeListener, type RuntimeTime, ServiceRuntime, systemTime } from './service-runtime.ts'

/** While requests wait, the leader is asked this often at most: each question carries the whole definition. */
const NEED_REPEAT_MS = 1_000
/** Services announced lately. */
const ANNOUNCED_MAX = 10_000

/** People and pings that wait for a service to come or go. */
const ASSIGNMENT_LISTENERS_MAX = 10_000

export interface ServiceTableOptions {
  readonly ejection: EjectionConfig
  readonly random: { next(): number; below(bound: number): number }
  /** The system's unless given. */
  readonly time?: RuntimeTime
  /** Nothing is assigned from this instance any more: pooled connections to it can go. */
  readonly onInstanceRetired: (host: string, port: number) => void
  /** The service's last suspension or resumption. */
  readonly findSuspension?: (id: ServiceId) => SuspensionRecord | undefined
  readonly references: ReferenceRecorder
  /** Successions that a new leader must hear of. */
  readonly successions: () => readonly SuccessionRequest[]
}

/** What services want from gossip. */
interface TableGossip {
  adviceOn(serviceId: ServiceId): readonly Accusation[]
  noteSuspicions(runtime: ServiceRuntime): void
  applyPeers(change: PeerChange): void
}

/** What the table asks of the line to the leader. */
type TableLink = Pick<LeaderLink, 'noteLoadChange' | 'noteReducedUse' | 'needService' | 'followService'>

/** All services that this router knows: what the leader assigned, and what requests here asked for. */
export class ServiceTable implements AgentHost, RuntimeListener {
  readonly #options: ServiceTableOptions
  readonly #time: RuntimeTime
  readonly #runtimes = new Map<ServiceId, ServiceRuntime>()
  readonly #dirty = new Set<ServiceRuntime>()
  readonly #assignmentListeners = new Set<() => void>()
  /** Services with requests on instances that were taken away or shrunk. */
  readonly #reduced = new Set<ServiceRuntime>()
  /** Of these, those whose use a leader found when this router came to it: others may have got those slots meanwhile. */
  readonly #doubted = new Set<ServiceRuntime>()
  readonly #announcedAtMs = new BoundedMap<ServiceId, number>(ANNOUNCED_MAX)
  #isInformed = false
  #exchange: SlotExchange | undefined
  #gossip: TableGossip | undefined
  readonly #followedAtMs = new BoundedMap<ServiceId, number>(ANNOUNCED_MAX)
  #link: TableLink | undefined

  /** Called after the leader said something new of a service, or took it away. */
  onServiceChange: (serviceId: ServiceId) => void = () => undefined

  constructor(options: ServiceTableOptions) {
    this.#options = options
    this.#time = options.time ?? systemTime
    options.references.onNews = () => this.#link?.noteLoadChange()
  }

  /** Connects the table with the leader, once; before that, changes are only remembered. */
  connect(link: TableLink): void {
    this.#link = link
  }

  /** Lets it lend slots to other routers and borrow theirs; before that, it has its own only. */
  share(exchange: SlotExchange | undefined): void {
    this.#exchange = exchange
  }

  /** Lets it hear what other routers say of instances, and tell them; before that, and without, it does neither. */
  gossipThrough(gossip: TableGossip | undefined): void {
    this.#gossip = gossip
  }

  /** How lending and borrowing went; undefined: it does neither. */
  exchangeCounts(): ExchangeCounts | undefined {
    return this.#exchange?.counts()
  }

  get(id: ServiceId): ServiceRuntime | undefined {
    return this.#runtimes.get(id)
  }

  values(): IterableIterator<ServiceRuntime> {
    return this.#runtimes.values()
  }

  get size(): number {
    return this.#runtimes.size
  }

  /** The service's runtime; made when a request names the service for the first time here. */
  open(definition: ServiceDefinition): ServiceRuntime {
    const known = this.#runtimes.get(definition.id)
    if (known !== undefined) return known
    const { ejection, random } = this.#options
    const runtime = new ServiceRuntime(definition, { ejection, random, time: this.#time, listener: this })
    runtime.suspension = this.#suspensionOf(definition.id)
    this.#runtimes.set(definition.id, runtime)
    const advice = this.#gossip?.adviceOn(definition.id) ?? []
    if (advice.length > 0) runtime.advise(advice)
    this.#exchange?.serviceOpened(definition.id)
    return runtime
  }

  /** A request waits and no instance is assigned: the leader must hear of it at once. */
  need(runtime: ServiceRuntime, sourceTokens: readonly SourceToken[]): void {
    const nowMs = this.#time.nowMs()
    if (runtime.sourceTokens === sourceTokens && nowMs < runtime.neededAtMs + NEED_REPEAT_MS) return
    runtime.sourceTokens = sourceTokens
    runtime.neededAtMs = nowMs
    this.#link?.needService(runtime.definition, sourceTokens)
  }

  /** The leader has told once what runs. */
  get isInformed(): boolean {
    return this.#isInformed
  }

  /** A service will be asked for: it may start before its first request comes. */
  announce(definition: ServiceDefinition, sourceTokens: readonly SourceToken[]): void {
    const nowMs = this.#time.nowMs()
    if (nowMs < (this.#announcedAtMs.get(definition.id) ?? Number.NEGATIVE_INFINITY) + NEED_REPEAT_MS) return
    this.#announcedAtMs.set(definition.id, nowMs)
    this.#link?.needService(definition, sourceTokens)
  }

  /** What becomes of a service matters here, though it is not asked for: with many routers, not all hear of it unasked. */
  follow(id: ServiceId): void {
    const nowMs = this.#time.nowMs()
    if (this.statusOf(id).exists) return
    if (nowMs < (this.#followedAtMs.get(id) ?? Number.NEGATIVE_INFINITY) + NEED_REPEAT_MS) return
    this.#followedAtMs.set(id, nowMs)
    this.#link?.followService(id)
  }

  onLoadChange(runtime: ServiceRuntime): void {
    if (runtime.isRemoved && this.#forgetIfIdle(runtime)) return
    this.#dirty.add(runtime)
    this.#link?.noteLoadChange()
  }

  onReducedUse(runtime: ServiceRuntime): void {
    if (this.#reduced.has(runtime)) this.#link?.noteReducedUse()
    if (runtime.isRemoved) this.#forgetIfIdle(runtime)
  }

  onQueueChange(runtime: ServiceRuntime): void {
    this.#exchange?.noteQueue(runtime.id)
  }

  onBorrowedRelease(slot: BorrowedSlot, status: ReleaseStatus, latencyMs: number): void {
    this.#exchange?.release(slot, status, latencyMs)
  }

  onSuspicions(runtime: ServiceRuntime): void {
    this.#gossip?.noteSuspicions(runtime)
  }

  onAdopted(runtime: ServiceRuntime): void {
    if (isReduced(runtime)) this.#reduced.add(runtime)
    this.#link?.noteReducedUse()
  }

  applyAssignment(change: AssignmentChange): void {
    this.#isInformed ||= change.isFull
    // The dead first: what they had borrowed serves our own. Not so when others may have got what we had, and we hear of it now.
    if (!change.isFull) this.#applyPeers(change)
    const listed = new Set<ServiceId>()
    for (const service of change.upserts) {
      listed.add(service.definition.id)
      const runtime = this.open(service.definition)
      runtime.machine.noteWaitingElsewhere(service.waitingElsewhere ?? 0)
      runtime.isRemoved = false
      this.#apply(runtime, () => runtime.apply(service.definition, service.leases, service.summary))
      runtime.tunnels.closeOn(service.closingInstanceIds ?? [])
      this.#exchange?.setLenders(runtime.id, service.lenderIds ?? [])
    }
    for (const id of change.removals) this.#remove(this.#runtimes.get(id))
    const removed = new Set(change.removals)
    if (change.isFull)
      for (const runtime of this.#runtimes.values())
        if (!listed.has(runtime.id)) {
          this.#remove(runtime)
          removed.add(runtime.id)
        }
    if (change.isFull) {
      this.#applyPeers(change)
      for (const runtime of this.#reduced) this.#doubted.add(runtime)
    }
    for (const id of removed) {
      this.#options.references.forget(id)
      this.#exchange?.setLenders(id, [])
    }
    // After all of it has been applied: what follows from one service may depend on another.
    for (const id of [...listed, ...removed]) this.onServiceChange(id)
    for (const id of listed) this.#runtimes.get(id)?.failIfHopeless()
    for (const listener of [...this.#assignmentListeners]) listener()
  }

  #applyPeers({ peers }: AssignmentChange): void {
    if (peers === undefined) return
    this.#exchange?.applyPeers(peers)
    this.#gossip?.applyPeers(peers)
  }

  /** Somebody suspended or resumed a service. */
  onSuspension(id: ServiceId): void {
    const runtime = this.#runtimes.get(id)
    if (runtime !== undefined) runtime.suspension = this.#suspensionOf(id)
  }

  #suspensionOf(id: ServiceId): SuspensionRecord | undefined {
    const known = this.#options.findSuspension?.(id)
    return known?.suspended ? known : undefined
  }

  /** Whether the leader knows the service, and whether any instance of it is healthy. */
  statusOf(id: ServiceId): { readonly exists: boolean; readonly isHealthy: boolean } {
    const runtime = this.#runtimes.get(id)
    const exists = runtime?.summary !== undefined && !runtime.isRemoved
    return { exists, isHealthy: exists && (runtime.summary?.healthy ?? 0) > 0 }
  }

  /** Resolves with true once `isReached` is true after some assignment; with false when time is up. */
  until(isReached: () => boolean, timeoutMs: number): Promise<boolean> {
    if (isReached()) return Promise.resolve(true)
    if (this.#assignmentListeners.size >= ASSIGNMENT_LISTENERS_MAX) return Promise.resolve(false)
    return new Promise(resolve => {
      const end = (value: boolean): void => {
        cancel()
        this.#assignmentListeners.delete(listener)
        resolve(value)
      }
      const listener = (): void => {
        if (isReached()) end(true)
      }
      const cancel = this.#time.schedule(timeoutMs, () => end(isReached()))
      this.#assignmentListeners.add(listener)
    })
  }

  leaderLost(): void {
    for (const runtime of this.#runtimes.values()) {
      runtime.machine.noteWaitingElsewhere(0)
      if (this.#reduced.has(runtime) && !this.#doubted.has(runtime)) runtime.keepInUse()
    }
  }

  collectLoads(all: boolean): readonly ServiceLoadRow[] {
    const rows = [...(all ? this.#runtimes.values() : this.#dirty)].map(runtime => runtime.loadRow())
    this.#dirty.clear()
    return rows
  }

  collectUse(serviceIds: readonly ServiceId[]): readonly ServiceUseRow[] {
    const reduced = [...this.#reduced].map(({ id }) => id)
    return [...new Set([...serviceIds, ...reduced])].map(id => useOf(id, this.#runtimes.get(id)))
  }

  collectReducedUse(): readonly ServiceUseRow[] {
    const rows: ServiceUseRow[] = []
    for (const runtime of this.#reduced) {
      rows.push(useOf(runtime.id, runtime))
      if (!isReduced(runtime)) this.#forgetReduced(runtime)
    }
    return rows
  }

  collectBeliefs(): readonly ServiceBeliefRow[] {
    // Their lenders may never attach to this leader.
    this.#exchange?.adoptAll()
    return [...this.#runtimes.values()].map(runtime => ({
      serviceId: runtime.id,
      instances: runtime.machine
        .instanceStates()
        .map(({ instanceId, slots, inUse, isRetired }) => ({ instanceId, slots: isRetired ? 0 : slots, inUse })),
    }))
  }

  collectNeeds(): readonly { definition: ServiceDefinition; sourceTokens: readonly SourceToken[] }[] {
    return [...this.#runtimes.values()].filter(runtime => runtime.isNeeded)
  }

  collectRelated(): readonly RouterId[] {
    return this.#exchange?.relatedRouterIds ?? []
  }

  collectReferences(all: boolean): readonly ReferenceRow[] {
    return this.#options.references.collect(all)
  }

  collectSuccessions(): readonly SuccessionRequest[] {
    return this.#options.successions()
  }

  /** A request that means one service goes to an older version of it. */
  countFallback(from: ServiceId, target: ServiceRuntime): void {
    target.fallbacks.target += 1
    const source = this.#runtimes.get(from)
    if (source !== undefined) source.fallbacks.source += 1
  }

  dispose(): void {
    for (const runtime of this.#runtimes.values()) runtime.dispose()
  }

  #remove(runtime: ServiceRuntime | undefined): void {
    if (runtime === undefined) return
    runtime.isRemoved = true
    this.#apply(runtime, () => runtime.apply(runtime.definition, [], undefined))
    this.#forgetIfIdle(runtime)
  }

  #apply(runtime: ServiceRuntime, change: () => void): void {
    const before = [...runtime.leases.values()]
    change()
    for (const lease of before)
      if (!runtime.leases.has(lease.instanceId)) this.#options.onInstanceRetired(lease.host, lease.port)
    if (isReduced(runtime)) this.#reduced.add(runtime)
    runtime.neededAtMs = Number.NEGATIVE_INFINITY
    // Whoever waits when the last instance (or the whole service) goes must be heard again. Not so while the first
    // instance is still starting: the leader knows, it has just said so.
    const isTakenAway = before.length > 0 || runtime.isRemoved
    if (isTakenAway && runtime.isNeeded) this.#link?.needService(runtime.definition, runtime.sourceTokens)
  }

  #forgetReduced(runtime: ServiceRuntime): void {
    this.#reduced.delete(runtime)
    this.#doubted.delete(runtime)
  }

  #forgetIfIdle(runtime: ServiceRuntime): boolean {
    if (runtime.isInUse) return false
    this.#runtimes.delete(runtime.id)
    this.#dirty.delete(runtime)
    this.#forgetReduced(runtime)
    runtime.dispose()
    return true
  }
}

/** More runs on some instance than is assigned: it was taken away or shrunk. */
function isReduced(runtime: ServiceRuntime): boolean {
  for (const [instanceId, inUse] of runtime.machine.inUseByInstance())
    if (inUse > (runtime.leases.get(instanceId)?.slots ?? 0)) return true
  return false
}

function useOf(serviceId: ServiceId, runtime: ServiceRuntime | undefined): ServiceUseRow {
  const inUse = runtime?.machine.inUseByInstance() ?? []
  return { serviceId, instances: [...inUse].map(([instanceId, count]) => ({ instanceId, inUse: count })) }
}
