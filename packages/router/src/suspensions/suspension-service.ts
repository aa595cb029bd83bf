import { type ServiceId, WaiterError } from '@waiter/base'
import { STORE_PREFIXES, type SuspensionRecord } from '@waiter/services'
import type { KeyValueStore, StoreMirror } from '@waiter/store/port'

/** Two people who suspend the same service at once are rare; who loses this often in a row is told to try again. */
const CONFLICTS_MAX = 10

export interface SuspensionServiceOptions {
  readonly store: KeyValueStore
  readonly mirror: StoreMirror<SuspensionRecord>
}

/** Suspends and resumes services. Every router learns of it by its watch and refuses requests, or takes them again. */
export class SuspensionService {
  readonly #options: SuspensionServiceOptions

  constructor(options: SuspensionServiceOptions) {
    this.#options = options
  }

  /** The last suspension or resumption as this router knows it. */
  find(serviceId: ServiceId): SuspensionRecord | undefined {
    return this.#options.mirror.find(serviceId)
  }

  async write(serviceId: ServiceId, record: SuspensionRecord): Promise<void> {
    const { store, mirror } = this.#options
    const key = STORE_PREFIXES.suspensions + serviceId
    const text = JSON.stringify(record)
    for (let attempt = 0; attempt < CONFLICTS_MAX; attempt++) {
      const entry = await store.get(key)
      const outcome = await store.compareAndSet(key, entry?.version ?? 0, text)
      if (outcome.kind !== 'written') continue
      mirror.learn(serviceId, text, outcome.version)
      return
    }
    throw new WaiterError(`${serviceId} is being suspended or resumed by others right now: try again`, {
      code: 'WTR_SERVICE_BUSY',
      status: 503,
      retryable: true,
    })
  }
}
