import type { Logger, Millis } from '@waiter/base'
import type { Timer, Timers } from '../process/timers.ts'
import type { Scheduler, SchedulerEvent } from '../scheduler.ts'
import type { HostCapacity } from './choose-hosts.ts'
import { type ContactLimits, type HostContact, judgeContact } from './host-contact.ts'
import { HostMirror } from './host-mirror.ts'

/** A lost watch is opened anew after this, doubling up to the maximum. */
const RETRY_MS_FIRST = 20
const RETRY_MS_MAX = 500

/** One host of the cluster, as it is driven from here. */
export interface FleetHost {
  /** For ever. */
  readonly hostId: string
  /** The scheduler of that host. Its watch ends or throws when the host is not heard any more. */
  readonly scheduler: Scheduler
  /** What the host can carry, as far as it has said. */
  capacity(): HostCapacity
}

export interface HostFollowerOptions {
  readonly host: FleetHost
  readonly timers: Timers
  readonly limits: ContactLimits
  readonly log: Logger
  /** The mirror has it already. */
  readonly onEvent: (follower: HostFollower, event: SchedulerEvent) => void
  /** It is heard, or not any more, or has been silent for long. */
  readonly onContact: (follower: HostFollower) => void
}

/** Follows one host's scheduler for as long as the host belongs to the cluster, however often it is lost. */
export class HostFollower {
  readonly host: FleetHost
  readonly mirror: HostMirror = new HostMirror()
  /** What is being placed there and has not been heard of yet. */
  readonly pending: { cpus: number; memMb: number } = { cpus: 0, memMb: 0 }
  /** It is to be left: nothing is started there while another host can take it. */
  drains = false
  /** And what it runs is to be started elsewhere: somebody is there to take it. */
  isLeft = false
  readonly #options: HostFollowerOptions
  readonly #abort = new AbortController()
  #silentSinceMs: Millis | undefined
  #contact: HostContact = 'up'
  #timer: Timer | undefined
  #retryMs = RETRY_MS_FIRST

  constructor(options: HostFollowerOptions) {
    this.#options = options
    this.host = options.host
    this.#silentSinceMs = options.timers.nowMs()
  }

  /** It is heard now: what the mirror says is how it is. */
  get isHeard(): boolean {
    return this.#silentSinceMs === undefined
  }

  get contact(): HostContact {
    return this.#contact
  }

  start(): void {
    this.#judge()
    void this.#run()
  }

  stop(): void {
    this.#abort.abort()
    this.#timer?.cancel()
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort
    const { host, log, timers } = this.#options
    while (!signal.aborted) {
      try {
        for await (const event of host.scheduler.watch(signal)) this.#hear(event)
      } catch (error) {
        log.debug({ err: error, hostId: host.hostId }, 'the watch of a host failed')
      }
      if (signal.aborted) return
      this.#fallSilent()
      await pause(timers, this.#retryMs, signal)
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX)
    }
  }

  #hear(event: SchedulerEvent): void {
    const { host, log, onEvent } = this.#options
    if (this.#abort.signal.aborted) return
    if (!this.isHeard && event.kind === 'listing') {
      if (this.#contact !== 'up') log.info({ hostId: host.hostId }, 'a host is heard again')
      this.#silentSinceMs = undefined
      this.#retryMs = RETRY_MS_FIRST
      this.#contact = 'up'
      this.#timer?.cancel()
    }
    this.mirror.apply(event)
    onEvent(this, event)
  }

  #fallSilent(): void {
    if (!this.isHeard) return
    this.#silentSinceMs = this.#options.timers.nowMs()
    this.#options.onContact(this)
    this.#judge()
  }

  /** Looks how long it has been silent, and again when that makes a difference. */
  #judge(): void {
    const { timers, limits, host, log, onContact } = this.#options
    const nowMs = timers.nowMs()
    const { contact, nextMs } = judgeContact(this.#silentSinceMs, nowMs, limits)
    this.#timer?.cancel()
    if (nextMs !== Number.POSITIVE_INFINITY) this.#timer = timers.setTimer(nextMs - nowMs, () => this.#judge())
    if (contact === this.#contact) return
    this.#contact = contact
    log.warn(
      { hostId: host.hostId, contact },
      contact === 'lost'
        ? 'a host does not answer; what runs there stays in use'
        : 'a host has not answered for long; what it ran is started elsewhere when it is needed',
    )
    onContact(this)
  }
}

function pause(timers: Timers, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const end = (): void => {
      timer.cancel()
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = timers.setTimer(delayMs, end)
    signal.addEventListener('abort', end)
  })
}
