import { EventQueue } from '@waiter/base'
import type { LeaderClock, MonotonicClock } from '@waiter/control'

/** When the simulated world begins, in epoch milliseconds. */
const EPOCH_MS = 1_700_000_000_000
/** Turns within one millisecond; more means that somebody goes in circles. */
const TURNS_MAX = 20_000

/** Virtual time: events in order, and after each turn all promises that can be settled. */
export class SimTime {
  readonly #queue = new EventQueue()
  #nowMs = 0
  events = 0
  /** Hears what happens, when somebody wants to compare two runs. */
  #witness: ((what: string) => void) | undefined
  /** Called after each moment in which anything happened. */
  onMoment: () => void = () => undefined

  /** Since the world began. */
  get nowMs(): number {
    return this.#nowMs
  }

  get epochMs(): number {
    return EPOCH_MS + this.#nowMs
  }

  tellOf(witness: (what: string) => void): void {
    this.#witness = witness
  }

  /** @param what is rendered only if anybody wants to know */
  note(what: () => readonly unknown[]): void {
    this.#witness?.(JSON.stringify([this.#nowMs, ...what()]))
  }

  after(delayMs: number, run: () => void): void {
    this.#queue.push(this.#nowMs + Math.max(0, Math.ceil(delayMs)), run)
  }

  async runUntil(endMs: number, isDone: () => boolean = () => false): Promise<void> {
    // The queue has no peek: a mark says where to stop.
    let isOver = false
    this.#queue.push(Math.max(endMs, this.#nowMs), () => {
      isOver = true
    })
    let turns = 0
    while (!isOver) {
      const event = this.#queue.pop()
      if (event === undefined) return
      if (event.atMs > this.#nowMs) {
        turns = 0
        this.onMoment()
        if (isDone()) {
          this.#queue.push(event.atMs, event.run)
          return
        }
        this.#nowMs = event.atMs
      }
      this.events += 1
      this.note(() => [])
      if (++turns > TURNS_MAX) throw new Error('time does not pass: somebody goes in circles')
      event.run()
      // Promises follow at once, in an order that depends on nothing but what was done.
      await new Promise<void>(resolve => setImmediate(resolve))
    }
  }
}

/** A process: what it has to do waits while it is paused, and never happens once it has ended. */
export class SimProcess {
  readonly name: string
  readonly host: string
  readonly #time: SimTime
  isAlive = true
  #pausedUntilMs = 0
  readonly #backlog: (() => void)[] = []
  readonly clock: LeaderClock & MonotonicClock

  constructor(time: SimTime, name: string, host: string) {
    this.#time = time
    this.name = name
    this.host = host
    this.clock = {
      nowMs: () => time.epochMs,
      elapsedMs: () => time.nowMs,
      schedule: (delayMs, task) => {
        let isCancelled = false
        time.after(delayMs, () => {
          if (isCancelled) return
          this.run(() => {
            if (!isCancelled) task()
          })
        })
        return () => {
          isCancelled = true
        }
      },
      soon: task => time.after(0, () => this.run(task)),
    }
  }

  get isPaused(): boolean {
    return this.#time.nowMs < this.#pausedUntilMs
  }

  run(task: () => void): void {
    if (!this.isAlive) return
    if (this.isPaused || this.#backlog.length > 0) this.#backlog.push(task)
    else task()
  }

  delay(ms: number): Promise<void> {
    return new Promise(resolve => this.clock.schedule(ms, resolve))
  }

  pause(ms: number): void {
    if (!this.isAlive || this.isPaused) return
    this.#pausedUntilMs = this.#time.nowMs + ms
    this.#time.after(ms, () => this.#resume())
  }

  end(): void {
    this.isAlive = false
    this.#backlog.length = 0
  }

  #resume(): void {
    if (!this.isAlive || this.isPaused) return
    const task = this.#backlog.shift()
    if (task === undefined) return
    task()
    this.#time.after(0, () => this.#resume())
  }
}
