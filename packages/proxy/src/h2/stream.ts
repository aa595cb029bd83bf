import { WaiterError } from '@waiter/base'
import { ErrorCode } from './error-code.ts'
import type { Http2ResponseHead } from './head-rules.ts'
import type { HeaderField } from './header-field.ts'
import type { Outbound } from './outbound.ts'
import { ReceiveWindow } from './receive-window.ts'
import type { Http2RequestHead } from './request-head.ts'
import { SendSide, type SendSideOwner } from './send-side.ts'

/** Why a stream ended before its time. */
export interface StreamReset {
  /** `peer`: RST_STREAM or GOAWAY; `malformed`: the peer broke a rule; `stalled`: it takes nothing; `connection`: all is lost. */
  readonly cause: 'peer' | 'malformed' | 'stalled' | 'connection'
  readonly code: number
  readonly detail: string
  /** The peer vouches that it did not look at the request: it may be sent again, whatever its method. */
  readonly isUnprocessed: boolean
}

/** What happens on a stream. Byte ranges are valid only during the call. After `onReset` nothing follows. */
export interface Http2StreamHandler {
  /** The final response head (client role). */
  onHead(head: Http2ResponseHead): void
  /** A 1xx response (client role). */
  onInterim(head: Http2ResponseHead): void
  onData(bytes: Buffer, start: number, end: number): void
  onTrailers(fields: readonly HeaderField[]): void
  /** The peer's side is complete. */
  onEnd(): void
  onReset(reset: StreamReset): void
  /** A `sendData` that returned false has been sent. */
  onDrain(): void
}

/** What a stream needs of its connection. */
export interface StreamHost {
  readonly role: 'server' | 'client'
  readonly outbound: Outbound
  readonly sendQueueBytesMax: number
  readonly streamWindowBytes: number
  readonly peerInitialWindowBytes: number
  /** Received octets were used up or dropped. */
  creditConnection(bytes: number): void
  /** Received octets are held (or, negative, no longer). */
  noteHeld(bytes: number): void
  writeReset(streamId: number, code: number): void
  /** The peer broke a rule: aborts the stream and counts it against the peer. */
  resetStream(streamId: number, code: number, detail: string): void
  /** Both sides are done, or one cut it. */
  onStreamOver(stream: Http2Stream, isResetByUs: boolean): void
}

/**
 * One stream, in either role: what the peer sends arrives at `handler`, what we send goes through the `send*` methods.
 * Calls on a stream that is over are ignored, so that races with the peer need no care.
 */
export class Http2Stream implements SendSideOwner {
  readonly id: number
  /** The request (server role). */
  readonly request: Http2RequestHead | null
  handler: Http2StreamHandler
  readonly sending: SendSide
  readonly #host: StreamHost
  readonly #window: ReceiveWindow
  /** Octets the peer announced, or -1. */
  #expectedBytes = -1
  #receivedBytes = 0
  #isPaused = false
  /** Made when something has to wait. */
  #held: Buffer[] | null = null
  #heldBytes = 0
  #heldTrailers: readonly HeaderField[] | null = null
  #owesEnd = false
  #hasSentHead = false
  /** Asked with HEAD (client role). */
  isHeadRequest = false
  /** Its response may have no body: HEAD, 204, 304. */
  isBodyless = false
  isRemoteEnded = false
  isOver = false
  /** Heads received: 0, or 1 after the request or final response. */
  hasHead: boolean
  interimCount = 0

  constructor(host: StreamHost, id: number, request: Http2RequestHead | null, handler: Http2StreamHandler) {
    this.#host = host
    this.id = id
    this.request = request
    this.handler = handler
    this.hasHead = request !== null
    this.#window = new ReceiveWindow(host.streamWindowBytes)
    this.sending = new SendSide(this, id, host.peerInitialWindowBytes)
    if (request !== null && request.bodyKind === 'length') this.#expectedBytes = request.contentLength
  }

  /** Octets that wait for the peer's window or the socket. */
  get writableLength(): number {
    return this.sending.bytes
  }

  /** Octets received and held back while paused. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  get hasSentHead(): boolean {
    return this.#hasSentHead
  }

  // Sending.

  /**
   * Sends the head: pseudo-header fields first. With `isEnd` it is the whole message.
   *
   * @throws {WaiterError} WTR_BAD_HEADER when a field breaks a rule; nothing was sent
   */
  sendHead(fields: readonly HeaderField[], isEnd: boolean): void {
    assertSendable(fields)
    if (this.isOver || this.#hasSentHead) return
    this.#hasSentHead = true
    const isWhole = isEnd || (this.#host.role === 'server' && this.#hasBodylessAnswer(fields))
    this.#host.outbound.sendHeaders(this.id, fields, isWhole)
    if (!isWhole) return
    this.#host.outbound.unsentEnds.add()
    this.sending.close()
    this.onSendEnded()
  }

  /** Sends a 1xx head (server role); ignored once the final head is sent. */
  sendInterim(fields: readonly HeaderField[]): void {
    assertSendable(fields)
    if (!this.isOver && !this.#hasSentHead) this.#host.outbound.sendHeaders(this.id, fields, false)
  }

  /** Sends body octets. False: the peer or the socket is slow, wait for `onDrain`. */
  sendData(bytes: Buffer, start: number, end: number): boolean {
    const { sending } = this
    if (this.isOver || sending.isOver || sending.isEnding || !this.#hasSentHead || start >= end) return true
    const isSent = this.#host.outbound.sendData(sending, bytes, start, end)
    if (sending.bytes > this.#host.sendQueueBytesMax) {
      this.abort({ cause: 'stalled', code: ErrorCode.CANCEL, detail: 'send queue is full', isUnprocessed: false })
    }
    return isSent
  }

  /** Ends our side with trailers. */
  sendTrailers(fields: readonly HeaderField[]): void {
    assertSendable(fields)
    this.#endSending(fields)
  }

  /** Ends our side. */
  end(): void {
    this.#endSending(null)
  }

  /** Cuts the stream; the handler hears nothing more. */
  reset(code: number): void {
    if (this.isOver) return
    this.#host.writeReset(this.id, code)
    this.#finish(true)
  }

  /** Holds back what arrives; the peer may send one window more. */
  pause(): void {
    this.#isPaused = true
  }

  /** Delivers what was held and lets the peer go on. */
  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    while (this.#heldBytes > 0 && !this.#isPaused) {
      const bytes = this.#held!.shift()!
      this.#heldBytes -= bytes.length
      this.#host.noteHeld(-bytes.length)
      this.#creditStream(bytes.length)
      this.handler.onData(bytes, 0, bytes.length)
    }
    if (!this.#isPaused && this.#owesEnd) this.#deliverEnd()
  }

  // Receiving: told by the connection.

  /** The response head came (client role). */
  receiveResponse(head: Http2ResponseHead): void {
    this.hasHead = true
    this.isBodyless = this.isHeadRequest || head.status === 204 || head.status === 304
    this.#expectedBytes = this.isBodyless ? 0 : head.contentLength
    this.handler.onHead(head)
  }

  /** Counts a DATA frame, padding included, against the stream's window. */
  takeWindow(bytes: number): boolean {
    return this.#window.take(bytes)
  }

  /** Padding and the like: used up as soon as it came. */
  creditUnseen(bytes: number): void {
    this.#creditStream(bytes)
  }

  receiveData(bytes: Buffer, start: number, end: number): void {
    const length = end - start
    this.#receivedBytes += length
    if (this.#expectedBytes >= 0 && this.#receivedBytes > this.#expectedBytes) {
      this.#host.creditConnection(length)
      this.#malformed(this.isBodyless ? 'body where none may be' : 'more DATA than content-length')
      return
    }
    if (this.#isPaused || this.#heldBytes > 0) {
      if (this.#held === null) this.#held = []
      this.#held.push(Buffer.from(bytes.subarray(start, end)))
      this.#heldBytes += length
      this.#host.noteHeld(length)
      return
    }
    this.#host.creditConnection(length)
    this.#creditStream(length)
    this.handler.onData(bytes, start, end)
  }

  /** END_STREAM came, perhaps with trailers. */
  receiveEnd(trailers: readonly HeaderField[] | null): void {
    if (this.#expectedBytes >= 0 && this.#receivedBytes !== this.#expectedBytes) {
      this.#malformed('less DATA than content-length')
      return
    }
    this.isRemoteEnded = true
    this.#heldTrailers = trailers
    this.#owesEnd = true
    const isHeldBack = this.#isPaused || this.#heldBytes > 0
    if (this.sending.isOver) this.#leaveTable()
    if (!isHeldBack) this.#deliverEnd()
  }

  /** Ends the stream for a reason of the peer's or the connection's; the handler is told. */
  abort(reset: StreamReset): void {
    if (this.isOver) return
    if (reset.cause === 'malformed' || reset.cause === 'stalled') this.#host.writeReset(this.id, reset.code)
    this.#finish(reset.cause !== 'peer' && reset.cause !== 'connection')
    this.handler.onReset(reset)
  }

  /** The peer answered in full and wants no more of the request; what is held of the answer stays (RFC 9113 §8.1). */
  stopSending(): void {
    if (this.isOver) return
    this.sending.close()
    this.#leaveTable()
  }

  onSendEnded(): void {
    if (this.isOver) return
    if (this.isRemoteEnded) this.#leaveTable()
    else if (this.#host.role === 'server') this.reset(ErrorCode.NO_ERROR)
  }

  onSendDrained(): void {
    if (!this.isOver) this.handler.onDrain()
  }

  #hasBodylessAnswer(fields: readonly HeaderField[]): boolean {
    const status = fields[0]?.value
    return this.request?.method === 'HEAD' || status === '204' || status === '304'
  }

  #endSending(trailers: readonly HeaderField[] | null): void {
    const { sending } = this
    if (this.isOver || sending.isOver || sending.isEnding || !this.#hasSentHead) return
    this.#host.outbound.endData(sending, trailers)
  }

  #deliverEnd(): void {
    this.#owesEnd = false
    const trailers = this.#heldTrailers
    this.#heldTrailers = null
    if (trailers !== null) this.handler.onTrailers(trailers)
    this.handler.onEnd()
  }

  #creditStream(bytes: number): void {
    const increment = this.#window.credit(bytes)
    if (increment === 0 || this.isRemoteEnded || this.isOver) return
    this.#host.outbound.output.writeWindowUpdate(this.id, increment)
    this.#host.outbound.schedule()
  }

  #malformed(detail: string): void {
    this.#host.resetStream(this.id, ErrorCode.PROTOCOL_ERROR, detail)
  }

  /** Both sides ended well; what is held may still be delivered. */
  #leaveTable(): void {
    this.isOver = true
    this.#host.onStreamOver(this, false)
  }

  #finish(isResetByUs: boolean): void {
    this.isOver = true
    this.sending.close()
    this.#held = null
    this.#host.noteHeld(-this.#heldBytes)
    this.#heldBytes = 0
    this.#owesEnd = false
    this.#host.onStreamOver(this, isResetByUs)
  }
}

function assertSendable(fields: readonly HeaderField[]): void {
  for (const field of fields) {
    if (field.fault === '') continue
    throw new WaiterError(`field ${JSON.stringify(field.name.slice(0, 80))} cannot be sent: ${field.fault}`, {
      code: 'WTR_BAD_HEADER',
    })
  }
}
