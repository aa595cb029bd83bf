const MS_PER_SECOND = 1000
const DIGIT_ZERO = 0x30
/** Where the milliseconds are in `2026-11-23T12:00:00.000Z`. */
const MS_AT = 20

/** Renders the engine's monotonic milliseconds as ISO wall time, with one real conversion per second. */
export class WallClock {
  readonly #nowMs: () => number
  readonly #wallMs: () => number
  readonly #iso: Uint8Array = new Uint8Array(new Date(0).toISOString().length)
  #second = Number.NaN
  #offsetMs = 0
  #offsetAtMs = Number.NEGATIVE_INFINITY

  /**
   * @param nowMs the monotonic clock
   * @param wallMs the wall clock
   */
  constructor(nowMs: () => number, wallMs: () => number = Date.now) {
    this.#nowMs = nowMs
    this.#wallMs = wallMs
  }

  /**
   * The time in ASCII; valid until the next call.
   *
   * @param monotonicMs a moment of the last seconds
   */
  iso(monotonicMs: number): Uint8Array {
    // Looked at anew every second, since the wall clock may be set.
    if (Math.abs(monotonicMs - this.#offsetAtMs) >= MS_PER_SECOND) {
      this.#offsetAtMs = monotonicMs
      this.#offsetMs = this.#wallMs() - this.#nowMs()
    }
    const wallMs = monotonicMs + this.#offsetMs
    const second = Math.floor(wallMs / MS_PER_SECOND)
    const iso = this.#iso
    if (second !== this.#second) {
      this.#second = second
      iso.set(Buffer.from(new Date(second * MS_PER_SECOND).toISOString(), 'latin1'))
    }
    const ms = Math.floor(wallMs - second * MS_PER_SECOND)
    const tens = (ms / 10) | 0
    const hundreds = (ms / 100) | 0
    iso[MS_AT] = DIGIT_ZERO + hundreds
    iso[MS_AT + 1] = DIGIT_ZERO + tens - hundreds * 10
    iso[MS_AT + 2] = DIGIT_ZERO + ms - tens * 10
    return iso
  }
}
