import type { Logger, RouterId, Term } from '@waiter/base'
import type { KeyValueStore, Version } from '@waiter/store'
import type { ServiceBeliefRow } from '../agent/leader-link.ts'
import type { Turns } from '../clock.ts'

/** A store that does not answer is asked again after this. */
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
  /** Of the leader that wrote it; absent: older than that. No leader touches what a later one wrote. */
  readonly term?: Term
  /** Others are being told that it is dead. What it has is its own as long as the record is there. */
  readonly 'given-up'?: true
}

/** A host as of one start. */
export interface HostStart {
  readonly hostId: string
  readonly startId: string
}

export interface RouterRegistryOptions {
  readonly store: KeyValueStore
  /** This host: routers of its other starts are gone. */
  readonly own: HostStart
  readonly term: Term
  readonly clock: Turns
  readonly log: Logger
}

/** What is to be written at a seat, and who waits for it. */
interface Wanted {
  readonly record: SeatRecord | undefined
  readonly onWritten: () => void
  /** Routers that this ends the record of, and who waits for that. */
  readonly endings: Map<RouterId, () => void>
}

/**
 * Which routers may have slots, in the store: whom a new leader hears before it gives anything away, and whose word it
 * takes. So a router is written down before it is told of any slots, and struck off before others get what it had
 * (decision 14). A later leader writes its term on all of it: what a former one still wants to write comes too late.
 */
export class RouterRegistry {
  readonly #options: RouterRegistryOptions
  /** What the store has, by key. Nobody else writes there while this leader leads. */
  readonly #known = new Map<string, { readonly record: SeatRecord | undefined; readonly version: Version }>()
  readonly #keys = new Map<RouterId, string>()
  readonly #wanted = new Map<string, Wanted>()
  readonly #writing = new Set<string>()
  #isOver = false

  constructor(options: RouterRegistryOptions) {
    this.#options = options
  }

  /**
   * Takes the registry over from an earlier leader. A store that does not answer is asked again: without knowing whom to wait
   * for, a leader can give nothing away.
   *
   * @returns routers of this start of this host and of other hosts
   */
  async takeOver(signal: AbortSignal): Promise<readonly RegisteredRouter[]> {
    const { clock, log } = this.#options
    while (!signal.aborted && !this.#isOver) {
      try {
        const routers = await this.#claimAll()
        if (!this.#isOver) return routers
      } catch (error) {
        log.warn({ err: error }, 'could not read which routers there are; trying again before anything is decided')
        await new Promise<void>(resolve => clock.schedule(STORE_RETRY_MS, resolve))
      }
    }
    // A later leader leads; what this one does counts no more, and it will hear of that.
    if (!signal.aborted) await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }))
    return []
  }

  /** @param onRegistered called, at once if possible, when the store has it; not if it is given up, or replaced, before */
  register(router: RegisteredRouter & Partial<HostStart>, onRegistered: () => void): void {
    const { routerId, nodeId, worker, hostId, startId } = router
    const { own, term } = this.#options
    const { hostId: host, startId: start } = { ...own, ...(hostId && startId ? { hostId, startId } : {}) }
    const key = keyOf({ nodeId, worker })
    this.#keys.set(routerId, key)
    this.#want(key, { 'router-id': routerId, node: nodeId, worker, host, start, term }, onRegistered)
  }

  /** Whether it may have slots: it has been written down, and is not being struck off. */
  has(routerId: RouterId): boolean {
    return this.#keys.has(routerId)
  }

  /** @param onMarked called when the store says that this leader gives the router up, and so that it does lead */
  giveUp(routerId: RouterId, onMarked: () => void): void {
    const { key, record } = this.#find(routerId)
    if (record === undefined) onMarked()
    else this.#want(key, { ...record, term: this.#options.term, 'given-up': true }, onMarked)
  }

  /** @param onRemoved called when no later leader will wait for it, nor believe it; not if it comes back before */
  remove(routerId: RouterId, onRemoved: () => void): void {
    const { key, record } = this.#find(routerId)
    this.#keys.delete(routerId)
    if (record !== undefined) this.#want(key, undefined, () => undefined, [routerId, onRemoved])
    else if (this.#wanted.has(key)) this.#wanted.get(key)?.endings.set(routerId, onRemoved)
    else onRemoved()
  }

  stop(): void {
    this.#isOver = true
    this.#wanted.clear()
  }

  /** The record of a router, or of what is to be written of it; none if its seat has another one by now. */
  #find(routerId: RouterId): { readonly key: string; readonly record: SeatRecord | undefined } {
    const key = this.#keys.get(routerId) ?? ''
    const record = this.#wanted.has(key) ? this.#wanted.get(key)?.record : this.#known.get(key)?.record
    return { key, record: record?.['router-id'] === routerId ? record : undefined }
  }

  #want(key: string, record: SeatRecord | undefined, onWritten: () => void, ending?: [RouterId, () => void]): void {
    if (this.#isOver) return
    const endings = new Map(this.#wanted.get(key)?.endings)
    if (record !== undefined) endings.delete(record['router-id'])
    if (ending !== undefined) endings.set(...ending)
    if (!this.#writing.has(key) && isSame(this.#known.get(key)?.record, record)) {
      this.#wanted.delete(key)
      onWritten()
      for (const end of endings.values()) end()
      return
    }
    this.#wanted.set(key, { record, onWritten, endings })
    if (!this.#writing.has(key)) void this.#write(key)
  }

  /** Until the store has what is wanted at the end of it. */
  async #write(key: string): Promise<void> {
    this.#writing.add(key)
    const { log, clock } = this.#options
    // What one turn wants of a seat is one write.
    await Promise.resolve()
    for (let wanted = this.#wanted.get(key); wanted !== undefined; wanted = this.#wanted.get(key)) {
      try {
        if (!(await this.#put(key, wanted.record))) continue
      } catch (error) {
        log.warn({ err: error, key }, 'could not record a router; trying again, its slots stay as they are')
        await new Promise<void>(resolve => clock.schedule(STORE_RETRY_MS, resolve))
        continue
      }
      if (this.#wanted.get(key) !== wanted) continue
      this.#wanted.delete(key)
      this.#writing.delete(key)
      wanted.onWritten()
      for (const end of wanted.endings.values()) end()
      return
    }
    this.#writing.delete(key)
  }

  /** @returns false: there was something else than expected */
  async #put(key: string, record: SeatRecord | undefined): Promise<boolean> {
    const { store, term } = this.#options
    const known = this.#known.get(key)
    if (isSame(known?.record, record)) return true
    const value = record === undefined ? undefined : JSON.stringify(record)
    const outcome = await store.compareAndSet(key, known?.version ?? NO_VERSION, value)
    if (outcome.kind === 'written') {
      this.#known.set(key, { record, version: record === undefined ? NO_VERSION : outcome.version })
      return true
    }
    const { current } = outcome
    const found = current === undefined ? undefined : (JSON.parse(current.value) as SeatRecord)
    this.#known.set(key, { record: found, version: current?.version ?? NO_VERSION })
    // A later leader is there: nothing that this one decides counts any more.
    if ((found?.term ?? 0) > term) this.stop()
    return false
  }

  async #claimAll(): Promise<readonly RegisteredRouter[]> {
    const { store, own, term } = this.#options
    const keys: string[] = []
    for await (const { key, value, version } of store.list(ROUTER_PREFIX)) {
      const record = JSON.parse(value) as SeatRecord
      this.#known.set(key, { record, version })
      if ((record.host ?? own.hostId) === own.hostId && record.start !== own.startId) continue
      keys.push(key)
    }
    const claimed = await Promise.all(
      keys.map(async key => {
        for (let record = this.#known.get(key)?.record; record !== undefined; record = this.#known.get(key)?.record) {
          if (this.#isOver) return undefined
          const { 'given-up': _, ...rest } = record
          if (await this.#put(key, { ...rest, host: record.host ?? own.hostId, term })) return record
        }
        return undefined
      }),
    )
    const found = claimed.filter(record => record !== undefined)
    return found.map(record => {
      const router = { routerId: record['router-id'], nodeId: record.node, worker: record.worker }
      this.#keys.set(router.routerId, keyOf(router))
      return router
    })
  }
}

const NO_VERSION = 0 as Version

function keyOf({ nodeId, worker }: Seat): string {
  return `${ROUTER_PREFIX}${nodeId}/${worker}`
}

function isSame(one: SeatRecord | undefined, other: SeatRecord | undefined): boolean {
  if (one === undefined || other === undefined) return one === other
  return (
    one['router-id'] === other['router-id'] &&
    one.host === other.host &&
    one.start === other.start &&
    one.term === other.term &&
    one['given-up'] === other['given-up']
  )
}
