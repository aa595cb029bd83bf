import type { ServiceId } from '@waiter/base'
import type { EffectiveDescription, ServiceDefinition, ServiceDescription } from './description.ts'
import type { SourceToken, TokenRecord } from './token.ts'
import type { EffectiveTokenMetadata } from './token-metadata.ts'

/** What tokens a request names and what they say, before users, headers and validation (spec §1.2 point 2). */
export interface Discovery {
  /** Names as given: tokens, or `^SERVICE-ID#<service-id>`. */
  readonly names: readonly string[]
  /** `header`: from `x-waiter-token`; `host`: the request's host is the token. */
  readonly source: 'header' | 'host' | 'none'
  /** The tokens that exist, in order, with their records: the way to their history. */
  readonly records: readonly DiscoveredToken[]
  /** Service parameters of all tokens; later ones win, `env` and `metadata` merge key by key. */
  readonly template: ServiceDescription
  readonly metadata: EffectiveTokenMetadata
  /** Set when the tokens are down for maintenance: answer 503 with this before anything else. */
  readonly maintenance: Maintenance | undefined
  readonly isHttpsRedirected: boolean
  /** True when the one token says `authentication: disabled`: the request needs no user. */
  readonly isAuthenticationDisabled: boolean
  /** True when a raw service id was among the names. */
  readonly hasRawServiceId: boolean
}

export interface DiscoveredToken extends SourceToken {
  readonly record: TokenRecord
}

export interface Maintenance {
  readonly token: string
  readonly owner: string
  readonly message: string
}

/** Timeouts that the tokens set, with defaults, in milliseconds. Headers may change them per request. */
export interface TokenTimeouts {
  readonly queueTimeoutMs: number
  readonly socketTimeoutMs: number
  readonly streamingTimeoutMs: number
}

/** Everything a router needs to know to serve a request. Plain, immutable: it may be cached. */
export interface Descriptor {
  readonly serviceId: ServiceId
  readonly core: ServiceDescription
  readonly effective: EffectiveDescription
  readonly definition: ServiceDefinition
  /** The tokens that made it; raw service ids are not among them. */
  readonly tokens: readonly SourceToken[]
  /** By what the service is kept wanted (spec §2.9): its tokens, raw service ids when there is nothing else; empty: on the fly. */
  readonly reference: readonly SourceToken[]
  /** Any description header or `x-waiter-token` present? Such requests see no consent page and no interstitial. */
  readonly isOnTheFly: boolean
  readonly hasDescriptionHeaders: boolean
  /** Where run-as-user comes from: tokens, a header, the requester, or the one user of a Waiter in one-user mode. */
  readonly runAsUserSource: 'token' | 'header' | 'requester' | 'one-user'
  /** One token, no description headers, and the token names both users: anybody permitted may start it. */
  readonly isPreauthorized: boolean
  readonly isAuthenticationDisabled: boolean
  readonly timeouts: TokenTimeouts
  /** How long an older healthy version may answer for this one, after the last change (s). */
  readonly fallbackPeriodSecs: number
  readonly staleTimeoutMins: number
  readonly discovery: Discovery
}

/** Why no descriptor could be made; an expected outcome of a wrong request. */
export interface DescriptorError {
  readonly kind:
    | 'token-not-found'
    | 'unknown-service'
    | 'unsupported-headers'
    | 'invalid-description'
    | 'invalid-headers'
    /** A host token without `run-as-user`: the user must consent first (spec §1.10), or the answer is 400. */
    | 'consent-required'
    | 'forbidden'
  readonly status: number
  /** For the user; several lines when a description has several problems. */
  readonly message: string
  /** `waiter.ServiceUnknown` and the like (spec §1.7), when there is one. */
  readonly errorClass: string | undefined
  readonly details: Readonly<Record<string, unknown>>
}
