import type { SchedulerEvent } from '@waiter/schedulers'
import { EventHub, type InstanceRecord, type KillRequest, type KillResult, type Scheduler } from '@waiter/schedulers'
import type { ServiceDefinition } from '@waiter/services'

interface FleetService {
  readonly definition: ServiceDefinition
  requested: number
  readonly instances: Map<string, InstanceRecord>
}

/** A scheduler for thousands of services that starts nothing: an instance is healthy as soon as it is asked for. */
export class FleetScheduler implements Scheduler {
  readonly name = 'fleet'
  /** Instances started and stopped so far. */
  started = 0
  stopped = 0
  /** When the newest start was asked for, in epoch milliseconds. */
  lastStartMs = 0
  readonly #services = new Map<string, FleetService>()
  readonly #hub = new EventHub(() =>
    [...this.#services.values()].map(({ definition, requested, instances }) => ({
      definition,
      requested,
      instances: [...instances.values()],
    })),
  )

  watch(signal: AbortSignal): AsyncIterable<SchedulerEvent> {
    return this.#hub.watch(signal)
  }

  async create(definition: ServiceDefinition, count: number): Promise<void> {
    if (this.#services.has(definition.id)) return
    this.#services.set(definition.id, { definition, requested: 0, instances: new Map() })
    this.#raise(definition.id, count)
  }

  async scale(id: string, to: number): Promise<void> {
    this.#raise(id, to)
  }

  async kill({ serviceId, instanceId }: KillRequest): Promise<KillResult> {
    const service = this.#services.get(serviceId)
    const record = service?.instances.get(instanceId)
    if (service === undefined || record === undefined) return { kind: 'no-such-instance' }
    service.requested -= 1
    service.instances.delete(instanceId)
    this.stopped += 1
    this.#hub.publish({ kind: 'service', definition: service.definition, requested: service.requested })
    this.#hub.publish({ kind: 'instance', instance: { ...record, state: 'killed', endedAtMs: Date.now() } })
    return { kind: 'killed' }
  }

  async delete(serviceId: string): Promise<void> {
    const service = this.#services.get(serviceId)
    if (service === undefined) return
    this.stopped += service.instances.size
    this.#services.delete(serviceId)
    this.#hub.publish({ kind: 'service-removed', serviceId })
  }

  async update(): Promise<void> {}

  async logs(): Promise<[]> {
    return []
  }

  async readLog(): Promise<{ content: Uint8Array; size: number }> {
    return { content: new Uint8Array(), size: 0 }
  }

  #raise(id: string, to: number): void {
    const service = this.#services.get(id)
    if (service === undefined || to <= service.requested) return
    service.requested = to
    this.#hub.publish({ kind: 'service', definition: service.definition, requested: to })
    const nowMs = Date.now()
    this.lastStartMs = nowMs
    while (service.instances.size < to) {
      this.started += 1
      const instance = runningInstance(id, `${id}.${this.started}`, nowMs)
      service.instances.set(instance.instanceId, instance)
      this.#hub.publish({ kind: 'instance', instance })
    }
  }
}

function runningInstance(serviceId: string, instanceId: string, nowMs: number): InstanceRecord {
  return {
    serviceId,
    instanceId,
    state: 'healthy',
    host: '127.0.0.1',
    port: 10_000,
    extraPorts: [],
    startedAtMs: nowMs,
    healthyAtMs: nowMs,
    endedAtMs: null,
    flags: [],
    exitCode: null,
    healthCheckStatus: null,
    message: null,
    stderrTail: '',
    logDirectory: null,
    extra: {},
  }
}
