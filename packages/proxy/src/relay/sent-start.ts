import type { HeaderField } from '../h2/index.ts'

/**
 * Octets kept of a request's body until its response begins. A backend that has not looked at a stream has not widened
 * its window either, which is 64 KiB unless it wants another: beyond that there is nothing to repeat as a rule.
 */
const KEPT_BYTES_MAX = 65_536

/** The start of a request as it was sent, for the case that the backend says that it has not looked at it. */
export class SentStart {
  #pieces: Buffer[] = []
  #bytes = 0
  #hasEnded = false
  #trailers: readonly HeaderField[] | null = null
  #isWhole = true

  /** All that was sent is still here. */
  get isWhole(): boolean {
    return this.#isWhole
  }

  keep(bytes: Buffer, start: number, end: number): void {
    if (!this.#isWhole) return
    this.#bytes += end - start
    if (this.#bytes > KEPT_BYTES_MAX) this.forget()
    else this.#pieces.push(Buffer.from(bytes.subarray(start, end)))
  }

  keepEnd(trailers: readonly HeaderField[] | null): void {
    this.#hasEnded = true
    this.#trailers = trailers
  }

  /** It will not be sent again. */
  forget(): void {
    this.#isWhole = false
    this.#pieces = []
  }

  sendTo(sink: { sendBody(piece: Buffer): void; sendEnd(trailers: readonly HeaderField[] | null): void }): void {
    for (const piece of this.#pieces) sink.sendBody(piece)
    if (this.#hasEnded) sink.sendEnd(this.#trailers)
  }
}
