import type { InstanceId, RouterId, ServiceId } from '@waiter/base'
import type { Leader, ServiceLoadRow, ServiceUseRow } from '@waiter/control'
import { type ServiceDefinition, type TokenRecord, tokenEtag } from '@waiter/services'
import type { AttachResponse } from '../../src/generated/waiter/v1/coordinator.ts'
import type { RouterSession } from '../../src/leader/router-session.ts'

const NO_TRAFFIC = { finished: 0, failed: 0, latencyCounts: [] }

/** The token through which model routers reach services, whatever they are. */
export const TOKEN = 'a-token'
export const TOKEN_RECORD: TokenRecord = {
  cluster: 'waiter',
  'last-update-time': 0,
  'last-update-user': 'alice',
  owner: 'alice',
  root: 'waiter',
}
export const TOKEN_VERSION: string = tokenEtag(TOKEN_RECORD)

interface ModelService {
  readonly definition: ServiceDefinition
  readonly leases: Map<InstanceId, number>
  readonly inUse: Map<InstanceId, number>
  /** Whom it may ask for slots; model routers do not. */
  lenders: readonly RouterId[]
  waiting: number
  total: number
  lastRequestMs: number
  /** What came of its requests, as the test wants it. */
  traffic: Pick<ServiceLoadRow, 'finished' | 'failed' | 'latencyCounts'>
}

/**
 * A router as plain as possible: requests are numbers. Messages lie in two queues, one in each direction, until the test
 * delivers them, so that they can be late, or lost with the connection.
 */
export class ModelRouter {
  readonly id: string
  #leader: Leader
  readonly #nowMs: () => number
  readonly services = new Map<ServiceId, ModelService>()
  /** Leader to router, router to leader. */
  readonly inbox: AttachResponse[] = []
  readonly outbox: (() => void)[] = []
  served = 0
  /** What the leader said last of requests that wait at other routers. */
  readonly waitingElsewhere = new Map<ServiceId, number>()
  /** Instances that the leader said are stopped in a moment. */
  readonly closing = new Map<ServiceId, readonly InstanceId[]>()
  /** Why the leader said that no further instance can be started; empty: nothing of that. */
  readonly startTroubles = new Map<ServiceId, string>()
  /** Through which all its requests come. */
  sourceTokens = [{ token: TOKEN, version: TOKEN_VERSION }]
  /** Instances that it finds failing. */
  readonly failing = new Set<InstanceId>()
  /** Routers that it hears by gossip. */
  readonly hears = new Set<string>()
  isAlive = true
  session: RouterSession | undefined
  /** Tells the leader that it must wait before it writes again. */
  isSlow = false
  #drain: (() => void) | undefined
  #version = 0

  constructor(id: string, leader: Leader, nowMs: () => number) {
    this.id = id
    this.#leader = leader
    this.#nowMs = nowMs
  }

  /** Another one leads. */
  attachTo(leader: Leader): void {
    this.#leader = leader
    this.attach()
  }

  /** @returns false: not yet, not everybody has heard that it was given up */
  tryAttach(): boolean {
    try {
      this.attach()
      return true
    } catch (error) {
      if ((error as { code?: unknown }).code === 'WTR_ROUTER_GIVEN_UP') return false
      throw error
    }
  }

  attach(nodeId: string = this.id, worker = 1): void {
    this.inbox.length = 0
    this.outbox.length = 0
    this.#version = 0
    this.#drain = undefined
    const beliefs = [...this.services].map(([serviceId, { leases, inUse }]) => ({
      serviceId,
      instances: [...new Set([...leases.keys(), ...inUse.keys()])].map(instanceId => ({
        instanceId,
        slots: leases.get(instanceId) ?? 0,
        inUse: inUse.get(instanceId) ?? 0,
      })),
    }))
    const stream = {
      write: (response: AttachResponse) => {
        if (this.session === session || session === undefined) this.inbox.push(response)
        return !this.isSlow
      },
      onDrain: (callback: () => void) => {
        this.#drain = callback
      },
      end: () => undefined,
    }
    let session: RouterSession | undefined
    session = this.#leader.attach({ routerId: this.id, nodeId, worker, httpUrl: `http://${this.id}`, beliefs }, stream)
    this.session = session
  }

  /** The connection breaks: what was under way is lost. */
  disconnect(): void {
    if (this.session === undefined) return
    const { session } = this
    this.session = undefined
    this.inbox.length = 0
    this.outbox.length = 0
    this.#leader.detach(session)
  }

  /** The process ends, and all its requests with it. */
  crash(): void {
    this.isAlive = false
    this.disconnect()
    this.services.clear()
  }

  request(definition: ServiceDefinition): void {
    const service = this.#open(definition)
    service.waiting += 1
    service.total += 1
    service.lastRequestMs = this.#nowMs()
    this.#serve(service)
    if (service.waiting > 0 && service.leases.size === 0) this.#need(service)
    this.#report(service)
  }

  /** One request on this instance ends. */
  finish(serviceId: ServiceId, instanceId: InstanceId): void {
    const service = this.services.get(serviceId)
    const count = service?.inUse.get(instanceId) ?? 0
    if (service === undefined || count === 0) return
    if (count === 1) service.inUse.delete(instanceId)
    else service.inUse.set(instanceId, count - 1)
    this.served += 1
    this.#serve(service)
    if (count > (service.leases.get(instanceId) ?? 0)) this.#acknowledge([serviceId])
    this.#report(service)
  }

  /** The oldest message from the leader arrives. */
  receive(): void {
    const message = this.inbox.shift()?.message
    if (message?.$case === 'welcome') {
      for (const service of this.services.values()) if (service.waiting > 0) this.#need(service)
      for (const service of this.services.values()) this.#report(service)
    }
    if (message?.$case === 'question' && message.value.topic === 'hears-router') {
      const { questionId, argumentJson } = message.value
      const { session } = this
      const answer = this.hears.has(JSON.parse(argumentJson).routerId)
      this.outbox.push(() => session && this.#leader.answered(session, questionId, String(answer)))
    }
    if (message?.$case === 'assignment') {
      const { upserts, removals, full, version } = message.value
      this.#version = version
      const listed = new Set(upserts.map(service => service.serviceId))
      for (const upsert of upserts) this.closing.set(upsert.serviceId, upsert.closingInstanceIds)
      for (const upsert of upserts) this.startTroubles.set(upsert.serviceId, upsert.summary?.startTrouble ?? '')
      for (const upsert of upserts) this.waitingElsewhere.set(upsert.serviceId, upsert.waitingElsewhere)
      for (const upsert of upserts) this.#told(upsert).lenders = upsert.lenderIds
      for (const upsert of upserts) this.#apply(this.#told(upsert), upsert.instances)
      const gone = full ? [...this.services.keys()].filter(id => !listed.has(id)) : removals
      for (const id of gone) this.#remove(id)
      this.#acknowledge([...listed])
    }
    if (this.inbox.length === 0 && this.#drain !== undefined) {
      const drain = this.#drain
      this.#drain = undefined
      drain()
    }
  }

  /** The oldest message to the leader arrives. */
  send(): void {
    this.outbox.shift()?.()
  }

  /** Everything under way arrives. */
  exchangeAll(): boolean {
    const isBusy = this.inbox.length + this.outbox.length > 0
    while (this.inbox.length + this.outbox.length > 0) {
      while (this.outbox.length > 0) this.send()
      if (this.inbox.length > 0) this.receive()
    }
    return isBusy
  }

  slots(serviceId: ServiceId, instanceId: InstanceId): number {
    return this.services.get(serviceId)?.leases.get(instanceId) ?? 0
  }

  inUse(serviceId: ServiceId, instanceId: InstanceId): number {
    return this.services.get(serviceId)?.inUse.get(instanceId) ?? 0
  }

  get waiting(): number {
    let count = 0
    for (const service of this.services.values()) count += service.waiting
    return count
  }

  /** A definition travels once. */
  #told({ serviceId, definitionJson }: { serviceId: ServiceId; definitionJson: string }): ModelService {
    if (definitionJson !== '') return this.#open(JSON.parse(definitionJson))
    const known = this.services.get(serviceId)
    if (known === undefined) throw new Error(`${serviceId} was never defined`)
    return known
  }

  #open(definition: ServiceDefinition): ModelService {
    const known = this.services.get(definition.id)
    if (known !== undefined) return known
    const service = {
      definition,
      leases: new Map(),
      inUse: new Map(),
      lenders: [],
      waiting: 0,
      total: 0,
      lastRequestMs: 0,
      traffic: NO_TRAFFIC,
    }
    this.services.set(definition.id, service)
    return service
  }

  #apply(service: ModelService, instances: readonly { instanceId: InstanceId; slots: number }[]): void {
    const hadLeases = service.leases.size > 0
    service.leases.clear()
    for (const { instanceId, slots } of instances) service.leases.set(instanceId, slots)
    this.#serve(service)
    if (hadLeases && service.waiting > 0 && service.leases.size === 0) this.#need(service)
  }

  #remove(id: ServiceId): void {
    const service = this.services.get(id)
    if (service === undefined) return
    service.leases.clear()
    if (service.waiting > 0) this.#need(service)
    else if (service.inUse.size === 0) this.services.delete(id)
  }

  #serve(service: ModelService): void {
    for (const [instanceId, slots] of service.leases)
      while (service.waiting > 0 && (service.inUse.get(instanceId) ?? 0) < slots) {
        service.waiting -= 1
        service.inUse.set(instanceId, (service.inUse.get(instanceId) ?? 0) + 1)
      }
  }

  #need({ definition }: ModelService): void {
    this.#post(() => this.#leader.need(definition, this.sourceTokens))
  }

  #report(service: ModelService): void {
    let running = 0
    for (const count of service.inUse.values()) running += count
    const row: ServiceLoadRow = {
      serviceId: service.definition.id,
      outstanding: service.waiting + running,
      waiting: service.waiting,
      total: service.total,
      lastRequestMs: service.lastRequestMs,
      ...service.traffic,
      instances: [...service.inUse].map(([instanceId, inUse]) => ({
        instanceId,
        inUse,
        consecutiveFailures: this.failing.has(instanceId) ? 1 : 0,
      })),
    }
    this.#post(session => this.#leader.report(session, [row]))
  }

  #acknowledge(serviceIds: readonly ServiceId[]): void {
    const version = this.#version
    if (version === 0) return
    const rows: ServiceUseRow[] = serviceIds.map(serviceId => ({
      serviceId,
      instances: [...(this.services.get(serviceId)?.inUse ?? [])].map(([instanceId, inUse]) => ({ instanceId, inUse })),
    }))
    this.#post(session => this.#leader.acknowledge(session, version, rows))
  }

  #post(send: (session: RouterSession) => void): void {
    const { session } = this
    if (session !== undefined) this.outbox.push(() => send(session))
  }
}
