const NO_BYTES = Buffer.alloc(0)
const GROWTH_BYTES_MIN = 1024

/**
 * Bytes read and not yet consumed. What arrives while it is empty is looked at where it lies; what is left of it, and
 * what arrives later, is copied into a doubling buffer, so that a peer that sends single bytes costs linear time.
 */
export class InputBuffer {
  bytes: Buffer = NO_BYTES
  start = 0
  end = 0
  #isOwn = false
  #isLent = false

  get length(): number {
    return this.end - this.start
  }

  /** Takes the first bytes of memory that will be reused; `keepLent` must follow before it is. */
  lend(source: Buffer, length: number): void {
    if (this.start === this.end) {
      this.bytes = source
      this.start = 0
      this.end = length
      this.#isOwn = false
      this.#isLent = true
      return
    }
    this.pushCopy(source, 0, length)
  }

  /** Copies what is left of lent memory. */
  keepLent(): void {
    if (!this.#isLent) return
    this.#isLent = false
    const { bytes, start, end } = this
    this.clear()
    if (start < end) this.pushCopy(bytes, start, end)
  }

  /** Copies a range of memory that will be reused. */
  pushCopy(source: Buffer, from: number, to: number): void {
    const added = to - from
    if (!this.#isOwn || this.end + added > this.bytes.length) {
      const length = this.end - this.start
      const grown = Buffer.allocUnsafe(Math.max(GROWTH_BYTES_MIN, (length + added) * 2))
      this.bytes.copy(grown, 0, this.start, this.end)
      this.bytes = grown
      this.start = 0
      this.end = length
      this.#isOwn = true
    }
    source.copy(this.bytes, this.end, from, to)
    this.end += added
  }

  /** Forgets what lies before `start`; drops the memory when nothing is left. */
  consumeTo(start: number): void {
    this.start = start
    if (start >= this.end) this.clear()
  }

  clear(): void {
    this.bytes = NO_BYTES
    this.start = 0
    this.end = 0
    this.#isOwn = false
    this.#isLent = false
  }
}
