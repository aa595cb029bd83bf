import type { Logger, ServiceId } from '@waiter/base'
import type { ServiceDescription } from '@waiter/services'
import type { KeyValueStore } from '@waiter/store'
import type { SourceToken } from '../agent/leader-link.ts'
import type { ManagedService } from './managed-service.ts'

/** Where service definitions live in the store. */
export const SERVICE_PREFIX = 'services/'

/** What is kept of a service beside what the scheduler has: which tokens led to it. */
interface ArchivedService {
  readonly core: ServiceDescription
  readonly 'source-tokens': readonly (readonly SourceToken[])[]
  readonly 'on-the-fly'?: boolean
}

/**
 * Writes service definitions to the store, in the background: starting an instance never waits for it, since the
 * scheduler keeps what it needs itself.
 */
export class ServiceArchive {
  readonly #store: KeyValueStore
  readonly #log: Logger
  /** Writes one after the other, so that a service that comes back is not forgotten by its own deletion. */
  #writes: Promise<void> = Promise.resolve()

  constructor(store: KeyValueStore, log: Logger) {
    this.#store = store
    this.#log = log
  }

  save(service: ManagedService): void {
    const value: ArchivedService = {
      core: service.definition.core,
      'source-tokens': service.sourceTokens,
      ...(service.isOnTheFly ? { 'on-the-fly': true } : {}),
    }
    this.#enqueue(service.id, JSON.stringify(value))
  }

  /** The service is gone: descriptions come in endless variety, and the store holds only what lives. */
  remove(serviceId: ServiceId): void {
    this.#enqueue(serviceId, undefined)
  }

  #enqueue(serviceId: ServiceId, value: string | undefined): void {
    this.#writes = this.#writes
      .then(() => this.#write(SERVICE_PREFIX + serviceId, value))
      .catch(error => this.#log.warn({ err: error, serviceId }, 'could not record a service definition'))
  }

  /** Gives running services back the tokens that led to them. */
  async restore(
    services: ReadonlyMap<ServiceId, ManagedService>,
    onRestored: (service: ManagedService) => void,
  ): Promise<void> {
    try {
      // All at once: asking for one after the other would cost an exchange between the control nodes each.
      for await (const { key, value } of this.#store.list(SERVICE_PREFIX)) {
        const service = services.get(key.slice(SERVICE_PREFIX.length))
        if (service === undefined) continue
        this.#restore(service, value)
        onRestored(service)
      }
    } catch (error) {
      this.#log.warn({ err: error }, 'could not read what is recorded about services')
    }
  }

  #restore(service: ManagedService, value: string): void {
    try {
      const archived = JSON.parse(value) as ArchivedService
      for (const tokens of archived['source-tokens']) service.addSourceTokens(tokens)
      if (archived['on-the-fly'] === true) service.addSourceTokens([])
    } catch (error) {
      this.#log.warn({ err: error, serviceId: service.id }, 'could not read what is recorded about a service')
    }
  }

  async #write(key: string, value: string | undefined): Promise<void> {
    const ATTEMPTS_MAX = 5
    let current = await this.#store.get(key)
    for (let attempt = 0; attempt < ATTEMPTS_MAX && current?.value !== value; attempt++) {
      const outcome = await this.#store.compareAndSet(key, current?.version ?? 0, value)
      if (outcome.kind === 'written') return
      current = outcome.current
    }
  }
}
