import type { ServiceView } from '@waiter/control'
import type { ServiceRuntime } from '../services/service-runtime.ts'
import { renderInstance } from './render-app.ts'
import { countsOf, isoOrNull, type SectionRequest, scaleStateOf } from './state-sections.ts'
import { visibleDescription } from './visible-description.ts'

type Json = Record<string, unknown>

/**
 * Everything about one service (spec §4.7, §5.5): what this router does with it, and what the leader knows of it.
 *
 * @param view the leader's; undefined when it knows no such service, or is away
 */
export function renderServiceState(
  runtime: ServiceRuntime | undefined,
  view: ServiceView | undefined,
  request: SectionRequest,
): Json {
  return {
    'autoscaler-state': view === undefined ? null : autoscalerStateOf(view),
    'interstitial-maintainer-state': { available: runtime?.summary !== undefined, interstitial: null },
    'local-usage': { 'last-request-time': isoOrNull(runtime?.lastRequestMs ?? 0) },
    'request-counts': runtime === undefined ? null : { ...runtime.counts, fallback: runtime.fallbacks },
    retries: runtime?.retries.counts(performance.now()) ?? null,
    'responder-state': runtime === undefined ? null : responderStateOf(runtime, view, request),
    'scheduler-broken-services-gc-state': {},
    'scheduler-services-gc-state': {},
    'scheduler-state': view === undefined ? null : schedulerStateOf(view, request),
    'service-maintainer-state': { 'maintainer-chan-available': runtime !== undefined },
    suspended: runtime?.suspension !== undefined,
    'transient-metrics-gc-state': {},
    'work-stealing-state': {},
  }
}

function autoscalerStateOf(view: ServiceView): Json {
  const { summary, scaling } = view
  return {
    ...countsOf(view),
    instances: summary.requested,
    'outstanding-requests': summary.outstanding,
    ...scaleStateOf(scaling),
    'task-count': summary.healthy + summary.unhealthy,
  }
}

function responderStateOf(runtime: ServiceRuntime, view: ServiceView | undefined, request: SectionRequest): Json {
  const states = runtime.machine.instanceStates()
  const isManager = request.mayManage(runtime.definition.effective['run-as-user'])
  const records = (view?.instances ?? []).filter(record => runtime.leases.has(record.instanceId))
  return {
    'deployment-error': runtime.summary?.problem?.key ?? null,
    'id->instance': Object.fromEntries(
      records.map(record => [record.instanceId, renderInstance(record, { isManager, baseUrl: request.baseUrl })]),
    ),
    'instability-issue': null,
    'instance-id->consecutive-failures': Object.fromEntries(
      states.filter(s => s.consecutiveFailures > 0).map(s => [s.instanceId, s.consecutiveFailures]),
    ),
    'instance-id->eject-expiry-time': Object.fromEntries(
      states.flatMap(state =>
        state.ejectedUntilMs === null ? [] : [[state.instanceId, isoFromNow(state.ejectedUntilMs)]],
      ),
    ),
    'instance-id->state': Object.fromEntries(
      states.map(state => [
        state.instanceId,
        {
          'slots-assigned': state.slots,
          'slots-used': state.inUse,
          'status-tags': [
            state.isRetired ? 'retired' : 'healthy',
            ...(state.isExpired ? ['expired'] : []),
            ...(state.ejectedUntilMs === null ? [] : ['ejected']),
            ...(state.doubtedUntilMs === null ? [] : ['doubted']),
          ],
        },
      ]),
    ),
    'load-balancing': runtime.definition.effective['load-balancing'],
    'sorted-instance-ids': states.toSorted((a, b) => a.startedAtMs - b.startedAtMs).map(state => state.instanceId),
    'waiting-requests': runtime.machine.waiting,
    'work-stealing-queue': [],
  }
}

/** No environment: it holds the service's password, and what people keep in `env`. */
function schedulerStateOf({ definition, summary, instances }: ServiceView, request: SectionRequest): Json {
  const isManager = request.mayManage(definition.effective['run-as-user'])
  const running = instances.filter(record => record.endedAtMs === null)
  const count = (state: string): number => running.filter(record => record.state === state).length
  return {
    'id->instance': Object.fromEntries(
      running.map(record => [record.instanceId, renderInstance(record, { isManager, baseUrl: request.baseUrl })]),
    ),
    service: {
      id: definition.id,
      instances: summary.requested,
      'service-description': visibleDescription(definition.effective, isManager),
      'task-count': running.length,
      'task-stats': {
        healthy: count('healthy'),
        running: running.length,
        staged: count('starting'),
        unhealthy: count('unhealthy'),
      },
    },
  }
}

/** Ejections are counted on the monotonic clock; people read wall time. */
function isoFromNow(monotonicMs: number): string {
  return new Date(Date.now() + monotonicMs - performance.now()).toISOString()
}
