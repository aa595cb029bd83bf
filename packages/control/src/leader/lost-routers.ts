import type { RouterId } from '@waiter/base'
import type { LeaderClock } from '../clock.ts'
import { isSameSeat, type Seat } from './router-registry.ts'

/** Of a router that we know from others only. */
const NO_SEAT: Seat = { nodeId: '', worker: 0 }
/** A router that others hear counts as alive for at most so many times `deadAfterMs`. */
const HEARD_FACTOR_MAX = 6
/** A second opinion that takes longer comes too late. */
export const OPINION_MS_MAX = 1_000

export interface LostRoutersOptions {
  readonly clock: LeaderClock
  readonly deadAfterMs: number
  /**
   * Whether other routers hear one that we do not: a second opinion, asked for before a router that was attached here is
   * given up. It may put that off, never hasten it.
   */
  readonly isHeard?: (routerId: RouterId) => Promise<boolean>
  readonly onDead: (routerId: RouterId) => void
}

interface Lost {
  readonly seat: Seat
  readonly wasAttached: boolean
  cancel: () => void
}

/** Routers that may be serving although we do not hear them. After a while, each of them counts as dead. */
export class LostRouters {
  readonly #options: LostRoutersOptions
  readonly #lost = new Map<RouterId, Lost>()

  constructor(options: LostRoutersOptions) {
    this.#options = options
  }

  get ids(): Iterable<RouterId> {
    return this.#lost.keys()
  }

  has(routerId: RouterId): boolean {
    return this.#lost.has(routerId)
  }

  /** @param wasAttached to this leader: nobody else waits for it. One that a new leader expects holds back all slots. */
  add(routerId: RouterId, seat: Seat = NO_SEAT, wasAttached = false): void {
    const lost: Lost = { seat, wasAttached, cancel: () => undefined }
    this.#lost.set(routerId, lost)
    this.#watch(routerId, lost, HEARD_FACTOR_MAX)
  }

  /** It is back, or its end is certain. */
  remove(routerId: RouterId): void {
    this.#lost.get(routerId)?.cancel()
    this.#lost.delete(routerId)
  }

  /** Those that ran at this seat. */
  at(seat: Seat): readonly RouterId[] {
    return [...this.#lost].filter(([, lost]) => isSameSeat(lost.seat, seat)).map(([routerId]) => routerId)
  }

  stop(): void {
    for (const { cancel } of this.#lost.values()) cancel()
    this.#lost.clear()
  }

  /** Gives it up after `deadAfterMs`, unless others have said shortly before that they hear it: then again. */
  #watch(routerId: RouterId, lost: Lost, roundsLeft: number): void {
    const { clock, deadAfterMs, isHeard, onDead } = this.#options
    if (isHeard === undefined || !lost.wasAttached || roundsLeft === 1) {
      lost.cancel = clock.schedule(deadAfterMs, () => onDead(routerId))
      return
    }
    const answerMs = Math.min(OPINION_MS_MAX, deadAfterMs)
    let isAlive = false
    lost.cancel = clock.schedule(deadAfterMs - answerMs, () => {
      void isHeard(routerId).then(answer => {
        isAlive = answer
      })
      lost.cancel = clock.schedule(answerMs, () => {
        if (isAlive) this.#watch(routerId, lost, roundsLeft - 1)
        else onDead(routerId)
      })
    })
  }
}
