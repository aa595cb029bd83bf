const OPCODE_MASK = 0x0f
const LENGTH_MASK = 0x7f
const MASKED = 0x80
const CLOSE = 8
const LENGTH_IN_2_BYTES = 126
const LENGTH_IN_8_BYTES = 127
const MASK_BYTES = 4

/**
 * Knows where in a WebSocket stream (RFC 6455 §5.2) one direction stands, by lengths alone: payloads are skipped, nothing
 * is kept, whatever extension gives the bits a meaning.
 */
export class FrameTracker {
  /** Of the present frame's header, how many bytes have come. */
  #headerBytes = 0
  /** How many it has; known after two. */
  #headerLength = 2
  #lengthBytes = 0
  #opcode = 0
  #payload = 0
  /** Of the present frame's payload, how many bytes are still to come. */
  #remaining = 0
  #isLost = false
  /** A close frame has begun: nothing may follow it. */
  hasClosed = false

  /** Between two frames, as far as anybody can know: a frame may be put in here. */
  get isAtBoundary(): boolean {
    return this.#headerBytes === 0 && this.#remaining === 0 && !this.#isLost
  }

  /**
   * Takes the next bytes of the stream.
   *
   * @param stopsAtBoundary stop after the frame that is under way
   * @returns offset behind the last byte taken
   */
  advance(bytes: Uint8Array, start: number, end: number, stopsAtBoundary: boolean): number {
    let pos = start
    while (pos < end) {
      if (stopsAtBoundary && this.isAtBoundary) return pos
      if (this.#isLost) return end
      if (this.#remaining > 0) {
        const step = Math.min(this.#remaining, end - pos)
        this.#remaining -= step
        pos += step
      } else {
        this.#header(bytes[pos]!)
        pos += 1
      }
    }
    return pos
  }

  #header(byte: number): void {
    const index = this.#headerBytes
    this.#headerBytes = index + 1
    if (index === 0) {
      this.#opcode = byte & OPCODE_MASK
    } else if (index === 1) {
      const length = byte & LENGTH_MASK
      this.#lengthBytes = length === LENGTH_IN_2_BYTES ? 2 : length === LENGTH_IN_8_BYTES ? 8 : 0
      this.#payload = this.#lengthBytes === 0 ? length : 0
      this.#headerLength = 2 + this.#lengthBytes + ((byte & MASKED) === 0 ? 0 : MASK_BYTES)
    } else if (index < 2 + this.#lengthBytes) {
      this.#payload = this.#payload * 256 + byte
    }
    if (index > 0 && this.#headerBytes === this.#headerLength) this.#headerComplete()
  }

  #headerComplete(): void {
    this.#headerBytes = 0
    this.#remaining = this.#payload
    if (this.#opcode === CLOSE) this.hasClosed = true
    // No such frame can be: this is no WebSocket stream, or one that nobody can follow.
    if (!Number.isSafeInteger(this.#payload)) this.#isLost = true
  }
}
