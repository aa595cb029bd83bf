import type { LeaderLink } from '@waiter/control'
import type { ProxyStats } from '@waiter/proxy'
import type { RouterGossip } from '../gossip/router-gossip.ts'
import type { RouterOptions } from '../router-options.ts'
import type { ServiceTable } from '../services/service-table.ts'
import type { TokenReplica } from '../tokens/token-replica.ts'
import { renderMeter } from './render-service.ts'
import type { RouterMetrics } from './router-metrics.ts'

/** What the figures of a router are read from. */
export interface MetricsSources {
  readonly options: Pick<RouterOptions, 'nodeId' | 'routerId' | 'version' | 'worker'>
  readonly table: ServiceTable
  readonly tokens: TokenReplica
  readonly metrics: RouterMetrics
  readonly stats: () => ProxyStats | undefined
  readonly leader: () => LeaderLink | undefined
  /** Undefined: this router does not gossip. */
  readonly gossip: RouterGossip | undefined
}

/** Everything that belongs to no service, in the shapes of spec §9.1. */
export function renderWaiterMetrics(sources: MetricsSources, nowMs: number): Record<string, unknown> {
  const { metrics, table, tokens, stats, leader } = sources
  const engine = stats()
  return {
    core: {
      counters: {
        leader: { value: leader()?.leader.leaderId === sources.options.nodeId ? 1 : 0 },
        'leader-connected': { value: leader()?.leader.isConnected ? 1 : 0 },
        server: engine ?? {},
        services: { value: table.size },
        tokens: { value: tokens.size },
      },
      meters: { 'process-errors': renderMeter(metrics.errors, nowMs) },
    },
    requests: {
      counters: Object.fromEntries([...metrics.apiCalls].sort(([a], [b]) => (a < b ? -1 : 1))),
    },
  }
}
