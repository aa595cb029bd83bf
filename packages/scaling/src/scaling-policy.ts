/**
 * How many instances should there be? One answer per service and decision; pure, so that a simulator and a leader run
 * the same code. A policy remembers nothing by itself: what it learnt is its `Memory`, which the caller keeps.
 */
export interface ScalingPolicy<Memory = unknown> {
  readonly name: string
  decide(input: PolicyInput<Memory>): PolicyOutcome<Memory>
}

export interface PolicyInput<Memory> {
  readonly spec: ScaleSpec
  readonly snapshot: ScaleSnapshot
  /** What the previous decision left; undefined for a service seen for the first time by this leader. */
  readonly memory: Memory | undefined
  /** Since the previous decision, fractions count; undefined the first time. */
  readonly elapsedSeconds: number | undefined
}

export interface PolicyOutcome<Memory> {
  readonly decision: ScaleDecision
  readonly memory: Memory
}

/** The parameters of a service that matter for scaling (spec §2.1, §5.3). */
export interface ScaleSpec {
  /** Already 1 for stale services. */
  readonly minInstances: number
  readonly maxInstances: number
  readonly concurrencyLevel: number
  readonly scaleFactor: number
  /** Share of the way up that the target moves in one second; within (0, 1). */
  readonly scaleUpFactor: number
  readonly scaleDownFactor: number
  /** Smaller differences than this between target and requested instances are left alone. */
  readonly jitterThreshold: number
  /** Share of the expired instances for which a replacement is started at a time. */
  readonly expiredInstanceRestartRate: number
}

/** What is the case now, summed over all routers and reported by the scheduler. */
export interface ScaleSnapshot {
  /** Requests in flight or waiting (`O`). */
  readonly outstanding: number
  /** Instances that pass their health checks, expired ones included (`H`). */
  readonly healthy: number
  /** Instances that the scheduler was asked to run (`T`). */
  readonly requested: number
  /** Instances that the scheduler runs or is starting (`K`). */
  readonly scheduled: number
  readonly expiredHealthy: number
  readonly expiredUnhealthy: number
}

export type ScaleLabel = 'scale-up' | 'scale-down' | 'stable'

/** What should be done about one service, before limits. */
export interface ScaleDecision {
  /** Smoothed wish (`g'`), not rounded. */
  readonly target: number
  /** Instances to request. */
  readonly scaleTo: number
  /** `scaleTo` minus the instances requested now. */
  readonly amount: number
  readonly label: ScaleLabel
  /** A sentence with the numbers that led here, for people. */
  readonly reason: string
}
