/** What every client must skip (RFC 9110 §15.2). */
export const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n'

const INTERVAL_MS_MAX = 8_000

/**
 * FIN means "gone" from most clients and "finished sending" from a few. A 100 (Continue) tells them apart: a closed peer
 * answers it with RST. HTTP/1.0 clients know no 1xx; they get the benefit of the doubt. This says when to send the next.
 */
export class HalfCloseProbe {
  #intervalMs: number

  constructor(firstMs: number) {
    this.#intervalMs = firstMs
  }

  /** Doubles from one to the next: a client that still waits needs no reminder. */
  nextDelayMs(): number {
    const delayMs = this.#intervalMs
    this.#intervalMs = Math.min(delayMs * 2, INTERVAL_MS_MAX)
    return delayMs
  }
}
