import { silentLogger } from '@waiter/base'
import type { ServiceLoadRow } from '@waiter/control'
import {
  type AgentHost,
  type AssignmentChange,
  createRpcClients,
  type NodeAuth,
  onlyControl,
  RouterAgent,
} from '@waiter/control'
import type { ServiceDefinition } from '@waiter/services'

/** A router without clients: reports the load that it is told to have, applies and acknowledges what it is assigned. */
export class SimulatedRouter implements AgentHost {
  readonly #agent: RouterAgent
  readonly #outstanding = new Map<string, number>()
  readonly #totals = new Map<string, number>()
  readonly #changed = new Set<string>()
  readonly #wanted = new Map<string, ServiceDefinition>()
  /** Instances that it was told of, by service. */
  readonly #instances = new Map<string, Set<string>>()
  readonly #onInstance: (instanceId: string, startedAtMs: number) => void

  /** @param onInstance hears of each instance when it is first assigned here, with the time of its start */
  constructor(options: {
    readonly address: string
    readonly auth: NodeAuth
    readonly index: number
    readonly onInstance: (instanceId: string, startedAtMs: number) => void
  }) {
    this.#onInstance = options.onInstance
    this.#agent = new RouterAgent({
      locator: onlyControl(options.address),
      clients: createRpcClients(options.auth),
      routerId: `router-${options.index}`,
      nodeId: `node-${options.index}`,
      worker: 1,
      httpUrl: `http://127.0.0.1:${20_000 + options.index}`,
      host: this,
      log: silentLogger,
    })
  }

  get isAttached(): boolean {
    return this.#agent.leader.isConnected
  }

  /** Requests that this router has of all services now. */
  get demand(): number {
    let demand = 0
    for (const outstanding of this.#outstanding.values()) demand += outstanding
    return demand
  }

  /** Requests that this router has of a service now; travels with the next report. */
  setLoad(definition: ServiceDefinition, outstanding: number): void {
    const { id } = definition
    this.#outstanding.set(id, outstanding)
    this.#totals.set(id, (this.#totals.get(id) ?? 0) + Math.max(1, outstanding))
    this.#changed.add(id)
    if (outstanding > 0 && !this.#instances.has(id) && !this.#wanted.has(id)) {
      this.#wanted.set(id, definition)
      this.#agent.needService(definition, [])
    }
  }

  report(): void {
    if (this.#changed.size > 0) this.#agent.noteLoadChange()
  }

  close(): void {
    this.#agent.close()
  }

  applyAssignment(change: AssignmentChange): void {
    for (const { definition, leases } of change.upserts) {
      const known = this.#instances.get(definition.id)
      const instances = new Set<string>()
      for (const { instanceId, startedAtMs } of leases) {
        instances.add(instanceId)
        if (known === undefined || !known.has(instanceId)) this.#onInstance(instanceId, startedAtMs)
      }
      if (instances.size === 0) this.#instances.delete(definition.id)
      else this.#instances.set(definition.id, instances)
      this.#wanted.delete(definition.id)
    }
    for (const id of change.removals) this.#instances.delete(id)
  }

  leaderLost(): void {}

  collectLoads(all: boolean): ServiceLoadRow[] {
    const ids = all ? [...this.#outstanding.keys()] : [...this.#changed]
    this.#changed.clear()
    const lastRequestMs = Date.now()
    return ids.map(serviceId => {
      const outstanding = this.#outstanding.get(serviceId) ?? 0
      const total = this.#totals.get(serviceId) ?? 0
      const known = this.#instances.get(serviceId)
      const instances = [...(known ?? [])].slice(0, outstanding)
      return {
        serviceId,
        outstanding,
        waiting: Math.max(0, outstanding - instances.length),
        total,
        lastRequestMs,
        instances: instances.map(instanceId => ({ instanceId, inUse: 1, consecutiveFailures: 0 })),
        finished: total - outstanding,
        failed: 0,
        latencyCounts: [],
      }
    })
  }

  collectUse(serviceIds: readonly string[]): { serviceId: string; instances: [] }[] {
    return serviceIds.map(serviceId => ({ serviceId, instances: [] }))
  }

  collectReducedUse(): [] {
    return []
  }

  collectBeliefs(): [] {
    return []
  }

  collectReferences(): [] {
    return []
  }

  collectSuccessions(): [] {
    return []
  }

  collectNeeds(): [] {
    return []
  }

  collectRelated(): [] {
    return []
  }
}
