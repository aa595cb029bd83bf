import type { InstanceId } from '@waiter/base'

/** Requests older than this may be cut when their instance has expired (spec §12 `lingering-request-threshold-ms`). */
export const LINGERING_REQUEST_MS = 60_000

/** One running instance as the choice sees it. */
export interface VictimCandidate {
  readonly instanceId: InstanceId
  /** Requests in flight there, summed over all routers. */
  readonly inUse: number
  /** When the youngest of them began; null when there is none. Unknown: say now, which protects them. */
  readonly newestRequestStartedAtMs: number | null
  readonly startedAtMs: number
  readonly health: 'healthy' | 'unhealthy' | 'starting'
  /** Left alone by at least one router because of failures. */
  readonly isEjected: boolean
  readonly isExpired: boolean
  /** Being drained or stopped already. */
  readonly isLeaving: boolean
}

export interface ChooseVictimsInput {
  readonly instances: readonly VictimCandidate[]
  readonly count: number
  readonly loadBalancing: 'oldest' | 'youngest' | 'random' | 'least-loaded'
  readonly nowMs: number
  readonly lingeringRequestMs: number
}

/**
 * Chooses which instances to stop, best first; maybe fewer than `count`, maybe none (rules V1 to V6, spec §5.4).
 *
 * An instance that serves a request is never chosen, unless it has expired and serves nothing but requests that have
 * been lingering.
 */
export function chooseVictims(input: ChooseVictimsInput): readonly InstanceId[] {
  const running = input.instances.filter(instance => !instance.isLeaving)
  const isAnyExpired = running.some(instance => instance.isExpired)
  const isReplacementStarting = isAnyExpired && running.some(instance => instance.health === 'starting')
  const killable = running.filter(
    instance =>
      isQuiet(instance, input) &&
      (!isAnyExpired || instance.health !== 'healthy' || instance.isEjected || instance.isExpired) &&
      (!isReplacementStarting || instance.health === 'unhealthy'),
  )
  killable.sort((a, b) => compareVictims(input.loadBalancing, a, b))
  return killable.slice(0, Math.max(0, input.count)).map(instance => instance.instanceId)
}

function isQuiet(instance: VictimCandidate, input: ChooseVictimsInput): boolean {
  if (instance.inUse === 0) return true
  if (!instance.isExpired || instance.newestRequestStartedAtMs === null) return false
  return input.nowMs - instance.newestRequestStartedAtMs > input.lingeringRequestMs
}

/** Idle, then expired, unhealthy, ejected; then by age, so that those go which load balancing likes least. */
function compareVictims(
  loadBalancing: ChooseVictimsInput['loadBalancing'],
  a: VictimCandidate,
  b: VictimCandidate,
): number {
  return (
    first(a.inUse === 0, b.inUse === 0) ||
    first(a.isExpired, b.isExpired) ||
    first(a.health === 'unhealthy', b.health === 'unhealthy') ||
    first(a.isEjected, b.isEjected) ||
    compareAge(a.isExpired || loadBalancing === 'youngest', a, b)
  )
}

function compareAge(isOldestFirst: boolean, a: VictimCandidate, b: VictimCandidate): number {
  const byAge = isOldestFirst ? a.startedAtMs - b.startedAtMs : b.startedAtMs - a.startedAtMs
  if (byAge !== 0) return byAge
  return a.instanceId < b.instanceId ? -1 : 1
}

/** Negative when only `a` is true. */
function first(a: boolean, b: boolean): number {
  return Number(b) - Number(a)
}
