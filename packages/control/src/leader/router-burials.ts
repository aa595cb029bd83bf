import type { RouterId } from '@waiter/base'

/**
 * Which dead routers not everybody knows to be dead. Slots that a router had leased may be lent to others, which go on
 * using them when it dies: they are free only when each surviving router has heard of the death, and with that has told
 * what it still runs on them.
 */
export class RouterBurials {
  /** By dead router: who has not acknowledged yet. */
  readonly #waitingFor = new Map<RouterId, Set<RouterId>>()

  /**
   * A router died; it need not hear of the death of others any more.
   *
   * @param survivors who must hear of it
   * @returns dead routers that nobody has to hear of any more
   */
  begin(deadId: RouterId, survivors: readonly RouterId[]): readonly RouterId[] {
    this.#waitingFor.set(deadId, new Set(survivors))
    const done: RouterId[] = []
    for (const [other, waitingFor] of [...this.#waitingFor]) {
      waitingFor.delete(deadId)
      if (waitingFor.size > 0) continue
      this.#waitingFor.delete(other)
      done.push(other)
    }
    return done
  }

  /** @returns true when that was the last one to hear of it */
  heard(deadId: RouterId, survivorId: RouterId): boolean {
    const waitingFor = this.#waitingFor.get(deadId)
    if (!waitingFor?.delete(survivorId) || waitingFor.size > 0) return false
    this.#waitingFor.delete(deadId)
    return true
  }

  /** Not everybody has heard yet that it is dead. */
  isPending(routerId: RouterId): boolean {
    return this.#waitingFor.has(routerId)
  }

  /** Deaths that a router has not heard of: it must be told again when it comes back. */
  unheardBy(survivorId: RouterId): readonly RouterId[] {
    return [...this.#waitingFor].filter(([, waitingFor]) => waitingFor.has(survivorId)).map(([deadId]) => deadId)
  }
}
