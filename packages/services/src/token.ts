import type { Millis } from '@waiter/base'
import type { ServiceDescription } from './description.ts'
import type { TrafficSplit } from './traffic-split.ts'

/** One rule of `cors-rules`: which origins may call which paths with which methods. Patterns match the whole text. */
export interface CorsRule {
  readonly 'origin-regex': string
  readonly 'target-path-regex'?: string
  readonly methods?: readonly string[]
}

/** How a token's services relate to other tokens with the same description (spec §1.2 point 7). */
export type ServiceMapping = 'default' | 'exclusive' | 'legacy'

/** What users say about a token itself, beside the service parameters (spec §2.2). Wire names. */
export interface TokenUserMetadata {
  readonly 'cors-rules'?: readonly CorsRule[]
  /** May edit everything but `editor`, `owner` and `run-as-user`. */
  readonly editor?: string
  readonly 'fallback-period-secs'?: number
  readonly 'https-redirect'?: boolean
  readonly maintenance?: { readonly message: string }
  readonly owner?: string
  readonly 'queue-timeout-ms'?: number
  readonly 'service-mapping'?: ServiceMapping
  readonly 'socket-timeout-ms'?: number
  readonly 'stale-timeout-mins'?: number
  readonly 'streaming-timeout-ms'?: number
  /** Which share of the requests the newest version gets; the version before it gets the others. */
  readonly 'traffic-split'?: TrafficSplit
  /** False: a version that turns out bad goes on serving. */
  readonly 'withdraw-bad-versions'?: boolean
}

/** What Waiter itself records about a token (spec §3.1). */
export interface TokenSystemMetadata {
  readonly cluster: string
  readonly deleted?: boolean
  readonly 'last-update-time': Millis
  readonly 'last-update-user': string
  /** The name of the cluster that created the token; never changes. */
  readonly root: string
}

/**
 * A token as it is stored: flat, under wire names, keys of every nested map sorted. `previous` is the version before this
 * one and holds its own `previous`, at most `historyLengthMax` deep.
 */
export type TokenRecord = ServiceDescription &
  TokenUserMetadata &
  TokenSystemMetadata & { readonly owner: string; readonly previous?: PreviousToken }

/** A former version. One that an administrator copied from another cluster may lack anything. */
export type PreviousToken = ServiceDescription &
  TokenUserMetadata &
  Partial<TokenSystemMetadata> & { readonly previous?: PreviousToken }

/** One token that took part in a descriptor, with the version that was read. */
export interface SourceToken {
  readonly token: string
  /** The token's etag. */
  readonly version: string
}

/** An expected refusal of a token operation; the message is for the user, details go into the error answer. */
export interface TokenError {
  readonly status: number
  readonly message: string
  readonly details: Readonly<Record<string, unknown>>
}

/** Who may do what. Users are compared as plain names (the part of a principal before `@` or `/`). */
export interface Entitlements {
  /** May `subject` start processes as `user`? */
  mayRunAs(subject: string, user: string): boolean
  /** May `subject` change tokens of `owner`? */
  mayManageToken(subject: string, owner: string): boolean
  mayAdminister(subject: string): boolean
}

/** Everybody manages and runs as themselves; administrators do everything. */
export function createSimpleEntitlements(administrators: readonly string[] = []): Entitlements {
  const isAdministrator = (subject: string): boolean => administrators.includes(subject)
  return {
    mayRunAs: (subject, user) => subject === user || isAdministrator(subject),
    mayManageToken: (subject, owner) => subject === owner || isAdministrator(subject),
    mayAdminister: isAdministrator,
  }
}
