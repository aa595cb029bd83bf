import type { Logger, ServiceId } from '@waiter/base'
import type { InstanceRecord, Scheduler, SchedulerEvent, ServiceRecord } from '@waiter/schedulers'
import type { ServiceDefinition } from '@waiter/services'
import type { LeaderClock } from '../clock.ts'
import type { ManagedService } from './managed-service.ts'

/** A lost scheduler watch is opened anew after this. */
const WATCH_RETRY_MS = 1_000

export interface SchedulerFeedOptions {
  readonly scheduler: Scheduler
  readonly clock: LeaderClock
  readonly log: Logger
  readonly services: ReadonlyMap<ServiceId, ManagedService>
  /** A service runs that was not known. */
  readonly adopt: (definition: ServiceDefinition) => ManagedService
  /** The scheduler has another definition than what holds. */
  readonly update: (service: ManagedService) => void
  /** From now on time counts for its smoothing. */
  readonly begin: (service: ManagedService) => void
  readonly forget: (service: ManagedService) => void
  /** Have the service reviewed at the end of the turn. */
  readonly touch: (service: ManagedService) => void
  /** The scheduler has said for the first time what runs. */
  readonly onListed: () => void
}

/** Follows the scheduler: what runs, and what it was asked for. */
export class SchedulerFeed {
  readonly #options: SchedulerFeedOptions
  #isListed = false

  constructor(options: SchedulerFeedOptions) {
    this.#options = options
  }

  /** The scheduler has said what runs. */
  get isListed(): boolean {
    return this.#isListed
  }

  /** Until the signal: a watch that breaks is opened anew. */
  async run(signal: AbortSignal): Promise<void> {
    const { scheduler, log, clock } = this.#options
    while (!signal.aborted) {
      try {
        for await (const event of scheduler.watch(signal)) this.#onEvent(event)
      } catch (error) {
        log.error({ err: error, scheduler: scheduler.name }, 'lost the scheduler; what runs goes on, nothing is scaled')
      }
      if (!signal.aborted) await new Promise<void>(resolve => clock.schedule(WATCH_RETRY_MS, resolve))
    }
  }

  #onEvent(event: SchedulerEvent): void {
    switch (event.kind) {
      case 'listing':
        this.#onListing(event.services)
        return
      case 'service': {
        const service = this.#options.services.get(event.definition.id)
        if (service === undefined) return
        service.setRequested(event)
        this.#options.touch(service)
        return
      }
      case 'service-removed':
        return
      case 'instance':
        this.#onInstance(event.instance)
    }
  }

  #onListing(listing: readonly ServiceRecord[]): void {
    const { clock, log } = this.#options
    const listed = new Set<ServiceId>()
    for (const { definition, ...state } of listing) {
      listed.add(definition.id)
      const service = this.#options.services.get(definition.id) ?? this.#options.adopt(definition)
      service.isCreated = true
      if (JSON.stringify(service.definition) !== JSON.stringify(definition)) this.#options.update(service)
      service.setRequested(state)
      service.clearInstances()
      for (const instance of state.instances) service.setInstance(instance, clock.nowMs())
      service.forgetVainRemovals()
      this.#options.begin(service)
      this.#options.touch(service)
    }
    for (const service of this.#options.services.values())
      if (!listed.has(service.id) && !service.isScaling) this.#options.forget(service)
    log.info({ services: listing.length }, 'the scheduler said what runs')
    if (this.#isListed) return
    this.#isListed = true
    this.#options.onListed()
  }

  #onInstance(record: InstanceRecord): void {
    const service = this.#options.services.get(record.serviceId)
    if (service === undefined) return
    const { clock, scheduler } = this.#options
    const isFresh = scheduler.isUnheard?.(record) === true && !service.instances.has(record.instanceId)
    service.setInstance(record, clock.nowMs(), isFresh)
    this.#options.touch(service)
  }
}
