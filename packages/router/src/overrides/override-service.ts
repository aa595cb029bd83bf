import { WaiterError } from '@waiter/base'
import {
  type OverridesRecord,
  type ServiceDescription,
  type ServicesConfig,
  STORE_PREFIXES,
  validateOverrides,
} from '@waiter/services'
import type { KeyValueStore, StoreMirror } from '@waiter/store/port'

/** Two writers of one service's overrides meet rarely; who loses this often in a row is told to try again. */
const CONFLICTS_MAX = 10

export interface OverrideServiceOptions {
  readonly store: KeyValueStore
  readonly mirror: StoreMirror<OverridesRecord>
  readonly services: ServicesConfig
}

/** What is to be merged over the overrides that a service has. */
export interface OverridesChange {
  readonly serviceId: string
  readonly core: ServiceDescription
  /** The request's body as parsed JSON. */
  readonly body: unknown
  readonly requester: string
  readonly nowMs: number
}

/**
 * Reads and writes per-service overrides. Routers and the leader learn of a change by their watch and apply it to the
 * live service: neither its id nor its instances change.
 */
export class OverrideService {
  readonly #options: OverrideServiceOptions

  constructor(options: OverrideServiceOptions) {
    this.#options = options
  }

  /** Linearizable. Undefined: the service has no overrides. */
  async read(serviceId: string): Promise<OverridesRecord | undefined> {
    const entry = await this.#options.store.get(STORE_PREFIXES.overrides + serviceId)
    return entry === undefined ? undefined : (JSON.parse(entry.value) as OverridesRecord)
  }

  /**
   * Merges the body over what is stored.
   *
   * @throws WaiterError 400 with the rules' sentences when the service would not be valid with them
   */
  async merge({ serviceId, core, body, requester, nowMs }: OverridesChange): Promise<OverridesRecord> {
    const { services: config } = this.#options
    return await this.#write(serviceId, existing => {
      const merged = validateOverrides({ core, existing: existing?.overrides ?? {}, body, config })
      if (!merged.ok)
        throw new WaiterError(merged.error, {
          code: 'WTR_OVERRIDES_REFUSED',
          status: 400,
          details: { 'service-id': serviceId },
        })
      return { overrides: merged.value, 'last-updated-by': requester, time: nowMs }
    })
  }

  /** @returns false when there were none */
  async clear(serviceId: string): Promise<boolean> {
    let hadSome = false
    await this.#write(serviceId, existing => {
      hadSome = existing !== undefined
      return undefined
    })
    return hadSome
  }

  async #write<Written extends OverridesRecord | undefined>(
    serviceId: string,
    decide: (existing: OverridesRecord | undefined) => Written,
  ): Promise<Written> {
    const { store, mirror } = this.#options
    const key = STORE_PREFIXES.overrides + serviceId
    for (let attempt = 0; attempt < CONFLICTS_MAX; attempt++) {
      const entry = await store.get(key)
      const written = decide(entry === undefined ? undefined : (JSON.parse(entry.value) as OverridesRecord))
      if (entry === undefined && written === undefined) return written
      const text = written === undefined ? undefined : JSON.stringify(written)
      const outcome = await store.compareAndSet(key, entry?.version ?? 0, text)
      if (outcome.kind !== 'written') continue
      mirror.learn(serviceId, text, outcome.version)
      return written
    }
    throw new WaiterError(`The overrides of ${serviceId} are being changed by others right now: try again`, {
      code: 'WTR_OVERRIDES_BUSY',
      status: 503,
      retryable: true,
    })
  }
}
