import type { Millis } from '@waiter/base'
import type { EffectiveDescription } from '@waiter/services'
import type { InstanceFlag, InstanceState } from '../scheduler.ts'
import { type ProbeResult, probeHealth } from './health-probe.ts'
import type { Timer, Timers } from './timers.ts'

/** First look at a new process: nothing listens sooner. */
const FIRST_PROBE_MS = 2
/** Distance of probes while an instance starts. A refused connection costs some 100 µs. */
const STARTING_PROBE_MS_MIN = 4
/** Distance at the very beginning: a small server listens within 10 ms of its start. */
const EARLY_PROBE_MS_MIN = 1
const EARLY_MS = 40
/** Distance while it answers, but not with 2xx: its status page may do work. */
const NOT_READY_PROBE_MS_MIN = 10
/** Later probes are this part of the waiting time apart: a slow start is noticed at most 2 % late, however slow. */
const PROBE_DISTANCE_PART = 0.02
/** With more than this many instances starting at once, probes are thinned so that probing never takes the machine. */
const FULL_RATE_STARTS_MAX = 8
/** Recovery of an unhealthy instance is looked for no more often than this. */
const RECOVERY_PROBE_MS_MIN = 250
/** Distance of checks of a healthy instance of a service that nobody uses, unless its description says another one. */
const RESTING_INTERVAL_MS = 60_000
/** On a host with hundreds of instances they are checked less often: each adds so much to the interval. */
const RESTING_INTERVAL_MS_EACH = 200
const RESTING_INTERVAL_MS_MAX = 300_000
/** Instances of which the service is used again, or that are adopted, all at once are checked one after the other. */
const CROWD_DISTANCE_MS = 2
/** The first interval of a healthy instance is cut by up to this part: checks that began together do not stay together. */
const FIRST_INTERVAL_CUT_MAX = 0.5
/** First patience for an answer; doubled with each time-out, because slow health pages are slow, not dead. */
const ANSWER_MS_MIN = 1000
const ANSWER_MS_MAX = 5000

/** What a monitor is made from. */
export interface HealthMonitorOptions {
  readonly effective: EffectiveDescription
  /** Addresses to try, preferred first. */
  readonly hosts: readonly string[]
  /** The port that health checks go to. */
  readonly port: number
  readonly password: string
  readonly startedAtMs: Millis
  readonly timers: Timers
  /** Chance from 0 up to 1. */
  readonly chance: () => number
  /** How many instances are starting now, this one included. */
  startingCount(): number
  /** How many instances run on this host, this one included. */
  runningCount(): number
  /** Nobody has used its service for a while, and nobody has said how often to check it. */
  isResting(): boolean
  onReport(report: HealthReport): void
}

/** What is known after a probe; `flags` only grow. */
export interface HealthReport {
  readonly state: InstanceState
  readonly host: string | null
  readonly status: number | null
  readonly flags: readonly InstanceFlag[]
}

/** Checks one instance for as long as it lives: quickly until it is healthy, then at the configured interval. */
export class HealthMonitor {
  readonly #options: HealthMonitorOptions
  readonly #abort = new AbortController()
  readonly #flags: Set<InstanceFlag>
  #hosts: readonly string[]
  #state: InstanceState
  #status: number | null = null
  #failures = 0
  #timeouts = 0
  #unhealthySinceMs: Millis
  #timer: Timer | undefined
  #dueAtMs: Millis = 0
  /** When the last check ended; before the first: never. */
  #checkedAtMs = Number.NEGATIVE_INFINITY
  #isSpread = false

  constructor(options: HealthMonitorOptions, known: { state: InstanceState; flags: readonly InstanceFlag[] }) {
    this.#options = options
    this.#hosts = options.hosts
    this.#state = known.state
    this.#flags = new Set(known.flags)
    this.#unhealthySinceMs = options.timers.nowMs()
  }

  /** Begins. */
  start(): void {
    this.#schedule(FIRST_PROBE_MS)
  }

  /** Begins with an instance that has been running for a while; `place` is its place among those adopted with it. */
  resume(place: number): void {
    this.#schedule(place * CROWD_DISTANCE_MS)
  }

  stop(): void {
    this.#abort.abort()
    this.#timer?.cancel()
  }

  /**
   * Checks that had become rarer come at their usual distance from now on: at once, when the last one is longer ago than
   * that. `place` is that of the instance among those of its service.
   */
  wake(place: number): void {
    const nowMs = this.#options.timers.nowMs()
    const dueAtMs = Math.max(this.#checkedAtMs + this.#intervalMs(), nowMs + place * CROWD_DISTANCE_MS)
    if (this.#dueAtMs <= dueAtMs) return
    this.#timer?.cancel()
    this.#schedule(dueAtMs - nowMs)
  }

  #schedule(delayMs: number): void {
    if (this.#abort.signal.aborted) return
    this.#dueAtMs = this.#options.timers.nowMs() + delayMs
    this.#timer = this.#options.timers.setTimer(delayMs, () => void this.#probe())
  }

  async #probe(): Promise<void> {
    this.#dueAtMs = 0 // under way
    const { effective, port, password } = this.#options
    const result = await probeHealth(
      {
        hosts: this.#hosts,
        port,
        proto: effective['health-check-proto'] ?? effective['backend-proto'],
        path: effective['health-check-url'],
        authorization: effective['health-check-authentication'] === 'standard' ? basicAuth(password) : undefined,
        timeoutMs: Math.min(ANSWER_MS_MIN * 2 ** this.#timeouts, ANSWER_MS_MAX),
      },
      this.#abort.signal,
    )
    if (this.#abort.signal.aborted) return
    this.#checkedAtMs = this.#options.timers.nowMs()
    this.#learn(result)
    const isPassed = result.kind === 'response' && result.status >= 200 && result.status < 300
    if (isPassed) this.#pass(result.host)
    else this.#fail(result)
    const host = result.kind === 'refused' ? null : result.host
    this.#options.onReport({ state: this.#state, host, status: this.#status, flags: [...this.#flags] })
    this.#schedule(this.#chooseDelayMs(result))
  }

  #learn(result: ProbeResult): void {
    if (result.kind !== 'refused' && result.host !== null) this.#flags.add('has-connected')
    if (result.kind === 'response') {
      this.#flags.add('has-responded')
      this.#status = result.status
    } else this.#status = null
    if (result.kind === 'timeout') this.#flags.add('timeout-exception')
    if (result.kind === 'hangup') this.#flags.add('hangup-exception')
    if (result.kind === 'tls-error') this.#flags.add('ssl-exception')
    this.#timeouts = result.kind === 'timeout' ? this.#timeouts + 1 : 0
  }

  #pass(host: string): void {
    this.#failures = 0
    this.#state = 'healthy'
    this.#hosts = [host] // the address that clients are sent to
  }

  #fail(result: ProbeResult): void {
    if (this.#state !== 'healthy') return
    this.#failures += 1
    // Nothing listens where something listened: no need to hear it five times, clients would be refused meanwhile.
    if (this.#failures < this.#failuresMax() && result.kind !== 'refused') return
    this.#state = 'unhealthy'
    this.#unhealthySinceMs = this.#options.timers.nowMs()
  }

  #failuresMax(): number {
    return this.#options.effective['health-check-max-consecutive-failures']
  }

  #chooseDelayMs(result: ProbeResult): number {
    const { timers, startedAtMs } = this.#options
    const intervalMs = this.#intervalMs()
    if (this.#state === 'healthy') return this.#chooseHealthyDelayMs(intervalMs)
    const isStarting = this.#state === 'starting'
    const waitedMs = timers.nowMs() - (isStarting ? startedAtMs : this.#unhealthySinceMs)
    const floorMs = isStarting ? this.#startingFloorMs(result, waitedMs) : RECOVERY_PROBE_MS_MIN
    return Math.min(Math.max(waitedMs * PROBE_DISTANCE_PART, floorMs), intervalMs)
  }

  #chooseHealthyDelayMs(intervalMs: number): number {
    const delayMs = this.#isAtRest() ? Math.max(intervalMs, this.#restingIntervalMs()) : intervalMs
    if (this.#isSpread) return delayMs
    this.#isSpread = true
    return delayMs * (1 - FIRST_INTERVAL_CUT_MAX * this.#options.chance())
  }

  #restingIntervalMs(): number {
    const crowdMs = this.#options.runningCount() * RESTING_INTERVAL_MS_EACH
    return Math.min(Math.max(RESTING_INTERVAL_MS, crowdMs), RESTING_INTERVAL_MS_MAX)
  }

  #intervalMs(): number {
    return this.#options.effective['health-check-interval-secs'] * 1000
  }

  /** At the first doubt it is looked at as often as any. */
  #isAtRest(): boolean {
    return this.#failures === 0 && this.#options.isResting()
  }

  #startingFloorMs(result: ProbeResult, waitedMs: number): number {
    const crowding = Math.max(1, this.#options.startingCount() / FULL_RATE_STARTS_MAX)
    const refusedFloorMs = waitedMs < EARLY_MS ? EARLY_PROBE_MS_MIN : STARTING_PROBE_MS_MIN
    return (result.kind === 'refused' ? refusedFloorMs : NOT_READY_PROBE_MS_MIN) * crowding
  }
}

function basicAuth(password: string): string {
  return `Basic ${Buffer.from(`waiter:${password}`).toString('base64')}`
}
