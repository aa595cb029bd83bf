import type { Http2Clock, Http2Timer } from './io.ts'
import type { Http2Limits } from './limits.ts'

/** What a connection does when its time is over. */
export interface ConnectionTimerOwner {
  onHandshakeTimeout(): void
  onBlockTimeout(): void
  onIdleTimeout(): void
  onWatch(): void
  onDrainGraceOver(): void
  onLingerOver(): void
}

const Phase = { NEW: 0, HANDSHAKE: 1, BLOCK: 2, IDLE: 3, BUSY: 4, DRAIN_GRACE: 5, FAREWELL: 6 } as const

/** The one timer of a connection: whatever it waits for, it waits for one thing at a time. */
export class ConnectionTimer {
  readonly #limits: Http2Limits
  readonly #owner: ConnectionTimerOwner
  readonly #timer: Http2Timer
  #phase: number = Phase.NEW

  constructor(clock: Http2Clock, limits: Http2Limits, owner: ConnectionTimerOwner) {
    this.#limits = limits
    this.#owner = owner
    this.#timer = clock.createTimer(() => this.#onTimeout())
  }

  start(): void {
    this.#enter(Phase.HANDSHAKE, this.#limits.handshakeTimeoutMs)
  }

  onHandshakeDone(streamCount: number): void {
    if (this.#phase === Phase.HANDSHAKE) this.#rest(streamCount)
  }

  /** Requests may come before the handshake is over; its time goes on. */
  onStreamsChanged(streamCount: number): void {
    if (this.#phase === Phase.IDLE ? streamCount > 0 : this.#phase === Phase.BUSY && streamCount === 0) {
      this.#rest(streamCount)
    }
  }

  onBlockPending(isPending: boolean, streamCount: number): void {
    if (isPending) {
      if (this.#phase === Phase.IDLE || this.#phase === Phase.BUSY) {
        this.#enter(Phase.BLOCK, this.#limits.headTimeoutMs)
      }
    } else if (this.#phase === Phase.BLOCK) {
      this.#rest(streamCount)
    }
  }

  onDrainAnnounced(): void {
    this.#enter(Phase.DRAIN_GRACE, this.#limits.goawayGraceMs)
  }

  onDrainFinal(streamCount: number): void {
    if (this.#phase !== Phase.FAREWELL) this.#rest(streamCount)
  }

  onFarewell(): void {
    this.#enter(Phase.FAREWELL, this.#limits.lingerTimeoutMs)
  }

  release(): void {
    this.#timer.release()
  }

  #rest(streamCount: number): void {
    if (streamCount > 0) this.#enter(Phase.BUSY, this.#limits.stallTimeoutMs)
    else this.#enter(Phase.IDLE, this.#limits.idleTimeoutMs)
  }

  #enter(phase: number, delayMs: number): void {
    this.#phase = phase
    this.#timer.arm(delayMs)
  }

  #onTimeout(): void {
    switch (this.#phase) {
      case Phase.HANDSHAKE:
        this.#owner.onHandshakeTimeout()
        return
      case Phase.BLOCK:
        this.#owner.onBlockTimeout()
        return
      case Phase.IDLE:
        this.#owner.onIdleTimeout()
        return
      case Phase.BUSY:
        this.#enter(Phase.BUSY, this.#limits.stallTimeoutMs)
        this.#owner.onWatch()
        return
      case Phase.DRAIN_GRACE:
        this.#owner.onDrainGraceOver()
        return
      default:
        this.#owner.onLingerOver()
    }
  }
}
