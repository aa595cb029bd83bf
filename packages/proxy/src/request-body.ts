import type { BodySink } from './body-sink.ts'
import { BodyDecoder, Framing } from './h1/body-decoder.ts'
import type { H1RequestHead } from './h1/request-head.ts'
import type { InputBuffer } from './input-buffer.ts'
import type { ProxyLimits } from './limits.ts'
import type { WheelTimer } from './timer-wheel.ts'

/** What became of input that nobody wants. */
export type Discarded = 'more' | 'done' | 'too-much'

/** The body of the present request of an HTTP/1.1 client: how much of it has come, and who gets it. */
export class RequestBody {
  readonly decoder: BodyDecoder
  readonly #limits: ProxyLimits
  readonly #timer: WheelTimer
  #sink: BodySink | null = null
  #isHeld = false
  #windowBytes = 0
  #discardedBytes = -1
  /** The request has been read to its end. */
  isComplete = true
  /** Some of the body has been handed out. */
  hasBeenTaken = false
  expectsContinue = false
  hasSentContinue = false
  /** Bytes of the present request, head included. */
  requestBytes = 0

  /** @param timer what the connection watches the body's rate with: stopped when the body is whole */
  constructor(limits: ProxyLimits, timer: WheelTimer) {
    this.#limits = limits
    this.#timer = timer
    this.decoder = new BodyDecoder(limits.trailerBytesMax, limits.headFieldsMax)
  }

  get sink(): BodySink | null {
    return this.#sink
  }

  get isHeld(): boolean {
    return this.#isHeld
  }

  /** Swallowing what is left of a request that has been answered. */
  get isDiscarding(): boolean {
    return this.#discardedBytes >= 0
  }

  /** The client waits for leave to send. */
  get awaitsContinue(): boolean {
    return this.expectsContinue && !this.hasSentContinue
  }

  /** A request's head has been read; `headBytes` long. */
  begin(head: H1RequestHead, headBytes: number): void {
    const { bodyKind } = head
    this.decoder.reset(
      bodyKind === 'chunked' ? Framing.CHUNKED : bodyKind === 'length' ? Framing.LENGTH : Framing.NONE,
      head.contentLength,
    )
    this.isComplete = this.decoder.isComplete
    this.hasBeenTaken = false
    this.hasSentContinue = false
    this.expectsContinue = head.expectsContinue && !this.isComplete
    this.requestBytes = headBytes
  }

  attach(sink: BodySink): void {
    this.#sink = sink
    this.#isHeld = false
    this.#windowBytes = 0
  }

  detach(): void {
    this.#sink = null
    this.#isHeld = false
  }

  /** The sink gets nothing until `release`. */
  hold(): void {
    this.#isHeld = true
  }

  /** @returns false when it was not held */
  release(): boolean {
    const wasHeld = this.#isHeld
    this.#isHeld = false
    return wasHeld
  }

  /**
   * Gives body bytes to the sink. It may do anything from within, also end the exchange.
   *
   * @returns false when there was nothing to give, or nobody to give it to
   */
  feed(input: InputBuffer): boolean {
    const sink = this.#sink
    if (sink === null || this.#isHeld || this.isComplete || input.length === 0) return false
    const { bytes, start, end } = input
    const { decoder } = this
    this.hasBeenTaken = true
    const stop = decoder.decode(
      bytes,
      start,
      end,
      sink.wantsPayload ? (chunk, from, to) => sink.onRequestBody(chunk, from, to) : null,
    )
    const { rawEnd, error } = decoder
    input.consumeTo(stop)
    this.requestBytes += stop - start
    this.#windowBytes += stop - start
    const { isComplete } = decoder
    if (isComplete) {
      this.isComplete = true
      this.#timer.disarm()
    }
    if (!sink.wantsPayload && rawEnd > start) sink.onRequestBody(bytes, start, rawEnd)
    if (error !== '') sink.onRequestMalformed(error)
    else if (isComplete) sink.onRequestEnd(decoder.framing === Framing.CHUNKED && !decoder.hasRelayedEnd)
    return true
  }

  startDiscarding(): void {
    this.#discardedBytes = 0
  }

  /** Swallows the rest of a body nobody wants, within bounds, to save the connection. */
  discard(input: InputBuffer): Discarded {
    const { decoder } = this
    const { start, end } = input
    const stop = decoder.decode(input.bytes, start, end, null)
    this.#discardedBytes += stop - start
    input.consumeTo(stop)
    if (decoder.isComplete) {
      this.#discardedBytes = -1
      this.isComplete = true
      return 'done'
    }
    return decoder.error !== '' || this.#discardedBytes > this.#limits.discardBytesMax ? 'too-much' : 'more'
  }

  /** The connection can be saved behind an answer that begins now, whatever is left of this body. */
  canBeSkipped(): boolean {
    if (this.isComplete) return true
    // The client may or may not send the body it announced: nobody could tell it from the next request.
    return !this.awaitsContinue && this.decoder.remaining <= this.#limits.discardBytesMax
  }

  /** Behind the client's FIN, with `unreadBytes` left to read: the body ends before its end, as far as can be told yet. */
  isCutShort(unreadBytes: number): boolean {
    if (this.isComplete) return false
    if (this.decoder.framing === Framing.LENGTH) return this.decoder.remaining > unreadBytes
    return this.#sink !== null && unreadBytes === 0
  }

  /** Ends a window of the least rate. @returns true when the client sent too little in it and could have sent more */
  endRateWindow(): boolean {
    const { bodyRateWindowMs, bodyBytesPerSecondMin } = this.#limits
    const isSlow = this.#windowBytes < (bodyBytesPerSecondMin * bodyRateWindowMs) / 1000
    this.#windowBytes = 0
    return isSlow && !this.#isHeld && !this.awaitsContinue
  }
}
