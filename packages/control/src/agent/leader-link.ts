import type { InstanceId, Millis, RouterId, ServiceId, Term } from '@waiter/base'
import type { InstanceRecord, LogEntry, LogPiece, LogRange } from '@waiter/schedulers'
import type { ServiceDefinition } from '@waiter/services'
import type { PeerChange } from '../peers/slot-exchange.ts'

/** A token that led to a service, with the version that was read. */
export interface SourceToken {
  readonly token: string
  readonly version: string
}

/** One instance that this router may use, and how many of its slots. */
export interface InstanceLease {
  readonly instanceId: InstanceId
  readonly host: string
  readonly port: number
  readonly extraPorts: readonly number[]
  readonly slots: number
  readonly startedAtMs: Millis
  readonly expired: boolean
  readonly logDirectory: string | null
}

/** Why no instance of a service comes up (spec §5.2). */
export interface ServiceProblem {
  /** For example `bad-startup-command`. */
  readonly key: string
  readonly message: string
  /** Facts for people: exit code, last lines of stderr. */
  readonly details: Readonly<Record<string, unknown>>
}

/** A newer version of a token that is to take over from an older one. */
export interface SuccessionRequest {
  readonly definition: ServiceDefinition
  readonly sourceTokens: readonly SourceToken[]
  /** The service that carries the load now. */
  readonly predecessorId: ServiceId
  /** The part of the load that is to move, 0 to 1. */
  readonly share: number
  /** Take it back when it turns out bad. */
  readonly withdrawIfBad: boolean
  /** The token whose change made the newer version, and which version of it that is. */
  readonly token: string
  readonly version: string
}

/** How far a version has come in taking over from another one. */
export interface SuccessionState {
  readonly predecessorId: ServiceId
  readonly token: string
  readonly version: string
  /** `pending`: it must grow first; `ready`: it serves, on probation; `withdrawn`: it turned out bad. */
  readonly kind: 'pending' | 'ready' | 'withdrawn'
  readonly reason: string
  /** Instances that it needs. */
  readonly wanted: number
}

/** A way in which a service was reached: through these tokens; without any: on the fly. */
export interface ReferenceRow {
  readonly serviceId: ServiceId
  readonly sourceTokens: readonly SourceToken[]
}

/** What the leader says of a service in general. */
export interface ServiceSummary {
  readonly status: 'Failing' | 'Inactive' | 'Starting' | 'Running'
  readonly healthy: number
  readonly unhealthy: number
  readonly requested: number
  readonly scalingState: 'scale-up' | 'scale-down' | 'stable'
  readonly problem: ServiceProblem | null
  /** Why no further instance can be started at present, though that is tried again and again (no free port, no space). */
  readonly startTrouble: string | null
  readonly sourceTokens: readonly (readonly SourceToken[])[]
  /** Reached without any token at least once. */
  readonly isOnTheFly: boolean
  /** Nothing leads to it any more: a newer version has replaced it. */
  readonly isStale: boolean
  /** Versions that it takes over from. */
  readonly successions: readonly SuccessionState[]
  /** Sums over all routers. */
  readonly outstanding: number
  readonly total: number
  readonly lastRequestMs: Millis
}

/** A service as one router may use it; replaces what that router knew of it. */
export interface ServiceLeases {
  readonly definition: ServiceDefinition
  readonly leases: readonly InstanceLease[]
  readonly summary: ServiceSummary
  /** Requests that wait for a slot at other routers; told while it matters for `max-queue-length`. */
  readonly waitingElsewhere?: number
  /** Stopped in a moment, whatever still runs there: WebSockets are told so. */
  readonly closingInstanceIds?: readonly InstanceId[]
  /** Other routers that lend slots of it. */
  readonly lenderIds?: readonly RouterId[]
}

/** What a router must apply at once. */
export interface AssignmentChange {
  /** True: services that are not listed are gone. */
  readonly isFull: boolean
  readonly upserts: readonly ServiceLeases[]
  readonly removals: readonly ServiceId[]
  readonly peers?: PeerChange
}

/** One service's figures on one router. */
export interface ServiceLoadRow {
  readonly serviceId: ServiceId
  /** Accepted and not finished, queued ones included. */
  readonly outstanding: number
  readonly waiting: number
  readonly total: number
  readonly lastRequestMs: Millis
  readonly instances: readonly { instanceId: InstanceId; inUse: number; consecutiveFailures: number }[]
  /** Requests that ended with a backend's answer or its failure to give one, since this router started. */
  readonly finished: number
  /** Of those: status 500 and above, broken connections, no answer in time. */
  readonly failed: number
  /** Of `finished`, by `latencyBucket`. */
  readonly latencyCounts: readonly number[]
}

/** Requests in flight of one service on this router; an instance that is not listed has none. */
export interface ServiceUseRow {
  readonly serviceId: ServiceId
  readonly instances: readonly { readonly instanceId: InstanceId; readonly inUse: number }[]
}

/** What this router works from: slots it was assigned, and requests that run. */
export interface ServiceBeliefRow {
  readonly serviceId: ServiceId
  readonly instances: readonly { readonly instanceId: InstanceId; readonly slots: number; readonly inUse: number }[]
}

/** What the agent asks of the router that it serves. Every call is synchronous. */
export interface AgentHost {
  applyAssignment(change: AssignmentChange): void
  /** What it told of other routers may no longer be so. */
  leaderLost(): void
  /** Rows that changed since the last call; all rows when `all` is set (after a new leader). */
  collectLoads(all: boolean): readonly ServiceLoadRow[]
  /** Requests in flight of the given services, all instances. */
  collectUse(serviceIds: readonly ServiceId[]): readonly ServiceUseRow[]
  /** The same for services with more requests on some instance than is assigned, and once more when that has passed. */
  collectReducedUse(): readonly ServiceUseRow[]
  /** For a leader that knows nothing yet. */
  collectBeliefs(): readonly ServiceBeliefRow[]
  /** Services for which requests wait while no instance is assigned: asked for again from every new leader. */
  collectNeeds(): readonly { definition: ServiceDefinition; sourceTokens: readonly SourceToken[] }[]
  /** Routers with which slots are lent or borrowed: a new leader waits for them, or declares them dead. */
  collectRelated(): readonly RouterId[]
  /** References that no leader has heard of yet; all that are remembered when `all` is set. */
  collectReferences(all: boolean): readonly ReferenceRow[]
  /** Versions that are still to take over, or did so a short while ago: told to every new leader. */
  collectSuccessions(): readonly SuccessionRequest[]
}

/** A service in full, for people who ask. */
export interface ServiceView {
  readonly definition: ServiceDefinition
  readonly summary: ServiceSummary
  readonly instances: readonly InstanceRecord[]
  readonly scaling: Readonly<Record<string, unknown>>
}

/** The leader's answer to "what runs?". */
export interface ClusterView {
  readonly term: Term
  readonly leaderId: string
  readonly services: readonly ServiceView[]
  readonly routers: readonly { routerId: RouterId; httpUrl: string }[]
}

/** What somebody wants to happen to one instance. */
export interface InstanceSignal {
  readonly serviceId: ServiceId
  readonly instanceId: InstanceId
  /**
   * `expire`: is replaced, then stopped. `soft-kill`: finishes what runs, is stopped. `force-kill`: is stopped at once.
   */
  readonly kind: 'expire' | 'soft-kill' | 'force-kill'
  /** How long what runs may go on (`soft-kill`); 0: as long as on a scale-down. */
  readonly drainTimeoutMs: number
}

/** What all routers said to one question. */
export interface RouterAnswers {
  readonly answers: readonly { readonly routerId: RouterId; readonly answer: unknown }[]
  /** Attached, but without an answer in time. */
  readonly silentRouterIds: readonly RouterId[]
}

/** Answers what the leader asks on somebody's behalf; the topic says what the argument is. */
export type AnswerQuestion = (topic: string, argument: unknown) => Promise<unknown>

/** What one instance of a bypass service said of itself (spec §4.5). */
export interface ExternalMetricsRow {
  readonly serviceId: ServiceId
  readonly instanceId: InstanceId
  readonly updatedAtMs: Millis
  readonly activeRequests: number
  /** 0: it said nothing of that. */
  readonly lastRequestMs: Millis
}

/** Healthy instances of some services, or (`isFull`) of all. */
export interface InstancesChange {
  readonly isFull: boolean
  readonly services: readonly {
    readonly serviceId: ServiceId
    /** Undefined: the service is gone. */
    readonly definition: ServiceDefinition | undefined
    readonly instances: readonly InstanceRecord[]
  }[]
}

/** A router's line to the leader. */
export interface LeaderLink {
  /** Who leads, as far as this router knows; `isConnected` says whether it is reachable now. */
  readonly leader: { readonly isConnected: boolean; readonly leaderId: string | null; readonly term: Term }
  /** A request waits for this service and no instance is assigned: tells the leader at once. */
  needService(definition: ServiceDefinition, sourceTokens: readonly SourceToken[]): void
  /** A newer version is to take over: have it started as large as it must be, and say in its summary when it is. */
  wantSuccession(request: SuccessionRequest): void
  /**
   * This router wants to hear of a service though no request for it is here: with many routers, only some are told of each.
   * One that there is not is told as removed.
   */
  followService(serviceId: ServiceId): void
  /** A figure of some service changed, or a service was reached in a new way: it travels with the next report, at once if the last one is long enough ago. */
  noteLoadChange(): void
  /** This router is to be left out: the leader gives it no slots, now and after every change of leader, until it is over. */
  drain(isOver: boolean): void
  /** A request on a taken-away or shrunk instance finished. */
  noteReducedUse(): void
  /** @throws WaiterError WTR_CONTROL_UNREACHABLE */
  viewServices(serviceId?: ServiceId): Promise<ClusterView>
  deleteService(serviceId: ServiceId): Promise<{ readonly isDeleted: boolean }>
  listLogs(serviceId: ServiceId, instanceId: InstanceId, path: string): Promise<readonly LogEntry[]>
  readLog(serviceId: ServiceId, instanceId: InstanceId, path: string, range: LogRange): Promise<LogPiece>
  /** `isFound` false: no such instance runs. Resolves when it is under way, not when the instance is gone. */
  signalInstance(signal: InstanceSignal): Promise<{ readonly isFound: boolean }>
  /** Puts a question to every attached router, this one included. */
  askRouters(topic: string, argument: unknown, timeoutMs: number): Promise<RouterAnswers>
  /** `isUsed` false: nothing in it was news of an instance that runs. */
  reportExternalMetrics(rows: readonly ExternalMetricsRow[]): Promise<{ readonly isUsed: boolean }>
  /** Everything first, then what changes; ends with the connection, or when `signal` aborts. */
  watchInstances(signal: AbortSignal): AsyncIterable<InstancesChange>
  close(): void
}
