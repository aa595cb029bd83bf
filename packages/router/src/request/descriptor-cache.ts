import type { Result, ServiceId } from '@waiter/base'
import type { RequestHead } from '@waiter/proxy'
import {
  type Descriptor,
  type DescriptorError,
  type Discovery,
  discoverService,
  isCacheableSelection,
  type ResolveInput,
  resolveDiscovery,
  type ServiceDescription,
  type ServiceOverrides,
  type ServicesConfig,
  type WaiterHeaders,
} from '@waiter/services'
import type { TokenReplica } from '../tokens/token-replica.ts'
import type { Choice, HeaderReader, VersionChooser } from '../versions/version-chooser.ts'

/** Descriptors remembered; beyond that all are forgotten, which costs each its next request some 100 µs. */
const ENTRIES_MAX = 20_000
const NO_HEADERS: WaiterHeaders = new Map()
const NO_HEAD: HeaderReader = { get: () => undefined }

export interface DescriptorCacheOptions {
  readonly config: ServicesConfig
  readonly tokens: TokenReplica
  /** Everybody is the same user: nobody needs to consent. */
  readonly isOneUser: boolean
  readonly findServiceDescription: (serviceId: string) => ServiceDescription | undefined
  readonly findOverrides: (serviceId: string) => ServiceOverrides | undefined
  readonly versions: Pick<VersionChooser, 'choose' | 'forgetAll'>
}

/** The service that answers a request. */
export interface Selected {
  readonly ok: true
  readonly value: Descriptor
  /** The service that the tokens mean now, when an older version answers for it. */
  readonly fallbackFrom: ServiceId | undefined
  /** What the answer must say so that the next request comes to the same version. */
  readonly answerHeaders: readonly (readonly [name: string, value: string])[]
}

/** A request's outcome of finding its service. */
export type Resolution = Selected | { readonly ok: false; readonly error: DescriptorError }

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
    const isCacheable =
      headers === undefined ||
      (isCacheableSelection(headers, this.#options.config.unsupportedHeaders) && !headers.has('fallback-period-secs'))
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
    this.#options.versions.forgetAll()
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
    const isRemembered = place !== undefined
    const resolve = (discovery: Discovery, { user, hasConsent = false }: Requester, isLatest: boolean): Choice =>
      this.#resolve(discovery, { ...input, requester: user, hasConsent }, { isRemembered, isLatest })
    // Failures are not remembered: a client that tries names at random must not push out what others use.
    const selection = new Selection(discoverService(input), resolve, () => {
      this.#entryCount += 1
      place?.selections.set(place.name, selection)
    })
    return selection
  }

  #resolve(
    discovery: Discovery,
    input: ResolveInput,
    wanted: { readonly isRemembered: boolean; readonly isLatest: boolean },
  ): Choice {
    const descriptor = resolveDiscovery(discovery, input)
    if (!descriptor.ok) return { resolution: descriptor, splitter: undefined }
    return this.#options.versions.choose(descriptor.value, input, wanted)
  }
}

/** What a request names: tokens, headers or both; and the services that this means, one for each requester. */
export class Selection {
  readonly discovery: Result<Discovery, DescriptorError>
  /** Nothing but the requester decides: no maintenance, no redirect, no token without authentication. */
  readonly isPlain: boolean
  readonly #resolve: (discovery: Discovery, requester: Requester, isLatest: boolean) => Choice
  readonly #onSuccess: () => void
  readonly #byUser = new Map<string | undefined, Choice>()
  readonly #consentedByUser = new Map<string | undefined, Choice>()
  #lastUser: string | undefined
  #last: Choice | undefined

  constructor(
    discovery: Result<Discovery, DescriptorError>,
    resolve: (discovery: Discovery, requester: Requester, isLatest: boolean) => Choice,
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

  /**
   * The service, if the requester may use it.
   *
   * @param head what a traffic split may look at
   */
  resolveFor(requester: Requester, head: HeaderReader = NO_HEAD): Resolution {
    const choice = this.#choiceFor(requester)
    return choice.splitter === undefined ? choice.resolution : choice.splitter.pick(head)
  }

  /** The service that the tokens mean now, whatever answers for it. */
  resolveLatestFor(requester: Requester): Resolution {
    return this.discovery.ok ? this.#resolve(this.discovery.value, requester, true).resolution : this.discovery
  }

  #choiceFor(requester: Requester): Choice {
    const { user, hasConsent } = requester
    if (hasConsent) return this.#consentedByUser.get(user) ?? this.#resolveAnew(requester, this.#consentedByUser)
    if (this.#last !== undefined && this.#lastUser === user) return this.#last
    const choice = this.#byUser.get(user) ?? this.#resolveAnew(requester, this.#byUser)
    if (choice.resolution.ok) {
      this.#lastUser = user
      this.#last = choice
    }
    return choice
  }

  #resolveAnew(requester: Requester, byUser: Map<string | undefined, Choice>): Choice {
    if (!this.discovery.ok) return { resolution: this.discovery, splitter: undefined }
    const choice = this.#resolve(this.discovery.value, requester, false)
    if (choice.resolution.ok) {
      byUser.set(requester.user, choice)
      this.#onSuccess()
    }
    return choice
  }
}
