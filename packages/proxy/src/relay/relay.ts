import type { EngineContext } from '../engine-context.ts'
import type { ForwardTarget } from '../exchange.ts'
import type { ExchangeForwarding } from '../exchange-forwarding.ts'
import { ErrorCode, type HeaderField } from '../h2/index.ts'
import type { ClientPhase, FailureReason, NotSentReason, Outcome } from '../outcome.ts'
import type { TunnelEnd } from '../tunnel.ts'
import { type WebSocketEnd, WebSocketWatch } from '../websocket/web-socket-watch.ts'
import { getterOver, pushLines } from './fields.ts'
import type {
  RelayBodySink,
  RelayClient,
  RelayFailure,
  RelayHead,
  RelayResponse,
  RelayUpstream,
  RelayUpstreamHandler,
} from './sides.ts'

const IDEMPOTENT_METHODS = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])

const Stage = { CONNECTING: 0, WAITING: 1, STREAMING: 2, TUNNEL: 3, OVER: 4 } as const

/** What a relay needs of the exchange it serves. */
export interface RelayOwner {
  readonly relayClient: RelayClient
  readonly head: { readonly method: string }
  readonly context: EngineContext
  /** The relay is over; told before its outcome. */
  onForwardingOver(isExchangeOver: boolean): void
}

/**
 * One `forward()` with HTTP/2 on at least one side: relays one request to one backend and its response back, and reports
 * exactly one outcome. `Forwarding` is its twin for HTTP/1.1 on both sides, where bytes need not be understood.
 */
export class Relay implements ExchangeForwarding, RelayBodySink, RelayUpstreamHandler {
  readonly #owner: RelayOwner
  readonly #client: RelayClient
  readonly #target: ForwardTarget
  #upstream!: RelayUpstream
  #stage: number = Stage.CONNECTING
  #status = 0
  #isCloseDelimited = false
  #hasRetried = false
  #hasSent = false
  #lastPendingBytes = 0
  /** The timer runs for a backend that has bytes of the body still to take. */
  #isUploadWatched = false
  #firstEnd: TunnelEnd | null = null
  #watch: WebSocketWatch | null = null

  constructor(owner: RelayOwner, target: ForwardTarget) {
    this.#owner = owner
    this.#client = owner.relayClient
    this.#target = target
  }

  /** True once the client has seen a byte of the response. */
  get hasResponse(): boolean {
    return this.#stage === Stage.STREAMING || this.#stage === Stage.TUNNEL
  }

  /** @param open makes the upstream side */
  startOn(open: (handler: RelayUpstreamHandler) => RelayUpstream): void {
    this.#upstream = open(this)
    this.#upstream.start()
  }

  cancel(): void {
    this.#client.closeBody()
    this.#report({ kind: 'aborted' }, false)
  }

  onClientGone(): void {
    if (this.#stage === Stage.TUNNEL) this.#finishTunnel('client')
    else this.#report({ kind: 'client-gone', phase: this.#clientPhase() }, true)
  }

  /** The client's stream was reset by the engine: it takes nothing any more. */
  onClientStalled(): void {
    this.#report({ kind: 'client-stalled', phase: this.#clientPhase() }, true)
  }

  onClientDrain(): void {
    if (this.#stage !== Stage.OVER) this.#upstream.resume()
  }

  onClientTunnelBytes(bytes: Buffer): void {
    this.#relayToUpstream(bytes, 0, bytes.length)
  }

  onClientTunnelEnd(): void {
    this.#halfClose('client')
  }

  drainTunnel(): void {
    this.#closeTunnel('drain')
  }

  // The request's body, from the client.

  onRequestBody(bytes: Buffer, start: number, end: number): void {
    if (this.#stage === Stage.OVER) return
    if (this.#stage === Stage.TUNNEL) {
      this.#relayToUpstream(bytes, start, end)
      return
    }
    this.#upstream.sendBody(bytes, start, end)
    // The send may have broken the stream.
    if (this.#isOver) return
    const { pendingBytes } = this.#upstream
    if (pendingBytes > this.#owner.context.limits.relayBufferBytesMax) this.#client.holdBody()
    // Every byte sent gives the backend its whole time again; one that takes no more of a body has less: nobody reads
    // from the client meanwhile, so that its leaving would not be noticed either.
    const { responseTimeoutMs, streamIdleTimeoutMs } = this.#target
    if (this.#stage === Stage.WAITING) {
      this.#isUploadWatched = pendingBytes > 0
      this.#lastPendingBytes = pendingBytes
    }
    this.#upstream.arm(this.#stage === Stage.WAITING && pendingBytes === 0 ? responseTimeoutMs : streamIdleTimeoutMs)
  }

  onRequestEnd(trailers: readonly HeaderField[] | null): void {
    if (this.#stage === Stage.TUNNEL) this.#halfClose('client')
    else if (this.#stage !== Stage.OVER) this.#upstream.sendEnd(trailers)
  }

  onRequestMalformed(detail: string): void {
    this.#failClient(400, detail, { kind: 'client-malformed', detail })
  }

  onRequestStalled(): void {
    this.#failClient(408, 'the request body took too long', { kind: 'client-stalled', phase: 'request-body' })
  }

  // The response, from the backend.

  onConnected(): void {
    const { responseTimeoutMs } = this.#target
    this.#stage = Stage.WAITING
    this.#upstream.arm(responseTimeoutMs)
    try {
      this.#upstream.sendHead()
    } catch (error) {
      // Legal in the client's protocol but not in the backend's.
      this.onRequestMalformed((error as Error).message)
      return
    }
    if (this.#hasSent) {
      this.#client.releaseBody()
      return
    }
    this.#hasSent = true
    if (!this.#client.isRequestComplete) this.#client.openBody(this)
    if (!this.#isOver) this.#client.continueIfKept()
  }

  onInterim(head: RelayHead): void {
    if (this.#stage === Stage.WAITING) this.#client.writeInterim(head.status, head.collect())
  }

  onHead(head: RelayHead): void {
    if (head.status === 101) {
      this.#failBeforeResponse('unexpected-upgrade', 'status 101 without an upgrade that was asked for')
      return
    }
    this.#isCloseDelimited = head.isCloseDelimited
    if (!this.#beginResponse(head, head.status)) return
    this.#client.writeHead(this.#responseOf(head, head.status))
    this.#upstream.arm(this.#target.streamIdleTimeoutMs)
  }

  onUpgraded(head: RelayHead, upgradeProtocol: string): void {
    // Whatever the protocols call it, to the owner it is the upgrade that it knows.
    if (!this.#beginResponse(head, 101)) return
    this.#stage = Stage.TUNNEL
    this.#client.openTunnel(this.#responseOf(head, 101), upgradeProtocol)
    if (this.#isOver) return
    this.#armTunnel()
    if (upgradeProtocol.toLowerCase() === 'websocket') this.#watchTunnel()
  }

  onBody(bytes: Buffer, start: number, end: number): void {
    if (this.#stage === Stage.TUNNEL) this.#relayToClient(bytes, start, end)
    else if (this.#stage === Stage.STREAMING) this.#client.writeBody(bytes, start, end)
  }

  onReadDone(): void {
    if (this.#stage !== Stage.STREAMING) return
    const { pendingBytes } = this.#client
    this.#upstream.arm(this.#target.streamIdleTimeoutMs)
    if (pendingBytes > this.#owner.context.limits.relayBufferBytesMax) {
      this.#lastPendingBytes = pendingBytes
      this.#upstream.pause()
    }
  }

  onEnd(trailers: readonly HeaderField[] | null): void {
    if (this.#stage === Stage.TUNNEL) {
      this.#halfClose('upstream')
      return
    }
    if (this.#stage !== Stage.STREAMING) return
    if (trailers !== null) this.#target.onResponseTrailers?.(getterOver(trailers))
    if (this.#isOver) return
    this.#client.writeEnd(trailers)
    this.#complete()
  }

  onDrain(): void {
    this.#client.releaseBody()
  }

  onBroken(failure: RelayFailure): void {
    switch (this.#stage) {
      case Stage.CONNECTING:
        this.#onConnectFailed(failure)
        return
      case Stage.WAITING:
        this.#onUnanswered(failure)
        return
      case Stage.STREAMING:
        this.#failMidResponse(failure.detail, failure.code)
        return
      case Stage.TUNNEL:
        this.#finishTunnel('upstream')
        return
      default:
    }
  }

  onTimeout(): void {
    switch (this.#stage) {
      case Stage.CONNECTING:
        if (this.#hasRetried) this.#failBeforeResponse('closed', 'connect timeout of the retry')
        else this.#notSent('connect-timeout', 'ETIMEDOUT')
        return
      case Stage.WAITING:
        this.#onResponseTimer()
        return
      case Stage.STREAMING:
        this.#onStreamTimer()
        return
      case Stage.TUNNEL:
        if (this.#watch === null || this.#watch.closing !== null || this.#firstEnd !== null) this.#finishTunnel('idle')
        else this.#closeTunnel('idle')
        return
      default:
    }
  }

  get #isOver(): boolean {
    return this.#stage === Stage.OVER
  }

  /** False when the owner ended the exchange while it was told. */
  #beginResponse(head: RelayHead, status: number): boolean {
    this.#status = status
    this.#stage = Stage.STREAMING
    this.#target.onResponseHead?.(status, head.get, head.fieldCount)
    return !this.#isOver
  }

  #responseOf(head: RelayHead, status: number): RelayResponse {
    const { extraResponseHead, lateResponseHead, replacedLocation } = this.#target
    let fields = head.collect()
    if (replacedLocation !== undefined) fields = fields.filter(field => field.name !== 'location')
    pushLines(fields, extraResponseHead)
    if (lateResponseHead !== undefined) pushLines(fields, lateResponseHead())
    if (replacedLocation !== undefined) pushLines(fields, replacedLocation)
    const { contentLength, isEnd, mayEndInTrailers } = head
    return { status, contentLength, isEnd, mayEndInTrailers, fields }
  }

  // Failures of the backend.

  #onConnectFailed({ kind, detail }: RelayFailure): void {
    if (this.#hasRetried) this.#failBeforeResponse('closed', detail)
    else this.#notSent(kind === 'refused' ? 'refused' : 'connect-error', detail)
  }

  #onUnanswered(failure: RelayFailure): void {
    const { kind, detail, isStale, isUnsent } = failure
    const isIdempotent = IDEMPOTENT_METHODS.has(this.#owner.head.method)
    if (isStale && !this.#hasRetried && (isIdempotent || (isUnsent && this.#client.hasBodyBeenTaken))) {
      if (this.#retry()) return
    }
    // The backend says that it has not looked at it, so that any method may be repeated while its start is kept.
    if (kind === 'gone-away' && !this.#hasRetried && this.#client.hasBodyBeenTaken && this.#retry()) return
    const isUntouched = !this.#client.hasBodyBeenTaken
    if (kind === 'unprocessed' && isUntouched) this.#notSent('unprocessed', detail)
    else if ((isUnsent || kind === 'gone-away') && isUntouched) this.#notSent('stale', detail)
    else if (kind === 'malformed') this.#failBeforeResponse('malformed-response', detail)
    else this.#failBeforeResponse(kind === 'closed' || kind === 'gone-away' ? kind : 'reset', detail)
  }

  #retry(): boolean {
    this.#hasRetried = true
    this.#stage = Stage.CONNECTING
    if (!this.#client.isRequestComplete) this.#client.holdBody()
    if (!this.#upstream.replay()) {
      this.#stage = Stage.WAITING
      return false
    }
    this.#owner.context.staleRetriesTotal += 1
    return true
  }

  // Timeouts.

  #onResponseTimer(): void {
    const { responseTimeoutMs, streamIdleTimeoutMs } = this.#target
    const { pendingBytes } = this.#upstream
    if (pendingBytes > 0) {
      if (pendingBytes === this.#lastPendingBytes) {
        this.#failBeforeResponse('request-stalled', 'the backend stopped reading the request body')
        return
      }
      this.#lastPendingBytes = pendingBytes
      this.#upstream.arm(streamIdleTimeoutMs)
      return
    }
    if (this.#isUploadWatched || (!this.#client.isRequestComplete && !this.#client.awaitsContinue)) {
      // All is sent, or the client is the slow one; its body rate is watched elsewhere.
      this.#isUploadWatched = false
      this.#upstream.arm(responseTimeoutMs)
      return
    }
    this.#client.closeBody()
    this.#report({ kind: 'response-timeout' }, false)
  }

  #onStreamTimer(): void {
    const { streamIdleTimeoutMs } = this.#target
    if (!this.#upstream.isPaused) {
      this.#failMidResponse(`no bytes from the backend for ${streamIdleTimeoutMs} ms`, ErrorCode.INTERNAL_ERROR)
      return
    }
    const { pendingBytes } = this.#client
    if (pendingBytes !== this.#lastPendingBytes) {
      this.#lastPendingBytes = pendingBytes
      this.#upstream.arm(streamIdleTimeoutMs)
      return
    }
    this.#report({ kind: 'client-stalled', phase: 'response' }, true)
    this.#client.breakOff(ErrorCode.CANCEL)
  }

  // Tunnels.

  #watchTunnel(): void {
    const { wheel, limits, isDraining } = this.#owner.context
    this.#watch = new WebSocketWatch({
      writeToClient: (bytes, start, end) => this.#client.writeTunnel(bytes, start, end),
      writeToBackend: (bytes, start, end) => this.#upstream.writeTunnel(bytes, start, end),
      wheel,
      ageMsMax: limits.webSocketAgeMsMax,
      onExpired: () => this.#closeTunnel('age'),
    })
    if (isDraining) this.#closeTunnel('drain')
  }

  #closeTunnel(end: WebSocketEnd): void {
    if (this.#stage !== Stage.TUNNEL || this.#watch === null || this.#watch.closing !== null) return
    this.#firstEnd ??= end
    this.#watch.close(end)
    if (!this.#isOver) this.#upstream.arm(this.#owner.context.limits.webSocketCloseTimeoutMs)
  }

  /** While it is being closed, the time for that runs. */
  #armTunnel(): void {
    if (this.#watch !== null && this.#watch.closing !== null) return
    this.#upstream.arm(this.#target.tunnelIdleTimeoutMs ?? this.#target.streamIdleTimeoutMs)
  }

  #relayToUpstream(bytes: Buffer, start: number, end: number): void {
    if (this.#stage !== Stage.TUNNEL) return
    if (this.#watch === null) this.#upstream.writeTunnel(bytes, start, end)
    else this.#watch.passToBackend(bytes, start, end)
    if (this.#isOver) return
    if (this.#upstream.pendingBytes > this.#owner.context.limits.relayBufferBytesMax) this.#client.holdBody()
    this.#armTunnel()
  }

  #relayToClient(bytes: Buffer, start: number, end: number): void {
    if (this.#watch === null) this.#client.writeTunnel(bytes, start, end)
    else this.#watch.passToClient(bytes, start, end)
    if (this.#isOver) return
    if (this.#client.pendingBytes > this.#owner.context.limits.relayBufferBytesMax) this.#upstream.pause()
    this.#armTunnel()
  }

  /** Passes the end of one direction on; the second one ends the tunnel. */
  #halfClose(from: 'client' | 'upstream'): void {
    if (this.#stage !== Stage.TUNNEL) return
    if (this.#firstEnd !== null && this.#firstEnd !== from) {
      if (from === 'client') this.#upstream.endTunnel()
      else this.#client.endTunnel()
      this.#finishTunnel(this.#firstEnd, true)
      return
    }
    this.#firstEnd = from
    if (from === 'client') this.#upstream.endTunnel()
    else this.#client.endTunnel()
    this.#armTunnel()
  }

  /** @param isClean both directions ended by themselves */
  #finishTunnel(end: TunnelEnd, isClean = false): void {
    const { requestBytes } = this.#client
    const { responseBytes } = this.#upstream
    const tunnelEnd = this.#firstEnd ?? end
    this.#watch?.finish()
    if (this.#isOver) return
    this.#upstream.finishTunnel(isClean)
    this.#report({ kind: 'completed', status: 101, requestBytes, responseBytes, tunnelEnd }, true)
    this.#client.finishTunnel(isClean)
  }

  // Endings.

  #clientPhase(): ClientPhase {
    if (this.#stage === Stage.STREAMING) return 'response'
    return this.#client.isRequestComplete ? 'waiting' : 'request-body'
  }

  #complete(): void {
    const { isRequestComplete, requestBytes } = this.#client
    const { responseBytes } = this.#upstream
    this.#upstream.release(isRequestComplete)
    this.#report({ kind: 'completed', status: this.#status, requestBytes, responseBytes }, true)
    this.#client.finish()
  }

  #notSent(reason: NotSentReason, code: string): void {
    this.#client.closeBody()
    this.#report({ kind: 'not-sent', reason, code }, false)
  }

  #failBeforeResponse(reason: FailureReason, detail: string): void {
    this.#client.closeBody()
    const retryable = !this.#client.hasBodyBeenTaken && IDEMPOTENT_METHODS.has(this.#owner.head.method)
    this.#report({ kind: 'failed-before-response', reason, detail, retryable }, false)
  }

  #failMidResponse(detail: string, code: number): void {
    this.#report({ kind: 'failed-mid-response', status: this.#status, detail }, true)
    this.#client.breakOff(this.#isCloseDelimited || code === ErrorCode.NO_ERROR ? ErrorCode.INTERNAL_ERROR : code)
  }

  #failClient(status: number, message: string, outcome: Outcome): void {
    if (this.#isOver) return
    this.#report(outcome, true)
    if (this.#client.hasResponseStarted) this.#client.breakOff(ErrorCode.PROTOCOL_ERROR)
    else this.#client.refuse(status, message)
  }

  /** The one place where a relay ends. */
  #report(outcome: Outcome, isExchangeOver: boolean): void {
    if (this.#isOver) return
    this.#stage = Stage.OVER
    this.#upstream.destroy()
    this.#owner.onForwardingOver(isExchangeOver)
    try {
      this.#target.onOutcome(outcome)
    } catch (error) {
      this.#owner.context.log.error({ error: String(error), outcome: outcome.kind }, 'onOutcome threw')
    }
  }
}
