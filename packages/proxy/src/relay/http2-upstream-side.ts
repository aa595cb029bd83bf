import type { EngineContext } from '../engine-context.ts'
import type { ForwardTarget, HeaderGetter } from '../exchange.ts'
import {
  ErrorCode,
  type HeaderField,
  type Http2ResponseHead,
  type Http2Stream,
  type Http2StreamHandler,
  type StreamReset,
} from '../h2/index.ts'
import type { StreamTaker } from '../h2-upstream/http2-pool.ts'
import type { Http2Upstream, UpstreamSocketFailure } from '../h2-upstream/http2-upstream.ts'
import { WheelTimer } from '../timer-wheel.ts'
import type { UpstreamTls } from '../upstream-socket.ts'
import { collectResponse, collectTrailers, getterOver } from './fields.ts'
import { isWebSocket, type OutgoingRequest, renderHttp2Request } from './request-fields.ts'
import { SentStart } from './sent-start.ts'
import type { RelayFailure, RelayHead, RelayUpstream, RelayUpstreamHandler } from './sides.ts'

const NO_HEAD: Http2ResponseHead = { status: 0, contentLength: -1, fields: [], isEnd: false }

/** A stream to an HTTP/2 backend. */
export class Http2UpstreamSide implements RelayUpstream, StreamTaker, Http2StreamHandler, RelayHead {
  readonly needsSettings: boolean
  readonly #context: EngineContext
  readonly #target: ForwardTarget
  readonly #tls: UpstreamTls | undefined
  readonly #request: OutgoingRequest
  readonly #handler: RelayUpstreamHandler
  readonly #timer: WheelTimer
  #upstream: Http2Upstream | null = null
  #stream: Http2Stream | null = null
  #head: Http2ResponseHead = NO_HEAD
  #trailers: readonly HeaderField[] | null = null
  #isWaiting = false
  #isTunnel = false
  #asConnect = false
  #wasReused = false
  /** Made with the first octets of a body. */
  #sent: SentStart | null = null
  responseBytes = 0

  constructor(
    context: EngineContext,
    tls: UpstreamTls | undefined,
    target: ForwardTarget,
    request: OutgoingRequest,
    handler: RelayUpstreamHandler,
  ) {
    this.#context = context
    this.#tls = tls
    this.#target = target
    this.#request = request
    this.#handler = handler
    this.needsSettings = isWebSocket(request.head)
    this.#timer = new WheelTimer(context.wheel, () => handler.onTimeout())
  }

  // What the relay asks.

  get pendingBytes(): number {
    return this.#stream?.writableLength ?? 0
  }

  get isPaused(): boolean {
    return this.#stream?.isPaused ?? false
  }

  start(): void {
    const { host, port, connectTimeoutMs } = this.#target
    this.#isWaiting = true
    this.#context.http2Pool.take(host, port, this.#tls, this)
    if (this.#isWaiting) this.#timer.arm(connectTimeoutMs)
  }

  arm(delayMs: number): void {
    this.#timer.arm(delayMs)
  }

  /** @throws {WaiterError} WTR_BAD_HEADER when a field cannot be sent over HTTP/2 */
  sendHead(): void {
    const { connection } = this.#upstream!
    const { head } = this.#request
    this.#asConnect = this.needsSettings && connection.peerAllowsConnectProtocol
    const fields = renderHttp2Request(this.#request, this.#tls !== undefined, this.#asConnect)
    this.#stream = connection.request(fields, isOver(head) && !this.#asConnect, this)
    this.#sent?.sendTo({
      sendBody: piece => this.#stream?.sendData(piece, 0, piece.length),
      sendEnd: trailers => this.#endStream(trailers),
    })
  }

  sendBody(bytes: Buffer, start: number, end: number): void {
    this.#sent ??= new SentStart()
    if (this.#head === NO_HEAD) this.#sent.keep(bytes, start, end)
    this.#stream?.sendData(bytes, start, end)
  }

  sendEnd(trailers: readonly HeaderField[] | null): void {
    this.#sent ??= new SentStart()
    this.#sent.keepEnd(trailers)
    this.#endStream(trailers)
  }

  #endStream(trailers: readonly HeaderField[] | null): void {
    const kept = collectTrailers(trailers, this.#request.policy.requestTable)
    if (kept === null) this.#stream?.end()
    else this.#stream?.sendTrailers(kept)
  }

  pause(): void {
    this.#stream?.pause()
  }

  resume(): void {
    this.#stream?.resume()
  }

  replay(): boolean {
    if (this.#sent?.isWhole === false) return false
    this.#stream = null
    this.#upstream = null
    this.start()
    return true
  }

  release(): void {
    this.#timer.release()
    const stream = this.#stream
    this.#stream = null
    if (this.#upstream !== null) this.#upstream.hasServed = true
    // It answered before it had the whole request: the rest is not wanted.
    if (stream !== null && !stream.isOver) stream.reset(ErrorCode.NO_ERROR)
  }

  destroy(): void {
    this.#timer.release()
    if (this.#isWaiting) {
      this.#isWaiting = false
      const { host, port } = this.#target
      this.#context.http2Pool.cancel(host, port, this.#tls, this)
    }
    const stream = this.#stream
    this.#stream = null
    stream?.reset(ErrorCode.CANCEL)
  }

  writeTunnel(bytes: Buffer, start: number, end: number): void {
    this.#stream?.sendData(bytes, start, end)
  }

  endTunnel(): void {
    this.#stream?.end()
  }

  finishTunnel(isClean: boolean): void {
    this.#timer.release()
    const stream = this.#stream
    this.#stream = null
    if (!isClean) stream?.reset(ErrorCode.CANCEL)
  }

  // What the pool tells.

  onUpstream(upstream: Http2Upstream): void {
    this.#isWaiting = false
    this.#upstream = upstream
    this.#wasReused = upstream.hasServed
    this.#handler.onConnected()
  }

  onNoUpstream({ code }: UpstreamSocketFailure): void {
    this.#isWaiting = false
    this.#fail({ kind: code === 'ECONNREFUSED' ? 'refused' : 'connect', detail: code })
  }

  // What the relay looks at during `onHead`.

  get status(): number {
    return this.#head.status
  }

  get contentLength(): number {
    return this.#head.contentLength
  }

  get isCloseDelimited(): boolean {
    return false
  }

  get isEnd(): boolean {
    return this.#head.isEnd
  }

  get mayEndInTrailers(): boolean {
    return !this.#head.isEnd
  }

  get fieldCount(): number {
    return this.#head.fields.length
  }

  get get(): HeaderGetter {
    return getterOver(this.#head.fields)
  }

  collect(): HeaderField[] {
    return collectResponse(this.#head.fields, this.#head.status, this.#request.policy)
  }

  // What the stream tells.

  onInterim(head: Http2ResponseHead): void {
    this.#head = head
    this.#handler.onInterim(this)
  }

  onHead(head: Http2ResponseHead): void {
    this.#head = head
    this.#sent?.forget()
    for (const field of head.fields) this.responseBytes += field.name.length + field.value.length
    if (this.#asConnect && head.status < 300) {
      this.#isTunnel = true
      this.#handler.onUpgraded(this, 'websocket')
    } else {
      this.#handler.onHead(this)
    }
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.responseBytes += end - start
    this.#handler.onBody(bytes, start, end)
    this.#handler.onReadDone()
  }

  onTrailers(fields: readonly HeaderField[]): void {
    this.#trailers = collectTrailers(fields, this.#request.policy.responseTable)
  }

  onEnd(): void {
    this.#handler.onEnd(this.#isTunnel ? null : this.#trailers)
  }

  onReset(reset: StreamReset): void {
    this.#stream = null
    const isStale = reset.cause === 'connection' && this.#wasReused && this.#head === NO_HEAD
    this.#fail({ kind: kindOf(reset), detail: reset.detail, code: reset.code, isStale })
  }

  onDrain(): void {
    this.#handler.onDrain()
  }

  #fail(failure: Pick<RelayFailure, 'kind' | 'detail'> & Partial<RelayFailure>): void {
    this.#timer.release()
    this.#handler.onBroken({ code: ErrorCode.INTERNAL_ERROR, isStale: false, isUnsent: false, ...failure })
  }
}

function kindOf({ cause, code, isUnprocessed }: StreamReset): RelayFailure['kind'] {
  if (isUnprocessed) return code === ErrorCode.REFUSED_STREAM ? 'unprocessed' : 'gone-away'
  if (cause === 'malformed') return 'malformed'
  return cause === 'connection' ? 'closed' : 'reset'
}

/** Nothing follows the head. An HTTP/1.1 body of no octets is over with it, while HTTP/2 ends it by a frame of its own. */
function isOver(head: OutgoingRequest['head']): boolean {
  if (head.bodyKind === 'none') return true
  return head.bodyKind === 'length' && head.contentLength === 0 && head.httpVersion !== '2.0'
}
