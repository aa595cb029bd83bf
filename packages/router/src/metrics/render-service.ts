import type { ServiceRuntime } from '../services/service-runtime.ts'
import type { LogHistogram } from './log-histogram.ts'
import type { Meter } from './meter.ts'

type Json = Record<string, unknown>

const US_PER_SECOND = 1e6

/** Everything that this router measured of a service, in the shapes of spec §9.1. */
export function renderServiceMetrics(runtime: ServiceRuntime, nowMs: number): Json {
  const { counts, machine, metrics, summary } = runtime
  const slots = machine.counts()
  const states = machine.instanceStates()
  const inUse = states.filter(state => state.inUse > 0).length
  return {
    counters: {
      'instance-counts': {
        ejected: slots.ejectedInstanceIds.length,
        expired: states.filter(state => state.isExpired).length,
        healthy: summary?.healthy ?? 0,
        'in-use': inUse,
        'my-instances': runtime.leases.size,
        'slots-assigned': slots.slotsAssigned,
        'slots-available': slots.slotsAvailable,
        'slots-in-use': slots.slotsInUse,
        unhealthy: summary?.unhealthy ?? 0,
      },
      'request-counts': {
        ...counts,
        fallback: runtime.fallbacks,
        streaming: slots.slotsInUse,
        'waiting-for-available-instance': slots.waiting,
        'waiting-to-stream': 0,
      },
      'response-status': Object.fromEntries([...metrics.statuses].sort(([a], [b]) => a - b)),
    },
    meters: {
      'request-rate': renderMeter(metrics.requestRate, nowMs),
      'response-rate': {
        error: Object.fromEntries([...metrics.errors].map(([reason, meter]) => [reason, renderMeter(meter, nowMs)])),
      },
    },
    timers: {
      'backend-response': renderTimer(metrics.backendResponse),
      'get-available-instance': renderTimer(metrics.getInstance),
      process: renderTimer(metrics.process),
    },
  }
}

export function renderMeter(meter: Meter, nowMs: number): { count: number; value: number } {
  return { count: meter.count, value: round(meter.rate(nowMs)) }
}

/** In seconds. */
function renderTimer(histogram: LogHistogram): { count: number; value: Readonly<Record<string, number>> } {
  const quantiles: Readonly<Record<string, number>> = histogram.quantiles() ?? {}
  return {
    count: histogram.count,
    value: Object.fromEntries(Object.entries(quantiles).map(([name, us]) => [name, us / US_PER_SECOND])),
  }
}

function round(rate: number): number {
  return Math.round(rate * 1e6) / 1e6
}
