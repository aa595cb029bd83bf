import type { Millis, ServiceId } from '@waiter/base'
import { computeSuccessorSize, decideTakeover, scaleSpecOf, type TakeoverConfig } from '@waiter/scaling'
import {
  type JudgeConfig,
  judgeVersion,
  lingeringAfterMs,
  type TrafficFigures,
  type VersionVerdict,
} from '@waiter/services'
import type { SuccessionRequest, SuccessionState } from '../agent/leader-link.ts'
import type { ManagedService } from './managed-service.ts'

/** What a deployment decides about versions that take over (docs/services.md). */
export interface SuccessionSettings {
  readonly takeover: TakeoverConfig
  readonly judge: JudgeConfig
  /** For so long after it took over, a version is judged by its predecessor. */
  readonly probationMs: number
  /** For so long the predecessor keeps its size, should everything have to go back. */
  readonly holdMs: number
}

/** Looks at a version that waits or is on probation this often, whatever else happens. */
const LOOK_EVERY_MS = 250
/** Samples of begun requests: enough to look back for two minutes. */
const SAMPLES_MAX = 512

/**
 * One version on its way to take over from another: first it grows to the size that it needs, then it serves, on
 * probation. Holds state and asks the pure rules; whoever owns it acts.
 */
export class Succession {
  request: SuccessionRequest
  readonly successor: ManagedService
  readonly predecessor: ManagedService
  #kind: SuccessionState['kind'] = 'pending'
  #reason = 'It is being started.'
  #wanted = 1
  #startedAtMs: Millis
  #healthySinceMs: Millis | null = null
  #readyAtMs: Millis = 0
  /** The predecessor's figures while it carried the load. */
  #baseline: TrafficFigures
  /** The successor's figures when it took over. */
  #before: { readonly figures: TrafficFigures; readonly begun: number; readonly ended: number }
  readonly #samples: { readonly atMs: Millis; readonly begun: number }[] = []

  constructor(request: SuccessionRequest, successor: ManagedService, predecessor: ManagedService, nowMs: Millis) {
    this.request = request
    this.successor = successor
    this.predecessor = predecessor
    this.#startedAtMs = nowMs
    this.#baseline = predecessor.traffic.copy()
    this.#before = this.#present()
  }

  get predecessorId(): ServiceId {
    return this.predecessor.id
  }

  get isPending(): boolean {
    return this.#kind === 'pending'
  }

  get isWithdrawn(): boolean {
    return this.#kind === 'withdrawn'
  }

  /** How many instances it needs now. */
  computeWanted(): number {
    const { successor, predecessor, request } = this
    this.#wanted = computeSuccessorSize({
      predecessor: {
        target: predecessor.lastDecision?.target ?? predecessor.requested,
        outstanding: predecessor.usage().outstanding,
        spec: scaleSpecOf(predecessor.definition.effective, { isStale: false }),
      },
      successor: scaleSpecOf(successor.definition.effective, { isStale: false }),
      share: request.share,
    })
    return this.#wanted
  }

  /** A router asks (again) for it: one that cannot serve any more has to wait anew. */
  restart(settings: SuccessionSettings, nowMs: Millis): void {
    if (this.#kind !== 'ready' || this.successor.healthyCount > 0) return
    this.#kind = 'pending'
    this.#reason = 'It is not healthy any more.'
    this.#startedAtMs = nowMs
    this.#healthySinceMs = null
    this.#baseline = this.predecessor.traffic.recent(settings.judge.samplesMin)
  }

  /** @returns true when its state has changed, and when it wants to be looked at again */
  review(settings: SuccessionSettings, nowMs: Millis): { readonly isChanged: boolean; readonly nextMs: Millis } {
    if (this.#kind === 'withdrawn') return { isChanged: false, nextMs: Number.POSITIVE_INFINITY }
    if (this.#kind === 'pending')
      return { isChanged: this.#reviewPending(settings, nowMs), nextMs: nowMs + LOOK_EVERY_MS }
    this.#sample(nowMs)
    return { isChanged: false, nextMs: nowMs + LOOK_EVERY_MS }
  }

  isOver(settings: SuccessionSettings, nowMs: Millis): boolean {
    return this.#kind === 'ready' && nowMs >= this.#readyAtMs + settings.probationMs
  }

  /** Until when the predecessor keeps its size. */
  holdsPredecessorUntilMs(settings: SuccessionSettings): Millis {
    return this.#kind === 'ready' && this.request.withdrawIfBad ? this.#readyAtMs + settings.holdMs : 0
  }

  judge(settings: SuccessionSettings, nowMs: Millis): VersionVerdict {
    const { successor, predecessor } = this
    return judgeVersion({
      candidate: {
        ...(this.#kind === 'ready' ? successor.traffic.since(this.#before.figures) : NO_TRAFFIC),
        healthyInstances: successor.healthyCount,
        failedInstances: successor.failedSince(this.#startedAtMs),
        problem: successor.problem?.message ?? null,
        lingering: this.#lingering(settings.judge, nowMs),
      },
      predecessor: { ...this.#baseline, failedInstances: predecessor.failedSince(this.#startedAtMs) },
      config: settings.judge,
    })
  }

  withdraw(reason: string): void {
    this.#kind = 'withdrawn'
    this.#reason = reason
  }

  describe(): SuccessionState {
    const { token, version } = this.request
    return {
      predecessorId: this.predecessorId,
      token,
      version,
      kind: this.#kind,
      reason: this.#reason,
      wanted: this.#wanted,
    }
  }

  #reviewPending(settings: SuccessionSettings, nowMs: Millis): boolean {
    const healthy = this.successor.healthyCount
    this.#baseline = this.predecessor.traffic.recent(settings.judge.samplesMin)
    this.#healthySinceMs = healthy === 0 ? null : (this.#healthySinceMs ?? nowMs)
    const decision = decideTakeover({
      healthy,
      wanted: this.computeWanted(),
      healthySinceMs: this.#healthySinceMs,
      config: settings.takeover,
      nowMs,
    })
    this.#reason = decision.reason
    if (decision.kind === 'wait') return false
    this.#kind = 'ready'
    this.#readyAtMs = nowMs
    this.#before = this.#present()
    this.#samples.length = 0
    this.#sample(nowMs)
    return true
  }

  #present(): { readonly figures: TrafficFigures; readonly begun: number; readonly ended: number } {
    const { begun, ended } = this.successor.progress()
    return { figures: this.successor.traffic.copy(), begun, ended }
  }

  #sample(nowMs: Millis): void {
    const last = this.#samples.at(-1)
    if (last !== undefined && nowMs < last.atMs + LOOK_EVERY_MS) return
    this.#samples.push({ atMs: nowMs, begun: this.successor.progress().begun })
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift()
  }

  /** Of the requests that had begun some time ago, at least so many have not ended: those that did may be any. */
  #lingering(config: JudgeConfig, nowMs: Millis) {
    const afterMs = lingeringAfterMs(this.#baseline, config)
    const sample = afterMs === undefined ? undefined : this.#samples.findLast(({ atMs }) => atMs <= nowMs - afterMs)
    if (afterMs === undefined || sample === undefined) return { begun: 0, unfinished: 0, afterMs: 0 }
    const begun = sample.begun - this.#before.begun
    const ended = this.successor.progress().ended - this.#before.ended
    return { begun, unfinished: Math.max(0, begun - ended), afterMs }
  }
}

const NO_TRAFFIC: TrafficFigures = { finished: 0, failed: 0, latencyCounts: [] }
