import type { ScaleDecision } from './scaling-policy.ts'

/** What bounds a single change (spec §12 `scaling`). */
export interface ScaleLimits {
  /** All instances that are being started at the same time may have this many cpus together. */
  readonly quantumCpus: number
  readonly quantumMemMb: number
  /** At most this share of the idle instances is stopped by one decision, but always one. Within (0, 1]. */
  readonly killsPerDecisionIdleShareMax: number
}

/**
 * Half of the idle instances per decision: a scale-down of any size is done after a few decisions (one kill a second, as
 * spec §5.3 has it, takes minutes), and yet load that returns between two decisions finds half of the spare instances.
 */
export const DEFAULT_SCALE_LIMITS: ScaleLimits = {
  quantumCpus: 64,
  quantumMemMb: 524_288,
  killsPerDecisionIdleShareMax: 0.5,
}

/** What the leader is to do about one service now. */
export type ScaleAction =
  | { readonly kind: 'none'; readonly reason: string }
  /** Request `to` instances, more than now. */
  | { readonly kind: 'scale-up'; readonly to: number; readonly reason: string }
  /** Stop this many, chosen by `chooseVictims`. */
  | { readonly kind: 'kill'; readonly count: number; readonly reason: string }
  /** More are requested than wanted, but do not run yet: request only `to`; nothing has to be stopped. */
  | { readonly kind: 'lower-request'; readonly to: number; readonly reason: string }

export interface ApplyLimitsInput {
  readonly decision: ScaleDecision
  readonly requested: number
  readonly scheduled: number
  /** Instances without a request that run now; expired ones included. */
  readonly idle: number
  readonly cpus: number
  readonly memMb: number
  readonly limits: ScaleLimits
}

/**
 * Turns a decision into the step that may be taken now (rules L1 to L5).
 *
 * A start that was asked for and has not happened yet counts against the quantum, and does not block further starts.
 */
export function applyLimits(input: ApplyLimitsInput): ScaleAction {
  const { amount, scaleTo, reason } = input.decision
  if (amount > 0) return limitScaleUp(input)
  if (amount === 0) return { kind: 'none', reason }
  const surplus = input.scheduled - scaleTo
  if (surplus < 0) return { kind: 'lower-request', to: scaleTo, reason }
  if (surplus === 0) return { kind: 'none', reason: `${reason} As many run already.` }
  const allowed = Math.max(1, Math.ceil(input.idle * input.limits.killsPerDecisionIdleShareMax))
  const count = Math.min(-amount, surplus, allowed)
  return { kind: 'kill', count, reason: count < -amount ? `${reason} Stopping ${count} first.` : reason }
}

function limitScaleUp(input: ApplyLimitsInput): ScaleAction {
  const { decision, requested, scheduled, limits } = input
  const quantum = Math.floor(Math.min(limits.quantumCpus / input.cpus, limits.quantumMemMb / input.memMb))
  const missing = Math.max(0, requested - scheduled)
  const allowed = Math.max(1, quantum) - missing
  if (allowed <= 0) {
    return { kind: 'none', reason: `${decision.reason} Waiting: ${missing} requested instances are not scheduled yet.` }
  }
  const step = Math.min(decision.amount, allowed)
  const reason = step < decision.amount ? `${decision.reason} Starting ${step} first.` : decision.reason
  return { kind: 'scale-up', to: requested + step, reason }
}
