import type { InstanceId, ServiceId } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'
import { keepNewestEnded } from '../ended-records.ts'
import type { InstanceRecord, InstanceRef, SchedulerEvent, ServiceRecord } from '../scheduler.ts'

/** One service on one host. */
interface MirroredService {
  readonly definition: ServiceDefinition
  readonly requested: number
  readonly startTrouble: string | null
  /** Running ones. */
  readonly running: Map<InstanceId, InstanceRecord>
  /** In the order of their end. */
  ended: readonly InstanceRecord[]
}

/** What the scheduler of one host has told. Holds state, decides nothing. */
export class HostMirror {
  readonly #services = new Map<ServiceId, MirroredService>()
  #cpus = 0
  #memMb = 0

  /** What all services together ask for there. */
  get reserved(): { readonly cpus: number; readonly memMb: number } {
    return { cpus: this.#cpus, memMb: this.#memMb }
  }

  get serviceIds(): Iterable<ServiceId> {
    return this.#services.keys()
  }

  has(id: ServiceId): boolean {
    return this.#services.has(id)
  }

  requested(id: ServiceId): number {
    return this.#services.get(id)?.requested ?? 0
  }

  /** The service as the host tells it; undefined: it does not know it. */
  find(id: ServiceId): ServiceRecord | undefined {
    const service = this.#services.get(id)
    if (service === undefined) return undefined
    const { definition, requested, startTrouble, running, ended } = service
    return { definition, requested, startTrouble, instances: [...running.values(), ...ended] }
  }

  instance({ serviceId, instanceId }: InstanceRef): InstanceRecord | undefined {
    const service = this.#services.get(serviceId)
    return service?.running.get(instanceId) ?? service?.ended.find(record => record.instanceId === instanceId)
  }

  /** Instances of all services that run. */
  get runningCount(): number {
    let count = 0
    for (const { running } of this.#services.values()) count += running.size
    return count
  }

  running(id: ServiceId): readonly InstanceRecord[] {
    return [...(this.#services.get(id)?.running.values() ?? [])]
  }

  apply(event: SchedulerEvent): void {
    switch (event.kind) {
      case 'listing':
        this.#services.clear()
        this.#cpus = 0
        this.#memMb = 0
        for (const service of event.services) {
          this.#setService(service)
          for (const instance of service.instances) this.#setInstance(instance)
        }
        return
      case 'service':
        this.#setService(event)
        return
      case 'service-removed':
        this.forget(event.serviceId)
        return
      case 'instance':
        this.#setInstance(event.instance)
    }
  }

  forget(id: ServiceId): void {
    const service = this.#services.get(id)
    if (service === undefined) return
    this.#reserve(service, -1)
    this.#services.delete(id)
  }

  #setService({ definition, requested, startTrouble }: Omit<ServiceRecord, 'instances'>): void {
    const former = this.#services.get(definition.id)
    if (former !== undefined) this.#reserve(former, -1)
    const service: MirroredService = {
      definition,
      requested,
      startTrouble: startTrouble ?? null,
      running: former?.running ?? new Map(),
      ended: former?.ended ?? [],
    }
    this.#services.set(definition.id, service)
    this.#reserve(service, 1)
  }

  #setInstance(record: InstanceRecord): void {
    const service = this.#services.get(record.serviceId)
    if (service === undefined) return
    if (record.endedAtMs === null) {
      service.running.set(record.instanceId, record)
      return
    }
    service.running.delete(record.instanceId)
    const others = service.ended.filter(other => other.instanceId !== record.instanceId)
    service.ended = keepNewestEnded([...others, record])
  }

  #reserve({ definition: { effective }, requested }: MirroredService, sign: 1 | -1): void {
    this.#cpus += sign * requested * effective.cpus
    this.#memMb += sign * requested * effective.mem
  }
}
