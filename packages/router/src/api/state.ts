import { WaiterError } from '@waiter/base'
import type { Hono } from 'hono'
import { schemeOf } from '../request/scheme.ts'
import type { ServiceRuntime } from '../services/service-runtime.ts'
import type { ApiEnvironment, ApiParts } from './api-context.ts'

/** `/state` (spec §4.7): what this router knows and believes, for people who ask why. */
export function addStateRoutes(app: Hono<ApiEnvironment>, parts: ApiParts): void {
  const { options, table, tokens } = parts
  const routerId = options.routerId
  const sections: Readonly<Record<string, () => unknown>> = {
    leader: () => {
      const leader = parts.leader()?.leader
      return {
        'leader-id': leader?.leaderId ?? null,
        'leader?': leader?.leaderId === options.nodeId,
        'connected?': leader?.isConnected ?? false,
        term: leader?.term ?? 0,
      }
    },
    maintainer: () => ({
      'all-available-service-ids': [...table.values()].map(runtime => runtime.id),
      'router-id': routerId,
      'service-id->instance-counts': byService(table.values(), ({ summary }) => ({
        healthy: summary?.healthy ?? 0,
        requested: summary?.requested ?? 0,
        scheduled: (summary?.healthy ?? 0) + (summary?.unhealthy ?? 0),
      })),
      'service-id->deployment-error': byService(table.values(), ({ summary }) => summary?.problem ?? null),
      'service-id->my-instance->slots': byService(table.values(), ({ leases }) =>
        Object.fromEntries([...leases.values()].map(lease => [lease.instanceId, lease.slots])),
      ),
      time: new Date().toISOString(),
    }),
    'local-usage': () =>
      byService(table.values(), ({ lastRequestMs }) => ({ 'last-request-time': isoOrNull(lastRequestMs) })),
    'router-metrics': () => ({
      metrics: { routers: { [routerId]: byService(table.values(), metricsOf) } },
    }),
    tls: () => options.tlsState?.() ?? 'disabled',
    'request-log': () => options.accessLog?.stats() ?? 'disabled',
    'kv-store': () => ({ cache: { count: tokens.size }, 'synced?': tokens.isSynced, variant: 'replica' }),
  }

  app.get('/state', async call => {
    const { exchange } = call.env
    const base = `${schemeOf(exchange)}://${exchange.head.authority}`
    const view = await parts
      .leader()
      ?.viewServices('')
      .catch(() => undefined)
    return call.json({
      details: Object.fromEntries(Object.keys(sections).map(name => [name, `${base}/state/${name}`])),
      'router-id': routerId,
      routers: Object.fromEntries((view?.routers ?? []).map(router => [router.routerId, router.httpUrl])),
    })
  })

  app.get('/state/:name', call => {
    const name = call.req.param('name')
    const section = Object.hasOwn(sections, name) ? sections[name] : undefined
    if (section !== undefined) return call.json({ 'router-id': routerId, state: section() })
    const runtime = table.get(name)
    if (runtime !== undefined) return call.json({ 'router-id': routerId, state: serviceState(runtime) })
    throw new WaiterError('Not found: neither a part of the state nor a service of this router', {
      code: 'WTR_NO_SUCH_STATE',
      status: 404,
      details: { supported: Object.keys(sections) },
    })
  })
}

function byService(
  runtimes: Iterable<ServiceRuntime>,
  read: (runtime: ServiceRuntime) => unknown,
): Record<string, unknown> {
  return Object.fromEntries([...runtimes].map(runtime => [runtime.id, read(runtime)]))
}

function metricsOf(runtime: ServiceRuntime): Record<string, unknown> {
  return {
    'last-request-time': isoOrNull(runtime.lastRequestMs),
    outstanding: runtime.counts.outstanding,
    'slots-available': runtime.machine.slotsAvailable,
    'slots-in-use': runtime.machine.slotsInUse,
    total: runtime.counts.total,
    'waiting-for-available-instance': runtime.machine.waiting,
  }
}

function serviceState(runtime: ServiceRuntime): Record<string, unknown> {
  const states = runtime.machine.instanceStates()
  return {
    'local-usage': { 'last-request-time': isoOrNull(runtime.lastRequestMs) },
    'request-counts': runtime.counts,
    'responder-state': {
      'deployment-error': runtime.summary?.problem ?? null,
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
            ],
          },
        ]),
      ),
      'load-balancing': runtime.definition.effective['load-balancing'],
      'waiting-requests': runtime.machine.waiting,
    },
    'service-maintainer-state': { 'maintainer-chan-available': true },
    summary: runtime.summary ?? null,
  }
}

function isoOrNull(ms: number): string | null {
  return ms === 0 ? null : new Date(ms).toISOString()
}

/** Ejections are counted on the monotonic clock; people read wall time. */
function isoFromNow(monotonicMs: number): string {
  return new Date(Date.now() + monotonicMs - performance.now()).toISOString()
}
