import type { Millis } from '@waiter/base'

/** What is known of one version when it is to be chosen or not. */
export interface VersionState {
  readonly isHealthy: boolean
  readonly isWithdrawn: boolean
}

export interface ChooseVersionInput {
  /** All versions, newest first; the first is what the tokens say now. At least one. */
  readonly versions: readonly VersionState[]
  /** Until when a former version may serve because the newest cannot (spec §2.8); in the past: no fallback. */
  readonly fallbackUntilMs: Millis
  /** The newest version that is not withdrawn is healthy, but not yet as large as it must be to take over. */
  readonly isHeldBack: boolean
  readonly nowMs: Millis
}

/** Which version serves now, and why. */
export interface VersionChoice {
  /** Into `versions`. */
  readonly index: number
  readonly reason: 'latest' | 'latest-withdrawn' | 'latest-not-healthy' | 'latest-held-back' | 'nothing-healthy'
  /** When time alone changes the choice; `Infinity`: never. */
  readonly untilMs: Millis
}

/**
 * Chooses the version that answers a request (rules F1 to F7): the newest that is not withdrawn, once it is healthy and
 * large enough; until then, for the fallback period, the newest healthy one before it.
 */
export function chooseVersion({ versions, fallbackUntilMs, isHeldBack, nowMs }: ChooseVersionInput): VersionChoice {
  const first = versions.findIndex(version => !version.isWithdrawn)
  // Versions with nothing before them are never withdrawn; should all be, what the user wrote last counts.
  const newest = Math.max(0, first)
  const isNewestReady = versions[newest]!.isHealthy && !isHeldBack
  const always = Number.POSITIVE_INFINITY
  const named = newest === 0 ? 'latest' : 'latest-withdrawn'
  if (isNewestReady) return { index: newest, reason: named, untilMs: always }
  const former = versions.findIndex((version, index) => index > newest && version.isHealthy && !version.isWithdrawn)
  const isHealthy = versions[newest]!.isHealthy
  if (former > 0 && nowMs < fallbackUntilMs)
    return {
      index: former,
      reason: isHealthy ? 'latest-held-back' : newest === 0 ? 'latest-not-healthy' : 'latest-withdrawn',
      untilMs: fallbackUntilMs,
    }
  return { index: newest, reason: isHealthy || newest > 0 ? named : 'nothing-healthy', untilMs: always }
}
