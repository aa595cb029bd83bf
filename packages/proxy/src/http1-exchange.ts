import { BodyReader } from './body-reader.ts'
import type { ClientConnection } from './client-connection.ts'
import type { EngineContext } from './engine-context.ts'
import type { Exchange, ForwardTarget, OwnResponse, StreamWriter } from './exchange.ts'
import type { ExchangeForwarding } from './exchange-forwarding.ts'
import type { ExchangeSide } from './exchange-side.ts'
import { Forwarding, type ForwardingOwner } from './forwarding.ts'
import type { H1RequestHead } from './h1/request-head.ts'
import { renderConnection, renderOwnHead } from './own-response.ts'
import { type PieceSink, PieceWriter } from './piece-writer.ts'
import { Http1ClientSide } from './relay/http1-client-side.ts'
import { openUpstreamSide } from './relay/open-upstream-side.ts'
import { Relay } from './relay/relay.ts'

const NO_BODY = Buffer.alloc(0)
/** Up to here an answer goes out as one string. */
const TEXT_BODY_BYTES_MAX = 8 * 1024

/** The exchange of an HTTP/1.x client. */
export class Http1Exchange implements Exchange, ExchangeSide, ForwardingOwner {
  readonly client: ClientConnection
  readonly head: H1RequestHead
  readonly context: EngineContext
  readonly arrivedAtMs: number
  onClientGone: (() => void) | null = null
  isFinished = false
  #forwarding: ExchangeForwarding | null = null
  #reader: BodyReader | null = null
  #stream: PieceWriter | null = null

  constructor(client: ClientConnection, head: H1RequestHead) {
    this.client = client
    this.head = head
    this.context = client.context
    this.arrivedAtMs = client.context.clock.nowMs()
  }

  get remoteAddress(): string {
    return this.client.remoteAddress
  }

  get localPort(): number {
    return this.client.localPort
  }

  get isSecure(): boolean {
    return this.client.isSecure
  }

  forward(target: ForwardTarget): void {
    if (this.isFinished) {
      target.onOutcome({ kind: 'client-gone', phase: 'waiting' })
      return
    }
    if (this.#forwarding !== null || this.client.body.hasBeenTaken) {
      throw new Error(
        'forward() while another forward is in progress, or after the request body was consumed: answer with respond()',
      )
    }
    if (target.protocol === 'h2c' || target.protocol === 'h2') {
      this.#relay(target)
      return
    }
    const forwarding = new Forwarding(this, target)
    this.#forwarding = forwarding
    forwarding.start()
  }

  respond(response: OwnResponse): void {
    if (!this.#claim()) return
    const { client, head } = this
    const body = toBytes(response.body)
    const isBodyless = response.status === 204 || response.status === 304
    const framing = isBodyless ? '' : `content-length: ${body.length}\r\n`
    const text = this.#renderHead(response, framing, true)
    this.isFinished = true
    client.hasResponseStarted = true
    if (isBodyless || head.method === 'HEAD' || body.length === 0) client.writeText(text)
    else if (body.length <= TEXT_BODY_BYTES_MAX) client.writeText(text + body.toString('latin1'))
    else client.writePair(text, body)
    client.finishExchange()
  }

  respondStream(response: Omit<OwnResponse, 'body'>): StreamWriter {
    const { client, head } = this
    const isClaimed = this.#claim()
    const isBodyless = head.method === 'HEAD' || response.status === 204 || response.status === 304
    const isChunked = head.minorVersion === 1
    const stream = new PieceWriter({
      sink: piecesOf(client, isChunked, isBodyless),
      isBodyless,
      bufferBytesMax: this.context.limits.streamBufferBytesMax,
      onEnd: () => {
        this.isFinished = true
        client.finishExchange()
      },
      onStalled: () => {
        this.isFinished = true
        client.breakOff(true)
      },
    })
    if (!isClaimed) {
      queueMicrotask(() => stream.gone())
      return stream
    }
    const framing = isChunked && response.status !== 204 ? 'transfer-encoding: chunked\r\n' : ''
    const text = this.#renderHead(response, framing, isChunked)
    this.#stream = stream
    client.hasResponseStarted = true
    client.writeText(text)
    return stream
  }

  readBody(limitBytes: number): Promise<Uint8Array> {
    const { client, head } = this
    const reader = new BodyReader(limitBytes, (isUnusable, status, message) => {
      this.#reader = null
      client.detachSink()
      if (!isUnusable) return
      this.isFinished = true
      client.refuse(status, message, head)
    })
    if (this.isFinished) reader.failClientGone()
    else if (this.#forwarding !== null) throw new Error('readBody() while a forward is in progress')
    else if (client.body.isComplete) reader.onRequestEnd()
    else if (head.contentLength > limitBytes) reader.failTooLarge()
    else {
      this.#reader = reader
      client.attachSink(reader)
      if (!client.body.isComplete && this.#reader === reader) client.sendContinue()
    }
    return reader.promise
  }

  abort(): void {
    if (this.isFinished) return
    this.isFinished = true
    this.#forwarding?.cancel()
    this.#reader?.failClientGone()
    this.client.breakOff(true)
    this.#stream?.gone()
  }

  onForwardingOver(isExchangeOver: boolean): void {
    this.#forwarding = null
    if (isExchangeOver) this.isFinished = true
  }

  onGone(): void {
    this.isFinished = true
    this.#forwarding?.onClientGone()
    this.#reader?.failClientGone()
    this.#stream?.gone()
    const { onClientGone } = this
    this.onClientGone = null
    onClientGone?.()
  }

  onDrain(): void {
    this.#forwarding?.onClientDrain()
    this.#stream?.drained()
  }

  onTunnelBytes(bytes: Buffer): void {
    this.#forwarding?.onClientTunnelBytes(bytes)
  }

  onTunnelEnd(): void {
    this.#forwarding?.onClientTunnelEnd()
  }

  closeTunnel(): void {
    this.#forwarding?.drainTunnel()
  }

  onTunnelDrain(): void {
    this.#forwarding?.drainTunnel()
  }

  /** To an HTTP/2 backend. */
  #relay(target: ForwardTarget): void {
    const { client, head, context } = this
    const relay = new Relay(
      {
        relayClient: new Http1ClientSide(client, head),
        head,
        context,
        onForwardingOver: isExchangeOver => this.onForwardingOver(isExchangeOver),
      },
      target,
    )
    this.#forwarding = relay
    relay.startOn(handler => openUpstreamSide(context, target, { head, scanner: client.scanner }, handler))
  }

  /** Makes the answer ours; false when it is too late for one. */
  #claim(): boolean {
    if (this.isFinished || this.#stream !== null) return false
    if (this.#forwarding !== null) {
      if (this.#forwarding.hasResponse) return false
      this.#forwarding.cancel()
    }
    this.#reader?.failClientGone()
    return !this.isFinished
  }

  #renderHead(response: Omit<OwnResponse, 'body'>, framing: string, isFramed: boolean): string {
    const { client, head, context } = this
    const keepAlive = client.settleKeepAlive(isFramed)
    const connection = renderConnection(keepAlive, head.minorVersion)
    return renderOwnHead(context, { status: response.status, headers: response.headers, framing, connection })
  }
}

function toBytes(body: string | Uint8Array | undefined): Buffer {
  if (body === undefined) return NO_BODY
  return typeof body === 'string' ? Buffer.from(body, 'utf8') : Buffer.from(body.buffer, body.byteOffset, body.length)
}

/** @param isChunked false for HTTP/1.0: plain bytes until close */
function piecesOf(client: ClientConnection, isChunked: boolean, isBodyless: boolean): PieceSink {
  return {
    get writableLength() {
      return client.writableLength
    },
    writePiece: bytes => {
      if (isChunked) client.writeChunk(bytes)
      else client.writeBytes(bytes)
      return client.writableLength === 0
    },
    endPieces: () => {
      if (isChunked && !isBodyless) client.writeText('0\r\n\r\n')
    },
  }
}
