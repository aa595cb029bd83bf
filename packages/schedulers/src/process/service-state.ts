import type { InstanceId, Millis } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'
import { keepNewestEnded } from '../ended-records.ts'
import type { InstanceRecord, ServiceRecord } from '../scheduler.ts'
import { computeHealthyMs, type Instance } from './instance.ts'
import type { Timer } from './timers.ts'

/** Wait before the second restart in a row; grows by restart-backoff-factor. */
const BACKOFF_FIRST_MS = 1000
const BACKOFF_MAX_MS = 60_000
/** An instance that was healthy for so long was a success: the next failure starts a new row. */
const SUCCESS_HEALTHY_MS = 10_000

/** A service that nobody has used for so long rests. */
const REST_AFTER_MS = 30_000
/** Spec §2.1; another one is meant. */
const DEFAULT_HEALTH_CHECK_INTERVAL_SECS = 10

/** What the scheduler keeps about one service. */
export interface ServiceState {
  definition: ServiceDefinition
  requested: number
  /** Launches in progress. */
  pending: number
  readonly running: Map<InstanceId, Instance>
  /** In order of their end. */
  ended: InstanceRecord[]
  /** Failed starts in a row, counted in rounds: ten instances that fail together count once. */
  streak: number
  /** No replacement before this. */
  startsFromMs: Millis
  retryTimer: Timer | undefined
  /** Why the last start did not come about, for people; null when it did. */
  problem: string | null
  /** When somebody used it last; at first, when it became known here. */
  usedAtMs: Millis
  /** Set while the service is being deleted. */
  deletion: Promise<void> | undefined
}

/** A service of which nothing runs yet. */
export function createServiceState(definition: ServiceDefinition, requested: number, nowMs: Millis): ServiceState {
  return {
    definition,
    requested,
    pending: 0,
    running: new Map(),
    ended: [],
    streak: 0,
    startsFromMs: 0,
    retryTimer: undefined,
    problem: null,
    usedAtMs: nowMs,
    deletion: undefined,
  }
}

/** Nobody has used it for a while, and its description leaves open how often to check it. */
export function isResting(service: ServiceState, nowMs: Millis): boolean {
  const { core, effective } = service.definition
  const key = 'health-check-interval-secs'
  const isIntervalChosen = core[key] !== undefined || effective[key] !== DEFAULT_HEALTH_CHECK_INTERVAL_SECS
  return !isIntervalChosen && nowMs - service.usedAtMs >= REST_AFTER_MS
}

/** How many instances are still to be started. */
export function countMissing(service: ServiceState): number {
  let active = service.pending
  for (const instance of service.running.values()) if (instance.isActive) active += 1
  return Math.max(0, service.requested - active)
}

/** The service as watchers see it. */
export function describeService(service: ServiceState): ServiceRecord {
  const running = [...service.running.values()].map(instance => instance.record)
  // An instance that has ended but whose remains are being stopped is among the ended ones already.
  const instances = [...running.filter(record => record.endedAtMs === null), ...service.ended]
  return { definition: service.definition, requested: service.requested, startTrouble: service.problem, instances }
}

/** Adds an ended record; returns those that fall out because there are too many. */
export function applyEnded(service: ServiceState, record: InstanceRecord): readonly InstanceRecord[] {
  service.ended = [...service.ended.filter(other => other.instanceId !== record.instanceId), record]
  const all = service.ended
  service.ended = [...keepNewestEnded(all)]
  return all.filter(other => !service.ended.includes(other))
}

/** Notes a failure and sets the time of the next start: at once for the first in a row, then with growing waits. */
export function applyFailure(service: ServiceState, instance: Instance, nowMs: Millis): void {
  const wasSuccess = computeHealthyMs(instance.record, nowMs) >= SUCCESS_HEALTHY_MS
  service.streak = wasSuccess ? 1 : Math.max(service.streak, instance.setup.streak + 1)
  applyBackoff(service, nowMs)
}

/** Sets the earliest time of the next start from the length of the row of failures. */
export function applyBackoff(service: ServiceState, nowMs: Millis): void {
  const delayMs = computeBackoffMs(service.streak, service.definition.effective['restart-backoff-factor'])
  service.startsFromMs = Math.max(service.startsFromMs, nowMs + delayMs)
}

/**
 * Wait before a restart after `streak` failures in a row: nothing, then 1 s × factor^n, at most 60 s.
 *
 * @example computeBackoffMs(1, 2) // 0
 * @example computeBackoffMs(4, 2) // 4000
 */
export function computeBackoffMs(streak: number, factor: number): number {
  return streak <= 1 ? 0 : Math.min(BACKOFF_FIRST_MS * factor ** (streak - 2), BACKOFF_MAX_MS)
}
