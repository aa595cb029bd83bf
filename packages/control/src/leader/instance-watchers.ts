import { type ServiceId, WaiterError } from '@waiter/base'
import type { InstancesChange } from '../agent/leader-link.ts'
import type { ManagedService } from './managed-service.ts'

/** One watcher per router is enough; more are refused. */
const WATCHERS_MAX = 1_000

/** Takes one message; false: it cannot keep up, `onDrain` tells when it can. */
export interface InstanceWatcher {
  write(change: InstancesChange): boolean
  onDrain(callback: () => void): void
  /** There will be no more news from here. */
  end(): void
}

interface Watching {
  readonly watcher: InstanceWatcher
  readonly dirty: Set<ServiceId>
  isBlocked: boolean
}

/**
 * Tells watchers which instances are healthy. News only mark services; once a turn each watcher gets the newest state of
 * what is marked, so that one that reads slowly gets less, not later and later.
 */
export class InstanceWatchers {
  readonly #services: ReadonlyMap<ServiceId, ManagedService>
  readonly #soon: (task: () => void) => void
  readonly #watching = new Set<Watching>()
  readonly #told = new Map<ServiceId, string>()
  readonly #marked = new Set<ServiceId>()
  #isFlushDue = false

  constructor(services: ReadonlyMap<ServiceId, ManagedService>, soon: (task: () => void) => void) {
    this.#services = services
    this.#soon = soon
  }

  /** @returns what ends the watch */
  add(watcher: InstanceWatcher): () => void {
    if (this.#watching.size >= WATCHERS_MAX)
      throw new WaiterError('too many watches of instances', { code: 'WTR_TOO_MANY_WATCHERS', status: 503 })
    const watching: Watching = { watcher, dirty: new Set(), isBlocked: false }
    this.#watching.add(watching)
    this.#send(watching, true, [...this.#services.keys()])
    return () => {
      this.#watching.delete(watching)
      if (this.#watching.size === 0) this.#told.clear()
    }
  }

  /** Something about this service's instances may have changed. Free when nobody watches. */
  mark(serviceId: ServiceId): void {
    if (this.#watching.size === 0) return
    this.#marked.add(serviceId)
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.#soon(() => this.#flush())
  }

  /** Ends all watches. */
  close(): void {
    for (const { watcher } of this.#watching) watcher.end()
    this.#watching.clear()
  }

  #flush(): void {
    this.#isFlushDue = false
    for (const serviceId of this.#marked) {
      const state = JSON.stringify(this.#stateOf(serviceId))
      if (this.#told.get(serviceId) === state) continue
      if (this.#services.has(serviceId)) this.#told.set(serviceId, state)
      else this.#told.delete(serviceId)
      for (const watching of this.#watching) watching.dirty.add(serviceId)
    }
    this.#marked.clear()
    for (const watching of this.#watching) this.#sendDirty(watching)
  }

  #sendDirty(watching: Watching): void {
    if (watching.isBlocked || watching.dirty.size === 0) return
    const serviceIds = [...watching.dirty]
    watching.dirty.clear()
    this.#send(watching, false, serviceIds)
  }

  #send(watching: Watching, isFull: boolean, serviceIds: readonly ServiceId[]): void {
    const services = serviceIds.map(serviceId => this.#stateOf(serviceId))
    if (watching.watcher.write({ isFull, services })) return
    watching.isBlocked = true
    watching.watcher.onDrain(() => {
      watching.isBlocked = false
      if (this.#watching.has(watching)) this.#sendDirty(watching)
    })
  }

  #stateOf(serviceId: ServiceId): InstancesChange['services'][number] {
    const service = this.#services.get(serviceId)
    const isLeaving = service === undefined || service.deletion !== undefined
    return {
      serviceId,
      definition: service?.definition,
      instances: isLeaving ? [] : service.staying().filter(record => record.state === 'healthy'),
    }
  }
}
