import { setImmediate as nextTurn } from 'node:timers/promises'
import type { InstanceId, ServiceId } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'
import {
  EventHub,
  type Fence,
  type FleetHost,
  type InstanceRecord,
  type KillRequest,
  type KillResult,
  type Scheduler,
  type SchedulerEvent,
  type ServiceRecord,
  schedulerError,
} from '../../src/index.ts'

interface Held {
  definition: ServiceDefinition
  requested: number
  readonly instances: Map<InstanceId, InstanceRecord>
}

/** A host in memory whose instances are healthy at once, and that can be cut off. For tests of what drives hosts. */
export class MemoryHost implements FleetHost, Scheduler {
  readonly name = 'memory'
  readonly hostId: string
  readonly orders: string[] = []
  /** Services that it heard are in use. */
  readonly used: ServiceId[] = []
  /** Every start is refused with this. */
  refusal: 'WTR_NO_FREE_PORT' | 'WTR_UNSUPPORTED_SERVICE' | undefined
  /** Every instance fails instead of becoming healthy. */
  failsStarts = false
  size = { cpus: 4, memMb: 4096 }
  readonly #services = new Map<ServiceId, Held>()
  #hub = this.#createHub()
  #isCutOff = false
  #term = 0
  #ids = 0

  constructor(hostId: string) {
    this.hostId = hostId
  }

  get scheduler(): Scheduler {
    return this
  }

  capacity(): { readonly cpus: number; readonly memMb: number } {
    return this.size
  }

  noteUse(id: ServiceId): void {
    this.used.push(id)
  }

  requested(id: ServiceId): number {
    return this.#services.get(id)?.requested ?? 0
  }

  has(id: ServiceId): boolean {
    return this.#services.has(id)
  }

  definition(id: ServiceId): ServiceDefinition | undefined {
    return this.#services.get(id)?.definition
  }

  /** The network between it and everybody else is gone; what it runs goes on. Resolves when they know. */
  async cutOff(): Promise<void> {
    this.#isCutOff = true
    this.#hub.close()
    await nextTurn()
  }

  restore(): void {
    this.#isCutOff = false
    this.#hub = this.#createHub()
  }

  async *watch(signal: AbortSignal): AsyncIterable<SchedulerEvent> {
    this.#reach()
    yield* this.#hub.watch(signal)
    if (!signal.aborted) throw schedulerError('WTR_HOST_UNREACHABLE', 'cut off')
  }

  async create(definition: ServiceDefinition, count: number, fence: Fence): Promise<void> {
    this.#begin(`create ${definition.id} ${count}`, fence)
    this.#refuse()
    if (this.#services.has(definition.id)) return
    this.#services.set(definition.id, { definition, requested: 0, instances: new Map() })
    this.#grow(definition.id, count)
  }

  async scale(id: ServiceId, to: number, fence: Fence): Promise<void> {
    this.#begin(`scale ${id} ${to}`, fence)
    if (!this.#services.has(id)) throw schedulerError('WTR_NO_SUCH_SERVICE', `no service ${id}`)
    this.#refuse()
    this.#grow(id, to)
  }

  async kill({ serviceId, instanceId, reason }: KillRequest, fence: Fence): Promise<KillResult> {
    this.#begin(`kill ${instanceId}`, fence)
    const service = this.#services.get(serviceId)
    const record = service?.instances.get(instanceId)
    if (service === undefined || record === undefined) return { kind: 'no-such-instance' }
    service.requested -= 1
    this.#publish(service)
    this.#end(service, record, 'killed', reason)
    return { kind: 'killed' }
  }

  async delete(id: ServiceId, fence: Fence): Promise<void> {
    this.#begin(`delete ${id}`, fence)
    const service = this.#services.get(id)
    if (service === undefined) return
    for (const record of [...service.instances.values()]) this.#end(service, record, 'killed', 'deleted')
    this.#services.delete(id)
    this.#hub.publish({ kind: 'service-removed', serviceId: id })
  }

  async update(definition: ServiceDefinition, fence: Fence): Promise<void> {
    this.#begin(`update ${definition.id}`, fence)
    const service = this.#services.get(definition.id)
    if (service === undefined) return
    service.definition = definition
    this.#publish(service)
  }

  async logs(): Promise<[]> {
    this.#reach()
    return []
  }

  async readLog(): Promise<{ content: Uint8Array; size: number }> {
    this.#reach()
    return { content: Buffer.from(this.hostId), size: this.hostId.length }
  }

  #createHub(): EventHub {
    return new EventHub(() => this.#list())
  }

  #list(): readonly ServiceRecord[] {
    return [...this.#services.values()].map(({ definition, requested, instances }) => ({
      definition,
      requested,
      instances: [...instances.values()],
    }))
  }

  #begin(order: string, fence: Fence): void {
    this.#reach()
    if (fence.term < this.#term) throw schedulerError('WTR_FENCED', 'too old')
    this.#term = fence.term
    this.orders.push(order)
  }

  #reach(): void {
    if (this.#isCutOff) throw schedulerError('WTR_HOST_UNREACHABLE', 'cut off')
  }

  #refuse(): void {
    if (this.refusal !== undefined) throw schedulerError(this.refusal, 'refused')
  }

  #grow(id: ServiceId, to: number): void {
    const service = this.#services.get(id)
    if (service === undefined) return
    service.requested = Math.max(service.requested, to)
    this.#publish(service)
    while (service.instances.size < service.requested) {
      const record = this.#createRecord(id)
      service.instances.set(record.instanceId, record)
      this.#hub.publish({ kind: 'instance', instance: record })
      if (!this.failsStarts) continue
      this.#end(service, record, 'failed', 'Exited with code 1')
      if (++this.#failures >= 2) return
    }
  }
  #failures = 0

  #end(service: Held, record: InstanceRecord, state: 'killed' | 'failed', message: string): void {
    service.instances.delete(record.instanceId)
    const healthyAtMs = state === 'failed' ? null : record.healthyAtMs
    this.#hub.publish({ kind: 'instance', instance: { ...record, state, message, healthyAtMs, endedAtMs: 2 } })
  }

  #publish({ definition, requested }: Held): void {
    this.#hub.publish({ kind: 'service', definition, requested, startTrouble: null })
  }

  #createRecord(serviceId: ServiceId): InstanceRecord {
    this.#ids += 1
    return {
      serviceId,
      instanceId: `${serviceId}.${this.hostId}-${this.#ids}`,
      state: this.failsStarts ? 'starting' : 'healthy',
      host: this.hostId,
      port: 1000 + this.#ids,
      extraPorts: [],
      startedAtMs: 1,
      healthyAtMs: this.failsStarts ? null : 1,
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
}
