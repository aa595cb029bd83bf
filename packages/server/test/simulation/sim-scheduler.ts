import { type InstanceId, type Prng, type ServiceId, type Term, WaiterError } from '@waiter/base'
import type { Fence, InstanceRecord, InstanceState, KillResult, Scheduler, SchedulerEvent } from '@waiter/schedulers'
import type { ServiceDefinition } from '@waiter/services'
import type { SimProcess, SimTime } from './sim-time.ts'

/** A request at work on an instance. */
export interface RunningRequest {
  /** The instance is gone, and the connection with it. */
  broke(): void
}

export interface SimInstance {
  record: InstanceRecord
  readonly runs: Set<RunningRequest>
}

export interface SimService {
  definition: ServiceDefinition
  requested: number
  readonly instances: Map<InstanceId, SimInstance>
}

/** What the scheduler is asked before it stops anything. */
export type OnStop = (stop: {
  readonly service: SimService
  readonly instances: readonly SimInstance[]
  readonly term: Term
  readonly isDelete: boolean
}) => void

const START_MS_MAX = 2_500
const STOP_MS_MAX = 400
const BACK_OFF_MS = 500
/** All events take the same time, so that they arrive in order. */
const EVENT_MS = 3

/**
 * Keeps the port's contract, with everything that can go wrong: calls take long, fail before or after they were carried
 * out, watches break, instances die at any moment.
 */
export class SimScheduler {
  readonly services = new Map<ServiceId, SimService>()
  readonly #time: SimTime
  readonly #random: Prng
  readonly #watches = new Set<SimWatch>()
  #instances = 0
  #term: Term = 0
  onStop: OnStop = () => undefined
  onCall: (term: Term) => void = () => undefined
  /** Planted bug: orders of deposed leaders are carried out. */
  ignoresFences = false
  failPerMille = 0
  slownessMs = 0

  constructor(time: SimTime, random: Prng) {
    this.#time = time
    this.#random = random
  }

  running(serviceId: ServiceId): SimInstance[] {
    return [...(this.services.get(serviceId)?.instances.values() ?? [])].filter(({ record }) => !isEnded(record))
  }

  find(serviceId: ServiceId, instanceId: InstanceId): SimInstance | undefined {
    return this.services.get(serviceId)?.instances.get(instanceId)
  }

  /** A new leader takes the scheduler over: from now on nobody of a lower term may act. */
  claim(process: SimProcess, fence: Fence): Promise<void> {
    return this.#call(process, fence, () => 0, { isSafe: true })
  }

  /** The scheduler as one control node has it. */
  portFor(process: SimProcess): Scheduler {
    return {
      name: 'simulated',
      watch: signal => this.#watch(process, signal),
      create: (definition, count, fence) => this.#call(process, fence, () => this.#create(definition, count)),
      scale: (id, to, fence) => this.#call(process, fence, () => this.#scale(id, to)),
      kill: ({ serviceId, instanceId }, fence) => {
        let result: KillResult = { kind: 'no-such-instance' }
        const stop = (): number => {
          const instance = this.find(serviceId, instanceId)
          const service = this.services.get(serviceId)
          if (service === undefined || instance === undefined || isEnded(instance.record)) return 0
          this.onStop({ service, instances: [instance], term: fence.term, isDelete: false })
          result = { kind: 'killed' }
          service.requested -= 1
          this.#tellService(service)
          return this.#stop(instance)
        }
        return this.#call(process, fence, stop).then(() => result)
      },
      delete: (id, fence) => this.#call(process, fence, () => this.#delete(id, fence)),
      update: (definition, fence) =>
        this.#call(process, fence, () => {
          const service = this.services.get(definition.id)
          if (service !== undefined) service.definition = definition
          return 0
        }),
      logs: async () => [],
      readLog: async () => ({ content: new Uint8Array(), size: 0 }),
    }
  }

  /** An instance dies by itself. */
  die(instance: SimInstance): void {
    this.#become(instance, 'failed')
    this.#time.after(BACK_OFF_MS, () => this.#reconcile(instance.record.serviceId))
  }

  breakWatches(): void {
    for (const watch of [...this.#watches]) watch.fail()
  }

  endWatchesOf(process: SimProcess): void {
    for (const watch of [...this.#watches]) if (watch.process === process) this.#watches.delete(watch)
  }

  /** @param work carries the call out; answers after how long it is done */
  #call(process: SimProcess, fence: Fence, work: () => number, { isSafe = false } = {}): Promise<void> {
    const travelMs = (): number => 1 + this.#random.below(5) + this.#random.below(1 + this.slownessMs)
    return new Promise((resolve, reject) => {
      const answer = (delayMs: number, settle: () => void): void => this.#time.after(delayMs, () => process.run(settle))
      this.#time.after(travelMs(), () => {
        const dice = isSafe ? 1_000 : this.#random.below(1_000)
        const isFailing = dice < this.failPerMille
        if (isFailing && dice % 2 === 0) return answer(travelMs(), () => reject(unavailable()))
        if (fence.term < this.#term && !this.ignoresFences) return answer(travelMs(), () => reject(fenced(this.#term)))
        this.#term = Math.max(this.#term, fence.term)
        this.onCall(fence.term)
        const tookMs = work()
        if (isFailing) answer(tookMs + travelMs(), () => reject(unavailable()))
        else answer(tookMs + travelMs(), resolve)
      })
    })
  }

  #create(definition: ServiceDefinition, requested: number): number {
    if (this.services.has(definition.id)) return 0
    this.services.set(definition.id, { definition, requested, instances: new Map() })
    this.#reconcile(definition.id)
    return 0
  }

  #scale(id: ServiceId, to: number): number {
    const service = this.services.get(id)
    if (service === undefined) throw new WaiterError('no such service', { code: 'WTR_NO_SUCH_SERVICE' })
    service.requested = Math.max(service.requested, to)
    this.#reconcile(id)
    return 0
  }

  #delete(id: ServiceId, { term }: Fence): number {
    const service = this.services.get(id)
    if (service === undefined) return 0
    this.onStop({ service, instances: this.running(id), term, isDelete: true })
    let tookMs = 0
    for (const instance of this.running(id)) tookMs = Math.max(tookMs, this.#stop(instance))
    this.services.delete(id)
    this.#time.after(tookMs, () => this.#publish({ kind: 'service-removed', serviceId: id }))
    return tookMs
  }

  #stop(instance: SimInstance): number {
    const tookMs = this.#random.below(STOP_MS_MAX)
    this.#become(instance, 'killed')
    return tookMs
  }

  #reconcile(id: ServiceId): void {
    const service = this.services.get(id)
    if (service === undefined) return
    this.#tellService(service)
    while (this.running(id).length < service.requested) this.#start(service)
  }

  #start(service: SimService): void {
    this.#instances += 1
    const instanceId = `${service.definition.id}.${this.#instances}`
    const record = newRecord(instanceId, service.definition.id, this.#time.epochMs)
    const instance: SimInstance = { record, runs: new Set() }
    service.instances.set(instanceId, instance)
    this.#publish({ kind: 'instance', instance: record })
    this.#time.after(50 + this.#random.below(START_MS_MAX), () => {
      if (!isEnded(instance.record)) this.#become(instance, 'healthy')
    })
  }

  #become(instance: SimInstance, state: InstanceState): void {
    const { record } = instance
    if (isEnded(record)) return
    const nowMs = this.#time.epochMs
    const isEnding = state === 'failed' || state === 'killed'
    const ended = isEnding ? { endedAtMs: nowMs } : { healthyAtMs: nowMs }
    instance.record = { ...record, state, ...ended }
    this.#publish({ kind: 'instance', instance: instance.record })
    if (isEnding) for (const run of [...instance.runs]) run.broke()
  }

  #tellService({ definition, requested }: SimService): void {
    this.#publish({ kind: 'service', definition, requested })
  }

  #publish(event: SchedulerEvent): void {
    this.#time.note(() => [event])
    for (const watch of this.#watches) watch.push(event)
  }

  #watch(process: SimProcess, signal: AbortSignal): AsyncIterable<SchedulerEvent> {
    const watch: SimWatch = new SimWatch(process, this.#time, () => this.#watches.delete(watch))
    this.#watches.add(watch)
    signal.addEventListener('abort', () => watch.end(), { once: true })
    const services = [...this.services.values()].map(({ definition, requested, instances }) => ({
      definition,
      requested,
      instances: [...instances.values()].map(({ record }) => record),
    }))
    watch.push({ kind: 'listing', services })
    return watch
  }
}

/** What one control node hears of the scheduler, in order, a moment later. */
class SimWatch implements AsyncIterableIterator<SchedulerEvent> {
  readonly process: SimProcess
  readonly #time: SimTime
  readonly #leave: () => void
  readonly #events: SchedulerEvent[] = []
  #waiting: { resolve(result: IteratorResult<SchedulerEvent>): void; reject(error: Error): void } | undefined
  #isOver = false

  constructor(process: SimProcess, time: SimTime, leave: () => void) {
    this.process = process
    this.#time = time
    this.#leave = leave
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  push(event: SchedulerEvent): void {
    this.#time.after(EVENT_MS, () =>
      this.process.run(() => {
        if (this.#isOver) return
        const { resolve } = this.#waiting ?? {}
        this.#waiting = undefined
        if (resolve === undefined) this.#events.push(event)
        else resolve({ done: false, value: event })
      }),
    )
  }

  fail(): void {
    this.#leave()
    this.#time.after(EVENT_MS, () =>
      this.process.run(() => {
        this.#isOver = true
        this.#waiting?.reject(unavailable())
        this.#waiting = undefined
      }),
    )
  }

  end(): void {
    this.#leave()
    this.#isOver = true
    this.#waiting?.resolve({ done: true, value: undefined })
    this.#waiting = undefined
  }

  next(): Promise<IteratorResult<SchedulerEvent>> {
    const value = this.#events.shift()
    if (value !== undefined) return Promise.resolve({ done: false, value })
    if (this.#isOver) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
    })
  }

  return(): Promise<IteratorResult<SchedulerEvent>> {
    this.end()
    return Promise.resolve({ done: true, value: undefined })
  }
}

function isEnded({ endedAtMs }: InstanceRecord): boolean {
  return endedAtMs !== null
}

function unavailable(): WaiterError {
  return new WaiterError('the scheduler does not answer', { code: 'WTR_SCHEDULER_UNAVAILABLE', retryable: true })
}

function fenced(term: Term): WaiterError {
  return new WaiterError(`a leader of term ${term} has acted already`, { code: 'WTR_FENCED' })
}

function newRecord(instanceId: InstanceId, serviceId: ServiceId, startedAtMs: number): InstanceRecord {
  return {
    serviceId,
    instanceId,
    state: 'starting',
    host: 's',
    port: 10_000,
    extraPorts: [],
    startedAtMs,
    healthyAtMs: null,
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
