import type { ScaleSpec } from './scaling-policy.ts'

export interface SuccessorSizeInput {
  /** What carries the load now. */
  readonly predecessor: {
    /** Instances that its policy wants now, not rounded. */
    readonly target: number
    readonly outstanding: number
    readonly spec: ScaleSpec
  }
  readonly successor: ScaleSpec
  /** The part of the load that is to move, 0 to 1. */
  readonly share: number
}

/** How many instances a new version needs to carry what the old one carries now (rules N1 to N3). */
export function computeSuccessorSize({ predecessor, successor, share }: SuccessorSizeInput): number {
  const { spec } = predecessor
  const requests = Math.max(predecessor.outstanding, (predecessor.target * spec.concurrencyLevel) / spec.scaleFactor)
  const wanted = Math.ceil((requests * share * successor.scaleFactor) / successor.concurrencyLevel - 1e-9)
  return Math.max(successor.minInstances, Math.min(successor.maxInstances, wanted))
}

export interface TakeoverConfig {
  /** Healthy instances that are enough, as a part of those wanted; within (0, 1]. */
  readonly fraction: number
  /** A version that is healthy, but does not become large enough, takes over anyway after this. */
  readonly timeoutMs: number
}

export const DEFAULT_TAKEOVER: TakeoverConfig = { fraction: 0.9, timeoutMs: 60_000 }

export interface TakeoverInput {
  readonly healthy: number
  readonly wanted: number
  /** Since when any instance of it has been healthy; null: none is. */
  readonly healthySinceMs: number | null
  readonly config: TakeoverConfig
  readonly nowMs: number
}

export type TakeoverDecision =
  | { readonly kind: 'wait'; readonly untilMs: number; readonly reason: string }
  | { readonly kind: 'take-over'; readonly reason: string }

/** May traffic move to the new version (rules N4 to N6)? */
export function decideTakeover({ healthy, wanted, healthySinceMs, config, nowMs }: TakeoverInput): TakeoverDecision {
  const enough = Math.max(1, Math.ceil(wanted * config.fraction))
  const numbers = `${healthy} of ${wanted} instances are healthy`
  if (healthy >= enough) return { kind: 'take-over', reason: `${numbers}; ${enough} are enough.` }
  if (healthySinceMs === null || healthy === 0)
    return { kind: 'wait', untilMs: Number.POSITIVE_INFINITY, reason: `${numbers}; ${enough} are needed.` }
  const untilMs = healthySinceMs + config.timeoutMs
  if (nowMs >= untilMs)
    return { kind: 'take-over', reason: `${numbers}, and it has been waited for long enough (${config.timeoutMs} ms).` }
  return { kind: 'wait', untilMs, reason: `${numbers}; ${enough} are needed.` }
}
