import { schedulerError } from './errors.ts'
import type { SchedulerEvent, ServiceRecord } from './scheduler.ts'

/** Events kept for one slow watcher before they are dropped in favour of a fresh listing. */
const WATCH_QUEUE_EVENTS_MAX = 1024
/** Watchers at once; a leak of watchers must not become a leak of memory. */
const WATCHERS_MAX = 128

/**
 * Fans events out to watchers, each behind a bounded queue.
 *
 * A watcher that falls more than {@link WATCH_QUEUE_EVENTS_MAX} events behind loses its queue and gets a new listing
 * instead: it misses steps, never the outcome, and memory stays bounded. The listing is taken at the moment the
 * watcher asks for it, so that what it shows and the events after it join without a gap.
 */
export class EventHub {
  readonly #listing: () => readonly ServiceRecord[]
  readonly #watchers = new Set<Watcher>()
  #closed = false

  constructor(listing: () => readonly ServiceRecord[]) {
    this.#listing = listing
  }

  /** Hands an event to every watcher. */
  publish(event: SchedulerEvent): void {
    for (const watcher of this.#watchers) watcher.push(event)
  }

  /**
   * A new watcher: listing first, then events. Ends when `signal` aborts or the hub closes.
   *
   * @throws WaiterError `WTR_TOO_MANY_WATCHERS`
   */
  watch(signal: AbortSignal): AsyncIterable<SchedulerEvent> {
    if (this.#watchers.size >= WATCHERS_MAX) {
      throw schedulerError(
        'WTR_TOO_MANY_WATCHERS',
        `The scheduler already has ${WATCHERS_MAX} watchers; end some of them first.`,
      )
    }
    const watcher = new Watcher(this.#listing, () => this.#watchers.delete(watcher))
    if (this.#closed || signal.aborted) {
      watcher.end()
      return watcher
    }
    this.#watchers.add(watcher)
    const onAbort = (): void => watcher.end()
    signal.addEventListener('abort', onAbort, { once: true })
    watcher.onEnd = () => signal.removeEventListener('abort', onAbort)
    return watcher
  }

  /** Ends all watchers; later ones end at once. */
  close(): void {
    this.#closed = true
    for (const watcher of [...this.#watchers]) watcher.end()
  }
}

class Watcher implements AsyncIterableIterator<SchedulerEvent> {
  readonly #listing: () => readonly ServiceRecord[]
  readonly #remove: () => void
  #queue: SchedulerEvent[] = []
  #needsListing = true
  #ended = false
  #waiting: ((result: IteratorResult<SchedulerEvent>) => void)[] = []
  onEnd: () => void = () => undefined

  constructor(listing: () => readonly ServiceRecord[], remove: () => void) {
    this.#listing = listing
    this.#remove = remove
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  push(event: SchedulerEvent): void {
    const waiter = this.#waiting.shift()
    if (waiter !== undefined) {
      waiter({ done: false, value: event })
      return
    }
    if (this.#needsListing) return // the listing to come includes it
    if (this.#queue.length >= WATCH_QUEUE_EVENTS_MAX) {
      this.#queue = []
      this.#needsListing = true
      return
    }
    this.#queue.push(event)
  }

  next(): Promise<IteratorResult<SchedulerEvent>> {
    if (this.#ended) return Promise.resolve({ done: true, value: undefined })
    if (this.#needsListing) {
      this.#needsListing = false
      return Promise.resolve({ done: false, value: { kind: 'listing', services: this.#listing() } })
    }
    const event = this.#queue.shift()
    if (event !== undefined) return Promise.resolve({ done: false, value: event })
    return new Promise(resolve => this.#waiting.push(resolve))
  }

  return(): Promise<IteratorResult<SchedulerEvent>> {
    this.end()
    return Promise.resolve({ done: true, value: undefined })
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#queue = []
    this.#remove()
    this.onEnd()
    for (const waiter of this.#waiting.splice(0)) waiter({ done: true, value: undefined })
  }
}
