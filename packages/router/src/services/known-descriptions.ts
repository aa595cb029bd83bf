import type { Logger, ServiceId } from '@waiter/base'
import type { LeaderLink } from '@waiter/control'
import type { ServiceDescription } from '@waiter/services'
import type { KeyValueStore } from '@waiter/store'
import { askRouters } from '../cluster/questions.ts'
import type { ServiceTable } from './service-table.ts'

/** Descriptions that somebody asked for by `/service-id` and that perhaps never run; the oldest go. */
const REMEMBERED_MAX = 10_000
/** Other routers answer at once or not at all. */
const ASK_TIMEOUT_MS = 1_000
/** Where the leader records what runs. */
const SERVICE_PREFIX = 'services/'
const SERVICE_ID = /^[a-z0-9-]{1,256}$/

export interface KnownDescriptionsOptions {
  readonly table: ServiceTable
  readonly store: KeyValueStore
  readonly leader: () => LeaderLink | undefined
  readonly log: Logger
}

/**
 * Core descriptions by service id, for requests that name a service by `^SERVICE-ID#…`: of what this router knows, of
 * what runs anywhere, and of what somebody asked any router for a while ago. The store does not keep the latter: they
 * come in endless variety.
 */
export class KnownDescriptions {
  readonly #options: KnownDescriptionsOptions
  readonly #remembered = new Map<ServiceId, ServiceDescription>()

  constructor(options: KnownDescriptionsOptions) {
    this.#options = options
  }

  find(id: ServiceId): ServiceDescription | undefined {
    return this.#options.table.get(id)?.definition.core ?? this.#remembered.get(id)
  }

  remember(id: ServiceId, core: ServiceDescription): void {
    this.#remembered.delete(id)
    if (this.#remembered.size >= REMEMBERED_MAX)
      this.#remembered.delete(this.#remembered.keys().next().value as ServiceId)
    this.#remembered.set(id, core)
  }

  /** Asks the store, then the other routers. @returns true when it is known now */
  async learn(id: ServiceId): Promise<boolean> {
    if (!SERVICE_ID.test(id)) return false
    const core = (await this.#readStored(id)) ?? (await this.#askOthers(id))
    if (core !== undefined) this.remember(id, core)
    return core !== undefined
  }

  async #readStored(id: ServiceId): Promise<ServiceDescription | undefined> {
    const entry = await this.#options.store.get(SERVICE_PREFIX + id)
    return entry === undefined ? undefined : (JSON.parse(entry.value) as { core?: ServiceDescription }).core
  }

  async #askOthers(id: ServiceId): Promise<ServiceDescription | undefined> {
    const link = this.#options.leader()
    if (link === undefined) return undefined
    try {
      const { answers } = await askRouters(link, 'description', { serviceId: id }, ASK_TIMEOUT_MS)
      return [...answers.values()].find(core => core !== null) ?? undefined
    } catch (error) {
      this.#options.log.warn({ err: error, serviceId: id }, 'could not ask other routers for a description')
      return undefined
    }
  }
}
