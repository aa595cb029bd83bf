import { type Logger, type ServiceId, silentLogger } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'
import { schedulerError } from '../errors.ts'
import { systemTimers, type Timer, type Timers } from '../process/timers.ts'
import type {
  Fence,
  InstanceRecord,
  InstanceRef,
  KillRequest,
  KillResult,
  LogEntry,
  LogPiece,
  LogRange,
  Scheduler,
  SchedulerEvent,
} from '../scheduler.ts'
import { FailedStarts } from './failed-starts.ts'
import { FleetView } from './fleet-view.ts'
import { Hearing } from './hearing.ts'
import { type ContactLimits, DEFAULT_CONTACT_LIMITS, type HostContact } from './host-contact.ts'
import { type FleetHost, HostFollower } from './host-follower.ts'
import { Placement } from './placement.ts'

/** A new leader waits so long for the first word of every host before it decides with what it has heard. */
const FIRST_WORD_MS_MAX = 1_000
/** A service that failed so often in a row on a host, and never came up there, is moved to another one. */
const FAILURES_BEFORE_MOVE = 2

export interface FleetSchedulerOptions {
  /** Default `fleet`. */
  readonly name?: string
  readonly timers?: Timers
  readonly limits?: ContactLimits
  readonly log?: Logger
}

/** A host, as whoever leads sees it. */
export interface HostReport {
  readonly hostId: string
  readonly contact: HostContact
  readonly drains: boolean
  /** And others are there that can take what it runs. */
  readonly isLeft: boolean
  /** That run there, as far as is known. */
  readonly instances: number
}

/**
 * Runs instances on several hosts, each by the scheduler of that host, and shows them as one.
 *
 * It keeps nothing of its own that matters: every host keeps what it runs, how many are requested there, and the
 * highest term that has ordered anything. Whoever leads next lists the hosts. What a service requests is the sum over
 * its hosts; new ones go where {@link chooseHosts} says; the leader chooses which ones end. A call to change something
 * resolves when its effect has been heard.
 */
export class FleetScheduler implements Scheduler {
  readonly name: string
  readonly #timers: Timers
  readonly #limits: ContactLimits
  readonly #log: Logger
  readonly #followers = new Map<string, HostFollower>()
  readonly #view: FleetView
  readonly #hearing: Hearing
  readonly #failedStarts = new FailedStarts()
  readonly #placement: Placement
  /** Calls that change a service's count, one after the other. */
  readonly #turns = new Map<ServiceId, Promise<void>>()
  /** Services deleted while a host that ran them was away: to be deleted there when it is back. */
  readonly #forgotten = new Map<string, Set<ServiceId>>()
  readonly #ready = Promise.withResolvers<void>()
  #isReady = false
  #draining: ReadonlySet<string> = new Set()
  #firstWordTimer: Timer | undefined
  #fence: Fence | undefined
  #isStopped = false

  constructor(options: FleetSchedulerOptions = {}) {
    this.name = options.name ?? 'fleet'
    this.#timers = options.timers ?? systemTimers
    this.#limits = options.limits ?? DEFAULT_CONTACT_LIMITS
    this.#log = options.log ?? silentLogger
    this.#view = new FleetView(this.#followers)
    this.#hearing = new Hearing(this.#timers)
    this.#placement = new Placement({
      followers: this.#followers,
      failedStarts: this.#failedStarts,
      hearing: this.#hearing,
      timers: this.#timers,
      log: this.#log,
    })
  }

  /** Which hosts belong to the cluster. One that does not any more is gone for good, and so is what it ran. */
  setHosts(hosts: readonly FleetHost[]): void {
    if (this.#isStopped) return
    const wanted = new Map(hosts.map(host => [host.hostId, host]))
    for (const [hostId, follower] of this.#followers) if (wanted.get(hostId) !== follower.host) this.#remove(follower)
    for (const host of hosts) if (!this.#followers.has(host.hostId)) this.#add(host)
    this.#judgeDraining()
    this.#firstWordTimer ??= this.#timers.setTimer(FIRST_WORD_MS_MAX, () => this.#begin())
    this.#beginIfComplete()
  }

  /**
   * Which hosts are to be left. What they run is told to be replaced ({@link InstanceRecord.hostDrains}) as long as another
   * host is heard that stays; that is started first, and requests finish. Hosts that all stop leave everything as it is.
   */
  setDraining(hostIds: ReadonlySet<string>): void {
    this.#draining = hostIds
    this.#judgeDraining()
  }

  /** How each host is. */
  describeHosts(): readonly HostReport[] {
    return [...this.#followers.values()].map(({ host: { hostId }, contact, isHeard, drains, isLeft, mirror }) => ({
      hostId,
      contact: isHeard ? 'up' : contact,
      drains,
      isLeft,
      instances: mirror.runningCount,
    }))
  }

  async *watch(signal: AbortSignal): AsyncIterable<SchedulerEvent> {
    const aborted = new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
    if (!signal.aborted) await Promise.race([this.#ready.promise, aborted])
    yield* this.#view.watch(signal)
  }

  async create(definition: ServiceDefinition, count: number, fence: Fence): Promise<void> {
    await this.#inTurn(definition.id, fence, async () => {
      if (this.#view.counts(definition.id)) return
      for (const ids of this.#forgotten.values()) ids.delete(definition.id)
      this.#view.define(definition)
      await this.#placement.start(definition, count, fence)
    })
  }

  async scale(id: ServiceId, to: number, fence: Fence): Promise<void> {
    await this.#inTurn(id, fence, async () => {
      const service = this.#view.describe(id)
      if (service === undefined)
        throw schedulerError('WTR_NO_SUCH_SERVICE', `No host of the scheduler ${this.name} knows the service ${id}.`)
      const missing = to - service.requested
      if (missing > 0) await this.#placement.start(service.definition, missing, fence)
    })
  }

  async kill(request: KillRequest, fence: Fence): Promise<KillResult> {
    this.#note(fence)
    const owner = this.#ownerOf(request)
    if (owner === undefined) return { kind: 'no-such-instance' }
    await this.#requireHeard(owner)
    const result = await owner.host.scheduler.kill(request, fence)
    await this.#hearing.until(() => !owner.isHeard || owner.mirror.instance(request)?.endedAtMs !== null)
    return result
  }

  async delete(id: ServiceId, fence: Fence): Promise<void> {
    await this.#inTurn(id, fence, async () => {
      const outcomes = await Promise.allSettled(
        this.#holdersOf(id).map(async follower => await this.#deleteAt(follower, id, fence)),
      )
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
      this.#view.forget(id)
    })
  }

  async update(definition: ServiceDefinition, fence: Fence): Promise<void> {
    this.#note(fence)
    // Whoever is away hears of it when it is back.
    if (this.#view.describe(definition.id) !== undefined) this.#view.define(definition)
    const holders = this.#holdersOf(definition.id).filter(follower => follower.isHeard)
    const outcomes = await Promise.allSettled(
      holders.map(async ({ host }) => await host.scheduler.update(definition, fence)),
    )
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  isUnheard(instance: InstanceRef): boolean {
    return this.#ownerOf(instance)?.host.scheduler.isUnheard?.(instance) === true
  }

  noteUse(id: ServiceId): void {
    for (const { host, isHeard } of this.#holdersOf(id)) if (isHeard) host.scheduler.noteUse?.(id)
  }

  async logs(instance: InstanceRef, path: string): Promise<readonly LogEntry[]> {
    return await (await this.#logOwnerOf(instance)).host.scheduler.logs(instance, path)
  }

  async readLog(instance: InstanceRef, path: string, range: LogRange): Promise<LogPiece> {
    return await (await this.#logOwnerOf(instance)).host.scheduler.readLog(instance, path, range)
  }

  /** Ends watches; nothing that runs is touched. */
  stop(): void {
    this.#isStopped = true
    this.#firstWordTimer?.cancel()
    for (const follower of this.#followers.values()) follower.stop()
    this.#hearing.close()
    this.#view.close()
    this.#ready.resolve()
  }

  // -- hosts --------------------------------------------------------------------------------------------------------

  #add(host: FleetHost): void {
    const follower = new HostFollower({
      host,
      timers: this.#timers,
      limits: this.#limits,
      log: this.#log,
      onEvent: (from, event) => this.#onEvent(from, event),
      onContact: from => this.#onContact(from),
    })
    this.#followers.set(host.hostId, follower)
    follower.start()
  }

  #remove(follower: HostFollower): void {
    const { hostId } = follower.host
    this.#log.info({ hostId }, 'a host has left the cluster; what it ran is gone')
    follower.stop()
    this.#followers.delete(hostId)
    this.#forgotten.delete(hostId)
    if (this.#isReady) this.#view.hostLeft(follower, this.#timers.nowMs())
    this.#hearing.wake()
  }

  #onEvent(follower: HostFollower, event: SchedulerEvent): void {
    switch (event.kind) {
      case 'listing':
        this.#onListing(follower)
        break
      case 'service':
        this.#view.publishService(event.definition.id)
        break
      case 'service-removed':
        this.#view.publishService(event.serviceId)
        break
      case 'instance':
        this.#view.publishInstance(follower, event.instance)
        this.#learn(follower, event.instance)
    }
    this.#hearing.wake()
  }

  /** It is heard (again): it catches up with what it missed. */
  #onListing(follower: HostFollower): void {
    const { host, mirror } = follower
    const toForget = this.#forgotten.get(host.hostId) ?? new Set<ServiceId>()
    this.#forgotten.delete(host.hostId)
    for (const id of [...mirror.serviceIds]) {
      if (toForget.has(id)) {
        mirror.forget(id)
        this.#settle(follower, 'delete', async fence => await host.scheduler.delete(id, fence))
        continue
      }
      const newest = this.#view.definedAs(id)
      if (newest !== undefined && JSON.stringify(newest) !== JSON.stringify(mirror.find(id)?.definition))
        this.#settle(follower, 'update', async fence => await host.scheduler.update(newest, fence))
    }
    if (this.#isReady) this.#view.publishListing()
    else this.#beginIfComplete()
    this.#judgeDraining()
  }

  #judgeDraining(): void {
    const followers = [...this.#followers.values()]
    for (const follower of followers) follower.drains = this.#draining.has(follower.host.hostId)
    const isTaken = followers.some(({ isHeard, drains }) => isHeard && !drains)
    for (const follower of followers) {
      const isLeft = follower.drains && isTaken
      if (isLeft === follower.isLeft) continue
      follower.isLeft = isLeft
      this.#log.info(
        { hostId: follower.host.hostId, instances: follower.mirror.runningCount },
        isLeft ? 'a host drains: what it runs is started elsewhere' : 'what a host runs stays there',
      )
      if (this.#isReady) this.#view.publishHost(follower)
    }
  }

  #settle(follower: HostFollower, what: string, work: (fence: Fence) => Promise<void>): void {
    if (this.#fence === undefined) return
    work(this.#fence).catch(error =>
      this.#log.warn({ err: error, hostId: follower.host.hostId, what }, 'a host that came back did not take an order'),
    )
  }

  #onContact(follower: HostFollower): void {
    if (this.#isReady && follower.contact !== 'up') this.#view.publishHost(follower)
    this.#judgeDraining()
    this.#hearing.wake()
  }

  #beginIfComplete(): void {
    const hosts = [...this.#followers.values()]
    if (hosts.length > 0 && hosts.every(follower => follower.isHeard)) this.#begin()
  }

  #begin(): void {
    this.#firstWordTimer?.cancel()
    this.#isReady = true
    this.#ready.resolve()
  }

  // -- services -----------------------------------------------------------------------------------------------------

  /** Where it failed to start it is tried elsewhere; where it came up it may be started again. */
  #learn(follower: HostFollower, record: InstanceRecord): void {
    const { hostId } = follower.host
    const { serviceId } = record
    if (record.state === 'healthy') this.#failedStarts.clear(serviceId, hostId)
    if (record.state !== 'failed' || record.healthyAtMs !== null || this.#followers.size < 2) return
    const failures = this.#failedStarts.note(serviceId, hostId, this.#timers.nowMs())
    if (failures >= FAILURES_BEFORE_MOVE) void this.#move(follower, serviceId)
  }

  /** Nothing of a service comes up on this host: its instances are started on others. */
  async #move(from: HostFollower, id: ServiceId): Promise<void> {
    const fence = this.#fence
    if (fence === undefined) return
    try {
      await this.#inTurn(id, fence, async () => {
        const service = from.mirror.find(id)
        const isUp = from.mirror.running(id).some(record => record.healthyAtMs !== null)
        if (service === undefined || isUp || !from.isHeard || !this.#placement.hasOther(from, id)) return
        this.#log.info(
          { serviceId: id, hostId: from.host.hostId },
          'a service does not start on this host; trying another',
        )
        await this.#view.whileCounting(id, async () => {
          await from.host.scheduler.delete(id, fence)
          await this.#hearing.until(() => !from.isHeard || !from.mirror.has(id))
          await this.#placement.start(service.definition, service.requested, fence)
        })
      })
    } catch (error) {
      this.#log.warn({ err: error, serviceId: id, hostId: from.host.hostId }, 'a service could not be moved')
    }
  }

  async #deleteAt(follower: HostFollower, id: ServiceId, fence: Fence): Promise<void> {
    const { host, mirror } = follower
    if (follower.contact === 'given-up') {
      const ids = this.#forgotten.get(host.hostId) ?? new Set()
      this.#forgotten.set(host.hostId, ids.add(id))
      mirror.forget(id)
      return
    }
    await this.#requireHeard(follower)
    await host.scheduler.delete(id, fence)
    await this.#hearing.until(() => !follower.isHeard || !mirror.has(id))
  }

  #holdersOf(id: ServiceId): readonly HostFollower[] {
    return [...this.#followers.values()].filter(({ mirror }) => mirror.has(id))
  }

  #ownerOf(instance: InstanceRef): HostFollower | undefined {
    return [...this.#followers.values()].find(({ mirror }) => mirror.instance(instance) !== undefined)
  }

  async #logOwnerOf(instance: InstanceRef): Promise<HostFollower> {
    const owner = this.#ownerOf(instance)
    if (owner === undefined)
      throw schedulerError(
        'WTR_NO_SUCH_INSTANCE',
        `No instance ${instance.instanceId} of ${instance.serviceId} is known.`,
      )
    await this.#requireHeard(owner)
    return owner
  }

  /** A host that has only just fallen silent is often heard again at once: another process serves it. */
  async #requireHeard(follower: HostFollower): Promise<void> {
    if (!follower.isHeard && follower.contact === 'up')
      await this.#hearing.until(() => follower.isHeard || follower.contact !== 'up')
    if (follower.isHeard) return
    throw schedulerError(
      'WTR_HOST_UNREACHABLE',
      `The host ${follower.host.hostId} does not answer at present; what runs there cannot be reached by Waiter.`,
    )
  }

  #note(fence: Fence): void {
    if (this.#isStopped)
      throw schedulerError('WTR_SCHEDULER_STOPPED', `The scheduler ${this.name} of this node has been stopped.`)
    const highest = this.#fence?.term ?? 0
    if (fence.term < highest)
      throw schedulerError(
        'WTR_FENCED',
        `A leader of term ${highest} has acted already; this order of term ${fence.term} comes from a deposed one.`,
      )
    this.#fence = fence
  }

  async #inTurn(id: ServiceId, fence: Fence, work: () => Promise<void>): Promise<void> {
    this.#note(fence)
    const former = this.#turns.get(id)
    const mine = (former ?? this.#ready.promise).then(work)
    const settled = mine.catch(() => undefined)
    this.#turns.set(id, settled)
    try {
      await mine
    } finally {
      if (this.#turns.get(id) === settled) this.#turns.delete(id)
    }
  }
}
