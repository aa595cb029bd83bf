import type { InstanceId, Millis, RouterId, ServiceId } from '@waiter/base'
import type { Fence, LogEntry, LogPiece, LogRange } from '@waiter/schedulers'
import {
  computeEffectiveDescription,
  type OverridesRecord,
  type ServiceDefinition,
  STORE_PREFIXES,
} from '@waiter/services'
import type { ExpectedRouters } from '@waiter/slots'
import { StoreMirror } from '@waiter/store/port'
import type {
  ClusterView,
  ExternalMetricsRow,
  InstanceSignal,
  ReferenceRow,
  ServiceLoadRow,
  ServiceUseRow,
  SourceToken,
  SuccessionRequest,
} from '../agent/leader-link.ts'
import type { RouterState } from '../generated/waiter/v1/cluster.ts'
import { notLeader } from '../rpc/call-unary.ts'
import { FollowerDesk } from './follower-desk.ts'
import { InstanceDesk } from './instance-desk.ts'
import { type InstanceWatcher, InstanceWatchers } from './instance-watchers.ts'
import type { LeaderOptions } from './leader-options.ts'
import { ManagedService } from './managed-service.ts'
import { ReviewQueue } from './review-queue.ts'
import { RouterDesk } from './router-desk.ts'
import { type GatheredAnswers, RouterQuestions } from './router-questions.ts'
import type { RouterIntroduction } from './router-registry.ts'
import type { RouterSession, SessionSource, SessionStream } from './router-session.ts'
import { SchedulerFeed } from './scheduler-feed.ts'
import { ServiceReviewer } from './service-reviewer.ts'
import { revokeDeletion, viewOf } from './service-view.ts'
import { VersionDesk } from './version-desk.ts'

/** A service deleted on request gets this long to finish what runs. */
const DELETE_DRAIN_MS = 5_000

/**
 * Decides for the whole cluster: hears all routers and the scheduler, keeps the number of instances of every service
 * right, and says which router may use which instance.
 *
 * News only mark services as touched; at the end of the turn each touched service is reviewed once
 * (`ServiceReviewer`). Between news, a service is reviewed when something about it depends on time; an idle service
 * costs nothing.
 */
export class Leader implements SessionSource {
  readonly #options: LeaderOptions
  readonly #fence: Fence
  readonly #services = new Map<ServiceId, ManagedService>()
  readonly #sessions = new Map<RouterId, RouterSession>()
  readonly #reviews: ReviewQueue<ManagedService>
  readonly #instances: InstanceDesk
  readonly #overrides: StoreMirror<OverridesRecord>
  readonly #questions: RouterQuestions
  readonly #watchers: InstanceWatchers
  readonly #routers: RouterDesk
  readonly #followers: FollowerDesk
  readonly #versions: VersionDesk
  readonly #reviewer: ServiceReviewer
  readonly #feed: SchedulerFeed
  readonly #stopped = new AbortController()
  /** Resolves with `stop`. */
  readonly #deposed = new Promise<void>(resolve => this.#stopped.signal.addEventListener('abort', () => resolve()))
  /** Needs that came before the scheduler's first listing. */
  readonly #early: {
    readonly definition: ServiceDefinition
    readonly sourceTokens: readonly SourceToken[]
    readonly session: RouterSession | undefined
  }[] = []
  #resolveListed: () => void = () => undefined
  /** Resolves when the scheduler has said what runs. */
  readonly listed: Promise<void>

  constructor(options: LeaderOptions) {
    this.#options = options
    this.#fence = { term: options.term }
    this.#overrides = new StoreMirror({
      store: options.store,
      prefix: STORE_PREFIXES.overrides,
      parse: text => JSON.parse(text) as OverridesRecord,
      onChange: serviceId => this.#redefine(serviceId),
      log: options.log,
    })
    this.#questions = new RouterQuestions(options.clock)
    this.#watchers = new InstanceWatchers(this.#services, task => options.clock.soon(task))
    this.#reviews = new ReviewQueue(options.clock, (service, nowMs) => this.#review(service, nowMs))
    this.#instances = new InstanceDesk({
      ...options,
      services: this.#services,
      touch: service => this.#touch(service),
    })
    this.#followers = new FollowerDesk({
      services: this.#services,
      sessions: this.#sessions,
      nowMs: () => options.clock.nowMs(),
      touch: service => this.#touch(service),
    })
    this.#routers = new RouterDesk({
      ...options,
      sessions: this.#sessions,
      services: this.#services,
      followers: this.#followers,
      questions: this.#questions,
      source: this,
      tellWaiting: service => this.#tellWaiting(service),
      touch: service => this.#touch(service),
    })
    this.#versions = new VersionDesk({
      ...options,
      tell: service => this.#followers.tellAll(service),
      touch: service => this.#touch(service),
      need: (definition, sourceTokens) => this.need(definition, sourceTokens),
    })
    this.#reviewer = new ServiceReviewer({
      ...options,
      fence: this.#fence,
      startedAtMs: options.clock.nowMs(),
      sessions: this.#sessions,
      followers: this.#followers,
      successions: this.#versions.successions,
      touch: service => this.#touch(service),
      forget: service => this.#forget(service),
    })
    this.#feed = new SchedulerFeed({
      ...options,
      services: this.#services,
      adopt: definition => this.#adoptRunning(definition),
      update: service => this.#update(service),
      begin: service => this.#reviewer.begin(service),
      forget: service => this.#forget(service),
      touch: service => this.#touch(service),
      onListed: () => this.#onListed(),
    })
    this.listed = new Promise(resolve => {
      this.#resolveListed = resolve
    })
  }

  /** Follows the scheduler until `stop`. */
  async run(): Promise<void> {
    const following = Promise.all([this.#overrides.run(), this.#versions.run()])
    // What runs may still carry overrides that were dropped while nobody led.
    void this.#overrides.ready.then(() => {
      for (const serviceId of this.#services.keys()) this.#redefine(serviceId)
    })
    await this.#routers.expectEarlier(this.#stopped.signal)
    await this.#feed.run(this.#stopped.signal)
    await following
  }

  stop(): void {
    this.#stopped.abort()
    this.#overrides.stop()
    this.#versions.stop()
    this.#reviews.stop()
    this.#questions.stop()
    this.#watchers.close()
    this.#routers.stop()
  }

  // -- routers ------------------------------------------------------------------------------------------------------

  attach(router: RouterIntroduction, stream: SessionStream): RouterSession {
    return this.#routers.attach(router, stream)
  }

  detach(session: RouterSession): void {
    this.#routers.detach(session)
  }

  /** A router is to be left out: its slots go to the others; or serves again. */
  drain(session: RouterSession, isOver: boolean): void {
    if (isOver) this.#routers.serve(session)
    else this.#routers.drain(session)
  }

  get awaitedRouterIds(): readonly RouterId[] {
    return this.#routers.awaitedIds
  }

  /** Its host saw the process of a router end. */
  routerEnded(routerId: RouterId): void {
    this.#routers.ended(routerId)
  }

  peersOf(routerId: RouterId): ReturnType<SessionSource['peersOf']> {
    const others = [...this.#sessions.values()].filter(other => other.routerId !== routerId && other.peerAddress !== '')
    return others.map(({ routerId: id, peerAddress: address, gossipAddress }) => ({
      routerId: id,
      address,
      gossipAddress,
    }))
  }

  report(session: RouterSession, rows: readonly ServiceLoadRow[]): void {
    const nowMs = this.#options.clock.nowMs()
    for (const row of rows) {
      const service = this.#services.get(row.serviceId)
      if (service === undefined) continue
      this.#followers.follow(service, session.routerId)
      const { failingRevision } = service.loads
      const before = service.loads.of(session.routerId)
      service.traffic.absorb(before, row, nowMs)
      const isUsed = row.outstanding !== (before?.outstanding ?? 0) || row.lastRequestMs > (before?.lastRequestMs ?? 0)
      if (isUsed) service.lastModifiedMs = nowMs
      const isOtherWaiting = row.waiting !== (before?.waiting ?? 0)
      service.loads.set(session.routerId, row)
      service.ledger.setDemand(session.routerId, row.outstanding, row.total - row.waiting)
      if (this.#sessions.size > 1 && isOtherWaiting) this.#tellWaiting(service, session)
      if (row.outstanding > 0) revokeDeletion(service)
      if (service.loads.failingRevision !== failingRevision) this.#touch(service)
      else this.#reviews.touchBy(service, this.#reviewer.loadReviewAtMs(service, nowMs))
    }
  }

  acknowledge(session: RouterSession, streamVersion: number, rows: readonly ServiceUseRow[]): void {
    for (const row of rows) {
      const service = this.#services.get(row.serviceId)
      if (service === undefined) continue
      const version = session.acknowledgedVersion(row.serviceId, streamVersion)
      const inUse = useOf(row)
      if (version !== undefined && service.ledger.has(session.routerId)) {
        if (service.ledger.ack(session.routerId, version, inUse)) this.#touch(service)
      } else if (inUse.size > 0 || service.ledger.has(session.routerId)) {
        // What it borrowed of a router that is not there any more. It must not be overlooked when that one is buried.
        this.#followers.follow(service, session.routerId)
        service.ledger.noteUse(session.routerId, inUse)
        this.#touch(service)
      }
    }
    // After its rows: they tell what the router still runs on slots that the dead one lent.
    this.#routers.heardDeaths(session, streamVersion)
  }

  /** A request waits for this service somewhere: make sure that it runs, and that the router at which it waits hears of it. */
  need(definition: ServiceDefinition, sourceTokens: readonly SourceToken[], session?: RouterSession): void {
    if (!this.#feed.isListed) {
      this.#early.push({ definition, sourceTokens, session })
      return
    }
    const known = this.#services.get(definition.id)
    const service = known ?? this.#adopt(definition)
    this.#follow(service, session)
    if (known === undefined) this.#reviewer.create(service)
    else if (!revokeDeletion(service)) service.isWantedAgain = true
    this.#versions.addReference(service, sourceTokens, known === undefined)
    this.#touch(service)
  }

  /** A service that is known: whoever needs it need not describe it. */
  definitionOf(serviceId: ServiceId): ServiceDefinition | undefined {
    return this.#services.get(serviceId)?.definition
  }

  /** Routers reached services in ways that they had not met before. */
  reference(rows: readonly ReferenceRow[]): void {
    for (const { serviceId, sourceTokens } of rows) {
      const service = this.#services.get(serviceId)
      if (service !== undefined) this.#versions.addReference(service, sourceTokens, false)
    }
  }

  /** A router wants to hear of these services, and of those that there are not. */
  follow(session: RouterSession, serviceIds: readonly ServiceId[]): void {
    for (const serviceId of serviceIds) {
      const service = this.#services.get(serviceId)
      if (service !== undefined) this.#follow(service, session)
      session.markDirty(serviceId)
    }
  }

  #follow(service: ManagedService, session: RouterSession | undefined): void {
    if (session !== undefined && this.#sessions.get(session.routerId) === session)
      this.#followers.follow(service, session.routerId)
  }

  /** A newer version of a token is to take over from an older one (`SuccessionKeeper`). */
  succeed(request: SuccessionRequest, session?: RouterSession): void {
    const predecessor = this.#services.get(request.predecessorId)
    if (!this.#feed.isListed || predecessor === undefined) {
      this.need(request.definition, request.sourceTokens, session)
      return
    }
    const known = this.#services.get(request.definition.id)
    const successor = known ?? this.#adopt(request.definition)
    this.#follow(successor, session)
    this.#follow(predecessor, session)
    const wanted = this.#versions.want(request, successor, predecessor)
    if (known === undefined) this.#reviewer.create(successor, wanted)
    else if (!revokeDeletion(successor)) successor.isWantedAgain = true
    this.#versions.addReference(successor, request.sourceTokens, known === undefined)
  }

  leasesFor(serviceId: ServiceId, routerId: RouterId): ReturnType<SessionSource['leasesFor']> {
    const service = this.#services.get(serviceId)
    if (!service?.followers.has(routerId)) return undefined
    return { leases: service.leasesFor(routerId), version: service.ledger.assignmentOf(routerId)?.version ?? 0 }
  }

  // -- people -------------------------------------------------------------------------------------------------------

  view(serviceId?: ServiceId): ClusterView {
    const wanted = serviceId === undefined ? [...this.#services.values()] : [this.#services.get(serviceId)]
    return {
      term: this.#options.term,
      leaderId: this.#options.leaderId,
      services: wanted.filter(service => service !== undefined).map(viewOf),
      routers: [...this.#sessions.values()].map(({ routerId, httpUrl }) => ({ routerId, httpUrl })),
    }
  }

  describeRouters(): readonly RouterState[] {
    return [...this.#sessions.values()].map(({ routerId, nodeId, httpUrl, isDraining: drains }) => ({
      ...{ routerId, nodeId, httpUrl, drains },
    }))
  }

  /** Lets running requests finish for a moment, then stops every instance. Resolves when it is gone. */
  async delete(serviceId: ServiceId): Promise<boolean> {
    const service = this.#services.get(serviceId)
    if (service === undefined) return false
    // What somebody wants deleted goes, also when it is only being collected so far, which a request would revoke.
    if (service.deletion === undefined || (service.deletion.isRevocable && !service.deletion.isStarted))
      service.deletion = {
        reason: 'deleted on request',
        drainUntilMs: this.#options.clock.nowMs() + DELETE_DRAIN_MS,
        isRevocable: false,
        isStarted: false,
      }
    this.#touch(service)
    await Promise.race([service.gone, this.#deposed])
    if (this.#stopped.signal.aborted) throw notLeader('')
    return true
  }

  /** @returns false when no such instance runs */
  signal(signal: InstanceSignal): boolean {
    return this.#instances.signal(signal)
  }

  /** Asks every attached router. */
  async askRouters(question: { topic: string; argumentJson: string }, timeoutMs: number): Promise<GatheredAnswers> {
    return await this.#questions.ask(this.#sessions.values(), question, timeoutMs)
  }

  answered(session: RouterSession, questionId: number, answerJson: string): void {
    this.#questions.answered(session, questionId, answerJson)
  }

  /** Takes what instances of bypass services say of their load. @returns true when any of it is news */
  reportExternalMetrics(rows: readonly ExternalMetricsRow[]): boolean {
    let isUsed = false
    for (const row of rows) {
      const service = this.#services.get(row.serviceId)
      if (service === undefined || !service.setExternalMetrics(row, this.#options.clock.nowMs())) continue
      this.#touch(service)
      isUsed = true
    }
    return isUsed
  }

  /** Tells which instances are healthy: all at once, then what changes. @returns what ends the watch */
  watchInstances(watcher: InstanceWatcher): () => void {
    return this.#watchers.add(watcher)
  }

  async readLog(serviceId: ServiceId, instanceId: InstanceId, path: string, range: LogRange): Promise<LogPiece> {
    return await this.#instances.readLog(serviceId, instanceId, path, range)
  }

  async logs(serviceId: ServiceId, instanceId: InstanceId, path: string): Promise<readonly LogEntry[]> {
    return await this.#instances.logs(serviceId, instanceId, path)
  }

  // -- services -----------------------------------------------------------------------------------------------------

  #onListed(): void {
    for (const { definition, sourceTokens, session } of this.#early.splice(0))
      this.need(definition, sourceTokens, session)
    void this.#versions.restore(this.#services)
    this.#resolveListed()
  }

  /** @param expected routers that may use it from before; of a service that is only about to start nobody can */
  #adopt(definition: ServiceDefinition, expected?: ExpectedRouters): ManagedService {
    const service = new ManagedService(definition, this.#options.clock.nowMs(), expected)
    this.#services.set(service.id, service)
    if (this.#overrides.isSynced) this.#redefine(service.id)
    this.#followers.admit(service)
    return service
  }

  /** Overrides apply to what runs: neither the id nor any instance changes. */
  #redefine(serviceId: ServiceId): void {
    const service = this.#services.get(serviceId)
    if (service === undefined) return
    const overrides = this.#overrides.find(serviceId)?.overrides
    const { core } = service.definition
    if (!service.redefine(computeEffectiveDescription(core, this.#options.services, overrides))) return
    this.#followers.tellAll(service)
    if (service.isCreated) this.#update(service)
    this.#touch(service)
  }

  /** How much waits at one router matters to the others. */
  #tellWaiting(service: ManagedService, reporter?: RouterSession): void {
    if (!service.observeWaiting()) return
    for (const routerId of service.followers.ids()) {
      const session = this.#sessions.get(routerId)
      if (session !== reporter) session?.markDirty(service.id)
    }
  }

  /** Routers that are missing may use it from before. */
  #adoptRunning(definition: ServiceDefinition): ManagedService {
    for (const routerId of this.#routers.lostIds) this.#followers.expect(routerId)
    return this.#adopt(definition, this.#followers.expected)
  }

  #update(service: ManagedService): void {
    const { scheduler, log } = this.#options
    scheduler
      .update(service.definition, this.#fence)
      .catch(error => log.error({ err: error, serviceId: service.id }, 'the scheduler did not take changed overrides'))
  }

  #forget(service: ManagedService): void {
    this.#services.delete(service.id)
    this.#watchers.mark(service.id)
    this.#reviews.forget(service)
    for (const routerId of service.followers.ids()) this.#sessions.get(routerId)?.forget(service.id)
    service.resolveGone()
    this.#versions.forget(service)
    if (service.isWantedAgain) this.#revive(service)
  }

  /** Starts it anew, with what is known of it: routers report a figure again only when it changes. */
  #revive(former: ManagedService): void {
    const { definition, id } = former
    this.#versions.needAgain({ definition, id, references: former.references() })
    const service = this.#services.get(former.id)
    if (service === undefined) return
    for (const routerId of former.followers.ids()) this.#followers.follow(service, routerId)
    for (const [routerId, row] of former.loads.entries()) {
      service.loads.set(routerId, { ...row, instances: [] })
      service.ledger.setDemand(routerId, row.outstanding)
    }
  }

  // -- reviews ------------------------------------------------------------------------------------------------------

  #touch(service: ManagedService): void {
    // What was under way for one that is gone by now concerns nobody.
    if (this.#services.get(service.id) !== service) return
    this.#watchers.mark(service.id)
    this.#reviews.touch(service)
  }

  #review(service: ManagedService, nowMs: Millis): Millis {
    return Math.min(this.#versions.review(service, nowMs), this.#reviewer.review(service, nowMs))
  }
}

const NO_USE: ReadonlyMap<InstanceId, number> = new Map()

function useOf({ instances }: ServiceUseRow): ReadonlyMap<InstanceId, number> {
  return instances.length === 0 ? NO_USE : new Map(instances.map(({ instanceId, inUse }) => [instanceId, inUse]))
}
