import type { Millis, RouterId } from '@waiter/base'
import { chooseLenders, LENDERS_MAX, type SlotLedger } from '@waiter/slots'
import type { Followers } from './followers.ts'

/** Among very many routers, who has slots is looked at once in so long, to say whom to ask for some. */
const HOLDERS_FLOOR_MS = 1_000
const NOBODY: readonly RouterId[] = []

/** Whom each router that follows a service was told to ask for slots (rules L10, P12). */
export class LenderLists {
  readonly #ledger: SlotLedger
  readonly #followers: Followers
  readonly #lists = new Map<RouterId, readonly RouterId[]>()
  /** Routers that have slots, or are about to; as of when. */
  #holders: readonly RouterId[] = []
  #holdersRevision = -1
  #holdersAtMs: Millis = 0

  constructor(ledger: SlotLedger, followers: Followers) {
    this.#ledger = ledger
    this.#followers = followers
  }

  of(routerId: RouterId): readonly RouterId[] {
    return this.#lists.get(routerId) ?? NOBODY
  }

  /** The router follows the service no more. */
  drop(routerId: RouterId): void {
    this.#lists.delete(routerId)
  }

  /** When it is time to look who has slots; `Infinity`: nothing has changed. */
  get dueMs(): Millis {
    if (this.#ledger.holdersRevision === this.#holdersRevision) return Number.POSITIVE_INFINITY
    return this.#holders.length > LENDERS_MAX + 1 ? this.#holdersAtMs + HOLDERS_FLOOR_MS : 0
  }

  /**
   * Looks which routers have slots, or will soon. Where very many have, nobody asks all of them anyway: they are looked at
   * once a second.
   *
   * @returns routers that are to ask others than before, so that they must be told
   */
  observe(nowMs: Millis): readonly RouterId[] {
    const isDue = nowMs >= this.dueMs
    if (!isDue && this.#lists.size === this.#followers.size) return NOBODY
    const holders = isDue ? this.#ledger.holderIds : this.#holders
    const isSame = isSameList(holders, this.#holders)
    if (isDue) {
      this.#holdersRevision = this.#ledger.holdersRevision
      this.#holdersAtMs = nowMs
      this.#holders = holders
    }
    const changed: RouterId[] = []
    const known = new Set(holders)
    for (const routerId of this.#followers.ids()) {
      const before = this.#lists.get(routerId)
      if (isSame && before !== undefined) continue
      const lenders = chooseLenders(holders, routerId, before, known)
      if (lenders === before) continue
      this.#lists.set(routerId, lenders)
      if (before !== undefined || lenders.length > 0) changed.push(routerId)
    }
    return changed
  }
}

function isSameList(a: readonly RouterId[], b: readonly RouterId[]): boolean {
  return a === b || (a.length === b.length && a.every((id, at) => id === b[at]))
}
