import type { Clock } from './clock.ts'

/** One tick: the coarseness of every timeout. */
const TICK_MS = 100
/** Slots; a longer delay stays in its slot for several rounds. A power of two for the mask. */
const SLOT_COUNT = 1024
const NEVER = -1

/**
 * Something that may time out. Arming an armed timer is one field write: the wheel looks at the deadline only when the
 * old slot comes up, and moves the timer on if it was pushed back meanwhile.
 */
export class WheelTimer {
  readonly #wheel: TimerWheel
  readonly #onTimeout: () => void
  /** Links of the slot's list; the wheel's alone. */
  next: WheelTimer | null = null
  previous: WheelTimer | null = null
  slotTick: number = NEVER
  deadlineTick: number = NEVER

  constructor(wheel: TimerWheel, onTimeout: () => void) {
    this.#wheel = wheel
    this.#onTimeout = onTimeout
  }

  get isArmed(): boolean {
    return this.deadlineTick !== NEVER
  }

  /** Fires once, never before `delayMs` and at most two ticks after it, unless re-armed or disarmed first. */
  arm(delayMs: number): void {
    this.#wheel.wake()
    const deadlineTick = this.#wheel.currentTick + Math.ceil(delayMs / TICK_MS) + 1
    this.deadlineTick = deadlineTick
    if (this.slotTick === NEVER || deadlineTick < this.slotTick) this.#wheel.place(this)
  }

  /** Lazy: stays listed until its slot comes up. */
  disarm(): void {
    this.deadlineTick = NEVER
  }

  /** Disarms and unlists; for owners that end, so that the wheel keeps nothing alive. */
  release(): void {
    this.deadlineTick = NEVER
    this.#wheel.unlist(this)
  }

  fire(): void {
    this.deadlineTick = NEVER
    this.#onTimeout()
  }
}

/** One coarse wheel for all timeouts of a server: no system timer per request, and none at all while nothing is armed. */
export class TimerWheel {
  readonly #clock: Clock
  readonly #slots: (WheelTimer | null)[] = new Array<WheelTimer | null>(SLOT_COUNT).fill(null)
  /** When tick 0 was, as far as the present run of ticks goes. */
  #startedAtMs = 0
  /** Undefined: it rests. */
  #rest: (() => void) | undefined
  #isStopped = false
  #listedCount = 0
  currentTick = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Timers in the wheel, lazily disarmed ones included. */
  get size(): number {
    return this.#listedCount
  }

  /** Stops ticking for good. */
  stop(): void {
    this.#isStopped = true
    this.#rest?.()
    this.#rest = undefined
  }

  /** Ticks, from now on, unless it does. */
  wake(): void {
    if (this.#rest !== undefined || this.#isStopped) return
    // No slot holds anything: the ticks that were left out are as if they had never been.
    this.#startedAtMs = this.#clock.nowMs() - this.currentTick * TICK_MS
    this.#rest = this.#clock.every(TICK_MS, () => this.advance())
  }

  /** Fires what is due. After a long pause of the process every slot is visited once, not once per missed tick. */
  advance(): void {
    const nowTick = Math.floor((this.#clock.nowMs() - this.#startedAtMs) / TICK_MS)
    const first = Math.max(this.currentTick + 1, nowTick - SLOT_COUNT + 1)
    this.currentTick = Math.max(nowTick, this.currentTick)
    for (let tick = first; tick <= nowTick; tick++) this.#visit(tick & (SLOT_COUNT - 1), nowTick)
    if (this.#listedCount > 0) return
    this.#rest?.()
    this.#rest = undefined
  }

  /** Lists a timer in the slot of its deadline. */
  place(timer: WheelTimer): void {
    this.unlist(timer)
    const slot = timer.deadlineTick & (SLOT_COUNT - 1)
    timer.slotTick = timer.deadlineTick
    timer.next = this.#slots[slot] ?? null
    if (timer.next !== null) timer.next.previous = timer
    this.#slots[slot] = timer
    this.#listedCount += 1
  }

  /** Takes a timer out of its slot, if it is in one. */
  unlist(timer: WheelTimer): void {
    if (timer.slotTick === NEVER) return
    if (timer.previous !== null) timer.previous.next = timer.next
    else this.#slots[timer.slotTick & (SLOT_COUNT - 1)] = timer.next
    if (timer.next !== null) timer.next.previous = timer.previous
    timer.next = null
    timer.previous = null
    timer.slotTick = NEVER
    this.#listedCount -= 1
  }

  #visit(slot: number, nowTick: number): void {
    // Collected first: a callback may arm or release any timer of this very slot.
    const due: WheelTimer[] = []
    let timer = this.#slots[slot] ?? null
    while (timer !== null) {
      const next: WheelTimer | null = timer.next
      if (timer.deadlineTick === NEVER) this.unlist(timer)
      else if (timer.deadlineTick <= nowTick) due.push(timer)
      else if (timer.deadlineTick !== timer.slotTick) this.place(timer)
      timer = next
    }
    for (const candidate of due) {
      if (candidate.deadlineTick === NEVER || candidate.deadlineTick > nowTick) continue
      this.unlist(candidate)
      candidate.fire()
    }
  }
}
