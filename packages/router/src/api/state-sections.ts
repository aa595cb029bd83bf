import type { ClusterView, ServiceView } from '@waiter/control'
import type { BorrowedUse } from '@waiter/slots'
import type { InstanceWatch } from '../cluster/instance-watch.ts'
import { renderGossip } from '../gossip/render-gossip.ts'
import { askRouters, type UsageRow, usageOf } from '../cluster/questions.ts'
import type { TokenWatchers } from '../tokens/token-watchers.ts'
import type { ApiParts } from './api-context.ts'
import { renderMembers } from './cluster-routes.ts'
import { renderInstance } from './render-app.ts'

type Json = Record<string, unknown>

/** Routers answer within milliseconds, or they are not well. */
const USAGE_TIMEOUT_MS = 2_000

/** What a section of `/state` is made from. */
export interface SectionRequest {
  readonly include: ReadonlySet<string>
  readonly baseUrl: string
  readonly mayManage: (user: string) => boolean
}

export interface Section {
  /** Values of `include` that it knows. */
  readonly include: readonly string[]
  readonly read: (request: SectionRequest) => Json | Promise<Json>
}

/** Streams that are open at this router. */
export interface Watches {
  readonly instances: Pick<InstanceWatch, 'count'>
  readonly tokens: Pick<TokenWatchers, 'size'>
}

/** The sections of `/state` (spec §4.7) that have a counterpart here. */
export function createSections(parts: ApiParts, watches: Watches): ReadonlyMap<string, Section> {
  const { options, table, tokens } = parts
  const plain = (read: Section['read']): Section => ({ include: [], read })
  return new Map<string, Section>([
    [
      'async-requests',
      plain(() => ({
        count: parts.pipeline().asyncRequests.count,
        'service-id->count': Object.fromEntries(
          [...table.values()].filter(({ counts }) => counts.async > 0).map(({ id, counts }) => [id, counts.async]),
        ),
      })),
    ],
    ['autoscaler', plain(() => readAutoscaler(parts))],
    ['cluster', plain(() => readCluster(parts))],
    [
      'ejection-expiry',
      {
        include: ['service-details'],
        read: ({ include }) => ({
          'failure-threshold': options.ejection.suspectAfterFailures,
          ...(include.has('service-details') ? { 'service-id->instance-ids': suspectsOf(parts) } : {}),
        }),
      },
    ],
    ['entitlement-manager', plain(() => ({ name: 'SimpleEntitlementManager' }))],
    ['fallback', plain(() => ({ state: availabilityOf(parts) }))],
    [
      'gossip',
      {
        include: ['loads'],
        read: ({ include }) => renderGossip(parts.gossip, { hasLoads: include.has('loads'), nowMs: performance.now() }),
      },
    ],
    ['instance-tracker', plain(() => ({ 'watch-count': watches.instances.count }))],
    ['tls', plain(() => ({ ...(options.tlsState?.() ?? { disabled: true }) }))],
    ['request-log', plain(() => ({ ...(options.accessLog?.stats() ?? { disabled: true }) }))],
    [
      'kv-store',
      {
        include: ['tokens'],
        read: ({ include }) => ({
          cache: { count: tokens.size },
          'synced?': tokens.isSynced,
          variant: 'replica',
          ...(include.has('tokens') ? { tokens: [...tokens.entries()].map(([name]) => name) } : {}),
        }),
      },
    ],
    ['interstitial', plain(() => readInterstitials(parts))],
    [
      'jwt-auth-server',
      plain(() => parts.pipeline().authentication.identityProvider?.keys.state() ?? { disabled: true }),
    ],
    ['launch-metrics', plain(() => readLaunchMetrics(parts))],
    ['leader', plain(() => readLeader(parts))],
    [
      'local-usage',
      plain(() =>
        Object.fromEntries(
          [...table.values()].map(({ id, lastRequestMs }) => [id, { 'last-request-time': isoOrNull(lastRequestMs) }]),
        ),
      ),
    ],
    ['maintainer', plain(request => readMaintainer(parts, request))],
    ['router-metrics', plain(() => readRouterMetrics(parts))],
    ['scheduler', plain(async () => readScheduler(await viewOf(parts)))],
    ['service-description-builder', plain(() => ({}))],
    ['service-maintainer', plain(() => ({ 'service-ids': [...table.values()].map(runtime => runtime.id) }))],
    [
      'token-watch-maintainer',
      plain(() => ({ 'token-count': tokens.size, 'synced?': tokens.isSynced, 'watch-count': watches.tokens.size })),
    ],
    ['versions', plain(() => ({ withdrawals: Object.fromEntries(parts.withdrawals.entries()) }))],
    ['work-stealing', plain(() => readBorrowing(parts))],
  ])
}

/** The leader's view; without a leader, none. */
async function viewOf(parts: ApiParts): Promise<ClusterView> {
  const view = await parts
    .leader()
    ?.viewServices('')
    .catch(() => undefined)
  return view ?? { term: 0, leaderId: '', services: [], routers: [] }
}

/** The control nodes; without one that answers, none. */
async function readCluster({ options }: ApiParts): Promise<Json> {
  const view = await options.cluster?.members().catch(() => undefined)
  return view === undefined ? { members: [] } : renderMembers(view)
}

function readLeader(parts: ApiParts): Json {
  const leader = parts.leader()?.leader
  return {
    'leader-id': leader?.leaderId ?? null,
    'leader?': leader?.leaderId === parts.options.nodeId,
    'connected?': leader?.isConnected ?? false,
    term: leader?.term ?? 0,
  }
}

function availabilityOf({ table }: ApiParts): Json {
  const known = [...table.values()].map(({ id }) => id).filter(id => table.statusOf(id).exists)
  return {
    'available-service-ids': known,
    'healthy-service-ids': known.filter(id => table.statusOf(id).isHealthy),
  }
}

/** Which services show a page while they start. */
function readInterstitials(parts: ApiParts): Json {
  const { isInitialized, byService } = parts.pipeline().interstitials.state()
  return {
    interstitial: { 'initialized?': isInitialized, 'service-id->interstitial-promise': byService },
    maintainer: { 'available-service-ids': availabilityOf(parts)['available-service-ids'] },
  }
}

function suspectsOf({ table }: ApiParts): Json {
  const rows = [...table.values()].map(runtime => [runtime.id, runtime.machine.suspectInstances()] as const)
  return Object.fromEntries(rows.filter(([, ids]) => ids.length > 0))
}

/** What the leader decided last about every service. */
async function readAutoscaler(parts: ApiParts): Promise<Json> {
  const { services } = await viewOf(parts)
  const by = (read: (service: ServiceView) => unknown): Json =>
    Object.fromEntries(services.map(service => [service.definition.id, read(service)]))
  return {
    'global-state': by(({ summary }) => ({
      'last-request-time': summary.lastRequestMs === 0 ? '' : new Date(summary.lastRequestMs).toISOString(),
      outstanding: summary.outstanding,
      total: summary.total,
    })),
    'service-id->router-state': by(service => countsOf(service)),
    'service-id->scale-state': by(({ scaling }) => scaleStateOf(scaling)),
    'service-id->scheduler-state': by(({ summary }) => ({
      instances: summary.requested,
      'task-count': summary.healthy + summary.unhealthy,
    })),
  }
}

/** Counts of a service as the autoscaler sees them. */
export function countsOf({ instances }: ServiceView): Json {
  const expired = instances.filter(record => record.flags.includes('expired') && record.endedAtMs === null)
  const healthy = instances.filter(record => record.state === 'healthy')
  const expiredHealthy = expired.filter(record => record.state === 'healthy').length
  return {
    'expired-healthy-instances': expiredHealthy,
    'expired-unhealthy-instances': expired.length - expiredHealthy,
    'healthy-instances': healthy.length,
  }
}

/** The last decision under the original's names. */
/** Slots lent and borrowed; `global-offers` is the original's way, in which a router is given slots unasked. */
function readBorrowing({ table, options }: ApiParts): Json {
  const counts = table.exchangeCounts()
  const render = (uses: readonly BorrowedUse[] = []): Json[] =>
    uses.map(use => ({
      'router-id': use.routerId,
      'service-id': use.serviceId,
      'instance-id': use.instanceId,
    }))
  return {
    'global-offers': { allowed: 0, available: 0 },
    'router-id': options.routerId,
    lent: render(counts?.lentNow),
    borrowed: render(counts?.borrowedNow),
    totals: {
      lent: counts?.lent ?? 0,
      borrowed: counts?.borrowed ?? 0,
      'borrowed-in-vain': counts?.borrowedInVain ?? 0,
      'requests-served': counts?.served ?? 0,
    },
  }
}

export function scaleStateOf(scaling: ServiceView['scaling']): Json {
  return {
    'scale-amount': scaling['amount'] ?? 0,
    'scale-to-instances': scaling['scaleTo'] ?? 0,
    'target-instances': scaling['target'] ?? 0,
    ...(scaling['reason'] === undefined ? {} : { reason: scaling['reason'] }),
  }
}

async function readLaunchMetrics(parts: ApiParts): Promise<Json> {
  const { services } = await viewOf(parts)
  return {
    'known-service-ids': services.map(({ definition }) => definition.id),
    'service-id->launch-tracker': Object.fromEntries(
      services.map(({ definition, summary, instances }) => [
        definition.id,
        {
          'instance-counts': instanceCountsOf(summary),
          'known-instance-ids': instances
            .filter(({ endedAtMs }) => endedAtMs === null)
            .map(record => record.instanceId),
          'metric-group': definition.effective['metric-group'],
          'starting-instance-id->start-timestamp': Object.fromEntries(
            instances
              .filter(({ state }) => state === 'starting')
              .map(record => [record.instanceId, new Date(record.startedAtMs).toISOString()]),
          ),
        },
      ]),
    ),
  }
}

function instanceCountsOf({ healthy, unhealthy, requested }: ServiceView['summary']): Json {
  return { healthy, requested, scheduled: healthy + unhealthy }
}

/** The state of the whole cluster as this router knows it (spec §5.2). */
async function readMaintainer(parts: ApiParts, { baseUrl, mayManage }: SectionRequest): Promise<Json> {
  const { table, options } = parts
  const { services, routers } = await viewOf(parts)
  const instancesBy = (select: (record: ServiceView['instances'][number]) => boolean): Json =>
    Object.fromEntries(
      services.map(({ definition, instances }) => {
        const isManager = mayManage(definition.effective['run-as-user'])
        return [definition.id, instances.filter(select).map(record => renderInstance(record, { isManager, baseUrl }))]
      }),
    )
  const problems = services.filter(({ summary }) => summary.problem !== null)
  return {
    'all-available-service-ids': [...new Set([...services.map(s => s.definition.id), ...availableIds(parts)])],
    'router-details': Object.fromEntries(
      routers.map(({ routerId, httpUrl }) => [routerId, routerDetailsOf(routerId, httpUrl)]),
    ),
    'router-id': options.routerId,
    routers: Object.fromEntries(routers.map(({ routerId, httpUrl }) => [routerId, httpUrl])),
    'service-id->deployment-error': Object.fromEntries(
      problems.map(({ definition, summary }) => [definition.id, summary.problem?.key]),
    ),
    'service-id->expired-instances': instancesBy(
      ({ flags, endedAtMs }) => endedAtMs === null && flags.includes('expired'),
    ),
    'service-id->failed-instances': instancesBy(({ state }) => state === 'failed'),
    'service-id->healthy-instances': instancesBy(({ state }) => state === 'healthy'),
    'service-id->instability-issue': {},
    'service-id->instance-counts': Object.fromEntries(
      services.map(({ definition, summary }) => [definition.id, instanceCountsOf(summary)]),
    ),
    'service-id->killed-instances': instancesBy(({ state }) => state === 'killed'),
    'service-id->my-instance->slots': Object.fromEntries(
      [...table.values()].map(({ id, leases }) => [
        id,
        Object.fromEntries([...leases.values()].map(lease => [lease.instanceId, lease.slots])),
      ]),
    ),
    'service-id->starting-instances': instancesBy(({ state }) => state === 'starting'),
    'service-id->unhealthy-instances': instancesBy(({ state }) => state === 'starting' || state === 'unhealthy'),
    time: new Date().toISOString(),
  }
}

function availableIds({ table }: ApiParts): string[] {
  return [...table.values()].map(runtime => runtime.id).filter(id => table.statusOf(id).exists)
}

function routerDetailsOf(routerId: string, httpUrl: string): Json {
  const url = new URL(httpUrl)
  return {
    address: url.hostname,
    'custom-details': { 'router-fqdn': null, 'router-ssl-port': null },
    id: routerId,
    name: 'waiter',
    port: Number(url.port),
  }
}

/** What every router counts of every service; asked for now, not synchronised. */
async function readRouterMetrics(parts: ApiParts): Promise<Json> {
  const { routerId } = parts.options
  const own: [string, Record<string, UsageRow>] = [routerId, usageOf(parts.table)]
  const link = parts.leader()
  const asked = await (link === undefined
    ? undefined
    : askRouters(link, 'usage', null, USAGE_TIMEOUT_MS).catch(() => undefined))
  const now = new Date().toISOString()
  const routers = new Map<string, unknown>([own, ...(asked?.answers ?? [])])
  return {
    'external-metrics': {},
    'last-update-times': Object.fromEntries([...routers.keys()].map(id => [id, now])),
    metrics: { routers: Object.fromEntries(routers) },
    'router-id': routerId,
    'silent-router-ids': asked?.silentRouterIds ?? [],
  }
}

function readScheduler({ services }: ClusterView): Json {
  return {
    'supported-include-params': [],
    type: 'ProcessScheduler',
    'service-id->requested': Object.fromEntries(
      services.map(({ definition, summary }) => [definition.id, summary.requested]),
    ),
  }
}

export function isoOrNull(ms: number): string | null {
  return ms === 0 ? null : new Date(ms).toISOString()
}
