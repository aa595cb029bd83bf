import type { InstanceId, Millis, RouterId } from '@waiter/base'
import type { ServiceLoadRow } from '../agent/leader-link.ts'

const NO_SUSPECTS: ReadonlySet<InstanceId> = new Set()

/**
 * What routers report of one service, and the sums of that: kept up to date with every row, because they are asked for
 * far more often than any row is looked at.
 */
export class ServiceLoads {
  readonly #rows = new Map<RouterId, Remembered>()
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

  /** Takes a router's newest row. What `of` answered before changes: rows come by the ten thousand, and are not kept. */
  set(routerId: RouterId, row: ServiceLoadRow): void {
    const known = this.#rows.get(routerId)
    this.#outstanding += row.outstanding - (known?.outstanding ?? 0)
    this.#waiting += row.waiting - (known?.waiting ?? 0)
    this.#total += row.total - (known?.total ?? 0)
    this.#lastRequestMs = Math.max(this.#lastRequestMs, row.lastRequestMs)
    if (known === undefined) this.#rows.set(routerId, rememberRow(row))
    else updateRow(known, row)
    this.#noteFailing(routerId, isAnyFailing(row))
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

type Remembered = { -readonly [Key in keyof ServiceLoadRow]: ServiceLoadRow[Key] }

const NO_INSTANCES: ServiceLoadRow['instances'] = []
const NO_COUNTS: ServiceLoadRow['latencyCounts'] = []

function rememberRow({
  serviceId,
  outstanding,
  waiting,
  total,
  lastRequestMs,
  finished,
  failed,
  ...row
}: ServiceLoadRow): Remembered {
  const instances = row.instances.length === 0 ? NO_INSTANCES : row.instances
  const latencyCounts = row.latencyCounts.length === 0 ? NO_COUNTS : row.latencyCounts
  return { serviceId, outstanding, waiting, total, lastRequestMs, instances, finished, failed, latencyCounts }
}

function updateRow(known: Remembered, row: ServiceLoadRow): void {
  known.outstanding = row.outstanding
  known.waiting = row.waiting
  known.total = row.total
  known.lastRequestMs = row.lastRequestMs
  known.instances = row.instances.length === 0 ? NO_INSTANCES : row.instances
  known.finished = row.finished
  known.failed = row.failed
  known.latencyCounts = row.latencyCounts.length === 0 ? NO_COUNTS : row.latencyCounts
}

function isAnyFailing({ instances }: ServiceLoadRow): boolean {
  for (const { consecutiveFailures } of instances) if (consecutiveFailures > 0) return true
  return false
}
