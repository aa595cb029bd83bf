import type { Millis } from '@waiter/base'
import type { LeaderClock } from '../clock.ts'
import { DueQueue } from './due-queue.ts'

/** More than so many wait for the next turn: meanwhile messages come and go. */
const REVIEWS_PER_TURN_MAX = 128

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
    this.#reviewSoon()
  }

  /** It is to be reviewed by then, if not sooner. A time that has come: at the end of the turn. */
  touchBy(service: Service, atMs: Millis): void {
    if (atMs <= this.#clock.nowMs()) {
      this.touch(service)
      return
    }
    if (this.#touched.has(service) || (this.#due.at(service) ?? Number.POSITIVE_INFINITY) <= atMs) return
    this.#due.set(service, atMs)
    this.#armWake()
  }

  /** The service is gone. */
  forget(service: Service): void {
    this.#touched.delete(service)
    this.#due.delete(service)
  }

  stop(): void {
    this.#cancelWake()
  }

  #reviewSoon(): void {
    if (this.#isReviewDue) return
    this.#isReviewDue = true
    this.#clock.soon(() => {
      this.#isReviewDue = false
      this.#reviewAll()
    })
  }

  #reviewAll(): void {
    const nowMs = this.#clock.nowMs()
    for (const service of this.#due.takeDue(nowMs)) this.#touched.add(service)
    // Who is touched meanwhile is reviewed in the next turn; who is forgotten meanwhile, not at all.
    const touched = firstOf(this.#touched, REVIEWS_PER_TURN_MAX)
    for (const service of touched)
      if (this.#touched.delete(service)) this.#due.set(service, this.#review(service, nowMs))
    if (this.#touched.size > 0) this.#reviewSoon()
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

function firstOf<T>(all: ReadonlySet<T>, count: number): T[] {
  const first: T[] = []
  for (const one of all) {
    if (first.length === count) break
    first.push(one)
  }
  return first
}
