import { type InstanceId, type ServiceId, WaiterError } from '@waiter/base'
import {
  EventHub,
  type Fence,
  type InstanceRecord,
  type InstanceState,
  type KillRequest,
  type KillResult,
  type LogEntry,
  type LogPiece,
  type Scheduler,
  type SchedulerEvent,
} from '@waiter/schedulers'
import type { ServiceDefinition } from '@waiter/services'

interface FakeService {
  readonly definition: ServiceDefinition
  requested: number
  readonly instances: Map<InstanceId, InstanceRecord>
}

export type CallName = 'create' | 'scale' | 'kill' | 'delete'

/** One call of the leader, in order. */
export interface SchedulerCall {
  readonly name: CallName
  readonly serviceId: ServiceId
  readonly count?: number
  readonly instanceId?: InstanceId
  readonly atMs: number
}

/** Runs nothing: remembers calls, keeps counts, and fails or dawdles when told to. */
export class FakeScheduler implements Scheduler {
  readonly name = 'fake'
  readonly calls: SchedulerCall[] = []
  readonly services = new Map<ServiceId, FakeService>()
  readonly updates: ServiceDefinition[] = []
  /** When it heard last that somebody uses a service. */
  readonly usedAtMs = new Map<ServiceId, number>()
  /** New instances are healthy at once; else `setState` decides. */
  isHealthyAtOnce = true
  /** Called before a kill or delete is carried out: tests look here whether it is allowed. */
  onStop: (call: SchedulerCall) => void = () => undefined
  readonly #nowMs: () => number
  readonly #hub: EventHub
  readonly #failures = new Map<CallName, WaiterError[]>()
  readonly #held: (() => void)[] = []
  isHolding = false
  #instances = 0

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
    this.#hub = new EventHub(() => [
      ...[...this.services.values()].map(({ definition, requested, instances }) => ({
        definition,
        requested,
        instances: [...instances.values()],
      })),
    ])
  }

  watch(signal: AbortSignal): AsyncIterable<SchedulerEvent> {
    return this.#hub.watch(signal)
  }

  async create(definition: ServiceDefinition, count: number): Promise<void> {
    await this.#begin({ name: 'create', serviceId: definition.id, count, atMs: this.#nowMs() })
    if (this.services.has(definition.id)) return
    this.services.set(definition.id, { definition, requested: count, instances: new Map() })
    this.#reconcile(definition.id)
  }

  async scale(serviceId: ServiceId, to: number, _fence: Fence): Promise<void> {
    await this.#begin({ name: 'scale', serviceId, count: to, atMs: this.#nowMs() })
    const service = this.services.get(serviceId)
    if (service === undefined) throw new WaiterError('no such service', { code: 'WTR_NO_SUCH_SERVICE' })
    service.requested = Math.max(service.requested, to)
    this.#reconcile(serviceId)
  }

  async kill({ serviceId, instanceId }: KillRequest): Promise<KillResult> {
    const call: SchedulerCall = { name: 'kill', serviceId, instanceId, atMs: this.#nowMs() }
    this.onStop(call)
    await this.#begin(call)
    const service = this.services.get(serviceId)
    const record = service?.instances.get(instanceId)
    if (service === undefined || record === undefined || record.endedAtMs !== null) return { kind: 'no-such-instance' }
    service.requested -= 1
    this.#hub.publish({ kind: 'service', definition: service.definition, requested: service.requested })
    this.setState(instanceId, 'killed')
    return { kind: 'killed' }
  }

  async delete(serviceId: ServiceId): Promise<void> {
    const call: SchedulerCall = { name: 'delete', serviceId, atMs: this.#nowMs() }
    this.onStop(call)
    await this.#begin(call)
    if (this.services.delete(serviceId)) this.#hub.publish({ kind: 'service-removed', serviceId })
  }

  async update(definition: ServiceDefinition): Promise<void> {
    const service = this.services.get(definition.id)
    if (service !== undefined) this.services.set(definition.id, { ...service, definition })
    this.updates.push(definition)
  }

  isUnheard(): boolean {
    return true
  }

  noteUse(serviceId: ServiceId): void {
    this.usedAtMs.set(serviceId, this.#nowMs())
  }

  async readLog(): Promise<LogPiece> {
    return { content: Buffer.from('abc'), size: 3 }
  }

  async logs(): Promise<readonly LogEntry[]> {
    return [{ name: 'stdout', type: 'file', size: 3, path: 'stdout' }]
  }

  // -- what tests do ------------------------------------------------------------------------------------------------

  /** The next call of this name fails. */
  failNext(name: CallName, error: WaiterError): void {
    this.#failures.set(name, [...(this.#failures.get(name) ?? []), error])
  }

  get heldCalls(): number {
    return this.#held.length
  }

  /** Lets a call that is held go on; by default the oldest one. */
  letGo(index = 0): void {
    this.#held.splice(index, 1)[0]?.()
  }

  count(name: CallName): number {
    return this.calls.filter(call => call.name === name).length
  }

  running(serviceId: ServiceId): InstanceRecord[] {
    return [...(this.services.get(serviceId)?.instances.values() ?? [])].filter(record => record.endedAtMs === null)
  }

  /** Something that runs already when the leader comes. */
  add(definition: ServiceDefinition, count: number): void {
    this.services.set(definition.id, { definition, requested: count, instances: new Map() })
    this.#reconcile(definition.id)
  }

  /** One more instance is wanted than can be started, and this is why; null: that is over. */
  setTrouble(serviceId: ServiceId, startTrouble: string | null): void {
    const service = this.services.get(serviceId)
    if (service === undefined) return
    const { definition, requested } = service
    this.#hub.publish({ kind: 'service', definition, requested: requested + 1, startTrouble })
  }

  /** An instance changes; one that failed is replaced, as the port promises. */
  setState(instanceId: InstanceId, state: InstanceState): void {
    for (const service of this.services.values()) {
      const before = service.instances.get(instanceId)
      if (before === undefined || before.endedAtMs !== null) continue
      const isEnded = state === 'failed' || state === 'killed'
      const record: InstanceRecord = {
        ...before,
        state,
        healthyAtMs: state === 'healthy' ? this.#nowMs() : before.healthyAtMs,
        endedAtMs: isEnded ? this.#nowMs() : null,
      }
      service.instances.set(instanceId, record)
      this.#hub.publish({ kind: 'instance', instance: record })
      if (isEnded) this.#reconcile(service.definition.id)
    }
  }

  /** The host of an instance does not answer, or does again; `counts`: what is requested now. */
  setContact(instanceId: InstanceId, hostContact: InstanceRecord['hostContact'], counts: number): void {
    for (const service of this.services.values()) {
      const before = service.instances.get(instanceId)
      if (before === undefined) continue
      const { hostContact: _former, ...rest } = before
      const instance: InstanceRecord = hostContact === undefined ? rest : { ...rest, hostContact }
      service.instances.set(instanceId, instance)
      service.requested = counts
      this.#hub.publish({ kind: 'service', definition: service.definition, requested: counts })
      this.#hub.publish({ kind: 'instance', instance })
    }
  }

  /** The host of an instance is about to stop, or stays after all. */
  setDrains(instanceId: InstanceId, drains: boolean): void {
    for (const service of this.services.values()) {
      const before = service.instances.get(instanceId)
      if (before === undefined) continue
      const { hostDrains: _former, ...rest } = before
      const instance: InstanceRecord = drains ? { ...rest, hostDrains: true } : rest
      service.instances.set(instanceId, instance)
      this.#hub.publish({ kind: 'instance', instance })
    }
  }

  /** Everybody who watches gets an error, as when the connection breaks. */
  end(): void {
    this.#hub.close()
  }

  async #begin(call: SchedulerCall): Promise<void> {
    this.calls.push(call)
    const failure = this.#failures.get(call.name)?.shift()
    if (this.isHolding) await new Promise<void>(resolve => this.#held.push(resolve))
    if (failure !== undefined) throw failure
  }

  #reconcile(serviceId: ServiceId): void {
    const service = this.services.get(serviceId)
    if (service === undefined) return
    this.#hub.publish({ kind: 'service', definition: service.definition, requested: service.requested })
    while (this.running(serviceId).length < service.requested) {
      this.#instances += 1
      const state: InstanceState = this.isHealthyAtOnce ? 'healthy' : 'starting'
      const instance = record(`${serviceId}.${this.#instances}`, serviceId, state, this.#nowMs())
      service.instances.set(instance.instanceId, instance)
      this.#hub.publish({ kind: 'instance', instance })
    }
  }
}

/** A record as a scheduler would report it. */
export function record(
  instanceId: InstanceId,
  serviceId: ServiceId,
  state: InstanceState,
  startedAtMs: number,
): InstanceRecord {
  return {
    serviceId,
    instanceId,
    state,
    host: '127.0.0.1',
    port: 10_000,
    extraPorts: [],
    startedAtMs,
    healthyAtMs: state === 'healthy' ? startedAtMs : null,
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
