import { applyLimits, DEFAULT_SCALE_LIMITS, type ScaleSpec, waiterPolicy } from '@waiter/scaling'

export const SPEC: ScaleSpec = {
  minInstances: 1,
  maxInstances: 500,
  concurrencyLevel: 1,
  scaleFactor: 1,
  scaleUpFactor: 0.1,
  scaleDownFactor: 0.001,
  jitterThreshold: 0.5,
  expiredInstanceRestartRate: 0.1,
}

export interface Scenario {
  readonly spec: ScaleSpec
  readonly outstandingAt: (seconds: number) => number
  readonly seconds: number
  /** From request to health. */
  readonly startupSeconds: number
  /** Time to the next decision. */
  readonly intervalAt: (decision: number) => number
}

export interface Trace {
  readonly at: number
  readonly requested: number
  readonly healthy: number
}

/** Instances that start after a fixed time and stop at once; decisions at given intervals. Every decision is traced. */
export function simulate(scenario: Scenario): readonly Trace[] {
  const { spec } = scenario
  const healthyAt: number[] = [0]
  let memory: number | undefined
  let elapsedSeconds: number | undefined
  const trace: Trace[] = []
  for (let decision = 0, at = 0; at < scenario.seconds; decision++) {
    const outstanding = scenario.outstandingAt(at)
    const healthy = healthyAt.filter(since => since <= at).length
    const requested = healthyAt.length
    const snapshot = { outstanding, healthy, requested, scheduled: requested, expiredHealthy: 0, expiredUnhealthy: 0 }
    const outcome = waiterPolicy.decide({ spec, snapshot, memory, elapsedSeconds })
    memory = outcome.memory
    const idle = Math.max(0, healthy - Math.ceil(outstanding / spec.concurrencyLevel))
    const action = applyLimits({
      ...{ decision: outcome.decision, requested, scheduled: requested, idle, cpus: 1, memMb: 256 },
      limits: DEFAULT_SCALE_LIMITS,
    })
    if (action.kind === 'scale-up') while (healthyAt.length < action.to) healthyAt.push(at + scenario.startupSeconds)
    if (action.kind === 'kill') healthyAt.splice(0, Math.min(action.count, idle))
    trace.push({ at, requested: healthyAt.length, healthy })
    elapsedSeconds = scenario.intervalAt(decision)
    at += elapsedSeconds
  }
  return trace
}
