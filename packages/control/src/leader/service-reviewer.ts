import { type Logger, type RouterId, WaiterError } from '@waiter/base'
import {
  applyLimits,
  chooseVictims,
  decideBroken,
  decideIdle,
  LINGERING_REQUEST_MS,
  type ScaleAction,
  type ScaleSpec,
  type ScalingPolicy,
  scaleSpecOf,
} from '@waiter/scaling'
import type { Fence, Scheduler } from '@waiter/schedulers'
import type { LeaderClock } from '../clock.ts'
import type { FollowerDesk } from './follower-desk.ts'
import type { LeaderSettings } from './leader-settings.ts'
import { isEnded, type ManagedService } from './managed-service.ts'
import type { RouterSession } from './router-session.ts'
import type { SuccessionKeeper } from './succession-keeper.ts'

const MS_PER_SECOND = 1_000
/** A target that moves slower than this, in instances per second, has arrived. Per second: decisions may be 0.1 s apart. */
const TARGET_STILLNESS_PER_SECOND = 1e-6
/** One that moves is looked at again when it will have moved about so far (it slows down rather than not), but this often. */
const TARGET_STEP = 0.05
const DECISION_MS_MAX = 5_000
/** After the scheduler failed a call, the service is looked at again after this. */
const RETRY_MS = 1_000
/** A service that the scheduler refused is offered again after this. */
const REFUSED_RETRY_MS = 5_000
/** An idle service that is collected has nothing in flight; a router that does not acknowledge is waited for this long. */
const COLLECT_DRAIN_MS = 60_000
/** The scheduler hears of use that lasts at least this often: well before it would take the service for unused (30 s). */
const USE_MS_MAX = 10_000
/** So long before an instance is stopped with requests under way, its WebSockets get a close frame: time for an answer. */
const GOODBYE_MS = 3_000

export interface ReviewerOptions {
  readonly scheduler: Scheduler
  readonly policy: ScalingPolicy
  readonly settings: LeaderSettings
  readonly clock: LeaderClock
  readonly log: Logger
  readonly fence: Fence
  readonly startedAtMs: number
  readonly sessions: ReadonlyMap<RouterId, RouterSession>
  readonly followers: FollowerDesk
  readonly successions: SuccessionKeeper
  /** Have the service reviewed at the end of the turn. */
  readonly touch: (service: ManagedService) => void
  /** The service is gone. */
  readonly forget: (service: ManagedService) => void
}

/**
 * Looks at one service and does what is due: shares its slots out, scales it, stops what is released, deletes it when
 * nobody wants it. The decisions themselves are pure (`@waiter/scaling`, `@waiter/slots`); this is where they act.
 */
export class ServiceReviewer {
  readonly #options: ReviewerOptions

  constructor(options: ReviewerOptions) {
    this.#options = options
  }

  /** Starts a service that does not run yet; at least one instance, at once, whatever the smoothing would say. */
  create(service: ManagedService, countMin = 0): void {
    const { clock, scheduler, fence, log } = this.#options
    const count = Math.max(countMin, service.definition.effective['min-instances'])
    service.requested = count
    this.begin(service)
    log.info({ serviceId: service.id, count }, 'starting a service: a request asks for it')
    this.#act(service, 'start', async () => {
      try {
        await scheduler.create(service.definition, count, fence)
        service.isCreated = true
        service.refusal = null
      } catch (error) {
        if (!(error instanceof WaiterError) || error.retryable) throw error
        // The user has to change something: say what, to everybody who asks for the service.
        service.refusal = { key: error.code, message: error.message, details: error.details, sinceMs: clock.nowMs() }
      }
    })
  }

  /**
   * Offers a service to the scheduler again after a failed call, or after a refusal once somebody asks for the service.
   *
   * @returns when it wants to do so
   */
  #createAgain(service: ManagedService, nowMs: number): number {
    if (service.isCreated || service.isScaling) return Number.POSITIVE_INFINITY
    const { refusal } = service
    const isAskedFor = refusal === null || service.usage().outstanding > 0 || service.lastModifiedMs >= refusal.sinceMs
    const notBeforeMs = refusal === null ? nowMs : refusal.sinceMs + REFUSED_RETRY_MS
    if (!isAskedFor) return Number.POSITIVE_INFINITY
    if (nowMs < notBeforeMs) return notBeforeMs
    this.create(service)
    return Number.POSITIVE_INFINITY
  }

  /** From now on time counts for the smoothing. */
  begin(service: ManagedService): void {
    const nowMs = this.#options.clock.nowMs()
    service.memory = service.requested
    service.lastDecision = {
      target: service.requested,
      scaleTo: service.requested,
      amount: 0,
      label: 'stable',
      reason: 'First look at this service.',
      atMs: nowMs,
    }
  }

  /** When figures of its load that have just come matter: what they can change is, above all, the next decision. */
  loadReviewAtMs(service: ManagedService, nowMs: number): number {
    const { lastDecision, isCreated, isScaling, deletion, successions } = service
    if (deletion !== undefined || successions.size > 0) return nowMs
    // The end of that call is what to wait for.
    if (isScaling) return Number.POSITIVE_INFINITY
    if (lastDecision === undefined || !isCreated) return nowMs
    return lastDecision.atMs + this.#options.settings.decisionFloorMs
  }

  /** @returns when the service wants to be reviewed again if nothing happens */
  review(service: ManagedService, nowMs: number): number {
    const { settings, sessions, followers } = this.#options
    const nextUseMs = this.#noteUse(service, nowMs)
    if (service.reviewProblem(settings.deploymentError, nowMs)) followers.tellAll(service)
    const nextFollowerMs = Math.min(service.nextTellMs, followers.review(service, nowMs))
    const { ids: expired, nextMs: nextExpiryMs } = service.expired(nowMs, settings.suspectAfterFailures)
    if (service.deletion === undefined) {
      const nextCreateMs = this.#createAgain(service, nowMs)
      const { floor, nextMs: nextSuccessionMs } = this.#options.successions.review(service, nowMs)
      const nextDecisionMs = this.#decide(service, expired, nowMs, floor)
      const nextGarbageMs = this.#considerGarbage(service, nowMs)
      const nextHoldersMs = this.#share(service, expired, nowMs)
      this.#stopReleased(service, nowMs)
      const nextTurnMs =
        sessions.size > 1 && service.loads.waiting > 0 ? nowMs + MS_PER_SECOND : Number.POSITIVE_INFINITY
      const nextDrainMs = nextDrainOf(service, nowMs)
      return Math.min(
        nextFollowerMs,
        nextCreateMs,
        nextDecisionMs,
        nextGarbageMs,
        nextExpiryMs,
        nextTurnMs,
        nextDrainMs,
        nextSuccessionMs,
        nextUseMs,
        nextHoldersMs,
      )
    }
    this.#share(service, expired, nowMs)
    this.#deleteWhenReleased(service, nowMs)
    // While the scheduler is busy with this service, the end of that call is what to wait for.
    const isWaiting = service.deletion.isStarted || service.isScaling
    if (isWaiting) return Number.POSITIVE_INFINITY
    const { drainUntilMs, isClosing } = service.deletion
    return isClosing ? drainUntilMs : Math.max(nowMs, drainUntilMs - GOODBYE_MS)
  }

  /** The scheduler looks less often at what nobody uses. @returns when it wants to hear again of use that lasts */
  #noteUse(service: ManagedService, nowMs: number): number {
    const { outstanding } = service.usage()
    // By this clock, which is not that of the routers.
    if (outstanding > 0 || nowMs - service.lastModifiedMs < USE_MS_MAX) this.#options.scheduler.noteUse?.(service.id)
    return outstanding > 0 ? nowMs + USE_MS_MAX : Number.POSITIVE_INFINITY
  }

  /**
   * Shares the healthy instances out among the routers and tells those whose share changed.
   *
   * @returns when to look again whom to ask for slots
   */
  #share(service: ManagedService, expired: ReadonlySet<string>, nowMs: number): number {
    const { sessions } = this.#options
    service.shareInstances(expired)
    const changed = service.ledger.rebalance(turnOf(service, nowMs))
    for (const { routerId } of changed) sessions.get(routerId)?.markDirty(service.id)
    const others = service.lenders.observe(nowMs)
    if (sessions.size > 1) for (const routerId of others) sessions.get(routerId)?.markDirty(service.id)
    return service.lenders.dueMs
  }

  /** Lets the policy decide, at most once per floor. @returns when it wants to decide again */
  #decide(service: ManagedService, expired: ReadonlySet<string>, nowMs: number, floor: number): number {
    const { settings, policy } = this.#options
    const last = service.lastDecision
    if (service.isScaling || !service.isCreated || last === undefined) return Number.POSITIVE_INFINITY
    const notBeforeMs = last.atMs + settings.decisionFloorMs
    if (nowMs < notBeforeMs) return notBeforeMs
    const { effective } = service.definition
    const snapshot = service.snapshot(expired)
    const { decision, memory } = policy.decide({
      spec: scaleSpecFor(service, floor, nowMs),
      snapshot,
      memory: service.memory,
      elapsedSeconds: (nowMs - last.atMs) / MS_PER_SECOND,
    })
    service.memory = memory
    service.lastDecision = { ...decision, atMs: nowMs }
    // Who would have to go is looked at only when somebody has to.
    const candidates = decision.amount < 0 ? service.victimCandidates(expired, nowMs) : []
    const action = applyLimits({
      decision,
      requested: snapshot.requested,
      scheduled: snapshot.scheduled,
      idle: candidates.filter(candidate => candidate.inUse === 0).length,
      cpus: effective.cpus,
      memMb: effective.mem,
      limits: settings.limits,
    })
    this.#apply(service, action, expired, nowMs)
    const movedPerSecond = Math.abs(decision.target - last.target) / ((nowMs - last.atMs) / MS_PER_SECOND)
    if (decision.amount !== 0) return nowMs + settings.decisionIntervalMs
    if (movedPerSecond < TARGET_STILLNESS_PER_SECOND) return Number.POSITIVE_INFINITY
    const stepMs = Math.min(DECISION_MS_MAX, (TARGET_STEP / movedPerSecond) * MS_PER_SECOND)
    return nowMs + Math.max(settings.decisionIntervalMs, stepMs)
  }

  #apply(service: ManagedService, action: ScaleAction, expired: ReadonlySet<string>, nowMs: number): void {
    switch (action.kind) {
      case 'scale-up':
        this.#scaleUp(service, action.to, action.reason)
        return
      case 'kill':
        if (nowMs >= this.#options.startedAtMs + this.#options.settings.settleMs)
          this.#remove(service, action.count, action.reason, expired, nowMs)
        return
      case 'lower-request': // What is requested and does not run goes with the next kill: schedulers only lower that way.
      case 'none':
        return
    }
  }

  /** Takes instances back that were about to go, then starts new ones. */
  #scaleUp(service: ManagedService, to: number, reason: string): void {
    const { scheduler, fence, log } = this.#options
    const wanted = to + service.pendingRemovals
    let spared = 0
    for (const [instanceId, removal] of service.removals) {
      if (removal.isStopping || removal.isFinal || service.requested - service.pendingRemovals >= to) continue
      service.endRemoval(instanceId)
      spared += 1
    }
    log.info({ serviceId: service.id, to, spared, reason }, 'scaling up')
    const target = Math.max(service.requested, wanted - spared)
    if (target === service.requested) return
    this.#act(service, 'scale', async () => {
      await scheduler.scale(service.id, target, fence)
      service.requested = Math.max(service.requested, target)
    })
  }

  /** Chooses who goes and takes them away from the routers; they are stopped once every router has let go. */
  #remove(service: ManagedService, count: number, reason: string, expired: ReadonlySet<string>, nowMs: number): void {
    const victims = chooseVictims({
      instances: service.victimCandidates(expired, nowMs),
      count,
      loadBalancing: service.definition.effective['load-balancing'],
      nowMs,
      lingeringRequestMs: LINGERING_REQUEST_MS,
    })
    if (victims.length === 0) return
    this.#options.log.info({ serviceId: service.id, victims, reason }, 'scaling down')
    for (const instanceId of victims) service.beginRemoval(instanceId, { reason, sinceMs: nowMs, isStopping: false })
  }

  #stopReleased(service: ManagedService, nowMs: number): void {
    const { scheduler, fence, settings, log } = this.#options
    const graceMs = Math.max(
      settings.killGraceMsMin,
      service.definition.effective['termination-grace-period-secs'] * MS_PER_SECOND,
    )
    for (const [instanceId, removal] of service.removals) {
      // Nobody can stop it while its host does not answer.
      if (removal.isStopping || service.instances.get(instanceId)?.hostContact !== undefined) continue
      const overdueAtMs = removal.drainUntilMs ?? removal.sinceMs + settings.drainTimeoutMs
      if (nowMs >= overdueAtMs - GOODBYE_MS) this.#sayGoodbye(service, removal)
      const isOverdue = nowMs >= overdueAtMs
      if (!service.ledger.isReleased(instanceId) && !isOverdue) continue
      removal.isStopping = true
      service.requested = Math.max(0, service.requested - 1)
      const request = {
        serviceId: service.id,
        instanceId,
        graceMs: removal.isHard ? 0 : graceMs,
        reason: removal.reason,
      }
      scheduler.kill(request, fence).then(
        result => {
          if (result.kind === 'no-such-instance') {
            // It ended by itself, or is unknown: the scheduler has lowered nothing.
            service.requested += 1
            service.endRemoval(instanceId)
          }
          this.#options.touch(service)
        },
        error => {
          log.error({ err: error, serviceId: service.id, instanceId }, 'could not stop an instance; trying again')
          service.requested += 1
          this.#options.clock.schedule(RETRY_MS, () => {
            removal.isStopping = false
            this.#options.touch(service)
          })
        },
      )
    }
  }

  /** Routers hear once that time is nearly over: requests may still end, WebSockets would not by themselves. */
  #sayGoodbye(service: ManagedService, leaving: { isClosing?: boolean }): void {
    if (leaving.isClosing) return
    leaving.isClosing = true
    this.#options.followers.tellAll(service)
  }

  /** @returns when the service will have been unused, or broken, for long enough */
  #considerGarbage(service: ManagedService, nowMs: number): number {
    const { outstanding, lastRequestMs } = service.usage()
    const { effective } = service.definition
    const broken = service.observeBroken(nowMs)
    if (outstanding > 0 && broken === undefined) return Number.POSITIVE_INFINITY
    const verdicts = [
      decideIdle({
        usage: { outstanding, lastRequestMs: lastRequestMs || null, lastModifiedMs: service.lastModifiedMs },
        idleTimeoutMins: effective['idle-timeout-mins'],
        ...(service.staleness === undefined
          ? {}
          : {
              stale: {
                sinceMs: service.staleness.sinceMs ?? service.lastModifiedMs,
                keepMs: service.staleness.keepMs,
              },
            }),
        nowMs,
      }),
      decideBroken({
        healthy: service.healthyCount,
        failedHosts: broken?.failedHosts ?? 0,
        unchangedSinceMs: broken?.sinceMs ?? nowMs,
        gracePeriodSecs: effective['grace-period-secs'],
        config: this.#options.settings.brokenService,
        nowMs,
      }),
    ]
    let nextMs = Number.POSITIVE_INFINITY
    for (const verdict of verdicts) {
      if (verdict.kind === 'keep') nextMs = Math.min(nextMs, verdict.untilMs)
      else if (service.deletion === undefined) {
        const settledAtMs = this.#options.startedAtMs + this.#options.settings.settleMs
        if (nowMs < settledAtMs) return settledAtMs
        service.deletion = {
          reason: verdict.reason,
          drainUntilMs: nowMs + COLLECT_DRAIN_MS,
          isRevocable: true,
          isStarted: false,
        }
        this.#options.touch(service)
      }
    }
    return nextMs
  }

  #deleteWhenReleased(service: ManagedService, nowMs: number): void {
    const { scheduler, fence, log, forget, clock } = this.#options
    const { deletion } = service
    if (deletion === undefined || deletion.isStarted || service.isScaling) return
    const running = [...service.instances.values()].filter(record => !isEnded(record))
    const isReleased = running.every(record => service.ledger.isReleased(record.instanceId))
    if (!isReleased && nowMs >= deletion.drainUntilMs - GOODBYE_MS) this.#sayGoodbye(service, deletion)
    if (!isReleased && nowMs < deletion.drainUntilMs) return
    deletion.isStarted = true
    log.info({ serviceId: service.id, reason: deletion.reason }, 'deleting a service')
    scheduler.delete(service.id, fence).then(
      () => forget(service),
      error => {
        log.error({ err: error, serviceId: service.id }, 'could not delete a service; trying again')
        clock.schedule(RETRY_MS, () => {
          deletion.isStarted = false
          this.#options.touch(service)
        })
      },
    )
  }

  /** One change of the requested count at a time; the next decision waits for it. */
  #act(service: ManagedService, what: string, work: () => Promise<void>): void {
    service.isScaling = true
    const done = (): void => {
      service.isScaling = false
      this.#options.touch(service)
    }
    work().then(done, error => {
      this.#options.log.error({ err: error, serviceId: service.id, what }, 'the scheduler failed a call; trying again')
      this.#options.clock.schedule(RETRY_MS, done)
    })
  }
}

/** Seconds, for the ledger: other services' begin at other moments, so that not all are looked at in the same one. */
function turnOf({ hash }: ManagedService, nowMs: number): number {
  const TURNS_SPREAD_MS = 4_000
  return Math.floor((nowMs + (hash % TURNS_SPREAD_MS)) / MS_PER_SECOND)
}

/** When removals want to be looked at again: their routers may have let go, or their time may be over. */
function nextDrainOf(service: ManagedService, nowMs: number): number {
  let nextMs = Number.POSITIVE_INFINITY
  for (const [instanceId, { isStopping, drainUntilMs }] of service.removals) {
    // Of a host that is heard again, its instances' news tell.
    if (service.instances.get(instanceId)?.hostContact !== undefined) continue
    nextMs = Math.min(
      nextMs,
      nowMs + MS_PER_SECOND,
      isStopping ? Number.POSITIVE_INFINITY : Math.max(nowMs, drainUntilMs ?? Number.POSITIVE_INFINITY),
    )
  }
  return nextMs
}

/**
 * How a service may be scaled now: one that is to take over grows to the size that it needs; one that may have to take
 * everything back keeps its size for a while; a withdrawn one keeps a single instance, for whoever looks for the reason.
 */
function scaleSpecFor(service: ManagedService, floor: number, nowMs: number): ScaleSpec {
  const isStale = service.staleness !== undefined
  const spec = scaleSpecOf(service.definition.effective, { isStale })
  if (isStale && service.isWithdrawn) return { ...spec, minInstances: 1, maxInstances: 1 }
  const held = nowMs < service.hold.untilMs ? service.hold.size : 0
  // A host that stops waits for all of it: nothing is replaced by and by.
  const rate = service.isAnyLeft ? { expiredInstanceRestartRate: 1 } : {}
  return { ...spec, ...rate, minInstances: Math.min(spec.maxInstances, Math.max(spec.minInstances, floor, held)) }
}
