import { BodyReader } from '../body-reader.ts'
import type { EngineContext } from '../engine-context.ts'
import type { Exchange, ForwardTarget, OwnResponse, StreamWriter } from '../exchange.ts'
import { ErrorCode, type Http2RequestHead, type Http2Stream, type StreamReset } from '../h2/index.ts'
import { PieceWriter } from '../piece-writer.ts'
import { openUpstreamSide } from '../relay/open-upstream-side.ts'
import { Relay, type RelayOwner } from '../relay/relay.ts'
import { type ClientStreamOwner, Http2ClientStream } from './http2-client-stream.ts'
import { renderOwnFields } from './own-fields.ts'

const NO_BODY = Buffer.alloc(0)

/** Where a stream came from. */
export interface Http2Peer {
  readonly remoteAddress: string
  readonly localPort: number
  readonly isSecure: boolean
}

/** The exchange of an HTTP/2 client: one stream. */
export class Http2Exchange implements Exchange, RelayOwner, ClientStreamOwner {
  readonly head: Http2RequestHead
  readonly context: EngineContext
  readonly relayClient: Http2ClientStream
  readonly arrivedAtMs: number
  onClientGone: (() => void) | null = null
  isFinished = false
  readonly #peer: Http2Peer
  #relay: Relay | null = null
  #reader: BodyReader | null = null
  #writer: PieceWriter | null = null

  constructor(context: EngineContext, peer: Http2Peer, stream: Http2Stream, isEnd: boolean) {
    this.context = context
    this.#peer = peer
    this.head = stream.request!
    this.relayClient = new Http2ClientStream(context, stream, isEnd, this)
    this.arrivedAtMs = context.clock.nowMs()
  }

  get remoteAddress(): string {
    return this.#peer.remoteAddress
  }

  get localPort(): number {
    return this.#peer.localPort
  }

  get isSecure(): boolean {
    return this.#peer.isSecure
  }

  forward(target: ForwardTarget): void {
    if (this.isFinished) {
      target.onOutcome({ kind: 'client-gone', phase: 'waiting' })
      return
    }
    if (this.#relay !== null || this.relayClient.hasBodyBeenTaken) {
      throw new Error(
        'forward() while another forward is in progress, or after the request body was consumed: answer with respond()',
      )
    }
    const relay = new Relay(this, target)
    this.#relay = relay
    relay.startOn(handler => openUpstreamSide(this.context, target, { head: this.head, scanner: null }, handler))
  }

  respond(response: OwnResponse): void {
    const fields = renderOwnFields(this.context, response)
    if (!this.#claim()) return
    this.isFinished = true
    this.relayClient.writeOwn(fields, toBytes(response.body))
    this.relayClient.finish()
  }

  respondStream(response: Omit<OwnResponse, 'body'>): StreamWriter {
    const fields = renderOwnFields(this.context, response)
    const isClaimed = this.#claim()
    const { stream } = this.relayClient
    const writer = new PieceWriter({
      sink: {
        get writableLength() {
          return stream.writableLength
        },
        writePiece: bytes => stream.sendData(bytes, 0, bytes.length),
        endPieces: () => stream.end(),
      },
      isBodyless: this.head.method === 'HEAD' || response.status === 204 || response.status === 304,
      bufferBytesMax: this.context.limits.streamBufferBytesMax,
      onEnd: () => {
        this.isFinished = true
        this.relayClient.finish()
      },
      onStalled: () => {
        this.isFinished = true
        this.relayClient.breakOff(ErrorCode.CANCEL)
      },
    })
    if (!isClaimed) {
      queueMicrotask(() => writer.gone())
      return writer
    }
    this.#writer = writer
    this.relayClient.hasResponseStarted = true
    stream.sendHead(fields, false)
    return writer
  }

  readBody(limitBytes: number): Promise<Uint8Array> {
    const client = this.relayClient
    const reader = new BodyReader(limitBytes, (isUnusable, status, message) => {
      this.#reader = null
      client.closeBody()
      if (!isUnusable) return
      this.isFinished = true
      client.refuse(status, message)
    })
    if (this.isFinished) reader.failClientGone()
    else if (this.#relay !== null) throw new Error('readBody() while a forward is in progress')
    else if (client.isRequestComplete) reader.onRequestEnd()
    else if (this.head.contentLength > limitBytes) reader.failTooLarge()
    else {
      this.#reader = reader
      client.openBody(reader)
      if (!client.isRequestComplete && this.#reader === reader) client.sendContinue()
    }
    return reader.promise
  }

  abort(): void {
    if (this.isFinished) return
    this.isFinished = true
    this.#relay?.cancel()
    this.#reader?.failClientGone()
    this.relayClient.breakOff(ErrorCode.INTERNAL_ERROR)
    this.#writer?.gone()
  }

  onForwardingOver(isExchangeOver: boolean): void {
    this.#relay = null
    if (isExchangeOver) this.isFinished = true
  }

  onStreamReset(reset: StreamReset): void {
    this.isFinished = true
    const relay = this.#relay
    if (reset.cause === 'malformed') relay?.onRequestMalformed(reset.detail)
    else if (reset.cause === 'stalled') relay?.onClientStalled()
    else relay?.onClientGone()
    this.#reader?.failClientGone()
    this.#writer?.gone()
    const { onClientGone } = this
    this.onClientGone = null
    onClientGone?.()
  }

  onStreamDrain(): void {
    this.#relay?.onClientDrain()
    this.#writer?.drained()
  }

  closeTunnel(): void {
    this.#relay?.drainTunnel()
  }

  onTunnelDrain(): void {
    this.#relay?.drainTunnel()
  }

  /** Makes the answer ours; false when it is too late for one. */
  #claim(): boolean {
    if (this.isFinished || this.#writer !== null) return false
    if (this.#relay !== null) {
      if (this.#relay.hasResponse) return false
      this.#relay.cancel()
    }
    this.#reader?.failClientGone()
    return !this.isFinished
  }
}

function toBytes(body: string | Uint8Array | undefined): Buffer {
  if (body === undefined) return NO_BODY
  return typeof body === 'string' ? Buffer.from(body, 'utf8') : Buffer.from(body.buffer, body.byteOffset, body.length)
}
