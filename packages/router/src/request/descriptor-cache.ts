import type { Result } from '@waiter/base'
import type { RequestHead } from '@waiter/proxy'
import {
  authorizeRequest,
  type Descriptor,
  type DescriptorError,
  type Discovery,
  discoverService,
  type Entitlements,
  isCacheableSelection,
  type ResolveInput,
  resolveDiscovery,
  type ServiceDescription,
  type ServiceOverrides,
  type ServicesConfig,
  type WaiterHeaders,
} from '@waiter/services'
import type { TokenReplica } from '../tokens/token-replica.ts'

/** Descriptors remembered; beyond that all are forgotten, which costs each its next request some 100 µs. */
const ENTRIES_MAX = 20_000
const NO_HEADERS: WaiterHeaders = new Map()

export interface DescriptorCacheOptions {
  readonly config: ServicesConfig
  readonly tokens: TokenReplica
  readonly entitlements: Entitlements
  /** Everybody is the same user: nobody needs to consent. */
  readonly isOneUser: boolean
  readonly findServiceDescription: (serviceId: string) => ServiceDescription | undefined
  readonly findOverrides: (serviceId: string) => ServiceOverrides | undefined
}

/** A request's outcome of finding its service. */
export type Resolution = Result<Descriptor, DescriptorError>

/** Who asks, and whether he agreed that what names no user runs as himself. */
export interface Requester {
  /** Undefined when the token disables authentication. */
  readonly user: string | undefined
  readonly hasConsent?: boolean
}

/**
 * Finds the service that a request names. What depends on a token alone is remembered until any token changes: on the
 * hot path this is one map look-up.
 */
export class DescriptorCache {
  readonly #options: DescriptorCacheOptions
  readonly #byToken = new Map<string, Selection>()
  readonly #byHost = new Map<string, Selection>()
  #entryCount = 0
  #generation = -1

  constructor(options: DescriptorCacheOptions) {
    this.#options = options
  }

  /** What a request names, before anybody knows who sent it. */
  select(head: RequestHead, headers: WaiterHeaders | undefined): Selection {
    const isCacheable = headers === undefined || isCacheableSelection(headers, this.#options.config.unsupportedHeaders)
    if (!isCacheable) return this.#discover(head, headers, undefined)
    this.#forgetIfOutdated()
    const token = headers?.get('token')
    const selections = token === undefined ? this.#byHost : this.#byToken
    const name = token ?? head.host
    return selections.get(name) ?? this.#discover(head, headers ?? NO_HEADERS, { selections, name })
  }

  /** Something that descriptors depend on beside tokens has changed. */
  forget(): void {
    this.#generation = -1
  }

  #forgetIfOutdated(): void {
    const { generation } = this.#options.tokens
    if (this.#generation === generation && this.#entryCount < ENTRIES_MAX) return
    this.#byToken.clear()
    this.#byHost.clear()
    this.#entryCount = 0
    this.#generation = generation
  }

  #discover(
    head: RequestHead,
    headers: WaiterHeaders,
    place: { selections: Map<string, Selection>; name: string } | undefined,
  ): Selection {
    const { config, tokens, isOneUser, findOverrides, findServiceDescription } = this.#options
    const input = {
      headers,
      host: head.authority,
      findToken: (name: string) => tokens.find(name)?.record,
      config,
      isOneUser,
      findOverrides,
      findServiceDescription,
    }
    const resolve = (discovery: Discovery, { user, hasConsent = false }: Requester): Resolution =>
      this.#resolve(discovery, { ...input, requester: user, hasConsent })
    // Failures are not remembered: a client that tries names at random must not push out what others use.
    const selection = new Selection(discoverService(input), resolve, () => {
      this.#entryCount += 1
      place?.selections.set(place.name, selection)
    })
    return selection
  }

  #resolve(discovery: Discovery, input: ResolveInput): Resolution {
    const descriptor = resolveDiscovery(discovery, input)
    if (!descriptor.ok) return descriptor
    const permitted = authorizeRequest(descriptor.value, input.requester, this.#options.entitlements)
    return permitted.ok ? descriptor : permitted
  }
}

/** What a request names: tokens, headers or both; and the services that this means, one for each requester. */
export class Selection {
  readonly discovery: Result<Discovery, DescriptorError>
  /** Nothing but the requester decides: no maintenance, no redirect, no token without authentication. */
  readonly isPlain: boolean
  readonly #resolve: (discovery: Discovery, requester: Requester) => Resolution
  readonly #onSuccess: () => void
  readonly #byUser = new Map<string | undefined, Resolution>()
  readonly #consentedByUser = new Map<string | undefined, Resolution>()
  #lastUser: string | undefined
  #last: Resolution | undefined

  constructor(
    discovery: Result<Discovery, DescriptorError>,
    resolve: (discovery: Discovery, requester: Requester) => Resolution,
    onSuccess: () => void,
  ) {
    this.discovery = discovery
    this.#resolve = resolve
    this.#onSuccess = onSuccess
    this.isPlain =
      discovery.ok &&
      discovery.value.maintenance === undefined &&
      !discovery.value.isHttpsRedirected &&
      !discovery.value.isAuthenticationDisabled
  }

  /** The service, if the requester may use it. */
  resolveFor(requester: Requester): Resolution {
    const { user, hasConsent } = requester
    if (hasConsent) return this.#consentedByUser.get(user) ?? this.#resolveAnew(requester, this.#consentedByUser)
    if (this.#last !== undefined && this.#lastUser === user) return this.#last
    const resolution = this.#byUser.get(user) ?? this.#resolveAnew(requester, this.#byUser)
    if (resolution.ok) {
      this.#lastUser = user
      this.#last = resolution
    }
    return resolution
  }

  #resolveAnew(requester: Requester, byUser: Map<string | undefined, Resolution>): Resolution {
    if (!this.discovery.ok) return this.discovery
    const resolution = this.#resolve(this.discovery.value, requester)
    if (resolution.ok) {
      byUser.set(requester.user, resolution)
      this.#onSuccess()
    }
    return resolution
  }
}
