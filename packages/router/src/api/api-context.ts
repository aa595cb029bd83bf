import { WaiterError } from '@waiter/base'
import type { LeaderLink } from '@waiter/control'
import type { Exchange, ProxyStats } from '@waiter/proxy'
import type { WithdrawalRecord } from '@waiter/services'
import type { StoreMirror } from '@waiter/store/port'
import type { Context } from 'hono'
import type { Identity } from '../auth/identity.ts'
import type { Drain } from '../drain.ts'
import type { RouterGossip } from '../gossip/router-gossip.ts'
import type { RouterMetrics } from '../metrics/router-metrics.ts'
import type { OverrideService } from '../overrides/override-service.ts'
import type { Pipeline } from '../pipeline.ts'
import type { RequestContext } from '../request/request-context.ts'
import { schemeOf } from '../request/scheme.ts'
import type { RouterOptions } from '../router-options.ts'
import type { KnownDescriptions } from '../services/known-descriptions.ts'
import type { ServiceTable } from '../services/service-table.ts'
import type { SuspensionService } from '../suspensions/suspension-service.ts'
import type { TokenReplica } from '../tokens/token-replica.ts'
import type { TokenService } from '../tokens/token-service.ts'

/** What every API handler works with. */
export interface ApiParts {
  readonly options: RouterOptions
  readonly table: ServiceTable
  readonly tokens: TokenReplica
  readonly tokenService: TokenService
  readonly overrides: OverrideService
  readonly suspensions: SuspensionService
  readonly descriptions: KnownDescriptions
  readonly drain: Drain
  /** Undefined: this router does not gossip. */
  readonly gossip: RouterGossip | undefined
  readonly metrics: RouterMetrics
  readonly stats: () => ProxyStats | undefined
  readonly withdrawals: StoreMirror<WithdrawalRecord>
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
  return new Set((call.req.queries('include') ?? []).flatMap(value => value.split(',')))
}

/** @throws WaiterError WTR_STARTING (503) while the router is not connected yet */
export function leaderOf(parts: ApiParts): LeaderLink {
  const link = parts.leader()
  if (link !== undefined) return link
  throw new WaiterError('this router is still starting', { code: 'WTR_STARTING', status: 503, retryable: true })
}

/** May the requester manage what runs as this user? */
export function mayManage(call: ApiCall, { options }: ApiParts, user: string): boolean {
  return options.entitlements.mayManageToken(call.env.requester, user)
}

/**
 * Whose eyes a service is seen with: administrators may name somebody else in `x-view-as-user` (spec §1.3).
 *
 * @throws WaiterError WTR_FORBIDDEN (401) for others
 */
export function viewerOf(call: ApiCall, { options }: ApiParts): string {
  const { requester } = call.env
  const viewer = call.req.header('x-view-as-user') ?? ''
  if (viewer === '' || viewer === requester) return requester
  if (options.entitlements.mayAdminister(requester)) return viewer
  const details = { 'view-as-user': viewer }
  throw new WaiterError('Only administrators may view as another user', { code: 'WTR_FORBIDDEN', status: 401, details })
}

/** @throws WaiterError WTR_FORBIDDEN when the requester may not manage what runs as this user */
export function requireManager(call: ApiCall, parts: ApiParts, user: string): void {
  if (!mayManage(call, parts, user)) throw notManager(user, 403)
}

/** The refusal of those who do not manage what runs as this user. */
export function notManager(user: string, status: number): WaiterError {
  const details = { 'run-as-user': user }
  return new WaiterError('User not allowed to manage this service', { code: 'WTR_FORBIDDEN', status, details })
}

/** @throws WaiterError WTR_FORBIDDEN (403) */
export function requireAdministrator(call: ApiCall, { options }: ApiParts): void {
  if (options.entitlements.mayAdminister(call.env.requester)) return
  throw new WaiterError('Only administrators may do this', { code: 'WTR_FORBIDDEN', status: 403 })
}

export function serviceNotFound(id: string): WaiterError {
  return new WaiterError('Service not found', {
    code: 'WTR_NO_SUCH_SERVICE',
    status: 404,
    details: { 'service-id': id },
  })
}

/** How the client reached this router, for links in answers. */
export function baseUrlOf(call: ApiCall): string {
  const { exchange } = call.env
  return `${schemeOf(exchange)}://${exchange.head.authority}`
}

/** What a handler returns that answers on the exchange itself. */
export function takenOver(): Response {
  return new Response(null, { headers: { 'x-waiter-streamed': 'true' } })
}

/** A stored record as people read it. */
export function withIsoTime<Stored extends { readonly time: number }>(
  stored: Stored,
): Omit<Stored, 'time'> & { readonly time: string } {
  return { ...stored, time: new Date(stored.time).toISOString() }
}

/** A JSON answer with a status that is an answer, not "no such path". */
export function answer(call: ApiCall, status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return call.json(body as never, status as never, { ...headers, 'x-waiter-answered': 'true' })
}
