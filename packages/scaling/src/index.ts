/**
 * How many instances a service needs, which of them may go, and when a service as a whole may.
 *
 * Every function takes a snapshot and answers with a decision *and its reason*; none of them acts, waits or remembers.
 * The leader calls them in this order:
 *
 * 1. `decideExpired` says which instances are to be replaced;
 * 2. a `ScalingPolicy` (`waiterPolicy` is `decideScale`) says how many should be requested;
 * 3. `applyLimits` says which step towards that may be taken now;
 * 4. `chooseVictims` names the instances to stop, which the leader then takes away from all routers *before* it stops
 *    them (`SlotLedger.isReleased` in `@waiter/slots`).
 *
 * `decideDeploymentError` explains why a service does not start; `decideIdle` and `decideBroken` say when it is deleted.
 * Whatever depends on time answers with the next moment at which its answer can change, so nobody has to poll.
 *
 * Rules are numbered in SPEC.md.
 */
export {
  type ApplyLimitsInput,
  applyLimits,
  DEFAULT_SCALE_LIMITS,
  type ScaleAction,
  type ScaleLimits,
} from './apply-limits.ts'
export { type ChooseVictimsInput, chooseVictims, LINGERING_REQUEST_MS, type VictimCandidate } from './choose-victims.ts'
export {
  type DecideExpiredInput,
  decideExpired,
  type ExpiredInstance,
  type ExpiredInstances,
  type ExpiryReason,
} from './decide-expired.ts'
export {
  type BrokenServiceConfig,
  DEFAULT_BROKEN_SERVICE,
  type DecideBrokenInput,
  type DecideIdleInput,
  decideBroken,
  decideIdle,
  type GarbageVerdict,
  type ServiceUsage,
} from './decide-garbage.ts'
export { decideScale, EXPIRED_UNHEALTHY_MAX, waiterPolicy } from './decide-scale.ts'
export {
  DEFAULT_DEPLOYMENT_ERROR,
  type DecideDeploymentErrorInput,
  type DeploymentError,
  type DeploymentErrorCode,
  type DeploymentErrorConfig,
  decideDeploymentError,
  decideInstability,
  type FailureFacts,
  type InstanceFacts,
} from './deployment-error.ts'
export { scaleSpecOf } from './scale-spec.ts'
export type {
  PolicyInput,
  PolicyOutcome,
  ScaleDecision,
  ScaleLabel,
  ScaleSnapshot,
  ScaleSpec,
  ScalingPolicy,
} from './scaling-policy.ts'
export { type StatusFacts, type StatusLabel, statusLabel } from './status-label.ts'
export {
  computeSuccessorSize,
  DEFAULT_TAKEOVER,
  decideTakeover,
  type SuccessorSizeInput,
  type TakeoverConfig,
  type TakeoverDecision,
  type TakeoverInput,
} from './takeover.ts'
