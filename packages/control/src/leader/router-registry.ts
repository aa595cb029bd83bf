import type { Logger, RouterId } from '@waiter/base'
import type { KeyValueStore } from '@waiter/store'
import type { ServiceBeliefRow } from '../agent/leader-link.ts'
import type { Turns } from '../clock.ts'

/** A store that does not answer a new leader is asked again after this. */
const STORE_RETRY_MS = 200

/** Where the store keeps which routers are attached. */
export const ROUTER_PREFIX = 'routers/'

/** Where a router runs, and which one runs there now. */
export interface RegisteredRouter {
  readonly routerId: RouterId
  readonly nodeId: string
  readonly worker: number
}

/** How a router introduces itself. A node starts a worker only after its former has ended. */
export interface RouterIntroduction extends RegisteredRouter {
  readonly httpUrl: string
  /** Where it runs, and which start of that host: when it starts, all routers of its former start have ended. */
  readonly hostId?: string
  readonly startId?: string
  /** Where it lends slots to other routers; empty: nowhere. */
  readonly peerAddress?: string
  /** Where it gossips; empty: it does not. */
  readonly gossipAddress?: string
  /** Routers with which it has slots lent or borrowed. */
  readonly relatedRouterIds?: readonly RouterId[]
  readonly beliefs: readonly ServiceBeliefRow[]
}

/** Where a router runs: one process at a time. */
export type Seat = Pick<RegisteredRouter, 'nodeId' | 'worker'>

export function isSameSeat(one: Seat, other: Seat): boolean {
  return one.nodeId === other.nodeId && one.worker === other.worker
}

/** A record as it is stored: one for each seat, so that their number is bounded by the machines there are. */
interface SeatRecord {
  readonly 'router-id': RouterId
  readonly node: string
  readonly worker: number
  /** The host, and which start of it. */
  readonly host?: string
  readonly start: string
}

/** A host as of one start. */
export interface HostStart {
  readonly hostId: string
  readonly startId: string
}

/**
 * Remembers which routers are attached, so that a new leader knows whom it has to hear before it gives their slots away.
 * Written in the background: an attachment never waits for it.
 */
export class RouterRegistry {
  readonly #store: KeyValueStore
  readonly #own: HostStart
  readonly #log: Logger
  #writes: Promise<void> = Promise.resolve()

  /** @param own this host: routers of its other starts are gone */
  constructor(store: KeyValueStore, own: HostStart, log: Logger) {
    this.#store = store
    this.#own = own
    this.#log = log
  }

  /** Those that an earlier leader had, of this start of this host and of other hosts. */
  async read(): Promise<RegisteredRouter[]> {
    const found: RegisteredRouter[] = []
    for await (const { value } of this.#store.list(ROUTER_PREFIX)) {
      const record = JSON.parse(value) as SeatRecord
      if ((record.host ?? this.#own.hostId) === this.#own.hostId && record.start !== this.#own.startId) continue
      found.push({ routerId: record['router-id'], nodeId: record.node, worker: record.worker })
    }
    return found
  }

  /** Without knowing whom to wait for, a leader can give nothing away: a store that does not answer is asked again. */
  async readPatiently(clock: Turns, signal: AbortSignal): Promise<readonly RegisteredRouter[]> {
    while (!signal.aborted) {
      try {
        return await this.read()
      } catch (error) {
        this.#log.warn(
          { err: error },
          'could not read which routers there are; trying again before anything is decided',
        )
        await new Promise<void>(resolve => clock.schedule(STORE_RETRY_MS, resolve))
      }
    }
    return []
  }

  save({ routerId, nodeId, worker, hostId, startId }: RegisteredRouter & Partial<HostStart>): void {
    const { hostId: host, startId: start } = { ...this.#own, ...(hostId && startId ? { hostId, startId } : {}) }
    const record: SeatRecord = { 'router-id': routerId, node: nodeId, worker, host, start }
    this.#enqueue({ routerId, nodeId, worker }, JSON.stringify(record))
  }

  /** It is gone for good, unless another one has its seat by now. */
  remove(router: RegisteredRouter): void {
    this.#enqueue(router, undefined)
  }

  #enqueue(router: RegisteredRouter, value: string | undefined): void {
    this.#writes = this.#writes
      .then(() => this.#write(router, value))
      .catch(error => this.#log.warn({ err: error, routerId: router.routerId }, 'could not record a router'))
  }

  async #write({ routerId, nodeId, worker }: RegisteredRouter, value: string | undefined): Promise<void> {
    const key = `${ROUTER_PREFIX}${nodeId}/${worker}`
    const current = await this.#store.get(key)
    if (current?.value === value) return
    if (value === undefined && (JSON.parse(current?.value ?? '{}') as SeatRecord)['router-id'] !== routerId) return
    await this.#store.compareAndSet(key, current?.version ?? 0, value)
  }
}
