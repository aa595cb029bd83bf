import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { EngineContext } from '../engine-context.ts'
import { Http2Connection, type Http2ConnectionEnd, type Http2StreamHandler, SocketIo } from '../h2/index.ts'
import { connectEventOf, openUpstreamSocket, type UpstreamTls } from '../upstream-socket.ts'

/** Who owns an upstream connection: the pool's entry for its backend. */
export interface Http2UpstreamOwner {
  /** Streams may be opened that could not be before. */
  onCapacity(): void
  /** No stream will be opened on it any more. */
  onClosing(upstream: Http2Upstream): void
  /** The socket is closed. `isNew`: it never got as far as a connection. */
  onClosed(upstream: Http2Upstream, failure: UpstreamSocketFailure | null): void
}

/** Why a connection could not be made. */
export interface UpstreamSocketFailure {
  readonly code: string
}

/** One HTTP/2 connection to a backend, with any number of requests at once. */
export class Http2Upstream {
  readonly #context: EngineContext
  readonly #owner: Http2UpstreamOwner
  readonly #socket: Socket
  readonly connection: Http2Connection
  isConnected = false
  /** Has carried a stream to its end: it was alive once. */
  hasServed = false
  #isClosed = false
  #failure: UpstreamSocketFailure | null = null
  #isClosingTold = false

  constructor(
    context: EngineContext,
    owner: Http2UpstreamOwner,
    backend: { readonly host: string; readonly port: number; readonly tls: UpstreamTls | undefined },
  ) {
    this.#context = context
    this.#owner = owner
    const { readBuffer } = context
    this.#socket = openUpstreamSocket({
      ...backend,
      alpn: 'h2',
      onread: {
        buffer: readBuffer,
        callback: length => {
          this.connection.receive(readBuffer, 0, length)
          return true
        },
      },
    })
    this.connection = new Http2Connection({
      role: 'client',
      io: new SocketIo(this.#socket),
      clock: context.http2Clock,
      scheduler: context.turns,
      limits: context.http2UpstreamLimits,
      owner: {
        onRequest: () => NOBODY,
        onRefused: () => {},
        onCapacity: () => this.#onCapacity(),
        onClosed: end => this.#onEnd(end),
      },
    })
    this.#listen(backend.tls)
  }

  /** A request may be sent on it now. */
  get canRequest(): boolean {
    return (
      this.isConnected &&
      this.connection.canRequest &&
      this.connection.streamCount < this.#context.limits.upstreamStreamsPerConnectionMax
    )
  }

  /** It carries requests or may come to. */
  get isClosing(): boolean {
    return this.#isClosed || this.connection.isClosing
  }

  get bufferedBytes(): number {
    return this.connection.heldBytes + this.#socket.writableLength
  }

  /** Finishes what is under way and closes. */
  shutdown(): void {
    if (this.isConnected) this.connection.shutdown()
    else this.destroy()
  }

  destroy(): void {
    this.connection.destroy('closed by the proxy')
    this.#close()
  }

  #listen(tls: UpstreamTls | undefined): void {
    const socket = this.#socket
    const { connection } = this
    socket.once(connectEventOf(tls), () => {
      if (this.#isClosed) return
      if (tls !== undefined && (socket as TLSSocket).alpnProtocol === 'http/1.1') {
        this.#failure = { code: 'no HTTP/2 by ALPN' }
        this.#close()
        return
      }
      this.isConnected = true
      connection.start()
      this.#owner.onCapacity()
    })
    socket.on('drain', () => connection.drained())
    socket.on('end', () => this.#onTransportEnd('connection closed'))
    socket.on('error', error => {
      const code = (error as NodeJS.ErrnoException).code ?? error.message
      if (!this.isConnected) this.#failure ??= { code }
      this.#onTransportEnd(code)
    })
    socket.on('close', () => {
      this.#onTransportEnd('connection closed')
      this.#close()
    })
  }

  /** A server that closes its side is gone: nothing more will be answered. */
  #onTransportEnd(detail: string): void {
    if (this.isConnected) this.connection.transportClosed(detail)
    this.#close()
  }

  #onCapacity(): void {
    if (this.connection.isClosing && !this.#isClosingTold) {
      this.#isClosingTold = true
      this.#owner.onClosing(this)
    } else if (this.isConnected) {
      this.#owner.onCapacity()
    }
  }

  #onEnd(_end: Http2ConnectionEnd): void {
    if (!this.#isClosingTold) {
      this.#isClosingTold = true
      this.#owner.onClosing(this)
    }
  }

  #close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#socket.destroy()
    const failure = this.isConnected ? null : (this.#failure ?? { code: 'ECONNRESET' })
    this.#owner.onClosed(this, failure)
  }
}

/** A client's connection gets no requests. */
const NOBODY: Http2StreamHandler = {
  onHead() {},
  onInterim() {},
  onData() {},
  onTrailers() {},
  onEnd() {},
  onReset() {},
  onDrain() {},
}
