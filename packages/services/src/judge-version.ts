import { bucketBounds, medianBucket } from './latency-histogram.ts'
import type { WithdrawalCode } from './withdrawal.ts'

/** What came of a version's requests in some stretch of time. */
export interface TrafficFigures {
  /** Requests that ended with an answer of the backend, or with its failure to give one. */
  readonly finished: number
  /** Of those: status 500 and above, broken connections, no answer in time. */
  readonly failed: number
  /** From the grant of a slot to the end of the answer, by `latencyBucket`. */
  readonly latencyCounts: readonly number[]
}

export interface JudgeInput {
  /** The new version, since it was started to take over. */
  readonly candidate: TrafficFigures & {
    readonly healthyInstances: number
    readonly failedInstances: number
    /** Why no instance comes up, as the deployment rules see it. */
    readonly problem: string | null
    /** Requests on instances that began at least `afterMs(predecessor)` ago, and how many of them have not ended. */
    readonly lingering: { readonly begun: number; readonly unfinished: number; readonly afterMs: number }
  }
  /** The version before it: recent figures, from when it carried the load. */
  readonly predecessor: TrafficFigures & {
    /** Since the candidate was started. */
    readonly failedInstances: number
  }
  readonly config: JudgeConfig
}

export interface JudgeConfig {
  /** Fewer samples decide nothing. */
  readonly samplesMin: number
  /** Instances that must have failed to call it a crash loop while others are healthy. */
  readonly crashesMin: number
  /** The share of failures must exceed the predecessor's by this much, and be this many times as large. */
  readonly errorShareMargin: number
  readonly errorShareFactor: number
  /** The median latency must exceed the predecessor's by this much, and be this many times as large. */
  readonly latencyMarginMs: number
  readonly latencyFactor: number
  /** When most requests have not even ended: the same, stricter, since nothing is known of how they end. */
  readonly lingeringMarginMs: number
  readonly lingeringFactor: number
}

export const DEFAULT_JUDGE: JudgeConfig = {
  samplesMin: 50,
  crashesMin: 3,
  errorShareMargin: 0.1,
  errorShareFactor: 3,
  latencyMarginMs: 100,
  latencyFactor: 5,
  lingeringMarginMs: 2_000,
  lingeringFactor: 10,
}

export type VersionVerdict =
  | { readonly kind: 'keep'; readonly reason: string }
  | { readonly kind: 'withdraw'; readonly code: WithdrawalCode; readonly reason: string }

/** Is a new version so much worse than the one before it that it must not go on (rules J1 to J7)? */
export function judgeVersion(input: JudgeInput): VersionVerdict {
  return (
    findCrashLoop(input) ??
    findErrors(input) ??
    findSlowness(input) ??
    findLingering(input) ?? { kind: 'keep', reason: describeKept(input) }
  )
}

/** Requests that are older than this and have not ended count as lingering; undefined: nothing to compare with. */
export function lingeringAfterMs(predecessor: TrafficFigures, config: JudgeConfig): number | undefined {
  const median = medianOf(predecessor, config)
  if (median === undefined) return undefined
  return Math.max(config.lingeringFactor * median.toMs, median.toMs + config.lingeringMarginMs)
}

function findCrashLoop({ candidate, predecessor, config }: JudgeInput): VersionVerdict | undefined {
  const { failedInstances, healthyInstances, problem } = candidate
  if (healthyInstances === 0 && problem !== null && failedInstances > 0)
    return withdraw('crash-loop', `No instance is healthy, ${failedInstances} failed: ${problem}`)
  if (failedInstances < config.crashesMin || failedInstances <= predecessor.failedInstances) return undefined
  return withdraw(
    'crash-loop',
    `${failedInstances} instances failed since it was started; of the version before it, ${predecessor.failedInstances}.`,
  )
}

function findErrors({ candidate, predecessor, config }: JudgeInput): VersionVerdict | undefined {
  if (candidate.finished < config.samplesMin) return undefined
  const before = predecessor.finished < config.samplesMin ? 0 : predecessor.failed / predecessor.finished
  const limit = Math.min(
    // A predecessor that fails often leaves room for "far worse" only if the bar is below everything failing.
    (1 + before) / 2,
    Math.max(before + config.errorShareMargin, before * config.errorShareFactor),
  )
  if (lowerBound(candidate.failed, candidate.finished) <= limit) return undefined
  return withdraw(
    'error-rate',
    `${percent(candidate.failed / candidate.finished)} of ${candidate.finished} requests failed; of the version before it, ${percent(before)}.`,
  )
}

function findSlowness({ candidate, predecessor, config }: JudgeInput): VersionVerdict | undefined {
  const now = medianOf(candidate, config)
  const before = medianOf(predecessor, config)
  if (now === undefined || before === undefined) return undefined
  const limitMs = Math.max(before.toMs * config.latencyFactor, before.toMs + config.latencyMarginMs)
  if (now.fromMs <= limitMs) return undefined
  return withdraw(
    'latency',
    `Half of ${candidate.finished} requests took ${Math.round(now.fromMs)} ms or more; of the version before it, half took less than ${Math.ceil(before.toMs)} ms.`,
  )
}

function findLingering({ candidate, predecessor, config }: JudgeInput): VersionVerdict | undefined {
  const { begun, unfinished, afterMs } = candidate.lingering
  if (begun < config.samplesMin || unfinished * 2 <= begun) return undefined
  const before = medianOf(predecessor, config)
  if (before === undefined) return undefined
  return withdraw(
    'latency',
    `${unfinished} of ${begun} requests have not ended after ${Math.round(afterMs)} ms; of the version before it, half took less than ${Math.ceil(before.toMs)} ms.`,
  )
}

function describeKept({ candidate }: JudgeInput): string {
  const share =
    candidate.finished === 0 ? 'none finished yet' : `${percent(candidate.failed / candidate.finished)} failed`
  return `Of ${candidate.finished} requests, ${share}.`
}

function withdraw(code: WithdrawalCode, reason: string): VersionVerdict {
  return { kind: 'withdraw', code, reason }
}

function medianOf({ finished, latencyCounts }: TrafficFigures, config: JudgeConfig) {
  const bucket = medianBucket(latencyCounts)
  return finished < config.samplesMin || bucket === undefined ? undefined : bucketBounds(bucket)
}

/** Lower end of Wilson's interval at 99 %: what the share of failures is at least, should these have been bad luck. */
function lowerBound(failed: number, finished: number): number {
  const Z = 2.576
  const share = failed / finished
  const z2 = Z * Z
  const spread = Z * Math.sqrt((share * (1 - share) + z2 / (4 * finished)) / finished)
  return (share + z2 / (2 * finished) - spread) / (1 + z2 / finished)
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}
