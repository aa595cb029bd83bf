import { type Logger, WaiterError } from '@waiter/base'
import type { InstancesChange, LeaderLink } from '@waiter/control'
import type { InstanceRecord } from '@waiter/schedulers'
import type { ServiceDefinition } from '@waiter/services'

/** Watchers of one router: each is a connection that is held open. */
const WATCHERS_MAX = 200
/** A lost watch is opened anew after this, doubling up to the maximum. */
const RETRY_MS_FIRST = 100
const RETRY_MS_MAX = 5_000

/** A healthy instance with the service that it belongs to. */
export interface WatchedInstance {
  readonly definition: ServiceDefinition
  readonly record: InstanceRecord
}

/** What a watcher hears: at first all healthy instances, then those that came, changed or went. */
export interface InstanceNews {
  readonly updated: readonly WatchedInstance[]
  readonly removed: readonly WatchedInstance[]
}

/**
 * Healthy instances of the whole cluster, followed for as long as somebody watches. When the leader changes, or the line
 * to it breaks, watchers hear nothing for a moment and then only what is different.
 */
export class InstanceWatch {
  readonly #leader: () => LeaderLink | undefined
  readonly #log: Logger
  readonly #listeners = new Set<(news: InstanceNews) => void>()
  readonly #services = new Map<string, Map<string, WatchedInstance>>()
  #following: AbortController | undefined
  #listed: Promise<void> = Promise.resolve()
  #resolveListed: () => void = () => undefined

  constructor(leader: () => LeaderLink | undefined, log: Logger) {
    this.#leader = leader
    this.#log = log
  }

  /**
   * Calls `listener` with what is healthy now, as soon as that is known, then with every change.
   *
   * @returns what ends it
   * @throws WaiterError WTR_TOO_MANY_WATCHERS (503)
   */
  add(listener: (news: InstanceNews) => void): () => void {
    if (this.#listeners.size >= WATCHERS_MAX)
      throw new WaiterError(`this router serves ${WATCHERS_MAX} watches of instances already`, {
        code: 'WTR_TOO_MANY_WATCHERS',
        status: 503,
        retryable: true,
      })
    let isEnded = false
    if (this.#following === undefined) this.#start()
    void this.#listed.then(() => {
      if (isEnded) return
      listener({ updated: [...this.#services.values()].flatMap(known => [...known.values()]), removed: [] })
      this.#listeners.add(listener)
    })
    this.#waiting += 1
    return () => {
      if (isEnded) return
      isEnded = true
      this.#waiting -= 1
      this.#listeners.delete(listener)
      if (this.#waiting === 0) this.stop()
    }
  }

  /** Watchers, those that wait for the first listing included. */
  get count(): number {
    return this.#waiting
  }

  #waiting = 0

  stop(): void {
    this.#following?.abort()
    this.#following = undefined
    this.#services.clear()
  }

  #start(): void {
    const following = new AbortController()
    this.#following = following
    this.#listed = new Promise(resolve => {
      this.#resolveListed = resolve
    })
    void this.#follow(following.signal)
  }

  async #follow(signal: AbortSignal): Promise<void> {
    let retryMs = RETRY_MS_FIRST
    while (!signal.aborted) {
      try {
        for await (const change of this.#leader()?.watchInstances(signal) ?? []) {
          if (signal.aborted) return
          this.#apply(change)
          this.#resolveListed()
          retryMs = RETRY_MS_FIRST
        }
      } catch (error) {
        this.#log.warn({ err: error, retryMs }, 'lost the watch of instances; watchers hear nothing for a moment')
      }
      if (signal.aborted) return
      await pause(retryMs, signal)
      retryMs = Math.min(RETRY_MS_MAX, retryMs * 2)
    }
  }

  #apply(change: InstancesChange): void {
    const updated: WatchedInstance[] = []
    const removed: WatchedInstance[] = []
    const listed = new Set<string>()
    for (const { serviceId, definition, instances } of change.services) {
      listed.add(serviceId)
      const before = this.#services.get(serviceId) ?? new Map<string, WatchedInstance>()
      const after = new Map<string, WatchedInstance>()
      if (definition !== undefined)
        for (const record of instances) {
          const watched = { definition, record }
          after.set(record.instanceId, watched)
          const known = before.get(record.instanceId)
          if (known === undefined || JSON.stringify(known.record) !== JSON.stringify(record)) updated.push(watched)
        }
      for (const [instanceId, watched] of before) if (!after.has(instanceId)) removed.push(watched)
      if (after.size === 0) this.#services.delete(serviceId)
      else this.#services.set(serviceId, after)
    }
    if (change.isFull)
      for (const [serviceId, known] of [...this.#services])
        if (!listed.has(serviceId)) {
          removed.push(...known.values())
          this.#services.delete(serviceId)
        }
    if (updated.length === 0 && removed.length === 0) return
    for (const listener of [...this.#listeners]) listener({ updated, removed })
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end, { once: true })
  })
}
