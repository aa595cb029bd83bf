import type { Socket } from 'node:net'
import type { BodySink } from './body-sink.ts'
import { ClientSocket, type SocketListener } from './client-socket.ts'
import type { ConnectionOwner } from './connection-owner.ts'
import type { EngineContext } from './engine-context.ts'
import type { ExchangeSide } from './exchange-side.ts'
import { type HeadScanner, Scan } from './h1/head-scanner.ts'
import { H1RequestHead, type HeadRefusal, readRequestHead } from './h1/request-head.ts'
import { guessPreface } from './h2/index.ts'
import { CONTINUE, HalfCloseProbe } from './half-close-probe.ts'
import { InputBuffer } from './input-buffer.ts'
import { renderRefusal } from './own-response.ts'
import { RequestBody } from './request-body.ts'
import { WheelTimer } from './timer-wheel.ts'

/** One client's HTTP/1.1 connection: scans heads, carries one exchange at a time, answers pipelined requests in order. */
export class ClientConnection implements SocketListener {
  readonly context: EngineContext
  readonly body: RequestBody
  readonly #owner: ConnectionOwner
  readonly #socket: ClientSocket
  readonly #timer: WheelTimer
  readonly #input = new InputBuffer()
  #scanner: HeadScanner | null = null
  #side: ExchangeSide | null = null
  #isPumping = false
  #isTunnel = false
  #isLingering = false
  #isClosed = false
  #hasHalfClosed = false
  #probe: HalfCloseProbe | null = null
  #lastWritableLength = 0
  /** No request has come yet. */
  #isFirst = true
  /** A final response's first byte has been written. */
  hasResponseStarted = false
  /** The connection may carry another request after this one. */
  keepAlive = false

  /** @param socket with half-open allowed; paused when it reads statically */
  constructor(owner: ConnectionOwner, socket: Socket, readsStatically: boolean) {
    this.#owner = owner
    this.context = owner.context
    const { limits, wheel, readBuffer, directWrites } = this.context
    this.#timer = new WheelTimer(wheel, () => this.#onTimer())
    this.#timer.arm(limits.clientIdleTimeoutMs)
    this.body = new RequestBody(limits, this.#timer)
    this.#socket = new ClientSocket(socket, this, {
      readBuffer: readsStatically ? readBuffer : null,
      directWrites: readsStatically ? directWrites : null,
    })
  }

  get remoteAddress(): string {
    return this.#socket.remoteAddress
  }

  get localPort(): number {
    return this.#socket.localPort
  }

  get isSecure(): boolean {
    return this.#socket.isSecure
  }

  /** The scanner of the present head; borrowed, since a resting connection needs none. */
  get scanner(): HeadScanner {
    this.#scanner ??= this.context.takeScanner()
    return this.#scanner
  }

  get writableLength(): number {
    return this.#socket.writableLength
  }

  get bufferedBytes(): number {
    return this.#socket.bufferedBytes + this.#input.length
  }

  get #isReading(): boolean {
    return !this.#isLingering && !this.#isClosed
  }

  get isIdle(): boolean {
    return this.#side === null && this.#input.length === 0
  }

  writeText(text: string): void {
    this.#socket.writeText(text)
  }

  /** `bytes` must stay untouched until sent. */
  writeBytes(bytes: Uint8Array): void {
    this.#socket.writeBytes(bytes)
  }

  /** One system call for text, if there is any, and bytes; see `ClientSocket.writePair`. */
  writePair(text: string, bytes: Uint8Array, onSent?: (error?: Error | null) => void): void {
    this.#socket.writePair(text, bytes, onSent)
  }

  /** One chunk of a chunked answer. */
  writeChunk(bytes: Uint8Array): void {
    this.#socket.writeChunk(bytes)
  }

  /** Tells a waiting client to send its body, once. */
  sendContinue(): void {
    if (!this.body.awaitsContinue || this.hasResponseStarted) return
    this.body.hasSentContinue = true
    this.writeText(CONTINUE)
  }

  /** Hands the body to `sink`, beginning with what has already arrived. */
  attachSink(sink: BodySink): void {
    this.body.attach(sink)
    if (!this.body.isComplete) this.#timer.arm(this.#bodyPatienceMs)
    if (this.#isPumping) {
      while (this.body.feed(this.#input));
      return
    }
    this.#pump()
    // A body that waited for its sink may have filled the input and paused the socket.
    this.#updateFlow()
  }

  detachSink(): void {
    this.body.detach()
  }

  /** Back-pressure: the sink gets nothing until `releaseBody`; the socket is paused once the input is full. */
  holdBody(): void {
    this.body.hold()
  }

  releaseBody(): void {
    if (!this.body.release()) return
    this.#pump()
    this.#updateFlow()
  }

  /** Everything from now on is opaque and goes to the side, beginning with what has already arrived. */
  enterTunnel(): void {
    this.#isTunnel = true
    this.#timer.disarm()
    this.#pump()
  }

  pauseTunnel(): void {
    this.#socket.pause()
  }

  resumeTunnel(): void {
    this.#socket.resume()
  }

  endWriting(): void {
    this.#socket.endWriting()
  }

  /**
   * Whether this connection can go on after a response that begins now. Decides `keepAlive` for good: the head that is
   * about to be written says it.
   */
  settleKeepAlive(isFramed: boolean): boolean {
    if (!isFramed || this.context.isDraining || !this.body.canBeSkipped()) this.keepAlive = false
    return this.keepAlive
  }

  /** The response is written: go on with the next request, discard the rest of this one first, or close. */
  finishExchange(): void {
    if (this.#side === null) return
    this.#side = null
    this.context.activeExchanges -= 1
    this.detachSink()
    if (!this.keepAlive || (this.#hasHalfClosed && this.#input.length === 0)) {
      this.#linger()
      return
    }
    if (this.body.isComplete) {
      this.#awaitHead()
    } else {
      this.body.startDiscarding()
      this.#timer.arm(this.context.limits.headTimeoutMs)
    }
    this.#pump()
    // What came before its FIN is all there is: half a head or half a body will never be whole.
    if (this.#hasHalfClosed && this.#side === null) this.#linger()
    else this.#updateFlow()
  }

  /** Answers by ourselves and closes. For requests that break the rules. */
  refuse(status: number, message: string, head: H1RequestHead | null): void {
    this.context.refusedTotal += 1
    this.keepAlive = false
    const { text, body } = renderRefusal(this.context, { status, message, head })
    if (head?.method === 'HEAD') this.writeText(text)
    else this.writePair(text, body)
    if (head === null) {
      const { remoteAddress, localPort } = this
      this.context.onRefusal?.({ status, message, remoteAddress, localPort })
    }
    this.#leaveExchange()
    this.#linger()
  }

  /** Breaks off so that the client can see it: a clean end would make half a response look whole. */
  breakOff(isCloseDelimited: boolean): void {
    this.#leaveExchange()
    if (isCloseDelimited) this.#socket.reset()
    else this.#socket.destroySoon()
    if (isCloseDelimited || this.#socket.writableLength === 0) this.destroy()
    else this.#linger()
  }

  /** Cuts the connection at once. */
  destroy(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#timer.release()
    this.#input.clear()
    this.body.detach()
    this.#socket.destroy()
    this.#owner.forget(this)
    const side = this.#leaveExchange()
    side?.onGone()
    this.#returnScanner()
  }

  onBytes(bytes: Buffer, length: number): void {
    if (!this.#isReading) return
    if (this.#isTunnel) {
      this.#side?.onTunnelBytes(bytes.subarray(0, length))
      return
    }
    this.#input.lend(bytes, length)
    this.#pump()
    this.#input.keepLent()
    this.#updateFlow()
  }

  onDrain(): void {
    if (this.#side !== null) {
      this.#side.onDrain()
      return
    }
    this.#pump()
    this.#updateFlow()
  }

  onGone(): void {
    this.destroy()
  }

  /** Ends a resting connection, marks a busy one to close after its answer. */
  drain(): void {
    if (this.#isTunnel) this.#side?.onTunnelDrain()
    if (!this.isIdle) return
    if (this.#socket.writableLength > 0) this.#linger()
    else this.destroy()
  }

  #leaveExchange(): ExchangeSide | null {
    const side = this.#side
    if (side === null) return null
    this.#side = null
    this.detachSink()
    this.context.activeExchanges -= 1
    return side
  }

  #pump(): void {
    if (this.#isPumping) return
    this.#isPumping = true
    try {
      while (this.#step());
    } finally {
      this.#isPumping = false
    }
  }

  /** Uses some input; false when there is nothing to do with it now. */
  #step(): boolean {
    if (!this.#isReading || this.#input.length === 0) return false
    if (this.#isTunnel) {
      const { bytes, start, end } = this.#input
      this.#input.clear()
      this.#side?.onTunnelBytes(bytes.subarray(start, end))
      return false
    }
    if (this.body.isDiscarding) return this.#discard()
    if (this.#side !== null) return this.body.feed(this.#input)
    // Who pipelines without reading gets no further answer until it has taken those that it has.
    return this.#socket.writableLength <= this.context.limits.writeBufferBytesMax && this.#readHead()
  }

  /** Pauses the socket when unread input is over its bound, resumes it when it is not. */
  #updateFlow(): void {
    if (this.#isClosed || this.#isTunnel) return
    if (this.#input.length > this.context.limits.clientInputBytesMax) this.#socket.pause()
    else this.#socket.resume()
  }

  #awaitHead(): void {
    this.#returnScanner()
    this.#timer.arm(this.context.limits.clientIdleTimeoutMs)
  }

  #returnScanner(): void {
    if (this.#scanner === null) return
    this.context.returnScanner(this.#scanner)
    this.#scanner = null
  }

  #readHead(): boolean {
    const input = this.#input
    const wasInside = this.scanner.isInside
    const result = this.scanner.scan(input.bytes, input.start, input.end)
    if (result === Scan.MORE) {
      // Once per head: a client that drips bytes does not get more time.
      if (!wasInside) this.#timer.arm(this.context.limits.headTimeoutMs)
      return false
    }
    if (result === Scan.BAD) {
      this.#onBadHead(input, wasInside)
      return false
    }
    const head = readRequestHead(input.bytes, input.start, this.scanner)
    if (!(head instanceof H1RequestHead)) {
      const refusal: HeadRefusal = head
      this.refuse(refusal.status, refusal.message, null)
      return false
    }
    input.consumeTo(input.start + this.scanner.headEnd)
    this.#begin(head)
    return true
  }

  /** HTTP/2 with prior knowledge looks like a bad request until all of its preface has come. */
  #onBadHead(input: InputBuffer, wasInside: boolean): void {
    const { bytes, start, end } = input
    const guess = this.#isFirst ? guessPreface(bytes, start, end) : 'not-h2'
    if (guess === 'not-h2') {
      this.refuse(this.scanner.errorStatus, this.scanner.errorMessage, null)
      return
    }
    if (guess === 'more') {
      if (!wasInside) this.#timer.arm(this.context.limits.headTimeoutMs)
      return
    }
    // The other engine takes the bytes and the socket; of this connection nothing is left.
    this.#isClosed = true
    this.#timer.release()
    this.#returnScanner()
    this.#owner.becomeHttp2(this, this.#socket).receive(bytes, start, end)
    input.clear()
  }

  #begin(head: H1RequestHead): void {
    const { context } = this
    this.#isFirst = false
    this.#timer.disarm()
    this.body.begin(head, this.scanner.headEnd)
    this.hasResponseStarted = false
    this.keepAlive = head.keepAlive
    this.#probe = null
    context.requestsTotal += 1
    context.activeExchanges += 1
    const side = this.#owner.createExchange(this, head)
    this.#side = side
    this.#owner.startExchange(side)
    if (this.#hasHalfClosed && this.#side === side) this.#onNothingMore()
  }

  /** Goes on with the rest of a body nobody wants. */
  #discard(): boolean {
    const discarded = this.body.discard(this.#input)
    if (discarded === 'done') this.#awaitHead()
    else if (discarded === 'too-much') this.#linger()
    return discarded === 'done'
  }

  onEndOfInput(): void {
    this.#hasHalfClosed = true
    if (this.#isTunnel) {
      this.#side?.onTunnelEnd()
      return
    }
    if (this.#side === null) {
      if (!this.#isLingering) this.#linger()
      return
    }
    this.#onNothingMore()
  }

  /** How long to wait for more of a body; behind a FIN it is only to see whether all has been read. */
  get #bodyPatienceMs(): number {
    const { halfCloseProbeMs, bodyRateWindowMs } = this.context.limits
    return this.#hasHalfClosed ? halfCloseProbeMs : bodyRateWindowMs
  }

  /** A request is under way, and no byte will come any more. */
  #onNothingMore(): void {
    if (this.body.isCutShort(this.#input.length)) this.destroy()
    else this.#startProbing()
  }

  #startProbing(): void {
    if (this.#probe !== null) return
    this.#probe = new HalfCloseProbe(this.context.limits.halfCloseProbeMs)
    this.#sendProbe()
  }

  #sendProbe(): void {
    if (this.#probe === null || this.hasResponseStarted || this.scanner.minorVersion === 0) return
    this.writeText(CONTINUE)
    if (!this.#isClosed) this.#timer.arm(this.#probe.nextDelayMs())
  }

  #onTimer(): void {
    const pending = this.#socket.writableLength
    // A client that still takes the bytes of its last answer is slow, not idle.
    const isTaking = this.#side === null && pending > 0 && pending !== this.#lastWritableLength
    this.#lastWritableLength = pending
    if (this.#isLingering) {
      if (isTaking) this.#armLinger()
      else this.destroy()
    } else if (isTaking) {
      this.#timer.arm(this.context.limits.clientIdleTimeoutMs)
    } else if (this.#side !== null) {
      this.#onExchangeTimer()
    } else if (this.body.isDiscarding || this.#scanner?.isInside !== true) {
      this.destroy()
    } else {
      this.refuse(408, 'the request head took too long', null)
    }
  }

  #onExchangeTimer(): void {
    const { body } = this
    const { sink } = body
    if (this.#hasHalfClosed) {
      if (sink !== null && !body.isHeld && body.isCutShort(this.#input.length)) this.destroy()
      else this.#sendProbe()
      return
    }
    if (sink === null || body.isComplete) return
    if (body.endRateWindow()) sink.onRequestStalled()
    else this.#timer.arm(this.context.limits.bodyRateWindowMs)
  }

  /** Ends our side and swallows input for a while: closing with unread input would reset our last answer away. */
  #linger(): void {
    if (this.#isClosed || this.#isLingering) return
    this.#isLingering = true
    this.#input.clear()
    this.#socket.resume()
    this.#socket.endWriting()
    this.#armLinger()
  }

  #armLinger(): void {
    this.#lastWritableLength = this.#socket.writableLength
    this.#timer.arm(this.context.limits.lingerTimeoutMs)
  }
}
