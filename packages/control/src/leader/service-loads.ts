import type { InstanceId, Millis, RouterId } from '@waiter/base'
import type { ServiceLoadRow } from '../agent/leader-link.ts'

const NO_SUSPECTS: ReadonlySet<InstanceId> = new Set()

/**
 * What routers report of one service, and the sums of that: kept up to date with every row, because they are asked for
 * far more often than any row is looked at.
 */
export class ServiceLoads {
  readonly #rows = new Map<RouterId, ServiceLoadRow>()
  /** Routers with an instance that failed the last time. */
  readonly #failing = new Set<RouterId>()
  #failingRevision = 0
  #outstanding = 0
  #waiting = 0
  #total = 0
  #lastRequestMs: Millis = 0

  get outstanding(): number {
    return this.#outstanding
  }

  get waiting(): number {
    return this.#waiting
  }

  /** Requests so far; those of routers that are gone stay counted. */
  get total(): number {
    return this.#total
  }

  get lastRequestMs(): Millis {
    return this.#lastRequestMs
  }

  /** Changes when `suspects` may answer something else. */
  get failingRevision(): number {
    return this.#failingRevision
  }

  of(routerId: RouterId): ServiceLoadRow | undefined {
    return this.#rows.get(routerId)
  }

  rows(): IterableIterator<ServiceLoadRow> {
    return this.#rows.values()
  }

  entries(): IterableIterator<[RouterId, ServiceLoadRow]> {
    return this.#rows.entries()
  }

  /** Takes a router's newest row. @returns the one before */
  set(routerId: RouterId, row: ServiceLoadRow): ServiceLoadRow | undefined {
    const before = this.#rows.get(routerId)
    this.#rows.set(routerId, row)
    this.#outstanding += row.outstanding - (before?.outstanding ?? 0)
    this.#waiting += row.waiting - (before?.waiting ?? 0)
    this.#total += row.total - (before?.total ?? 0)
    this.#lastRequestMs = Math.max(this.#lastRequestMs, row.lastRequestMs)
    this.#noteFailing(
      routerId,
      row.instances.some(({ consecutiveFailures }) => consecutiveFailures > 0),
    )
    return before
  }

  /** A router has nothing to do with the service any more. Its requests have ended, one way or another. */
  drop(routerId: RouterId): void {
    const row = this.#rows.get(routerId)
    if (row === undefined) return
    this.#rows.delete(routerId)
    this.#outstanding -= row.outstanding
    this.#waiting -= row.waiting
    this.#noteFailing(routerId, false)
  }

  /** Requests in flight by instance, as routers reported last. */
  inUseByInstance(): ReadonlyMap<InstanceId, number> {
    const inUseByInstance = new Map<InstanceId, number>()
    for (const { instances } of this.#rows.values())
      for (const { instanceId, inUse } of instances)
        inUseByInstance.set(instanceId, (inUseByInstance.get(instanceId) ?? 0) + inUse)
    return inUseByInstance
  }

  /** Instances that failed some router so often in a row. */
  suspects(afterFailures: number): ReadonlySet<InstanceId> {
    if (this.#failing.size === 0) return NO_SUSPECTS
    const suspects = new Set<InstanceId>()
    for (const routerId of this.#failing)
      for (const { instanceId, consecutiveFailures } of this.#rows.get(routerId)?.instances ?? [])
        if (consecutiveFailures >= afterFailures) suspects.add(instanceId)
    return suspects
  }

  #noteFailing(routerId: RouterId, isFailing: boolean): void {
    if (!isFailing && !this.#failing.has(routerId)) return
    if (isFailing) this.#failing.add(routerId)
    else this.#failing.delete(routerId)
    this.#failingRevision += 1
  }
}
