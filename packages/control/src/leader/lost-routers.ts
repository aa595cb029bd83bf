import type { RouterId } from '@waiter/base'
import type { LeaderClock } from '../clock.ts'
import { isSameSeat, type Seat } from './router-registry.ts'

/** Of a router that we know from others only. */
const NO_SEAT: Seat = { nodeId: '', worker: 0 }

export interface LostRoutersOptions {
  readonly clock: LeaderClock
  readonly deadAfterMs: number
  readonly onDead: (routerId: RouterId) => void
}

/** Routers that may be serving although we do not hear them. After a while, each of them counts as dead. */
export class LostRouters {
  readonly #options: LostRoutersOptions
  readonly #lost = new Map<RouterId, { readonly seat: Seat; readonly cancel: () => void }>()

  constructor(options: LostRoutersOptions) {
    this.#options = options
  }

  get ids(): Iterable<RouterId> {
    return this.#lost.keys()
  }

  has(routerId: RouterId): boolean {
    return this.#lost.has(routerId)
  }

  /** Where it ran, if it is lost. */
  seatOf(routerId: RouterId): Seat | undefined {
    return this.#lost.get(routerId)?.seat
  }

  add(routerId: RouterId, seat: Seat = NO_SEAT): void {
    const { clock, deadAfterMs, onDead } = this.#options
    const cancel = clock.schedule(deadAfterMs, () => onDead(routerId))
    this.#lost.set(routerId, { seat, cancel })
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
  }
}
