import type { LeaderLink } from '@waiter/control'
import type { Exchange } from '@waiter/proxy'
import type { Context } from 'hono'
import type { Identity } from '../auth/identity.ts'
import type { OverrideService } from '../overrides/override-service.ts'
import type { Pipeline } from '../pipeline.ts'
import type { RequestContext } from '../request/request-context.ts'
import type { RouterOptions } from '../router-options.ts'
import type { ServiceTable } from '../services/service-table.ts'
import type { TokenReplica } from '../tokens/token-replica.ts'
import type { TokenService } from '../tokens/token-service.ts'

/** What every API handler works with. */
export interface ApiParts {
  readonly options: RouterOptions
  readonly table: ServiceTable
  readonly tokens: TokenReplica
  readonly tokenService: TokenService
  readonly overrides: OverrideService
  /** Undefined until the router is connected. */
  readonly leader: () => LeaderLink | undefined
  readonly pipeline: () => Pipeline
}

/** What the bridge hands to every handler beside the request. */
export interface ApiBindings {
  readonly exchange: Exchange
  readonly context: RequestContext
  /** Undefined where nobody was asked who he is. */
  readonly identity: Identity | undefined
  /** The authenticated user; empty when there is none. */
  readonly requester: string
  readonly waiterHeaders: ReadonlyMap<string, string>
}

export interface ApiEnvironment {
  readonly Bindings: ApiBindings
}

export type ApiCall = Context<ApiEnvironment>

/** All values of the query by name, in order. */
export function queryOf(call: ApiCall): Map<string, string[]> {
  return new Map(Object.entries(call.req.queries()))
}

/** `include=a&include=b` as a set. */
export function includesOf(call: ApiCall): ReadonlySet<string> {
  return new Set(call.req.queries('include') ?? [])
}
