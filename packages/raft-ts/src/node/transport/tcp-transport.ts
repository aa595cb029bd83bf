import type { Socket } from 'node:net'
import type { Message, MsgSnap, NodeId, SnapshotChunk } from '../../index.ts'
import { RaftNodeError } from '../errors.ts'
import type { Transport, TransportHandler } from '../transport.ts'
import { decodeMessages, encodeMessages } from '../wire/message-codec.ts'
import { FRAME, type Frame, FrameReader, frameHead } from './frames.ts'
import { GoneWatch } from './gone-watch.ts'
import { acceptHello, type Hello } from './hello.ts'
import { OutboundPeer } from './outbound-peer.ts'
import { checkSecurity, nameOf, SecureServer } from './security.ts'
import { receiveSnapshot, sendSnapshot } from './snapshot-stream.ts'
import {
  DEFAULT_TCP_LIMITS,
  type PeerAddress,
  type TcpTransportLimits,
  type TcpTransportOptions,
} from './tcp-options.ts'

/** A hello names a group and two nodes; who has not said it may not say more. */
const HELLO_BYTES_MAX = 4096
/** What a node may say in another's name: a request that was passed on, and whom the leadership is wished for. */
const PASSED_ON: ReadonlySet<Message['type']> = new Set(['MsgProp', 'MsgReadIndex', 'MsgTransferLeader'])

/** Further complaints within this time are not told. */
const COMPLAIN_EVERY_MS = 1000

/** A receiver says that it is alive so many times, at most, within the sender's patience (`silentMsMax`). */
const ALIVE_SIGNS = 4

/**
 * Messages over TCP: one connection to each peer for messages, one for each snapshot, protected as `security` says. A
 * peer speaks in its own name only, and has one connection of each kind: a newer one takes the place of the older.
 */
export class TcpTransport implements Transport {
  readonly #options: TcpTransportOptions
  readonly #limits: TcpTransportLimits
  readonly #addresses: Map<NodeId, PeerAddress>
  readonly #peers = new Map<NodeId, OutboundPeer>()
  readonly #inbound = new Set<Socket>()
  /** By peer and what it carries. */
  readonly #current = new Map<string, Socket>()
  readonly #server: SecureServer
  readonly #gone: GoneWatch
  #handler: TransportHandler | undefined
  #isStopped = false
  #complainedAtMs = Number.NEGATIVE_INFINITY

  constructor(options: TcpTransportOptions) {
    checkSecurity(options.security)
    this.#options = options
    this.#limits = { ...DEFAULT_TCP_LIMITS, ...options.limits }
    this.#addresses = new Map(options.peers)
    const { connectTimeoutMs, maxConnections, maxPendingConnections } = this.#limits
    this.#gone = new GoneWatch({
      timeoutMs: connectTimeoutMs,
      addressOf: peer => this.#addresses.get(peer),
      isConnected: peer => this.#current.has(nameOfInbound({ from: peer, carries: 'messages' })),
      onGone: peer => this.#handler?.onGone(peer),
    })
    this.#server = new SecureServer(
      {
        group: options.group,
        security: options.security,
        handshakeTimeoutMs: connectTimeoutMs,
        maxConnections,
        maxPending: maxPendingConnections,
      },
      {
        onConnection: socket => this.#onConnection(socket),
        onStranger: (error, socket) => {
          // Who only knocks, to see whether somebody is here, goes again (`GoneWatch`).
          if ((error as NodeJS.ErrnoException).code !== 'ECONNRESET')
            this.#complain('a connection was refused', error, nameOf(socket))
        },
      },
    )
  }

  /** Where it listens; known once `listen` or `start` has resolved. */
  get port(): number {
    const address = this.#server.raw.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  /** Tells or changes where a peer listens. */
  setPeer(id: NodeId, address: PeerAddress): void {
    this.#addresses.set(id, address)
    this.#peers.get(id)?.end()
    this.#peers.delete(id)
  }

  /** Binds the port before anything is handled, so that peers can be told of it. Called by `start` otherwise. */
  async listen(): Promise<void> {
    if (this.#server.raw.listening) return
    const { host, port } = this.#options.listen
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#server.raw.once('error', reject)
    this.#server.raw.listen({ host, port }, resolve)
    await promise
    this.#server.raw.off('error', reject)
    // A listening socket that fails later takes no more connections; the peers find out.
    this.#server.raw.on('error', () => undefined)
  }

  async start(handler: TransportHandler): Promise<void> {
    this.#handler = handler
    await this.listen()
  }

  send(messages: readonly Message[]): void {
    if (this.#isStopped) return
    for (const [to, group] of groupByReceiver(messages)) {
      const isQueued = this.#peer(to)?.send(encodeMessages(group)) ?? false
      if (!isQueued) this.#handler?.onUnreachable(to)
    }
  }

  async sendSnapshot(message: MsgSnap, chunks: AsyncIterable<SnapshotChunk>, signal: AbortSignal): Promise<void> {
    const address = this.#addresses.get(message.to)
    if (address === undefined || this.#isStopped) throw unknownPeer(message.to)
    const hello: Hello = { group: this.#options.group, from: this.#options.id, to: message.to, carries: 'snapshot' }
    const { security } = this.#options
    await sendSnapshot({ address, hello, message, chunks, signal, security, limits: this.#limits })
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#gone.end()
    for (const peer of this.#peers.values()) peer.end()
    for (const socket of this.#inbound) socket.destroy()
    if (!this.#server.raw.listening) return
    await new Promise<void>(resolve => this.#server.raw.close(() => resolve()))
  }

  #peer(id: NodeId): OutboundPeer | undefined {
    const known = this.#peers.get(id)
    if (known !== undefined) return known
    const address = this.#addresses.get(id)
    if (address === undefined) return undefined
    const hello: Hello = { group: this.#options.group, from: this.#options.id, to: id, carries: 'messages' }
    const onLost = (wasConnected: boolean): void => {
      this.#handler?.onUnreachable(id)
      if (wasConnected) this.#gone.onLost(id)
    }
    const onError = (error: Error): void => this.#complain('a peer cannot be reached', error, `node ${id}`)
    const { security } = this.#options
    const peer = new OutboundPeer({ address, hello, security, limits: this.#limits, onLost, onError })
    this.#peers.set(id, peer)
    return peer
  }

  #onConnection(socket: Socket): void {
    this.#inbound.add(socket)
    const reader = new FrameReader(HELLO_BYTES_MAX)
    let take: ((frame: Frame) => void) | undefined
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#inbound.delete(socket))
    // Who connects and says nothing is cut off.
    socket.setTimeout(this.#limits.connectTimeoutMs, () => take === undefined && socket.destroy())
    socket.on('data', chunk => {
      try {
        reader.push(chunk, frame => {
          if (take !== undefined) {
            take(frame)
            return
          }
          take = this.#welcome(socket, frame)
          reader.allow(this.#limits.maxFrameBytes)
        })
      } catch (error) {
        // Not a peer, or one that lost its way: it may connect again.
        this.#complain('a connection was refused', error, nameOf(socket))
        socket.destroy()
      }
    })
  }

  #welcome(socket: Socket, frame: Frame): (frame: Frame) => void {
    const { group, id } = this.#options
    const handler = this.#handler
    if (frame.type !== FRAME.hello || handler === undefined || this.#isStopped) {
      throw new RaftNodeError('This node is not ready, or the peer said no hello.', { code: 'RAFT_BAD_PEER' })
    }
    const hello = acceptHello(frame.payload, { group, to: id })
    this.#server.checkPeer(socket, hello.from)
    this.#server.settle(socket)
    this.#replace(socket, hello)
    const isAllowed = (message: Message): boolean =>
      message.to === id && (message.from === hello.from || PASSED_ON.has(message.type))
    if (hello.carries === 'snapshot') return receiveSnapshot(socket, isAllowed, handler)
    return this.#receiveMessages(socket, isAllowed, handler)
  }

  // Strangers must not fill the log.
  #complain(what: string, error: unknown, peer: string): void {
    const nowMs = performance.now()
    if (this.#isStopped || nowMs - this.#complainedAtMs < COMPLAIN_EVERY_MS) return
    this.#complainedAtMs = nowMs
    const reason = error instanceof Error ? error.message : String(error)
    this.#options.log?.warn({ peer, reason }, `raft transport: ${what}`)
  }

  // What the older connection still holds is older than what the newer one brings.
  #replace(socket: Socket, hello: Hello): void {
    const name = nameOfInbound(hello)
    this.#current.get(name)?.destroy()
    this.#current.set(name, socket)
    socket.on('close', () => {
      if (this.#current.get(name) !== socket) return
      this.#current.delete(name)
      if (hello.carries === 'messages') this.#gone.onLost(hello.from)
    })
  }

  #receiveMessages(
    socket: Socket,
    isAllowed: (message: Message) => boolean,
    handler: TransportHandler,
  ): (frame: Frame) => void {
    const aliveEveryMs = this.#limits.silentMsMax / ALIVE_SIGNS
    let aliveAtMs = Number.NEGATIVE_INFINITY
    return ({ type, payload }) => {
      if (type !== FRAME.messages || this.#isStopped) return
      handler.onMessages(decodeMessages(payload).filter(isAllowed))
      const nowMs = performance.now()
      if (nowMs - aliveAtMs < aliveEveryMs) return
      aliveAtMs = nowMs
      socket.write(frameHead(FRAME.alive, 0))
    }
  }
}

function nameOfInbound({ from, carries }: Pick<Hello, 'from' | 'carries'>): string {
  return `${from} ${carries}`
}

/** Messages by receiver, in order for each. */
export function groupByReceiver(messages: readonly Message[]): Map<NodeId, Message[]> {
  const groups = new Map<NodeId, Message[]>()
  for (const message of messages) {
    const group = groups.get(message.to)
    if (group === undefined) groups.set(message.to, [message])
    else group.push(message)
  }
  return groups
}

function unknownPeer(id: NodeId): RaftNodeError {
  const message = `No address is known of node ${id}, or this node is stopping.`
  return new RaftNodeError(message, { code: 'RAFT_SNAPSHOT_FAILED' })
}
