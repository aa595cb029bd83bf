import type { InstanceId, ServiceId } from '@waiter/base'
import type { LeaderLink } from '@waiter/control'
import type { ServiceDefinition } from '@waiter/services'
import { BoundedMap } from '../auth/bounded-map.ts'
import type { ServiceTable } from '../services/service-table.ts'

/** What the leader said of an instance holds so long: another one may get its port after it. */
const REMEMBERED_MS = 5_000
const REMEMBERED_MAX = 10_000

/** Where an instance listens, and what it is one of. */
export interface InstancePlace {
  readonly host: string
  readonly port: number
  readonly definition: ServiceDefinition
}

export interface InstanceAddressesOptions {
  readonly table: ServiceTable
  readonly leader: () => Pick<LeaderLink, 'viewServices'>
  readonly nowMs: () => number
}

/** Finds instances whether or not any of their slots are this router's. */
export class InstanceAddresses {
  readonly #options: InstanceAddressesOptions
  readonly #seen = new BoundedMap<InstanceId, { readonly place: InstancePlace; readonly untilMs: number }>(
    REMEMBERED_MAX,
  )

  constructor(options: InstanceAddressesOptions) {
    this.#options = options
  }

  /**
   * Undefined: it has ended.
   *
   * @throws when only the leader knows, and cannot be asked
   */
  async find(serviceId: ServiceId, instanceId: InstanceId): Promise<InstancePlace | undefined> {
    const { table, leader, nowMs } = this.#options
    const runtime = table.get(serviceId)
    const lease = runtime?.leases.get(instanceId)
    if (runtime !== undefined && lease !== undefined)
      return { host: lease.host, port: lease.port, definition: runtime.definition }
    const seen = this.#seen.get(instanceId)
    if (seen !== undefined && nowMs() < seen.untilMs) return seen.place
    const [service] = (await leader().viewServices(serviceId)).services
    const record = service?.instances.find(candidate => candidate.instanceId === instanceId)
    if (service === undefined || record === undefined || record.endedAtMs !== null) return undefined
    const place = { host: record.host, port: record.port, definition: service.definition }
    this.#seen.set(instanceId, { place, untilMs: nowMs() + REMEMBERED_MS })
    return place
  }
}
