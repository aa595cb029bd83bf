import type { Millis, ServiceId } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'
import { EventHub } from '../event-hub.ts'
import type { InstanceRecord, SchedulerEvent, ServiceRecord } from '../scheduler.ts'
import type { HostFollower } from './host-follower.ts'

/** All hosts as one: what is told to whoever watches. */
export class FleetView {
  readonly #followers: ReadonlyMap<string, HostFollower>
  readonly #hub = new EventHub(() => this.#list())
  /** As the leader told them last: a host that was away may know an older one. */
  readonly #definitions = new Map<ServiceId, ServiceDefinition>()
  /** Services whose only host has left: nothing of them runs, but whoever leads shall decide what follows. */
  readonly #orphans = new Map<ServiceId, ServiceDefinition>()
  /** Services on their way from host to host count as they did before. */
  readonly #counts = new Map<ServiceId, number>()

  constructor(followers: ReadonlyMap<string, HostFollower>) {
    this.#followers = followers
  }

  watch(signal: AbortSignal): AsyncIterable<SchedulerEvent> {
    return this.#hub.watch(signal)
  }

  close(): void {
    this.#hub.close()
  }

  /** Somebody runs it, or is asked to; a host that is given up does not count. */
  counts(id: ServiceId): boolean {
    if (this.#orphans.has(id) || this.#counts.has(id)) return true
    return [...this.#followers.values()].some(({ mirror, contact }) => contact !== 'given-up' && mirror.has(id))
  }

  define(definition: ServiceDefinition): void {
    this.#definitions.set(definition.id, definition)
  }

  definedAs(id: ServiceId): ServiceDefinition | undefined {
    return this.#definitions.get(id)
  }

  /** It has been deleted. */
  forget(id: ServiceId): void {
    this.#orphans.delete(id)
    this.#definitions.delete(id)
    this.publishService(id)
  }

  /** The service over all hosts; undefined: nobody knows it. */
  describe(id: ServiceId): ServiceRecord | undefined {
    let definition = this.#definitions.get(id) ?? this.#orphans.get(id)
    let isKnown = this.#orphans.has(id) || this.#counts.has(id)
    let requested = 0
    let startTrouble: string | null = null
    const instances: InstanceRecord[] = []
    for (const follower of this.#followers.values()) {
      const part = follower.mirror.find(id)
      if (part === undefined) continue
      isKnown = true
      definition ??= part.definition
      for (const record of part.instances) instances.push(this.#decorate(follower, record))
      if (follower.contact === 'given-up') continue
      requested += part.requested
      startTrouble ??= part.startTrouble ?? null
    }
    if (!isKnown || definition === undefined) return undefined
    return { definition, requested: this.#counts.get(id) ?? requested, startTrouble, instances }
  }

  /** Does something in the course of which the service's count must not be seen to change. */
  async whileCounting(id: ServiceId, work: () => Promise<void>): Promise<void> {
    const service = this.describe(id)
    if (service === undefined) return
    this.#definitions.set(id, service.definition)
    this.#counts.set(id, service.requested)
    try {
      await work()
    } finally {
      this.#counts.delete(id)
      if (!this.counts(id)) this.#orphans.set(id, service.definition)
      this.publishService(id)
    }
  }

  publishListing(): void {
    this.#hub.publish({ kind: 'listing', services: this.#list() })
  }

  publishService(id: ServiceId): void {
    const service = this.describe(id)
    if (service === undefined) {
      this.#hub.publish({ kind: 'service-removed', serviceId: id })
      return
    }
    if (this.#isOnAHost(id)) this.#orphans.delete(id)
    const { definition, requested, startTrouble = null } = service
    this.#hub.publish({ kind: 'service', definition, requested, startTrouble })
  }

  publishInstance(follower: HostFollower, record: InstanceRecord): void {
    this.#hub.publish({ kind: 'instance', instance: this.#decorate(follower, record) })
  }

  /** All that a host runs: its contact has changed. */
  publishHost(follower: HostFollower): void {
    for (const id of follower.mirror.serviceIds) {
      this.publishService(id)
      for (const record of follower.mirror.running(id)) this.publishInstance(follower, record)
    }
  }

  /** It is not among the followers any more. */
  hostLeft(follower: HostFollower, nowMs: Millis): void {
    for (const id of follower.mirror.serviceIds) {
      const definition = follower.mirror.find(id)?.definition
      if (definition !== undefined && !this.#isOnAHost(id)) this.#orphans.set(id, definition)
      for (const record of follower.mirror.running(id))
        this.#hub.publish({
          kind: 'instance',
          instance: { ...record, state: 'killed', endedAtMs: nowMs, message: 'Its host has left the cluster' },
        })
      this.publishService(id)
    }
  }

  #isOnAHost(id: ServiceId): boolean {
    return [...this.#followers.values()].some(({ mirror }) => mirror.has(id))
  }

  #list(): readonly ServiceRecord[] {
    const ids = new Set(this.#orphans.keys())
    for (const { mirror } of this.#followers.values()) for (const id of mirror.serviceIds) ids.add(id)
    return [...ids].flatMap(id => this.describe(id) ?? [])
  }

  #decorate({ host, contact, isLeft }: HostFollower, record: InstanceRecord): InstanceRecord {
    const isAway = contact !== 'up' && record.endedAtMs === null
    if (this.#followers.size < 2 && !isAway) return record
    return {
      ...record,
      ...(isAway ? { hostContact: contact } : {}),
      ...(isLeft && record.endedAtMs === null ? { hostDrains: true } : {}),
      extra: { ...record.extra, 'fleet/host-id': host.hostId },
    }
  }
}
