import { hkdfSync } from 'node:crypto'
import { connect as connectPlain, createServer, type Server, type Socket } from 'node:net'
import {
  checkServerIdentity,
  connect as connectTls,
  createServer as createTlsServer,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls'
import type { NodeId } from '../../index.ts'
import { RaftNodeError } from '../errors.ts'
import type { PeerAddress } from './tcp-options.ts'

/**
 * Who may speak to a node, and who may listen. There is no default: a member of a Raft group can make it lose data, so
 * a port that takes anybody must be asked for by name.
 */
export type TransportSecurity =
  /** Mutual TLS 1.3. Each node proves by its certificate which member it is. */
  | {
      readonly kind: 'tls'
      readonly key: string | Buffer
      readonly cert: string | Buffer
      /** Who signs members, and nobody else: not a public authority. */
      readonly ca: string | Buffer
      /** The DNS name in the certificate of a member. */
      readonly nameOf: (id: NodeId) => string
    }
  /** TLS with a key that all members share. Proves that the peer belongs to the group, not which member it is. */
  | { readonly kind: 'sharedKey'; readonly key: Uint8Array }
  /** No encryption and no proof of anything: whoever reaches the port is a member. For tests and sealed networks. */
  | { readonly kind: 'trustedNetwork' }

/** Bytes of a shared key. Shorter ones can be guessed. */
const KEY_BYTES_MIN = 32
/** With its own key for every connection, so that a key that is lost later opens nothing that was recorded. */
const PSK_CIPHERS = 'ECDHE-PSK-CHACHA20-POLY1305'
const IDENTITY = 'raft-ts'
const KEEP_ALIVE_MS = 30_000

/**
 * Refuses what cannot be safe.
 *
 * @throws {RaftNodeError} `RAFT_BAD_OPTIONS`
 */
export function checkSecurity(security: TransportSecurity | undefined): asserts security is TransportSecurity {
  const complain = (what: string): never => {
    throw new RaftNodeError(`The raft transport cannot be opened: ${what}`, { code: 'RAFT_BAD_OPTIONS' })
  }
  if (security === undefined) {
    complain("`security` is missing; use 'tls', 'sharedKey', or 'trustedNetwork' if nobody else reaches the port.")
  } else if (security.kind === 'sharedKey' && security.key.length < KEY_BYTES_MIN) {
    complain(`the shared key has ${security.key.length} bytes, at least ${KEY_BYTES_MIN} random ones are needed.`)
  }
}

/** Whom a connection is to. */
export interface ConnectTarget {
  readonly address: PeerAddress
  readonly group: string
  readonly to: NodeId
}

/** Connects; what is written is sent once the peer has proved who it is. An imposter's connection ends in an error. */
export function connectSecurely({ address, group, to }: ConnectTarget, security: TransportSecurity): Socket {
  if (security.kind === 'trustedNetwork') return connectPlain({ ...address, noDelay: true })
  const socket =
    security.kind === 'tls'
      ? connectTls({
          ...address,
          key: security.key,
          cert: security.cert,
          ca: security.ca,
          minVersion: 'TLSv1.3',
          servername: security.nameOf(to),
          checkServerIdentity: (_host, certificate) => checkServerIdentity(security.nameOf(to), certificate),
        })
      : connectTls({
          ...address,
          ciphers: PSK_CIPHERS,
          maxVersion: 'TLSv1.2',
          minVersion: 'TLSv1.2',
          pskCallback: () => ({ psk: pskOf(security.key, group), identity: IDENTITY }),
          // The key itself is the proof; there are no certificates.
          checkServerIdentity: () => undefined,
        })
  socket.setNoDelay(true)
  return socket
}

/** The event after which a socket of `connectSecurely` is ready. */
export function readyEvent(security: TransportSecurity): 'connect' | 'secureConnect' {
  return security.kind === 'trustedNetwork' ? 'connect' : 'secureConnect'
}

/** A server whose connections have proved what `security` asks for. */
export interface SecureServerOptions {
  readonly group: string
  readonly security: TransportSecurity
  readonly handshakeTimeoutMs: number
  /** Connections that have not said a valid hello; the oldest goes when there are more. */
  readonly maxPending: number
  readonly maxConnections: number
}

/**
 * Listens, and hands on connections whose peer has proved to belong here. Strangers cost a bounded number of sockets for
 * a bounded time, and cannot crowd out members that are connected already.
 */
export class SecureServer {
  readonly raw: Server
  readonly #options: SecureServerOptions
  readonly #pending = new Map<string, Socket>()

  /** @param told of connections that have proved to belong here, and of strangers */
  constructor(
    options: SecureServerOptions,
    told: { onConnection(socket: Socket): void; onStranger(error: Error, socket: Socket): void },
  ) {
    this.#options = options
    const { security } = options
    // A host that vanished without a word is noticed by the system's probes.
    const socketOptions = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS }
    if (security.kind === 'trustedNetwork') {
      this.raw = createServer(socketOptions, socket => this.#admit(socket) && told.onConnection(socket))
    } else {
      const secure = createTlsServer(serverOptions(options), socket => told.onConnection(socket))
      // A stranger, or a version of TLS that is not spoken here: its socket is closed already or is closed now.
      secure.on('tlsClientError', (error, socket) => {
        told.onStranger(error, socket)
        socket.destroy()
      })
      this.raw = createServer(socketOptions, socket => this.#admit(socket) && secure.emit('connection', socket))
    }
    this.raw.maxConnections = options.maxConnections
  }

  /** Its hello was accepted: it is a member. */
  settle(socket: Socket): void {
    this.#pending.delete(nameOf(socket))
  }

  /**
   * Whether the peer's certificate names this member. Without certificates there is nothing to compare.
   *
   * @throws {RaftNodeError} `RAFT_BAD_PEER`
   */
  checkPeer(socket: Socket, from: NodeId): void {
    const { security } = this.#options
    if (security.kind !== 'tls') return
    const fault = checkServerIdentity(security.nameOf(from), (socket as TLSSocket).getPeerCertificate())
    if (fault === undefined) return
    throw new RaftNodeError(`A peer says it is node ${from}, but ${fault.message}`, { code: 'RAFT_BAD_PEER' })
  }

  #admit(socket: Socket): boolean {
    const name = nameOf(socket)
    this.#pending.set(name, socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#pending.get(name) === socket && this.#pending.delete(name))
    const [oldest] = this.#pending.values()
    if (this.#pending.size > this.#options.maxPending) oldest?.destroy()
    return true
  }
}

function serverOptions({ group, security, handshakeTimeoutMs }: SecureServerOptions): TlsOptions {
  if (security.kind === 'tls') {
    const { key, cert, ca } = security
    const client = { requestCert: true, rejectUnauthorized: true }
    return { key, cert, ca, ...client, minVersion: 'TLSv1.3', handshakeTimeout: handshakeTimeoutMs }
  }
  if (security.kind !== 'sharedKey') return {}
  const psk = pskOf(security.key, group)
  return {
    ciphers: PSK_CIPHERS,
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.2',
    handshakeTimeout: handshakeTimeoutMs,
    pskCallback: (_socket, identity) => (identity === IDENTITY ? psk : null),
  }
}

// The group is part of the key: one key for several groups does not let them speak to each other.
function pskOf(key: Uint8Array, group: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, 'raft-ts transport', group, KEY_BYTES_MIN))
}

/** Where a connection comes from. A TLS socket and the one beneath it have the same peer. */
export function nameOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
