import type { InstanceId, ServiceId } from '@waiter/base'
import type { InstanceRecord, Scheduler, SchedulerEvent, ServiceRecord } from './scheduler.ts'

/** How long {@link SchedulerView.until} waits: far more than a loaded test machine needs. */
const UNTIL_MS_MAX = 30_000
/** Events remembered for the message of a failed wait. */
const HISTORY_EVENTS_MAX = 200

/**
 * Follows a scheduler's watch and keeps what it tells: for tests that wait for something to become true instead of
 * sleeping.
 */
export class SchedulerView implements AsyncDisposable {
  readonly services: Map<ServiceId, ServiceRecord> = new Map()
  /** Every version of every instance record that was reported, in order; bounded. */
  readonly history: SchedulerEvent[] = []
  listings = 0
  isEnded = false
  readonly #abort = new AbortController()
  readonly #changed = new Set<() => void>()
  readonly #done: Promise<void>

  constructor(scheduler: Scheduler) {
    this.#done = this.#follow(scheduler.watch(this.#abort.signal))
  }

  /** Instances of a service, ended ones included. */
  instances(id: ServiceId): readonly InstanceRecord[] {
    return this.services.get(id)?.instances ?? []
  }

  /** Instances of a service in one of these states. */
  inState(id: ServiceId, ...states: readonly InstanceRecord['state'][]): readonly InstanceRecord[] {
    return this.instances(id).filter(instance => states.includes(instance.state))
  }

  /**
   * Resolves with the first value that is neither undefined nor false, asked again after every event.
   *
   * @throws Error naming `claim` and the last events when it does not become true in time
   */
  async until<T>(claim: string, ask: () => T | undefined | false): Promise<T> {
    const deadlineMs = performance.now() + UNTIL_MS_MAX
    for (;;) {
      const answer = ask()
      if (answer !== undefined && answer !== false) return answer
      const remainingMs = deadlineMs - performance.now()
      if (remainingMs <= 0 || this.isEnded) throw new Error(`never came true: ${claim}; ${this.#describe()}`)
      await this.#nextChange(remainingMs)
    }
  }

  /** Resolves with `count` healthy instances. */
  untilHealthy(id: ServiceId, count: number): Promise<readonly InstanceRecord[]> {
    return this.until(`${count} healthy instances of ${id}`, () => {
      const healthy = this.inState(id, 'healthy')
      return healthy.length >= count && healthy
    })
  }

  /** Resolves with the instance once it has ended. */
  untilEnded(serviceId: ServiceId, instanceId: InstanceId): Promise<InstanceRecord> {
    return this.until(`end of ${instanceId}`, () =>
      this.inState(serviceId, 'failed', 'killed').find(instance => instance.instanceId === instanceId),
    )
  }

  /** Ends the watch. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    await this.#done
  }

  async #follow(events: AsyncIterable<SchedulerEvent>): Promise<void> {
    for await (const event of events) {
      this.#apply(event)
      this.history.push(event)
      if (this.history.length > HISTORY_EVENTS_MAX) this.history.shift()
      this.#wake()
    }
    this.isEnded = true
    this.#wake()
  }

  #apply(event: SchedulerEvent): void {
    switch (event.kind) {
      case 'listing':
        this.listings += 1
        this.services.clear()
        for (const service of event.services) this.services.set(service.definition.id, service)
        return
      case 'service': {
        const { kind: _kind, ...service } = event
        this.services.set(service.definition.id, { ...service, instances: this.instances(service.definition.id) })
        return
      }
      case 'service-removed':
        this.services.delete(event.serviceId)
        return
      case 'instance':
        this.#applyInstance(event.instance)
    }
  }

  #applyInstance(instance: InstanceRecord): void {
    const service = this.services.get(instance.serviceId)
    if (service === undefined) return
    const others = service.instances.filter(other => other.instanceId !== instance.instanceId)
    this.services.set(instance.serviceId, { ...service, instances: [...others, instance] })
  }

  #nextChange(timeoutMs: number): Promise<void> {
    return new Promise(resolve => {
      const finish = (): void => {
        clearTimeout(timer)
        this.#changed.delete(finish)
        resolve()
      }
      const timer = setTimeout(finish, timeoutMs)
      this.#changed.add(finish)
    })
  }

  #wake(): void {
    for (const finish of [...this.#changed]) finish()
  }

  #describe(): string {
    return this.isEnded ? 'the watch has ended' : `last events: ${JSON.stringify(this.history.slice(-5))}`
  }
}
