import type { Result } from '@waiter/base'
import type { RequestHead } from '@waiter/proxy'
import {
  authorizeRequest,
  type Descriptor,
  type DescriptorError,
  discoverService,
  type Entitlements,
  isCacheableSelection,
  resolveDiscovery,
  type ServiceOverrides,
  type ServicesConfig,
  type WaiterHeaders,
} from '@waiter/services'
import type { TokenReplica } from '../tokens/token-replica.ts'

/** Selections remembered; beyond that all are forgotten, which costs each its next request some 100 µs. */
const ENTRIES_MAX = 20_000
const NO_HEADERS: WaiterHeaders = new Map()

export interface DescriptorCacheOptions {
  readonly config: ServicesConfig
  readonly tokens: TokenReplica
  readonly entitlements: Entitlements
  readonly findOverrides: (serviceId: string) => ServiceOverrides | undefined
}

/** A request's outcome of finding its service. */
export type Resolution = Result<Descriptor, DescriptorError>

/** What one requester's requests came to. */
interface Remembered {
  readonly byToken: Map<string, Resolution>
  readonly byHost: Map<string, Resolution>
}

/**
 * Finds the service that a request names. Selections that depend on a token alone are remembered until any token
 * changes: on the hot path this is one map look-up.
 */
export class DescriptorCache {
  readonly #options: DescriptorCacheOptions
  readonly #byRequester = new Map<string, Remembered>()
  #entryCount = 0
  #generation = -1

  constructor(options: DescriptorCacheOptions) {
    this.#options = options
  }

  /** @param requester the authenticated user */
  resolve(head: RequestHead, headers: WaiterHeaders | undefined, requester: string): Resolution {
    const isCacheable = headers === undefined || isCacheableSelection(headers, this.#options.config.unsupportedHeaders)
    if (!isCacheable) return this.#resolve(head, headers, requester)
    const remembered = this.#rememberedOf(requester)
    const token = headers?.get('token')
    const resolutions = token === undefined ? remembered.byHost : remembered.byToken
    const name = token ?? head.host
    const known = resolutions.get(name)
    if (known !== undefined) return known
    const resolution = this.#resolve(head, headers ?? NO_HEADERS, requester)
    // Failures are not remembered: a client that tries names at random must not push out what others use.
    if (resolution.ok) {
      resolutions.set(name, resolution)
      this.#entryCount += 1
    }
    return resolution
  }

  /** Something that descriptors depend on beside tokens has changed. */
  forget(): void {
    this.#generation = -1
  }

  #rememberedOf(requester: string): Remembered {
    const { generation } = this.#options.tokens
    if (this.#generation !== generation || this.#entryCount >= ENTRIES_MAX) {
      this.#byRequester.clear()
      this.#entryCount = 0
      this.#generation = generation
    }
    let remembered = this.#byRequester.get(requester)
    if (remembered === undefined) {
      remembered = { byToken: new Map(), byHost: new Map() }
      this.#byRequester.set(requester, remembered)
    }
    return remembered
  }

  #resolve(head: RequestHead, headers: WaiterHeaders, requester: string): Resolution {
    const { config, tokens, entitlements, findOverrides } = this.#options
    const input = {
      headers,
      host: head.authority,
      findToken: (name: string) => tokens.find(name)?.record,
      config,
      requester,
      isOneUser: true,
      findOverrides,
    }
    const discovery = discoverService(input)
    if (!discovery.ok) return discovery
    const { maintenance } = discovery.value
    if (maintenance !== undefined) return maintenanceError(maintenance)
    const descriptor = resolveDiscovery(discovery.value, input)
    if (!descriptor.ok) return descriptor
    const permitted = authorizeRequest(descriptor.value, requester, entitlements)
    return permitted.ok ? descriptor : permitted
  }
}

function maintenanceError(maintenance: { token: string; owner: string; message: string }): Resolution {
  return {
    ok: false,
    error: {
      kind: 'forbidden',
      status: 503,
      message: maintenance.message,
      errorClass: 'waiter.Maintenance',
      details: { token: maintenance.token, owner: maintenance.owner },
    },
  }
}
