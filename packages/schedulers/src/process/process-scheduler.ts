import { resolve } from 'node:path'
import type { InstanceId, Logger, ServiceId } from '@waiter/base'
import { WaiterError } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'
import { schedulerError } from '../errors.ts'
import { EventHub } from '../event-hub.ts'
import type {
  Fence,
  InstanceRef,
  KillRequest,
  KillResult,
  LogEntry,
  LogPiece,
  LogRange,
  Scheduler,
  SchedulerEvent,
  ServiceRecord,
} from '../scheduler.ts'
import { adoptServices } from './adopt.ts'
import { assertRunnable } from './assert-runnable.ts'
import type { Instance, InstanceContext } from './instance.ts'
import { launchInstance } from './launch-instance.ts'
import { listLogs, readLogPiece } from './log-files.ts'
import { startPatrol } from './patrol.ts'
import { PortPool } from './port-pool.ts'
import { type ProcessSchedulerOptions, type ResolvedProcessOptions, resolveProcessOptions } from './process-options.ts'
import { ProcessTable, readBootId } from './process-table.ts'
import {
  applyEnded,
  applyFailure,
  countMissing,
  createServiceState,
  describeService,
  isResting,
  type ServiceState,
} from './service-state.ts'
import { StateFiles } from './state-files.ts'
import { Tenancy } from './tenancy.ts'
import type { Timer } from './timers.ts'

/** Wait before a launch that this machine could not do (no port, no space) is tried again. */
const LAUNCH_RETRY_MS = 1000

/**
 * Opens a data directory and runs services as processes of this machine.
 *
 * Resolves when everything that an earlier Waiter left there is adopted, recorded or killed: the first listing is
 * complete. The directory belongs to the newest scheduler that opened it; an older one goes quiet by itself.
 */
export async function createProcessScheduler(options: ProcessSchedulerOptions): Promise<ProcessScheduler> {
  const scheduler = new ProcessScheduler(resolveProcessOptions(options))
  await scheduler.open()
  return scheduler
}

/** The `Scheduler` that runs services as processes of this machine; made by {@link createProcessScheduler}. */
export class ProcessScheduler implements Scheduler, AsyncDisposable {
  readonly name: string
  readonly #options: ResolvedProcessOptions
  readonly #log: Logger
  readonly #hub: EventHub
  readonly #files: StateFiles
  readonly #tenancy: Tenancy
  readonly #context: InstanceContext
  readonly #launches = new Set<Promise<void>>()
  readonly #waitingForLaunch = new Set<ServiceState>()
  readonly #adoptedIds = new Set<InstanceId>()
  #services = new Map<ServiceId, ServiceState>()
  #patrol: Timer = { cancel: () => undefined }
  #isClosed = false

  constructor(options: ResolvedProcessOptions) {
    this.name = options.name
    this.#options = options
    this.#log = options.log
    this.#hub = new EventHub(() => this.#list())
    this.#files = new StateFiles(resolve(options.dataDir), options.log)
    this.#tenancy = new Tenancy(this.#files.dataDir, options.fence)
    this.#context = this.#createContext()
  }

  /** Adopts what is there and begins to act. Called once, by {@link createProcessScheduler}. */
  async open(): Promise<void> {
    const { services, adopted } = await adoptServices(this.#context)
    this.#services = services
    for (const { record } of adopted) this.#adoptedIds.add(record.instanceId)
    for (const [place, instance] of adopted.entries()) instance.start(place)
    this.#patrol = startPatrol({
      context: this.#context,
      options: this.#options,
      services: () => this.#services,
      isOwner: () => this.#checkOwner(),
    })
    for (const service of services.values()) this.#reconcile(service)
  }

  /**
   * Notes, durably, that a leader of this term acts: orders of lower ones are refused from now on.
   *
   * @throws WaiterError `WTR_FENCED` when a higher one has acted before
   */
  admit(fence: Fence): void {
    this.#begin(fence)
  }

  watch(signal: AbortSignal): AsyncIterable<SchedulerEvent> {
    return this.#hub.watch(signal)
  }

  async create(definition: ServiceDefinition, count: number, fence: Fence): Promise<void> {
    this.#begin(fence)
    assertRunnable(definition)
    const deletion = this.#services.get(definition.id)?.deletion
    if (deletion !== undefined) {
      await deletion // the old one must be gone before a new one of the same name starts
      this.#begin(fence)
    }
    if (this.#services.has(definition.id)) return
    const service = createServiceState(definition, count, this.#options.timers.nowMs())
    this.#writeService(service, count)
    this.#services.set(definition.id, service)
    this.#publishService(service)
    this.#reconcile(service)
  }

  async scale(id: ServiceId, to: number, fence: Fence): Promise<void> {
    this.#begin(fence)
    const service = this.#find(id)
    if (to <= service.requested) return
    this.#writeService(service, to)
    this.#request(service, to)
    this.#reconcile(service)
  }

  async kill(request: KillRequest, fence: Fence): Promise<KillResult> {
    this.#begin(fence)
    const service = this.#services.get(request.serviceId)
    const instance = service?.running.get(request.instanceId)
    if (service === undefined || instance === undefined) return { kind: 'no-such-instance' }
    if (instance.record.endedAtMs !== null) {
      await instance.finished // ended by itself; its remains are being stopped
      return { kind: 'no-such-instance' }
    }
    // Lowered first, so that no replacement starts; once, however often it is asked for.
    if (instance.isActive) this.#lower(service)
    await instance.kill(request.reason, request.graceMs)
    this.#assertOpen()
    return { kind: 'killed' }
  }

  async delete(id: ServiceId, fence: Fence): Promise<void> {
    this.#begin(fence)
    const service = this.#services.get(id)
    if (service === undefined) return
    const graceMs = service.definition.effective['termination-grace-period-secs'] * 1000
    service.deletion ??= this.#remove(service, graceMs)
    await service.deletion
    this.#assertOpen()
  }

  async update(definition: ServiceDefinition, fence: Fence): Promise<void> {
    this.#begin(fence)
    const service = this.#services.get(definition.id)
    if (service === undefined || service.deletion !== undefined) return
    service.definition = definition
    this.#writeService(service, service.requested)
    for (const instance of service.running.values()) instance.redefine(definition)
    this.#publishService(service)
  }

  /** Whoever had the directory before does not read it again: it knows what was adopted from it, and nothing newer. */
  isUnheard({ instanceId }: InstanceRef): boolean {
    return !this.#adoptedIds.has(instanceId)
  }

  noteUse(id: ServiceId): void {
    const service = this.#services.get(id)
    if (service === undefined) return
    const nowMs = this.#options.timers.nowMs()
    const wasResting = isResting(service, nowMs)
    service.usedAtMs = nowMs
    if (!wasResting) return
    let place = 0
    for (const instance of service.running.values()) instance.noteUse(place++)
  }

  async logs(instance: InstanceRef, path: string): Promise<readonly LogEntry[]> {
    return await listLogs(this.#sandboxOf(instance), path)
  }

  async readLog(instance: InstanceRef, path: string, range: LogRange): Promise<LogPiece> {
    return await readLogPiece(this.#sandboxOf(instance), path, range)
  }

  #sandboxOf(instance: InstanceRef): string {
    const service = this.#services.get(instance.serviceId)
    const isKnown =
      service?.running.has(instance.instanceId) || service?.ended.some(r => r.instanceId === instance.instanceId)
    if (!isKnown) {
      throw schedulerError(
        'WTR_NO_SUCH_INSTANCE',
        `No instance ${instance.instanceId} of ${instance.serviceId} is known.`,
      )
    }
    return this.#files.sandbox(instance.serviceId, instance.instanceId)
  }

  /** Why the last start of this service did not come about (no port, no space); null when it did. */
  startProblem(id: ServiceId): string | null {
    return this.#services.get(id)?.problem ?? null
  }

  /**
   * Closes the object and leaves all processes running, for another scheduler object to adopt. Watches end; calls in
   * progress fail with `WTR_SCHEDULER_STOPPED`. Resolves when nothing here touches processes or files any more.
   */
  async stop(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true
      this.#patrol.cancel()
      for (const service of this.#services.values()) {
        service.retryTimer?.cancel()
        for (const instance of service.running.values()) instance.detach()
      }
      this.#hub.close()
    }
    await Promise.all(this.#launches)
  }

  /**
   * Stops every process, all in parallel, forgets the services and closes. For the end of a Waiter that nobody will
   * start again on this directory; the normal end is {@link stop}.
   */
  async stopAll(graceMs: number): Promise<void> {
    const removals: Promise<void>[] = []
    for (const service of this.#services.values()) {
      service.deletion ??= this.#remove(service, graceMs)
      removals.push(service.deletion)
    }
    await Promise.all(removals)
    await this.stop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #createContext(): InstanceContext {
    const { timers, log, prng, portRange, portQuarantineMs, passwordFor } = this.#options
    return {
      timers,
      log,
      table: new ProcessTable(),
      ports: new PortPool({ range: portRange, quarantineMs: portQuarantineMs, prng, nowMs: () => timers.nowMs() }),
      files: this.#files,
      bootId: readBootId(),
      advertise: this.#options.network?.advertise,
      password: passwordFor,
      startingCount: () => this.#countStarting(),
      runningCount: () => {
        let count = 0
        for (const { running } of this.#services.values()) count += running.size
        return count
      },
      chance: () => prng.next(),
      isResting: ({ record }) => {
        const service = this.#services.get(record.serviceId)
        return service !== undefined && isResting(service, timers.nowMs())
      },
      isClosed: () => !this.#checkOwner(),
      onChange: instance => this.#onChange(instance),
      onFailure: instance => this.#onFailure(instance),
      onFinish: instance => this.#services.get(instance.record.serviceId)?.running.delete(instance.record.instanceId),
    }
  }

  #begin(fence: Fence): void {
    this.#assertOpen()
    if (!this.#checkOwner()) this.#assertOpen()
    this.#tenancy.checkFence(fence)
  }

  #assertOpen(): void {
    if (!this.#isClosed) return
    throw schedulerError('WTR_SCHEDULER_STOPPED', `The scheduler ${this.name} of this node has been stopped.`)
  }

  /** Goes quiet when another scheduler object has opened the directory. */
  #checkOwner(): boolean {
    if (this.#isClosed) return false
    if (this.#tenancy.isOwner()) return true
    this.#log.warn(
      { dataDir: this.#files.dataDir },
      'another scheduler has taken the directory over; this one goes quiet',
    )
    this.stop().catch(cause => this.#log.error({ cause: String(cause) }, 'going quiet failed'))
    return false
  }

  #find(id: ServiceId): ServiceState {
    const service = this.#services.get(id)
    if (service !== undefined && service.deletion === undefined) return service
    throw schedulerError('WTR_NO_SUCH_SERVICE', `The scheduler ${this.name} does not know the service ${id}.`)
  }

  #request(service: ServiceState, requested: number): void {
    service.requested = requested
    this.#publishService(service)
  }

  #lower(service: ServiceState): void {
    const requested = Math.max(0, service.requested - 1)
    try {
      this.#writeService(service, requested)
    } catch (cause) {
      // A full disk must not keep anything running; at worst the next Waiter starts one more than wanted.
      this.#log.error({ serviceId: service.definition.id, cause: String(cause) }, 'cannot write the lowered count')
    }
    this.#request(service, requested)
  }

  #writeService(service: ServiceState, requested: number): void {
    const { definition } = service
    try {
      this.#files.writeService({ format: 1, definition, requested })
    } catch (cause) {
      throw schedulerError(
        'WTR_STATE_NOT_WRITTEN',
        `Cannot write the state of ${definition.id} below ${this.#files.dataDir}: ` +
          `${(cause as NodeJS.ErrnoException).code ?? 'unexpected error'}. Look at free space and rights.`,
        cause,
      )
    }
  }

  #publishService(service: ServiceState): void {
    const { definition, requested, problem: startTrouble } = service
    this.#hub.publish({ kind: 'service', definition, requested, startTrouble })
  }

  async #remove(service: ServiceState, graceMs: number): Promise<void> {
    const { id } = service.definition
    // First on disk: after a crash in the middle, the next start kills what is left.
    this.#files.removeService(id)
    service.requested = 0
    service.retryTimer?.cancel()
    this.#publishService(service)
    const killAll = () => [...service.running.values()].map(instance => instance.kill('Service deleted', graceMs))
    const kills = killAll()
    await Promise.all(this.#launches) // one of them may have spawned a moment ago
    await Promise.all([...kills, ...killAll()])
    if (this.#isClosed) return
    this.#services.delete(id)
    this.#hub.publish({ kind: 'service-removed', serviceId: id })
  }

  /** Starts what is missing, now or when the back-off is over. */
  #reconcile(service: ServiceState): void {
    if (this.#isClosed || service.deletion !== undefined) return
    const missing = countMissing(service)
    if (missing === 0) return
    const waitMs = service.startsFromMs - this.#options.timers.nowMs()
    if (waitMs > 0) {
      service.retryTimer?.cancel()
      service.retryTimer = this.#options.timers.setTimer(waitMs, () => this.#reconcile(service))
      return
    }
    const free = this.#options.startsMax - this.#launches.size
    if (free < missing) this.#waitingForLaunch.add(service)
    for (let count = Math.min(missing, free); count > 0; count--) this.#launch(service)
  }

  #launch(service: ServiceState): void {
    service.pending += 1
    const launch = this.#tryLaunch(service).finally(() => {
      this.#launches.delete(launch)
      this.#launchWaiting()
    })
    this.#launches.add(launch)
  }

  #launchWaiting(): void {
    for (const service of this.#waitingForLaunch) {
      if (this.#launches.size >= this.#options.startsMax) return
      this.#waitingForLaunch.delete(service)
      this.#reconcile(service)
    }
  }

  async #tryLaunch(service: ServiceState): Promise<void> {
    let isPending = true
    const settle = (): void => {
      if (isPending) service.pending -= 1
      isPending = false
    }
    try {
      const instance = await launchInstance({
        context: this.#context,
        options: this.#options,
        definition: service.definition,
        streak: service.streak,
        isStillWanted: () => this.#isStillWanted(service),
      })
      settle()
      if (instance === null) return
      const wasInTrouble = service.problem !== null
      service.problem = null
      if (wasInTrouble && !this.#isClosed) this.#publishService(service)
      this.#onLaunched(service, instance)
    } catch (cause) {
      settle()
      this.#onLaunchFailed(service, cause)
    }
  }

  /** The launch itself is among the pending ones. */
  #isStillWanted(service: ServiceState): boolean {
    if (!this.#checkOwner() || service.deletion !== undefined) return false
    let active = service.pending
    for (const instance of service.running.values()) if (instance.isActive) active += 1
    return active <= service.requested
  }

  #onLaunched(service: ServiceState, instance: Instance): void {
    if (this.#isClosed) {
      instance.detach() // its file is written: the next scheduler object adopts it
      return
    }
    service.running.set(instance.record.instanceId, instance)
    this.#hub.publish({ kind: 'instance', instance: instance.record })
    instance.start()
  }

  #onLaunchFailed(service: ServiceState, cause: unknown): void {
    const error = cause instanceof WaiterError ? cause : schedulerError('WTR_START_FAILED', String(cause), cause)
    const isNews = service.problem === null
    service.problem = error.message
    if (this.#isClosed) return
    // Once per service and trouble: a thousand services without a port would fill the log every second.
    if (isNews) {
      this.#publishService(service)
      this.#log.warn(
        { serviceId: service.definition.id, code: error.code, cause: String(error.cause ?? '') },
        `${error.message} Trying again every ${LAUNCH_RETRY_MS} ms.`,
      )
    }
    service.startsFromMs = Math.max(service.startsFromMs, this.#options.timers.nowMs() + LAUNCH_RETRY_MS)
    this.#reconcile(service)
  }

  #onChange(instance: Instance): void {
    if (this.#isClosed) return
    const { record } = instance
    const service = this.#services.get(record.serviceId)
    if (service === undefined) return
    if (record.endedAtMs !== null) {
      for (const dropped of applyEnded(service, record)) this.#removeDirectory(service, dropped.instanceId)
    }
    this.#hub.publish({ kind: 'instance', instance: record })
  }

  #removeDirectory(service: ServiceState, instanceId: InstanceId): void {
    this.#files.removeInstance(service.definition.id, instanceId)
  }

  #onFailure(instance: Instance): void {
    const service = this.#services.get(instance.record.serviceId)
    if (service === undefined || this.#isClosed) return
    applyFailure(service, instance, this.#options.timers.nowMs())
    this.#reconcile(service)
  }

  #countStarting(): number {
    let count = 0
    for (const service of this.#services.values()) {
      for (const instance of service.running.values()) if (instance.record.state === 'starting') count += 1
    }
    return count
  }

  #list(): readonly ServiceRecord[] {
    return [...this.#services.values()].map(describeService)
  }
}
