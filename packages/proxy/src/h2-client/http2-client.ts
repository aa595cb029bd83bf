import type { Socket } from 'node:net'
import { ClientSocket, type SocketListener } from '../client-socket.ts'
import type { ClientPeer } from '../connection-owner.ts'
import type { EngineContext } from '../engine-context.ts'
import {
  Http2Connection,
  type Http2ConnectionEnd,
  type Http2ConnectionOwner,
  type Http2Stream,
  type Http2StreamHandler,
  SocketIo,
} from '../h2/index.ts'
import { Http2ClientStream } from './http2-client-stream.ts'
import { Http2Exchange, type Http2Peer } from './http2-exchange.ts'

/** Who hears of a client's streams and of its end. */
export interface Http2ClientOwner {
  readonly context: EngineContext
  startHttp2Exchange(exchange: Http2Exchange): void
  forget(peer: ClientPeer): void
}

/** One client's HTTP/2 connection: each of its streams is an exchange. */
export class Http2Client implements SocketListener, Http2ConnectionOwner, ClientPeer, Http2Peer {
  readonly #owner: Http2ClientOwner
  readonly #clientSocket: ClientSocket
  readonly #socket: Socket
  readonly #connection: Http2Connection
  #isClosed = false

  /** @param clientSocket of a connection that turned out to be ours; or a socket of which that is known */
  constructor(owner: Http2ClientOwner, clientSocket: ClientSocket | Socket) {
    const { context } = owner
    this.#owner = owner
    this.#clientSocket =
      clientSocket instanceof ClientSocket
        ? clientSocket
        : new ClientSocket(clientSocket, this, { readBuffer: null, directWrites: null })
    this.#socket = this.#clientSocket.handOver(this)
    this.#connection = new Http2Connection({
      role: 'server',
      io: new SocketIo(this.#socket),
      clock: context.http2Clock,
      scheduler: context.turns,
      limits: context.http2ClientLimits,
      allowsConnectProtocol: true,
      owner: this,
    })
    this.#connection.start()
    if (context.isDraining) this.#connection.shutdown()
  }

  get remoteAddress(): string {
    return this.#clientSocket.remoteAddress
  }

  get localPort(): number {
    return this.#clientSocket.localPort
  }

  get isSecure(): boolean {
    return this.#clientSocket.isSecure
  }

  get bufferedBytes(): number {
    return this.#clientSocket.bufferedBytes + this.#connection.heldBytes
  }

  /** Lets streams finish and takes no new ones; WebSockets, which would not finish by themselves, are closed. */
  drain(): void {
    this.#connection.shutdown()
    for (const { handler } of this.#connection.streams) {
      if (handler instanceof Http2ClientStream) handler.drainTunnel()
    }
  }

  destroy(): void {
    this.#connection.destroy('closed by the proxy')
    this.onGone()
  }

  /** Bytes that came before the connection was known to be ours. */
  receive(bytes: Buffer, start: number, end: number): void {
    this.#connection.receive(bytes, start, end)
  }

  // What the socket tells.

  onBytes(bytes: Buffer, length: number): void {
    this.#connection.receive(bytes, 0, length)
  }

  /** HTTP/2 has END_STREAM for "finished sending": who closes the connection is gone. */
  onEndOfInput(): void {
    if (!this.#connection.isOver) this.#connection.transportClosed('connection closed')
  }

  onDrain(): void {
    this.#connection.drained()
  }

  onGone(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#connection.transportClosed('connection closed')
    this.#socket.destroy()
    this.#owner.forget(this)
  }

  // What the connection tells.

  onRequest(stream: Http2Stream, isEnd: boolean): Http2StreamHandler {
    const exchange = new Http2Exchange(this.#owner.context, this, stream, isEnd)
    // Set before the owner is told: it may answer or fail at once.
    stream.handler = exchange.relayClient
    this.#owner.startHttp2Exchange(exchange)
    return exchange.relayClient
  }

  onRefused(): void {
    this.#owner.context.refusedTotal += 1
  }

  onCapacity(): void {}

  onClosed(end: Http2ConnectionEnd): void {
    if (end.by === 'us' && end.code !== 0) {
      const { log } = this.#owner.context
      log.debug({ code: end.code, detail: end.detail, client: this.remoteAddress }, 'closed an HTTP/2 connection')
    }
  }
}
