import type { BrokenServiceConfig, DeploymentErrorConfig, ScaleLimits } from '@waiter/scaling'

import type { SuccessionSettings } from './succession.ts'

/** What a deployment decides about scaling and lifecycle (spec §12 `scaling`, `scheduler-gc-config`). */
export interface LeaderSettings {
  /** After a decision the next one for the same service comes no sooner. */
  readonly decisionFloorMs: number
  /** While a service's target still moves, it is looked at this often. */
  readonly decisionIntervalMs: number
  /** A router whose stream broke may still be serving; only after this long it no longer counts. */
  readonly routerDeadAfterMs: number
  /** A removed instance may finish its requests for this long. */
  readonly drainTimeoutMs: number
  /** A new leader stops nothing before this has passed: routers that live must have had time to say so. */
  readonly settleMs: number
  /** From SIGTERM to SIGKILL at least; a service may ask for more (`termination-grace-period-secs`). */
  readonly killGraceMsMin: number
  /** Failures in a row after which an instance is replaced (spec §12 `expiry-threshold`). */
  readonly suspectAfterFailures: number
  readonly deploymentError: DeploymentErrorConfig
  readonly brokenService: BrokenServiceConfig
  readonly limits: ScaleLimits
  readonly succession: SuccessionSettings
}
