import type { Millis } from '@waiter/base'
import type { LeaderClock } from '../clock.ts'
import { DueQueue } from './due-queue.ts'

/**
 * Has services reviewed: those that were touched at the end of the turn, each once, and those whose time has come. One
 * timer for all of them.
 */
export class ReviewQueue<Service> {
  readonly #clock: LeaderClock
  readonly #review: (service: Service, nowMs: Millis) => Millis
  readonly #touched = new Set<Service>()
  readonly #due = new DueQueue<Service>()
  #cancelWake: () => void = () => undefined
  #wakeAtMs: Millis = Number.POSITIVE_INFINITY
  #isReviewDue = false

  /** @param review answers when the service wants to be reviewed again if nothing happens */
  constructor(clock: LeaderClock, review: (service: Service, nowMs: Millis) => Millis) {
    this.#clock = clock
    this.#review = review
  }

  /** Something about the service has changed. */
  touch(service: Service): void {
    this.#touched.add(service)
    if (this.#isReviewDue) return
    this.#isReviewDue = true
    this.#clock.soon(() => {
      this.#isReviewDue = false
      this.#reviewAll()
    })
  }

  /** The service is gone. */
  forget(service: Service): void {
    this.#touched.delete(service)
    this.#due.delete(service)
  }

  stop(): void {
    this.#cancelWake()
  }

  #reviewAll(): void {
    const nowMs = this.#clock.nowMs()
    for (const service of this.#due.takeDue(nowMs)) this.#touched.add(service)
    // Who is touched meanwhile is reviewed in the next turn; who is forgotten meanwhile, not at all.
    const touched = new Set(this.#touched)
    for (const service of touched)
      if (this.#touched.delete(service)) this.#due.set(service, this.#review(service, nowMs))
    this.#armWake()
  }

  #armWake(): void {
    const nextAtMs = this.#due.nextAt
    if (nextAtMs === this.#wakeAtMs) return
    this.#cancelWake()
    this.#wakeAtMs = nextAtMs
    if (nextAtMs === Number.POSITIVE_INFINITY) return
    this.#cancelWake = this.#clock.schedule(nextAtMs - this.#clock.nowMs(), () => {
      this.#wakeAtMs = Number.POSITIVE_INFINITY
      this.#reviewAll()
    })
  }
}
