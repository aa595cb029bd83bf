import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import type { Logger } from '@waiter/base'
import type { Certificate } from './certificate.ts'
import { type SniEntry, SniTable } from './sni-table.ts'
import { deriveTicketKeys, TICKET_ROTATION_MS } from './ticket-keys.ts'

/** The first is for clients that name nobody, or a name that no other is for. */
export type Certificates = readonly [Certificate, ...Certificate[]]

/** How a TLS listener shows who it is. */
export interface TlsTerms {
  readonly certificates: Certificates
  /** What session tickets are sealed with; processes that share it resume each other's sessions. */
  readonly ticketSecret: Uint8Array
}

export interface TlsListenerOptions {
  readonly terms: TlsTerms
  /** What is offered, the best first. */
  readonly protocols: readonly string[]
  readonly handshakeTimeoutMs: number
  readonly handshakesMax: number
  readonly log: Logger
  /** Whether one more connection may be taken now. */
  readonly hasRoom: () => boolean
  /** A connection that did not get as far as a handshake. */
  readonly onDropped: () => void
  readonly onSecure: (socket: TLSSocket) => void
}

/** To a browser or curl that was told `http://` by mistake; the port is right. */
const SPEAK_TLS =
  'HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 41\r\nconnection: close\r\n\r\n' +
  '400: this port speaks HTTPS: use https://\n'

/**
 * Shakes hands with clients and hands them on. What is spent on somebody who has not shown a handshake yet is bounded:
 * in time, and in number, where the oldest unfinished one goes first, so that honest clients, who need milliseconds, get
 * through a crowd that only holds connections open.
 */
export class TlsListener {
  readonly #acceptors: Server[] = []
  readonly #tls: TlsServer
  readonly #options: TlsListenerOptions
  /** Connections before the end of their handshake, oldest first, by the client's address and port. */
  readonly #pending = new Map<string, Socket>()
  readonly #rotation: NodeJS.Timeout
  #certificates: SniTable<Certificate>
  failedTotal = 0

  constructor(options: TlsListenerOptions) {
    this.#options = options
    const { terms, protocols, handshakeTimeoutMs } = options
    this.#tls = createTlsServer({
      handshakeTimeout: handshakeTimeoutMs,
      ALPNProtocols: [...protocols],
      SNICallback: (name, done) => done(null, this.#certificates.find(name).context),
    })
    this.#certificates = this.#use(terms.certificates)
    this.#tls.on('secureConnection', socket => this.#onSecure(socket))
    this.#tls.on('tlsClientError', (error, socket) => this.#onFailed(error, socket))
    this.#rotation = setInterval(() => this.#tls.setTicketKeys(this.#ticketKeys()), TICKET_ROTATION_MS)
    this.#rotation.unref()
  }

  /** A server for connections; it knows nothing of TLS. Several may listen on one port. */
  createAcceptor(): Server {
    const acceptor = createServer({ allowHalfOpen: true, noDelay: true }, raw => this.#onConnection(raw))
    this.#acceptors.push(acceptor)
    return acceptor
  }

  /** Handshakes under way. */
  get pending(): number {
    return this.#pending.size
  }

  /** For handshakes from now on; connections that are there stay as they are. */
  setCertificates(certificates: Certificates): void {
    this.#certificates = this.#use(certificates)
  }

  /** Accepts no more and drops who has not finished a handshake: nobody of them has sent a request. */
  close(): void {
    clearInterval(this.#rotation)
    for (const acceptor of this.#acceptors) acceptor.close()
    for (const raw of [...this.#pending.values()]) raw.destroy()
  }

  #use(certificates: Certificates): SniTable<Certificate> {
    const [first, ...others] = certificates
    first.makeFallbackOf(this.#tls, this.#ticketKeys())
    const entryOf = (certificate: Certificate): SniEntry<Certificate> => ({
      names: certificate.names,
      value: certificate,
    })
    return new SniTable([entryOf(first), ...others.map(entryOf)])
  }

  #ticketKeys(): Buffer {
    return deriveTicketKeys(this.#options.terms.ticketSecret, Date.now())
  }

  #onConnection(raw: Socket): void {
    const key = keyOf(raw)
    raw.on('error', () => undefined)
    if (!this.#options.hasRoom()) {
      this.#options.onDropped()
      raw.destroy()
      return
    }
    if (this.#pending.size >= this.#options.handshakesMax) this.#dropOldest()
    this.#pending.set(key, raw)
    raw.once('close', () => {
      if (this.#pending.get(key) === raw) this.#pending.delete(key)
    })
    // Documented for this: the TLS server takes a connection that somebody else accepted.
    this.#tls.emit('connection', raw)
  }

  #dropOldest(): void {
    const oldest = this.#pending.entries().next().value
    if (oldest === undefined) return
    const [key, raw] = oldest
    this.#options.onDropped()
    this.#pending.delete(key)
    raw.destroy()
  }

  #onSecure(socket: TLSSocket): void {
    this.#pending.delete(keyOf(socket))
    this.#options.onSecure(socket)
  }

  #onFailed(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    this.failedTotal += 1
    const raw = this.#pending.get(keyOf(socket))
    const { code, message } = error
    this.#options.log.debug({ code: code ?? message, remoteAddress: socket.remoteAddress }, 'no TLS with a client')
    if (code === 'ERR_SSL_HTTP_REQUEST' && raw !== undefined) {
      raw.end(SPEAK_TLS, () => raw.destroySoon())
      return
    }
    // Node closes after alerts of its own, but not after a time-out.
    this.#pending.delete(keyOf(socket))
    socket.destroy()
    raw?.destroy()
  }
}

function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
