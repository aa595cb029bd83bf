import type { BodySink } from './body-sink.ts'
import type { ClientConnection } from './client-connection.ts'
import type { EngineContext } from './engine-context.ts'
import type { ForwardTarget } from './exchange.ts'
import type { ExchangeForwarding } from './exchange-forwarding.ts'
import { Framing } from './h1/body-decoder.ts'
import { FieldCode } from './h1/field-table.ts'
import { renderRequestHead, renderResponseHead } from './h1/head-writer.ts'
import type { H1RequestHead } from './h1/request-head.ts'
import type { ResponseHead } from './h1/response-head.ts'
import type { ClientPhase, FailureReason, NotSentReason, Outcome } from './outcome.ts'
import { renderConnection } from './own-response.ts'
import { settleResponseLines } from './replaced-location.ts'
import { Tunnel, type TunnelEnd } from './tunnel.ts'
import type { UpstreamConnection, UpstreamFailure, UpstreamHandler } from './upstream-connection.ts'
import type { UpstreamPool } from './upstream-pool.ts'

/** Up to here strings beat buffers: one Latin-1 write for head and body, which Node makes from its stack up to 16 KiB. */
const TEXT_WRITE_BYTES_MAX = 15 * 1024
const IDEMPOTENT_METHODS = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])

const Stage = { CONNECTING: 0, WAITING: 1, STREAMING: 2, TUNNEL: 3, OVER: 4 } as const

/** What a forwarding needs of the exchange it serves. */
export interface ForwardingOwner {
  readonly client: ClientConnection
  readonly head: H1RequestHead
  readonly context: EngineContext
  /** The forwarding is over; told before its outcome. */
  onForwardingOver(isExchangeOver: boolean): void
}

/**
 * One `forward()`: relays one request to one backend and its response back, and reports exactly one outcome.
 *
 * Text to write is gathered over one read and goes out in one write; request and response never wait for each other.
 */
export class Forwarding implements ExchangeForwarding, BodySink, UpstreamHandler {
  readonly wantsPayload = false
  readonly #owner: ForwardingOwner
  readonly #target: ForwardTarget
  readonly #pool: UpstreamPool
  #upstream: UpstreamConnection | null = null
  #tunnel: Tunnel | null = null
  #stage: number = Stage.CONNECTING
  /** Request head not yet written, waiting to share a write with the first body bytes. */
  #requestText = ''
  /** Response text not yet written, waiting for the end of the read. */
  #responseText = ''
  /** The only thing written so far, kept to be written again on a fresh connection. */
  #replayText: string | null = null
  #requestWrites = 0
  #hasRetried = false
  #status = 0
  #isCloseDelimited = false
  #isPayloadOnly = false
  #lastWritableLength = 0
  /** The timer runs for a backend that has bytes of the body still to take. */
  #isUploadWatched = false

  constructor(owner: ForwardingOwner, target: ForwardTarget) {
    this.#owner = owner
    this.#target = target
    const { context } = owner
    this.#pool = target.protocol === 'https' ? context.securePool : context.pool
  }

  /** True once the client has seen a byte of the response. */
  get hasResponse(): boolean {
    return this.#stage === Stage.STREAMING || this.#stage === Stage.TUNNEL
  }

  start(): void {
    const upstream = this.#pool.take(this.#target.host, this.#target.port)
    if (upstream === null) this.#connect()
    else this.#send(upstream)
  }

  /** The owner gives up. */
  cancel(): void {
    this.#owner.client.detachSink()
    this.#report({ kind: 'aborted' }, false)
  }

  onClientGone(): void {
    if (this.#tunnel !== null) this.#tunnel.onClientGone()
    else this.#report({ kind: 'client-gone', phase: this.#clientPhase() }, true)
  }

  onClientDrain(): void {
    if (this.#tunnel !== null) this.#tunnel.onClientDrain()
    else this.#upstream?.resume()
  }

  onClientTunnelBytes(bytes: Buffer): void {
    this.#tunnel?.onClientBytes(bytes)
  }

  onClientTunnelEnd(): void {
    this.#tunnel?.onClientEnd()
  }

  drainTunnel(): void {
    this.#tunnel?.close('drain')
  }

  // The request's body, from the client.

  onRequestBody(bytes: Buffer, start: number, end: number): void {
    const upstream = this.#upstream
    if (upstream === null) return
    const head = this.#requestText
    const length = end - start
    this.#requestText = ''
    if (head !== '' && head.length + length <= TEXT_WRITE_BYTES_MAX) {
      this.#writeRequest(upstream, head + bytes.toString('latin1', start, end))
    } else {
      this.#requestWrites += 1
      this.#replayText = null
      const piece = Buffer.from(bytes.subarray(start, end))
      if (head === '') upstream.writeBytes(piece)
      else upstream.writePair(head, piece)
    }
    const unsent = upstream.writableLength
    if (unsent > this.#owner.context.limits.writeBufferBytesMax) this.#owner.client.holdBody()
    // Every byte sent gives the backend its whole time again; one that takes no more of a body has less: nobody reads
    // from the client meanwhile, so that its leaving would not be noticed either.
    const { responseTimeoutMs, streamIdleTimeoutMs } = this.#target
    if (this.#stage === Stage.WAITING) {
      this.#isUploadWatched = unsent > 0
      this.#lastWritableLength = unsent
    }
    upstream.timer.arm(this.#stage === Stage.WAITING && unsent === 0 ? responseTimeoutMs : streamIdleTimeoutMs)
  }

  onRequestEnd(needsFinalCrLf: boolean): void {
    // Trailers are not forwarded: an HTTP/1.1 backend may merge them into its head, behind the owner's header policy.
    if (!needsFinalCrLf || this.#upstream === null) return
    const text = `${this.#requestText}\r\n`
    this.#requestText = ''
    this.#writeRequest(this.#upstream, text)
  }

  onRequestMalformed(detail: string): void {
    this.#failClient(400, detail, { kind: 'client-malformed', detail })
  }

  onRequestStalled(): void {
    this.#failClient(408, 'the request body took too long', { kind: 'client-stalled', phase: 'request-body' })
  }

  // The response, from the backend.

  onConnected(): void {
    if (this.#upstream !== null) this.#send(this.#upstream)
  }

  onInterim(head: ResponseHead): void {
    const { client } = this.#owner
    if (this.#owner.head.minorVersion === 0) return
    if (head.status === 100) {
      if (client.body.hasSentContinue) return
      client.body.hasSentContinue = true
    }
    client.writeText(`${renderResponseHead(head, this.#owner.context.policy, '')}\r\n`)
  }

  onHead(head: ResponseHead): void {
    const { status } = head
    const target = this.#target
    const isUpgrade = status === 101
    if (isUpgrade && !(this.#owner.head.isUpgrade && head.hasUpgrade)) {
      this.#failBeforeResponse('unexpected-upgrade', 'status 101 without an upgrade that was asked for')
      return
    }
    this.#status = status
    this.#stage = Stage.STREAMING
    target.onResponseHead?.(status, head.get, head.scanner.fieldCount)
    // The callback may have aborted the exchange.
    const upstream = this.#upstream
    if (upstream === null) return
    const text = renderResponseHead(head, this.#owner.context.policy, settleResponseLines(target, head))
    this.#owner.client.hasResponseStarted = true
    if (isUpgrade) {
      this.#owner.client.writeText(`${text}connection: upgrade\r\nupgrade: ${head.upgradeProtocol}\r\n\r\n`)
      this.#openTunnel(upstream, head.upgradeProtocol)
      return
    }
    this.#responseText = `${text}${this.#responseFraming(head, upstream)}\r\n`
    upstream.timer.arm(target.streamIdleTimeoutMs)
  }

  onBody(bytes: Buffer, start: number, end: number): void {
    const upstream = this.#upstream
    if (upstream === null) return
    if (this.#responseText.length + end - start <= TEXT_WRITE_BYTES_MAX) {
      this.#responseText += bytes.toString('latin1', start, end)
      return
    }
    const { client } = this.#owner
    const text = this.#responseText
    this.#responseText = ''
    if (upstream.isBulk(bytes)) this.#writeBulk(upstream, text, { memory: bytes, start, end })
    else client.writePair(text, Buffer.from(bytes.subarray(start, end)))
  }

  onTunnelBytes(): void {}

  onReadDone(): void {
    const upstream = this.#upstream
    if (upstream === null || this.#stage !== Stage.STREAMING) return
    const { client, context } = this.#owner
    this.#flush()
    upstream.timer.arm(this.#target.streamIdleTimeoutMs)
    if (client.writableLength > context.limits.writeBufferBytesMax) {
      this.#lastWritableLength = client.writableLength
      upstream.pause()
    }
  }

  onEnd(): void {
    const upstream = this.#upstream
    if (upstream === null || this.#stage !== Stage.STREAMING) return
    const { decoder } = upstream
    if (decoder.framing === Framing.CHUNKED && !this.#isPayloadOnly && !decoder.hasRelayedEnd) {
      decoder.forEachTrailer((name, value, code) => {
        if (code === FieldCode.OTHER) this.#responseText += `${name}: ${value}\r\n`
      })
      this.#responseText += '\r\n'
    }
    this.#flush()
    this.#complete(upstream)
  }

  onDrain(): void {
    this.#owner.client.releaseBody()
  }

  onBroken(cause: UpstreamFailure): void {
    const { upstreamBytes, wasReused } = this.#forgetUpstream()
    if (this.#stage === Stage.CONNECTING) {
      if (this.#hasRetried) this.#failBeforeResponse('closed', cause.detail)
      else if (cause.detail === 'ECONNREFUSED') this.#notSent('refused', cause.detail)
      else this.#notSent('connect-error', cause.detail)
    } else if (this.#stage === Stage.WAITING) {
      const isStale = wasReused && upstreamBytes === 0 && this.#replayText !== null
      if (isStale && this.#canReplay(cause)) this.#retry()
      else if (isStale && cause.syscall === 'write') this.#notSent('stale', cause.detail)
      else if (cause.kind === 'malformed') this.#failBeforeResponse('malformed-response', cause.detail)
      else this.#failBeforeResponse(cause.kind === 'closed' ? 'closed' : 'reset', cause.detail)
    } else if (this.#stage === Stage.STREAMING) {
      this.#failMidResponse(cause.detail)
    }
  }

  onTimeout(): void {
    const upstream = this.#upstream
    if (upstream === null) return
    if (this.#stage === Stage.CONNECTING) {
      if (this.#hasRetried) this.#failBeforeResponse('closed', 'connect timeout of the retry')
      else this.#notSent('connect-timeout', 'ETIMEDOUT')
    } else if (this.#stage === Stage.WAITING) {
      this.#onResponseTimer(upstream)
    } else if (this.#stage === Stage.STREAMING) {
      this.#onStreamTimer(upstream)
    }
  }

  // Sending.

  #connect(): void {
    const { host, port, connectTimeoutMs } = this.#target
    this.#stage = Stage.CONNECTING
    this.#upstream = this.#pool.connect(host, port, connectTimeoutMs, this)
  }

  #send(upstream: UpstreamConnection): void {
    const { client, head, context } = this.#owner
    const { host, port, requestTarget, extraRequestHead, responseTimeoutMs } = this.#target
    // An HTTP/1.0 client knows no chunks: it gets the payload and the end of the connection.
    this.#isPayloadOnly = head.minorVersion === 0
    this.#upstream = upstream
    this.#stage = Stage.WAITING
    upstream.begin(this, { isHeadRequest: head.method === 'HEAD', payloadOnly: this.#isPayloadOnly })
    upstream.timer.arm(responseTimeoutMs)
    if (this.#replayText !== null) {
      upstream.writeText(this.#replayText)
      client.releaseBody()
      return
    }
    // Only an HTTP/1.0 request may come without a host.
    const authority = head.authority === '' ? renderAuthority(host, port) : head.authority
    this.#requestText = renderRequestHead(
      head,
      client.scanner,
      context.policy,
      extraRequestHead,
      authority,
      requestTarget,
    )
    if (!client.body.isComplete) client.attachSink(this)
    if (this.#requestText !== '' && this.#upstream === upstream) {
      const text = this.#requestText
      this.#requestText = ''
      this.#writeRequest(upstream, text)
    }
    if (head.mustContinueSelf) client.sendContinue()
  }

  #writeRequest(upstream: UpstreamConnection, text: string): void {
    this.#replayText = this.#requestWrites === 0 ? text : null
    this.#requestWrites += 1
    upstream.writeText(text)
  }

  /**
   * A stale connection is replaced unseen when the method may be repeated. Otherwise only when the kernel refused the
   * write (nothing was sent), and only when the body is already in our hands: else the owner had better choose anew.
   */
  #canReplay(cause: UpstreamFailure): boolean {
    const { client, head } = this.#owner
    if (this.#hasRetried) return false
    return IDEMPOTENT_METHODS.has(head.method) || (cause.syscall === 'write' && client.body.hasBeenTaken)
  }

  #retry(): void {
    this.#hasRetried = true
    this.#owner.context.staleRetriesTotal += 1
    if (!this.#owner.client.body.isComplete) this.#owner.client.holdBody()
    this.#connect()
  }

  // Receiving.

  /** Decides how the client learns where the response ends, and renders it. */
  #responseFraming(head: ResponseHead, upstream: UpstreamConnection): string {
    const { client } = this.#owner
    const { minorVersion } = this.#owner.head
    const { framing } = upstream.decoder
    this.#isCloseDelimited = framing === Framing.UNTIL_CLOSE || (framing === Framing.CHUNKED && this.#isPayloadOnly)
    const keepAlive = client.settleKeepAlive(!this.#isCloseDelimited)
    const chunked = framing === Framing.CHUNKED && !this.#isPayloadOnly ? 'transfer-encoding: chunked\r\n' : ''
    return head.status >= 200 ? chunked + renderConnection(keepAlive, minorVersion) : ''
  }

  #flush(): void {
    if (this.#responseText === '') return
    const text = this.#responseText
    this.#responseText = ''
    this.#owner.client.writeText(text)
  }

  /** Without a copy: what the kernel does not take at once keeps the memory until it does. */
  #writeBulk(upstream: UpstreamConnection, text: string, range: { memory: Buffer; start: number; end: number }): void {
    const { client, context } = this.#owner
    const { memory, start, end } = range
    let isGivenAway = false
    client.writePair(text, memory.subarray(start, end), error => {
      if (isGivenAway && !error) context.bulkBuffers.giveBack(memory)
    })
    if (client.writableLength === 0) return
    isGivenAway = true
    upstream.giveBulkAway()
  }

  #openTunnel(upstream: UpstreamConnection, protocol: string): void {
    const { client, context } = this.#owner
    const { tunnelIdleTimeoutMs, streamIdleTimeoutMs } = this.#target
    client.keepAlive = false
    this.#stage = Stage.TUNNEL
    this.#tunnel = new Tunnel({
      client,
      upstream,
      idleTimeoutMs: tunnelIdleTimeoutMs ?? streamIdleTimeoutMs,
      context,
      protocol,
      onEnd: end => this.#onTunnelOver(upstream, end),
    })
    client.enterTunnel()
    if (context.isDraining) this.#tunnel.close('drain')
  }

  #onTunnelOver(upstream: UpstreamConnection, tunnelEnd: TunnelEnd): void {
    const { client } = this.#owner
    const requestBytes = client.body.requestBytes
    this.#report(
      { kind: 'completed', status: 101, requestBytes, responseBytes: upstream.responseBytes, tunnelEnd },
      true,
    )
    client.finishExchange()
  }

  #complete(upstream: UpstreamConnection): void {
    const { client } = this.#owner
    const responseBytes = upstream.responseBytes
    this.#upstream = null
    if (client.body.isComplete && upstream.writableLength === 0) this.#pool.release(upstream)
    else upstream.destroy()
    this.#report(
      { kind: 'completed', status: this.#status, requestBytes: client.body.requestBytes, responseBytes },
      true,
    )
    client.finishExchange()
  }

  // Timeouts.

  #onResponseTimer(upstream: UpstreamConnection): void {
    const { client } = this.#owner
    const { responseTimeoutMs, streamIdleTimeoutMs } = this.#target
    if (upstream.writableLength > 0) {
      if (upstream.writableLength === this.#lastWritableLength) {
        this.#failBeforeResponse('request-stalled', 'the backend stopped reading the request body')
        return
      }
      this.#lastWritableLength = upstream.writableLength
      upstream.timer.arm(streamIdleTimeoutMs)
      return
    }
    const awaitsContinue = client.body.awaitsContinue
    if (this.#isUploadWatched || (!client.body.isComplete && !awaitsContinue)) {
      // All is sent, or the client is the slow one; its body rate is watched elsewhere.
      this.#isUploadWatched = false
      upstream.timer.arm(responseTimeoutMs)
      return
    }
    client.detachSink()
    this.#report({ kind: 'response-timeout' }, false)
  }

  #onStreamTimer(upstream: UpstreamConnection): void {
    const { client } = this.#owner
    if (!upstream.isPaused) {
      this.#failMidResponse(`no bytes from the backend for ${this.#target.streamIdleTimeoutMs} ms`)
      return
    }
    if (client.writableLength !== this.#lastWritableLength) {
      this.#lastWritableLength = client.writableLength
      upstream.timer.arm(this.#target.streamIdleTimeoutMs)
      return
    }
    this.#report({ kind: 'client-stalled', phase: 'response' }, true)
    client.breakOff(true)
  }

  // Endings.

  #clientPhase(): ClientPhase {
    if (this.#stage === Stage.STREAMING) return 'response'
    return this.#owner.client.body.isComplete ? 'waiting' : 'request-body'
  }

  #notSent(reason: NotSentReason, code: string): void {
    this.#owner.client.detachSink()
    this.#report({ kind: 'not-sent', reason, code }, false)
  }

  #failBeforeResponse(reason: FailureReason, detail: string): void {
    const { client, head } = this.#owner
    client.detachSink()
    const retryable = !client.body.hasBeenTaken && IDEMPOTENT_METHODS.has(head.method)
    this.#report({ kind: 'failed-before-response', reason, detail, retryable }, false)
  }

  #failMidResponse(detail: string): void {
    const { client } = this.#owner
    this.#flush()
    this.#report({ kind: 'failed-mid-response', status: this.#status, detail }, true)
    client.breakOff(this.#isCloseDelimited)
  }

  #failClient(status: number, message: string, outcome: Outcome): void {
    const { client, head } = this.#owner
    this.#report(outcome, true)
    if (client.hasResponseStarted) client.breakOff(this.#isCloseDelimited)
    else client.refuse(status, message, head)
  }

  #forgetUpstream(): { upstreamBytes: number; wasReused: boolean } {
    const upstream = this.#upstream
    this.#upstream = null
    return { upstreamBytes: upstream?.responseBytes ?? 0, wasReused: upstream?.isReused ?? false }
  }

  /** The one place where a forwarding ends. */
  #report(outcome: Outcome, isExchangeOver: boolean): void {
    if (this.#stage === Stage.OVER) return
    this.#stage = Stage.OVER
    this.#upstream?.destroy()
    this.#upstream = null
    this.#owner.onForwardingOver(isExchangeOver)
    try {
      this.#target.onOutcome(outcome)
    } catch (error) {
      this.#owner.context.log.error({ error: String(error), outcome: outcome.kind }, 'onOutcome threw')
    }
  }
}

function renderAuthority(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
