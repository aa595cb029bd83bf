import type {
  PolicyInput,
  ScaleDecision,
  ScaleLabel,
  ScaleSnapshot,
  ScaleSpec,
  ScalingPolicy,
} from './scaling-policy.ts'

/** More unhealthy expired instances than this do not speed up their replacement (spec §12). */
export const EXPIRED_UNHEALTHY_MAX = 2
/** A target this little above a whole number does not ask for another instance (spec §5.3). */
const TARGET_TOLERANCE = 0.01
/** Products of fractions may miss a whole number by this much: 100 * 1.1 is more than 110. */
const ARITHMETIC_NOISE = 1e-9

/** Waiter's own policy (spec §5.3): an exponential average of the instances that outstanding requests call for. */
export const waiterPolicy: ScalingPolicy<number> = {
  name: 'waiter',
  decide(input: PolicyInput<number>) {
    const decision = decideScale(input.spec, input.snapshot, input.memory, input.elapsedSeconds)
    return { decision, memory: decision.target }
  },
}

/**
 * Decides how many instances to request (rules W1 to W8).
 *
 * ```
 * ideal  = ceil(outstanding * scaleFactor / concurrencyLevel)
 * f'     = 1 - (1 - f)^elapsedSeconds                              up and down each with its factor
 * target = clamp(min, max, f' * ideal + (1 - f') * previousTarget) up if that rises, else down
 * delta  = target - requested
 * ```
 * The exponent counts fractions of seconds, so that two decisions half a second apart weigh exactly as much as one
 * after a second. (Whole seconds, as in spec §5.3, make the smoothing depend on when the loop happens to run.)
 *
 * @param previousTarget `target` of the previous decision; undefined: what is scheduled now
 * @param elapsedSeconds since then; undefined (first decision): nothing is scaled
 *
 * @example
 * decideScale(spec, { outstanding: 10, requested: 1, ... }, 1, 1) // target 1.9, scale up by 1
 */
export function decideScale(
  spec: ScaleSpec,
  snapshot: ScaleSnapshot,
  previousTarget: number | undefined,
  elapsedSeconds: number | undefined,
): ScaleDecision {
  const previous = previousTarget ?? snapshot.scheduled
  if (elapsedSeconds === undefined) return decideNothing(snapshot, previous)
  const ideal = computeIdeal(spec, snapshot.outstanding)
  const target = computeTarget(spec, ideal, previous, Math.max(0, elapsedSeconds))
  const wanted = snapshot.requested + computeAmount(spec, snapshot, ideal, target)
  const scaleTo = Math.max(spec.minInstances, wanted + computeReplacements(spec, snapshot, wanted))
  const amount = scaleTo - snapshot.requested
  return {
    target,
    scaleTo,
    amount,
    label: labelOf(amount),
    reason: explain({ spec, snapshot, ideal, previous, target, amount }),
  }
}

/** Instances that could serve everything outstanding at once. */
function computeIdeal(spec: ScaleSpec, outstanding: number): number {
  return Math.ceil((outstanding * spec.scaleFactor) / spec.concurrencyLevel - ARITHMETIC_NOISE)
}

function computeTarget(spec: ScaleSpec, ideal: number, previous: number, elapsedSeconds: number): number {
  const up = moveTowards(previous, ideal, spec.scaleUpFactor, elapsedSeconds)
  const down = moveTowards(previous, ideal, spec.scaleDownFactor, elapsedSeconds)
  const moved = up >= previous ? up : down
  return Math.max(spec.minInstances, Math.min(spec.maxInstances, moved))
}

function moveTowards(from: number, to: number, factorPerSecond: number, elapsedSeconds: number): number {
  const share = 1 - (1 - factorPerSecond) ** elapsedSeconds
  return from + share * (to - from)
}

function computeAmount(spec: ScaleSpec, snapshot: ScaleSnapshot, ideal: number, target: number): number {
  const { requested } = snapshot
  const delta = target - requested
  if (Math.abs(delta) < spec.jitterThreshold) return 0
  if (delta > 0 && ideal <= requested && requested >= spec.minInstances) return 0
  return Math.ceil(delta - TARGET_TOLERANCE) + 0
}

/** Instances to start so that expired ones can be stopped later; less those that run beyond the wish already. */
function computeReplacements(spec: ScaleSpec, snapshot: ScaleSnapshot, wanted: number): number {
  const expired = snapshot.expiredHealthy + Math.min(snapshot.expiredUnhealthy, EXPIRED_UNHEALTHY_MAX)
  const isShrinkingAtRest = wanted < snapshot.requested && snapshot.requested === snapshot.healthy
  if (expired === 0 || isShrinkingAtRest) return 0
  return Math.ceil(expired * spec.expiredInstanceRestartRate) - Math.max(0, snapshot.healthy - wanted)
}

function decideNothing(snapshot: ScaleSnapshot, target: number): ScaleDecision {
  return {
    target,
    scaleTo: snapshot.requested,
    amount: 0,
    label: 'stable',
    reason: 'First look at this service: nothing to compare with yet.',
  }
}

function labelOf(amount: number): ScaleLabel {
  if (amount === 0) return 'stable'
  return amount > 0 ? 'scale-up' : 'scale-down'
}

function explain(facts: {
  readonly spec: ScaleSpec
  readonly snapshot: ScaleSnapshot
  readonly ideal: number
  readonly previous: number
  readonly target: number
  readonly amount: number
}): string {
  const { spec, snapshot, ideal, previous, target, amount } = facts
  const { outstanding, requested, healthy, expiredHealthy, expiredUnhealthy } = snapshot
  const expired = expiredHealthy + expiredUnhealthy
  const action = amount === 0 ? 'no change' : `${amount > 0 ? 'start' : 'stop'} ${Math.abs(amount)}`
  return [
    `${outstanding} outstanding at concurrency ${spec.concurrencyLevel} call for ${ideal} instances`,
    `the target moved from ${previous.toFixed(2)} to ${target.toFixed(2)} within ${spec.minInstances} to ${spec.maxInstances}`,
    `${requested} requested, ${healthy} healthy${expired > 0 ? `, ${expired} expired` : ''}: ${action}.`,
  ].join('; ')
}
