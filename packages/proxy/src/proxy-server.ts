import type { Logger } from '@waiter/base'
import type { Clock } from './clock.ts'
import type { Exchange, RequestHead } from './exchange.ts'
import type { Http2Limits } from './h2/index.ts'
import type { HeaderPolicy } from './header-policy.ts'
import type { ProxyLimits } from './limits.ts'
import type { Certificates, TlsTerms } from './tls/tls-listener.ts'
import type { UpstreamTls } from './upstream-socket.ts'

/** The page for an answer that the engine gives alone (malformed request, limits). Keep it small. */
export type RenderError = (
  status: number,
  message: string,
  head: RequestHead | null,
) => { readonly headers: readonly (readonly [name: string, value: string])[]; readonly body: string }

/** Bytes that were no acceptable request, and what they were answered. */
export interface Refusal {
  readonly status: number
  readonly message: string
  readonly remoteAddress: string
  readonly localPort: number
}

/** What a proxy server is made of. */
export interface ProxyServerOptions {
  readonly limits?: Partial<ProxyLimits>
  readonly headerPolicy: HeaderPolicy
  /** Called synchronously for every valid request. A throw answers 500 and is logged. */
  readonly onExchange: (exchange: Exchange) => void
  readonly log: Logger
  readonly renderError?: RenderError
  /** Told of every refusal for which there was no exchange, for whoever keeps a log. */
  readonly onRefusal?: (refusal: Refusal) => void
  readonly clock?: Clock
  /** How TLS toward backends is done. */
  readonly upstreamTls?: UpstreamTls
  /** Overrides what HTTP/2 connections, of clients and to backends, take from `limits` and their own defaults. */
  readonly http2Limits?: Partial<Http2Limits>
}

/** Counters and gauges; a fresh plain object per call. */
export interface ProxyStats {
  readonly clientConnections: number
  readonly activeExchanges: number
  readonly upstreamConnections: number
  readonly upstreamIdle: number
  readonly requestsTotal: number
  /** Requests the engine refused itself (malformed, too large, too slow). */
  readonly refusedTotal: number
  readonly upstreamConnectsTotal: number
  readonly upstreamReusedTotal: number
  readonly staleRetriesTotal: number
  readonly droppedConnectionsTotal: number
  /** Under way right now. */
  readonly tlsHandshakes: number
  readonly tlsHandshakesFailedTotal: number
  /** Bytes held in user space right now: unread input plus unsent output, both sides. */
  readonly bufferedBytes: number
}

/** Where to listen. Port 0 lets the system choose. */
export interface ListenOptions {
  readonly host: string
  readonly port: number
  /**
   * The port may be shared, by other processes and by several sockets of this one, balanced by the kernel (Node >= 23.1,
   * Linux). Whoever sets it makes sure that nobody else listens there.
   */
  readonly reusePort?: boolean
  /** Over TLS only, with these certificates. */
  readonly tls?: TlsTerms
}

/** A listening engine. */
export interface ProxyServer {
  /** May be called more than once: one server can listen on several ports. */
  listen(options: ListenOptions): Promise<{ readonly port: number }>
  /** Replaces the certificates of TLS listeners, for new connections. */
  setCertificates(certificates: Certificates): void
  /** Stops accepting, closes resting connections, and answers what is in flight with `connection: close`. */
  drain(): void
  /** Drains, waits at most `deadlineMs`, then cuts what is left. Resolves when every socket is closed. */
  close(deadlineMs: number): Promise<void>
  /** Drops pooled connections to a retired instance and keeps those in use out of the pool. */
  closeUpstream(host: string, port: number): void
  stats(): ProxyStats
}
