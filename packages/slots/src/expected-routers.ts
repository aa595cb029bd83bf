import type { RouterId } from '@waiter/base'

/**
 * Routers that are known to live, and that this leader has not heard: they may believe anything (rule L5). One for all
 * ledgers of a leader, so that nothing has to be remembered for each service and router.
 */
export class ExpectedRouters {
  readonly #ids: Set<RouterId> = new Set()

  /** True while somebody has not been heard. */
  get isWaiting(): boolean {
    return this.#ids.size > 0
  }

  /** It lives, and has not said what it believes. */
  expect(routerId: RouterId): void {
    this.#ids.add(routerId)
  }

  has(routerId: RouterId): boolean {
    return this.#ids.has(routerId)
  }

  /** It has said what it believes, and every ledger knows; or it is dead. @returns true when that was the last one */
  settle(routerId: RouterId): boolean {
    return this.#ids.delete(routerId) && this.#ids.size === 0
  }
}
