import type { ServiceId } from '@waiter/base'
import {
  chooseVersion,
  type Descriptor,
  type FormerVersion,
  formerVersions,
  latestUpdateMs,
  type ResolveInput,
  type SourceToken,
  type VersionChoice,
} from '@waiter/services'

const MS_PER_SECOND = 1_000

/** What is known of services and withdrawals when a version is to be chosen. */
export interface VersionFacts {
  isHealthy(serviceId: ServiceId): boolean
  isWithdrawn(version: Descriptor): boolean
  /** Is the newer one still being brought to the size that it needs to take over from the older one? */
  isHeldBack(newest: Descriptor, predecessor: Descriptor): boolean
}

/** The choice, with what follows from it. */
export interface RolloutState {
  readonly choice: VersionChoice
  readonly chosen: Descriptor
  /** The newest version that is not withdrawn. */
  readonly newest: Descriptor
  /** The healthy version from which `newest` is to take over, while that may be. */
  readonly predecessor: Descriptor | undefined
  /** The version that gets the rest of a traffic split. */
  readonly partner: Descriptor | undefined
}

/** What a request's tokens say now, and what they said before: the versions among which one is chosen. */
export class Rollout {
  /** Newest first. */
  readonly versions: readonly Descriptor[]
  /** The change that made the newest version. */
  readonly newestChange: SourceToken | undefined
  readonly #fallbackUntilMs: number

  private constructor(latest: Descriptor, former: readonly FormerVersion[], fallbackUntilMs: number) {
    this.versions = [latest, ...former.map(version => version.descriptor)]
    this.newestChange = former[0]?.supersededBy
    this.#fallbackUntilMs = fallbackUntilMs
  }

  /** Undefined when the newest version serves, whatever happens. */
  static of(latest: Descriptor, input: ResolveInput, facts: VersionFacts, nowMs: number): Rollout | undefined {
    const updatedMs = latestUpdateMs(latest)
    if (updatedMs === undefined) return undefined
    const isSplit = splitOf(latest) !== undefined
    const periodSecs = fallbackPeriodSecs(latest, input)
    // Who splits traffic has two versions that may serve, for as long as that is so.
    const untilMs = isSplit ? Number.POSITIVE_INFINITY : updatedMs + periodSecs * MS_PER_SECOND
    if (nowMs >= untilMs && !facts.isWithdrawn(latest)) return undefined
    const former = [...formerVersions(latest, input)]
    return former.length === 0 ? undefined : new Rollout(latest, former, untilMs)
  }

  /** Chooses by what is known now. */
  choose(facts: VersionFacts, nowMs: number): RolloutState {
    const withdrawnIds = new Set<ServiceId>()
    const states = this.versions.map(version => {
      // An older version that is the same service is as bad.
      const isWithdrawn = withdrawnIds.has(version.serviceId) || facts.isWithdrawn(version)
      if (isWithdrawn) withdrawnIds.add(version.serviceId)
      return { isWithdrawn, isHealthy: facts.isHealthy(version.serviceId) }
    })
    const newestIndex = Math.max(
      0,
      states.findIndex(state => !state.isWithdrawn),
    )
    const newest = this.versions[newestIndex]!
    const isOther = (version: Descriptor, index: number): boolean =>
      index > newestIndex && !states[index]!.isWithdrawn && version.serviceId !== newest.serviceId
    const isBefore = nowMs < this.#fallbackUntilMs && newestIndex === 0
    const predecessor = isBefore
      ? this.versions.find((version, index) => isOther(version, index) && states[index]!.isHealthy)
      : undefined
    const isHeldBack = predecessor !== undefined && facts.isHeldBack(newest, predecessor)
    const choice = chooseVersion({ versions: states, fallbackUntilMs: this.#fallbackUntilMs, isHeldBack, nowMs })
    const partner = splitOf(newest) === undefined ? undefined : this.versions.find(isOther)
    return { choice, chosen: this.versions[choice.index]!, newest, predecessor, partner }
  }
}

/** The traffic split that a version asks for, if it is one. */
export function splitOf({ discovery }: Descriptor): Descriptor['discovery']['metadata']['traffic-split'] {
  const split = discovery.metadata['traffic-split']
  return split === undefined || split.percent >= 100 ? undefined : split
}

/** `x-waiter-fallback-period-secs` over the token's (spec §1.3); nonsense does not count. */
function fallbackPeriodSecs(latest: Descriptor, { headers }: ResolveInput): number {
  const given = headers.get('fallback-period-secs')
  return given !== undefined && /^\d{1,6}$/.test(given) ? Number(given) : latest.fallbackPeriodSecs
}
