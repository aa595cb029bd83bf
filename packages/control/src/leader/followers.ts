import type { Millis, RouterId } from '@waiter/base'

/** For so long after its last request at a router, the router is told of a service, and has a share of its slots. */
export const INTEREST_MS = 300_000

/** Interest is noted again after this: routers report several times a second. */
const INTEREST_STEP_MS = 1_000

/**
 * Routers that are told of one service and take part in the distribution of its slots: its homes (`chooseHomes`), and
 * those at which it was asked for of late. Holds state; who acts on it is `FollowerDesk`.
 */
export class Followers {
  #homes: readonly RouterId[] = []
  readonly #interestedAtMs = new Map<RouterId, Millis>()
  #dueAtMs: Millis = Number.POSITIVE_INFINITY

  get size(): number {
    return this.#interestedAtMs.size
  }

  get homes(): readonly RouterId[] {
    return this.#homes
  }

  /** When somebody may have lost interest. */
  get dueAtMs(): Millis {
    return this.#dueAtMs
  }

  has(routerId: RouterId): boolean {
    return this.#interestedAtMs.has(routerId)
  }

  ids(): IterableIterator<RouterId> {
    return this.#interestedAtMs.keys()
  }

  /** The service is asked for at this router. @returns true when it did not follow it before */
  note(routerId: RouterId, nowMs: Millis): boolean {
    const knownMs = this.#interestedAtMs.get(routerId)
    if (knownMs !== undefined && nowMs >= knownMs && nowMs < knownMs + INTEREST_STEP_MS) return false
    const isNew = knownMs === undefined
    this.#interestedAtMs.set(routerId, nowMs)
    if (!this.#homes.includes(routerId)) this.#dueAtMs = Math.min(this.#dueAtMs, nowMs + INTEREST_MS)
    return isNew
  }

  /**
   * Those that were homes before lose interest in time.
   *
   * @param isHere is the router attached? One that is not begins to follow when it is
   * @returns homes that did not follow it before
   */
  setHomes(homes: readonly RouterId[], isHere: (routerId: RouterId) => boolean, nowMs: Millis): readonly RouterId[] {
    const former = this.#homes
    this.#homes = homes
    for (const routerId of former) if (this.#interestedAtMs.has(routerId)) this.note(routerId, nowMs)
    return homes.filter(routerId => isHere(routerId) && this.note(routerId, nowMs))
  }

  remove(routerId: RouterId): void {
    this.#interestedAtMs.delete(routerId)
  }

  /**
   * Looks who has lost interest; they still follow until they are removed.
   *
   * @param isBusy has the router requests of the service now?
   */
  lapsed(nowMs: Millis, isBusy: (routerId: RouterId) => boolean): readonly RouterId[] {
    if (nowMs < this.#dueAtMs) return []
    this.#dueAtMs = Number.POSITIVE_INFINITY
    const lapsed: RouterId[] = []
    const homes = new Set(this.#homes)
    for (const [routerId, interestedAtMs] of this.#interestedAtMs) {
      if (homes.has(routerId)) continue
      const untilMs = (isBusy(routerId) ? nowMs : interestedAtMs) + INTEREST_MS
      if (untilMs <= nowMs) lapsed.push(routerId)
      else this.#dueAtMs = Math.min(this.#dueAtMs, untilMs)
    }
    return lapsed
  }
}
