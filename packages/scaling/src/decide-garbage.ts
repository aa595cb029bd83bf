const MS_PER_MINUTE = 60_000
const MS_PER_SECOND = 1000

/** `keep`: look again at `untilMs`, or when an input changed; `Infinity`: only then. */
export type GarbageVerdict =
  | { readonly kind: 'keep'; readonly untilMs: number }
  | { readonly kind: 'collect'; readonly reason: string }

/** How much a service is used, summed over all routers. */
export interface ServiceUsage {
  /** Requests in flight or waiting. */
  readonly outstanding: number
  /** Null: never asked for. */
  readonly lastRequestMs: number | null
  /** When `outstanding` or `lastRequestMs` changed last, or the service was made known. */
  readonly lastModifiedMs: number
}

export interface DecideIdleInput {
  readonly usage: ServiceUsage
  /** `idle-timeout-mins`; 0: never collected for being idle. */
  readonly idleTimeoutMins: number
  /** All references of the service are outdated; it lives on only for fallback (spec §2.9). */
  readonly stale?: {
    /** When the last of them was superseded. */
    readonly sinceMs: number
    /** Greatest `fallback-period-secs` + `stale-timeout-mins` of the references. */
    readonly keepMs: number
  }
  readonly nowMs: number
}

/** Says whether a service has been unused for so long that it is deleted (rules G1 to G5). */
export function decideIdle(input: DecideIdleInput): GarbageVerdict {
  const { usage, idleTimeoutMins, stale, nowMs } = input
  if (usage.outstanding > 0) return { kind: 'keep', untilMs: Number.POSITIVE_INFINITY }
  const lastUsedMs = Math.max(usage.lastModifiedMs, usage.lastRequestMs ?? Number.NEGATIVE_INFINITY)
  if (stale !== undefined) {
    return verdict(
      stale.sinceMs + stale.keepMs,
      nowMs,
      'A newer version has replaced it, and its fallback time is over.',
    )
  }
  if (idleTimeoutMins === 0) return { kind: 'keep', untilMs: Number.POSITIVE_INFINITY }
  return verdict(lastUsedMs + idleTimeoutMins * MS_PER_MINUTE, nowMs, `No request for ${idleTimeoutMins} minutes.`)
}

/** When a service counts as broken (spec §5.9, §12 `scheduler-gc-config`). */
export interface BrokenServiceConfig {
  readonly timeoutMins: number
  /** Failures must have been seen on this many hosts. */
  readonly minHosts: number
}

/** One host is enough, or services on a single machine would restart in vain for ever. */
export const DEFAULT_BROKEN_SERVICE: BrokenServiceConfig = { timeoutMins: 30, minHosts: 1 }

export interface DecideBrokenInput {
  readonly healthy: number
  /** Most different hosts of failed instances seen since the service was healthy last. */
  readonly failedHosts: number
  /** Since when `healthy` is 0 and `failedHosts` what it is; one more failure on a known host is no change. */
  readonly unchangedSinceMs: number
  readonly gracePeriodSecs: number
  readonly config: BrokenServiceConfig
  readonly nowMs: number
}

/** Says whether a service that has never got healthy again is given up (rules G6, G7). */
export function decideBroken(input: DecideBrokenInput): GarbageVerdict {
  const { config } = input
  const isBroken = input.healthy === 0 && input.failedHosts > 0 && input.failedHosts >= config.minHosts
  if (!isBroken) return { kind: 'keep', untilMs: Number.POSITIVE_INFINITY }
  const giveUpMs = input.unchangedSinceMs + input.gracePeriodSecs * MS_PER_SECOND + config.timeoutMins * MS_PER_MINUTE
  return verdict(
    giveUpMs,
    input.nowMs,
    `No healthy instance, only failed ones, for more than ${config.timeoutMins} minutes.`,
  )
}

function verdict(collectAtMs: number, nowMs: number, reason: string): GarbageVerdict {
  return nowMs >= collectAtMs ? { kind: 'collect', reason } : { kind: 'keep', untilMs: collectAtMs }
}
