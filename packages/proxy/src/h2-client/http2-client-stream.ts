import type { EngineContext } from '../engine-context.ts'
import { FieldCode } from '../h1/field-table.ts'
import { FieldKind } from '../h2/field-name.ts'
import { ErrorCode, HeaderField, type Http2Stream, type Http2StreamHandler, type StreamReset } from '../h2/index.ts'
import { statusField } from '../relay/fields.ts'
import type { RelayBodySink, RelayClient, RelayResponse } from '../relay/sides.ts'
import { WheelTimer } from '../timer-wheel.ts'
import { renderOwnFields } from './own-fields.ts'

const OWN_PIECE_BYTES = 64 * 1024

/** Told when the client's stream ends before its time. */
export interface ClientStreamOwner {
  onStreamReset(reset: StreamReset): void
  onStreamDrain(): void
  /** The engine drains: what was upgraded ends in the way of its protocol. */
  onTunnelDrain(): void
}

/** A client's stream as the exchange and its relay use it: the request's body in order, the response's parts out. */
export class Http2ClientStream implements RelayClient, Http2StreamHandler {
  readonly stream: Http2Stream
  readonly context: EngineContext
  readonly #owner: ClientStreamOwner
  #sink: RelayBodySink | null = null
  #trailers: readonly HeaderField[] | null = null
  /** Watches that a body keeps coming; most requests have none. */
  #rateTimer: WheelTimer | null = null
  #windowBytes = 0
  #isHeld = false
  #hasContinued = false
  #isOver = false
  #ownBody: Buffer | null = null
  #ownSent = 0
  isRequestComplete: boolean
  hasBodyBeenTaken = false
  hasResponseStarted = false
  requestBytes = 0

  constructor(context: EngineContext, stream: Http2Stream, isEnd: boolean, owner: ClientStreamOwner) {
    this.context = context
    this.stream = stream
    this.#owner = owner
    this.isRequestComplete = isEnd
    for (const field of stream.request!.fields) this.requestBytes += field.name.length + field.value.length
    context.requestsTotal += 1
    context.activeExchanges += 1
    // Nobody has asked for the body yet: the peer may send one window of it.
    if (!isEnd) stream.pause()
  }

  get awaitsContinue(): boolean {
    return this.stream.request!.expectsContinue && !this.#hasContinued && !this.hasBodyBeenTaken
  }

  get pendingBytes(): number {
    return this.stream.writableLength
  }

  // The request.

  openBody(sink: RelayBodySink): void {
    this.#sink = sink
    this.#isHeld = false
    const { wheel, limits } = this.context
    this.#rateTimer ??= new WheelTimer(wheel, () => this.#onRateTimer())
    this.#windowBytes = 0
    this.#rateTimer.arm(limits.bodyRateWindowMs)
    this.stream.resume()
  }

  closeBody(): void {
    if (this.#sink === null) return
    this.#sink = null
    this.#rateTimer?.release()
    if (!this.isRequestComplete) this.stream.pause()
  }

  holdBody(): void {
    if (this.#isHeld) return
    this.#isHeld = true
    this.stream.pause()
  }

  releaseBody(): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    this.stream.resume()
  }

  continueIfKept(): void {
    const { requestTable } = this.context.policy
    if (requestTable.codeOfName('expect') === FieldCode.EXPECT_DROP) this.sendContinue()
  }

  sendContinue(): void {
    if (this.stream.request!.expectsContinue && !this.isRequestComplete) this.writeInterim(100, [])
  }

  // The response.

  writeInterim(status: number, fields: readonly HeaderField[]): void {
    if (status === 100) {
      if (this.#hasContinued) return
      this.#hasContinued = true
    }
    this.stream.sendInterim([statusField(status), ...fields])
  }

  writeHead(response: RelayResponse): void {
    this.hasResponseStarted = true
    this.stream.sendHead([statusField(response.status), ...response.fields], false)
  }

  writeBody(bytes: Buffer, start: number, end: number): void {
    this.stream.sendData(bytes, start, end)
  }

  writeEnd(trailers: readonly HeaderField[] | null): void {
    if (trailers === null) this.stream.end()
    else this.stream.sendTrailers(trailers)
  }

  finish(): void {
    this.#leave()
  }

  breakOff(code: number): void {
    this.#leave()
    this.stream.reset(code)
  }

  refuse(status: number, message: string): void {
    const { context, stream } = this
    context.refusedTotal += 1
    const page = context.renderError(status, message, stream.request)
    this.writeOwn(renderOwnFields(context, { status, headers: page.headers }), Buffer.from(page.body, 'utf8'))
    this.#leave()
  }

  /** An answer of our own, whole. */
  writeOwn(fields: readonly HeaderField[], body: Buffer): void {
    const { stream } = this
    this.hasResponseStarted = true
    const status = fields[0]!.value
    const isBodyless = status === '204' || status === '304'
    const length = isBodyless ? [] : [new HeaderField('content-length', String(body.length))]
    stream.sendHead([...fields, ...length], body.length === 0)
    this.#ownBody = body
    this.#sendOwnBody()
  }

  /** In pieces: a stream's queue is bounded. */
  #sendOwnBody(): void {
    const body = this.#ownBody
    if (body === null) return
    while (this.#ownSent < body.length) {
      const start = this.#ownSent
      this.#ownSent = Math.min(body.length, start + OWN_PIECE_BYTES)
      if (!this.stream.sendData(body, start, this.#ownSent)) return
    }
    this.#ownBody = null
    this.stream.end()
  }

  openTunnel(response: RelayResponse): void {
    this.hasResponseStarted = true
    const fields = response.fields.filter(field => field.about.kind !== FieldKind.CONTENT_LENGTH)
    this.stream.sendHead([statusField(200), ...fields], false)
  }

  writeTunnel(bytes: Buffer, start: number, end: number): void {
    this.stream.sendData(bytes, start, end)
  }

  endTunnel(): void {
    this.stream.end()
  }

  finishTunnel(isClean: boolean): void {
    if (isClean) this.#leave()
    else this.breakOff(ErrorCode.CANCEL)
  }

  // What the engine tells.

  drainTunnel(): void {
    if (!this.#isOver) this.#owner.onTunnelDrain()
  }

  // What the stream tells.

  onData(bytes: Buffer, start: number, end: number): void {
    const length = end - start
    this.requestBytes += length
    this.#windowBytes += length
    this.hasBodyBeenTaken = true
    this.#sink?.onRequestBody(bytes, start, end)
  }

  onTrailers(fields: readonly HeaderField[]): void {
    this.#trailers = fields
  }

  onEnd(): void {
    this.isRequestComplete = true
    this.#rateTimer?.release()
    this.#sink?.onRequestEnd(this.#trailers)
  }

  onReset(reset: StreamReset): void {
    if (this.#isOver) return
    this.#leave()
    this.#owner.onStreamReset(reset)
  }

  onDrain(): void {
    if (this.#ownBody !== null) this.#sendOwnBody()
    else this.#owner.onStreamDrain()
  }

  onHead(): void {}
  onInterim(): void {}

  #onRateTimer(): void {
    const sink = this.#sink
    if (sink === null || this.isRequestComplete) return
    const { bodyRateWindowMs, bodyBytesPerSecondMin } = this.context.limits
    const isSlow = this.#windowBytes < (bodyBytesPerSecondMin * bodyRateWindowMs) / 1000
    if (isSlow && !this.#isHeld && !this.awaitsContinue && !this.stream.request!.isUpgrade) {
      sink.onRequestStalled()
      return
    }
    this.#windowBytes = 0
    this.#rateTimer?.arm(bodyRateWindowMs)
  }

  /** The exchange is over, though bytes of it may still wait to be sent. */
  #leave(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#sink = null
    this.#rateTimer?.release()
    this.context.activeExchanges -= 1
  }
}
