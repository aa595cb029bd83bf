import { createServer, type Server, type Socket } from 'node:net'
import type { AdoptedClient } from './adopted-client.ts'
import { ClientConnection } from './client-connection.ts'
import type { ClientSocket } from './client-socket.ts'
import { systemClock } from './clock.ts'
import type { ClientPeer, ConnectionOwner } from './connection-owner.ts'
import { findDirectWrites } from './direct-writes.ts'
import { EngineContext } from './engine-context.ts'
import type { Exchange } from './exchange.ts'
import type { ExchangeSide } from './exchange-side.ts'
import { compilePolicy } from './h1/compiled-policy.ts'
import type { H1RequestHead } from './h1/request-head.ts'
import { Http2Client } from './h2-client/http2-client.ts'
import type { Http2Exchange } from './h2-client/http2-exchange.ts'
import { Http2UpstreamPool } from './h2-upstream/http2-pool.ts'
import { Http1Exchange } from './http1-exchange.ts'
import { DEFAULT_LIMITS } from './limits.ts'
import type { ListenOptions, ProxyServer, ProxyServerOptions, ProxyStats, RenderError } from './proxy-server.ts'
import { supportsStaticReads } from './static-reads.ts'
import { TimerWheel } from './timer-wheel.ts'
import { type Certificates, TlsListener, type TlsTerms } from './tls/tls-listener.ts'
import { UpstreamPool } from './upstream-pool.ts'

/** Connections the kernel holds for us while we are busy; the kernel's own limit (somaxconn) may be lower. */
const LISTEN_BACKLOG = 4096

/**
 * Listening sockets of a shared port. libuv accepts one connection a turn and socket: a busy process, whose turns take
 * milliseconds, would let new clients wait for seconds while old ones are served.
 */
const ACCEPTORS = 8

const plainError: RenderError = (status, message) => ({
  headers: [['content-type', 'text/plain; charset=utf-8']],
  body: `${status}: ${message}\n`,
})

/** Makes a proxy engine. It owns its sockets, pool and timers until `close` resolves. */
export function createProxyServer(options: ProxyServerOptions): ProxyServer {
  return new NetProxyServer(options)
}

class NetProxyServer implements ProxyServer, ConnectionOwner {
  readonly context: EngineContext
  readonly #servers = new Set<Server>()
  readonly #tlsListeners = new Set<TlsListener>()
  readonly #connections = new Set<ClientPeer>()
  #onEmpty: (() => void) | null = null

  constructor(options: ProxyServerOptions) {
    const clock = options.clock ?? systemClock
    this.context = new EngineContext({
      limits: { ...DEFAULT_LIMITS, ...options.limits },
      policy: compilePolicy(options.headerPolicy),
      clock,
      wheel: new TimerWheel(clock),
      log: options.log,
      renderError: options.renderError ?? plainError,
      onExchange: options.onExchange,
      upstreamTls: options.upstreamTls ?? {},
      http2Limits: options.http2Limits ?? {},
      onRefusal: options.onRefusal,
    })
    this.context.pool = new UpstreamPool(this.context, undefined)
    this.context.securePool = new UpstreamPool(this.context, this.context.upstreamTls)
    this.context.http2Pool = new Http2UpstreamPool(this.context)
  }

  async listen(options: ListenOptions): Promise<{ readonly port: number }> {
    const { context } = this
    const [hasStaticReads, directWrites] = await Promise.all([supportsStaticReads(), findDirectWrites()])
    context.hasStaticReads = hasStaticReads
    context.directWrites = directWrites
    if (directWrites === null) context.log.warn({}, 'sockets are written the slower way: this Node has no other')
    if (!context.hasStaticReads) context.log.warn({}, 'client sockets read the slower way: this Node has no other')
    const createServer = this.#acceptorsOf(options.tls)
    const port = await this.#listenOnce(createServer(), options)
    const count = options.reusePort === true ? ACCEPTORS : 1
    for (let at = 1; at < count; at++) await this.#listenOnce(createServer(), { ...options, port })
    return { port }
  }

  /** Makes listening sockets of one port; those for TLS share certificates and limits. */
  #acceptorsOf(tls: TlsTerms | undefined): () => Server {
    if (tls === undefined) return () => this.#createPlainServer()
    const listener = this.#createTlsListener(tls)
    return () => listener.createAcceptor()
  }

  async #listenOnce(server: Server, options: ListenOptions): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject)
    server.listen(
      { host: options.host, port: options.port, backlog: LISTEN_BACKLOG, reusePort: options.reusePort ?? false },
      resolve,
    )
    await promise
    server.off('error', reject)
    server.on('error', error => this.context.log.error({ error: error.message }, 'listening socket failed'))
    this.#servers.add(server)
    const address = server.address()
    return typeof address === 'object' && address !== null ? address.port : options.port
  }

  setCertificates(certificates: Certificates): void {
    for (const listener of this.#tlsListeners) listener.setCertificates(certificates)
  }

  drain(): void {
    if (this.context.isDraining) return
    this.context.isDraining = true
    for (const server of this.#servers) server.close()
    for (const listener of this.#tlsListeners) listener.close()
    for (const connection of [...this.#connections]) connection.drain()
    this.#closeUpstreams('idle')
  }

  async close(deadlineMs: number): Promise<void> {
    this.drain()
    if (this.#connections.size > 0) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#onEmpty = resolve
      // The caller's deadline: a plain timer, since there is one per server and it must be exact.
      const deadline = setTimeout(() => {
        for (const connection of [...this.#connections]) connection.destroy()
      }, deadlineMs)
      await promise
      clearTimeout(deadline)
    }
    this.#closeUpstreams('all')
    this.context.wheel.stop()
  }

  closeUpstream(host: string, port: number): void {
    const { pool, securePool, http2Pool } = this.context
    for (const each of [pool, securePool, http2Pool]) each.closeTarget(host, port)
  }

  stats(): ProxyStats {
    const { context } = this
    const pools = [context.pool, context.securePool, context.http2Pool]
    let bufferedBytes = sum(pools, pool => pool.bufferedBytes)
    let tlsHandshakes = 0
    let tlsHandshakesFailedTotal = 0
    for (const { pending, failedTotal } of this.#tlsListeners) {
      tlsHandshakes += pending
      tlsHandshakesFailedTotal += failedTotal
    }
    for (const connection of this.#connections) bufferedBytes += connection.bufferedBytes
    return {
      clientConnections: this.#connections.size,
      activeExchanges: context.activeExchanges,
      upstreamConnections: sum(pools, pool => pool.openCount),
      upstreamIdle: sum(pools, pool => pool.idleCount),
      requestsTotal: context.requestsTotal,
      refusedTotal: context.refusedTotal,
      upstreamConnectsTotal: context.upstreamConnectsTotal,
      upstreamReusedTotal: context.upstreamReusedTotal,
      staleRetriesTotal: context.staleRetriesTotal,
      droppedConnectionsTotal: context.droppedConnectionsTotal,
      tlsHandshakes,
      tlsHandshakesFailedTotal,
      bufferedBytes,
    }
  }

  createExchange(connection: ClientConnection, head: H1RequestHead): ExchangeSide {
    return new Http1Exchange(connection, head)
  }

  startExchange(side: ExchangeSide): void {
    this.#start(side as Http1Exchange)
  }

  startHttp2Exchange(exchange: Http2Exchange): void {
    this.#start(exchange)
  }

  #start(exchange: Exchange): void {
    try {
      this.context.onExchange(exchange)
    } catch (error) {
      this.context.log.error({ error: String(error), path: exchange.head.path }, 'onExchange threw')
      exchange.respond({ status: 500, headers: [['content-type', 'text/plain']], body: 'Internal error\n' })
    }
  }

  becomeHttp2(connection: ClientConnection, socket: ClientSocket): Http2Client {
    this.#connections.delete(connection)
    const client = new Http2Client(this, socket)
    this.#connections.add(client)
    return client
  }

  forget(peer: ClientPeer): void {
    this.#connections.delete(peer)
    if (this.#connections.size === 0) this.#onEmpty?.()
  }

  #createPlainServer(): Server {
    const { context } = this
    return createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, socket =>
      this.adoptClient(socket, { protocol: 'plain', readsStatically: context.hasStaticReads }),
    )
  }

  #createTlsListener(terms: TlsTerms): TlsListener {
    const { limits, log } = this.context
    const listener: TlsListener = new TlsListener({
      terms,
      protocols: ['h2', 'http/1.1'],
      handshakeTimeoutMs: limits.handshakeTimeoutMs,
      handshakesMax: limits.handshakesMax,
      log,
      hasRoom: () =>
        !this.context.isDraining && this.#connections.size + listener.pending < limits.clientConnectionsMax,
      onDropped: () => {
        this.context.droppedConnectionsTotal += 1
      },
      onSecure: socket =>
        this.adoptClient(socket, {
          protocol: socket.alpnProtocol === 'h2' ? 'h2' : 'http/1.1',
          readsStatically: false,
        }),
    })
    this.#tlsListeners.add(listener)
    return listener
  }

  /** The one way in for accepted connections, whichever listener they come from. */
  adoptClient(socket: Socket, { protocol, readsStatically }: AdoptedClient): void {
    if (this.context.isDraining || this.#connections.size >= this.context.limits.clientConnectionsMax) {
      this.context.droppedConnectionsTotal += 1
      socket.on('error', () => undefined)
      socket.destroy()
      return
    }
    if (protocol === 'h2') this.#connections.add(new Http2Client(this, socket))
    else this.#connections.add(new ClientConnection(this, socket, readsStatically))
  }

  #closeUpstreams(scope: 'idle' | 'all'): void {
    const { pool, securePool, http2Pool } = this.context
    for (const each of [pool, securePool, http2Pool]) each.closeAll(scope)
  }
}

function sum<T>(items: readonly T[], figure: (item: T) => number): number {
  return items.reduce((total, item) => total + figure(item), 0)
}
