import { createServer, type Server, type Socket } from 'node:net'
import type { Message, MsgSnap, NodeId, SnapshotChunk } from '../../index.ts'
import { RaftNodeError } from '../errors.ts'
import type { Transport, TransportHandler } from '../transport.ts'
import { decodeMessages, encodeMessages } from '../wire/message-codec.ts'
import { FRAME, type Frame, FrameReader, frameHead } from './frames.ts'
import { acceptHello, type Hello } from './hello.ts'
import { OutboundPeer } from './outbound-peer.ts'
import { receiveSnapshot, sendSnapshot } from './snapshot-stream.ts'
import {
  DEFAULT_TCP_LIMITS,
  type PeerAddress,
  type TcpTransportLimits,
  type TcpTransportOptions,
} from './tcp-options.ts'

/** A receiver says that it is alive at most so often. */
const ALIVE_EVERY_MS = 200

/**
 * Messages over plain TCP: one connection to each peer for messages, one for each snapshot. Without encryption and
 * without authentication beyond the group's name: for networks where every member may be trusted. Other networks bring
 * their own `Transport`.
 */
export class TcpTransport implements Transport {
  readonly #options: TcpTransportOptions
  readonly #limits: TcpTransportLimits
  readonly #addresses: Map<NodeId, PeerAddress>
  readonly #peers = new Map<NodeId, OutboundPeer>()
  readonly #inbound = new Set<Socket>()
  readonly #server: Server
  #handler: TransportHandler | undefined
  #isStopped = false

  constructor(options: TcpTransportOptions) {
    this.#options = options
    this.#limits = { ...DEFAULT_TCP_LIMITS, ...options.limits }
    this.#addresses = new Map(options.peers)
    this.#server = createServer({ noDelay: true }, socket => this.#onConnection(socket))
    this.#server.maxConnections = this.#limits.maxConnections
  }

  /** Where it listens; known once `listen` or `start` has resolved. */
  get port(): number {
    const address = this.#server.address()
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
    if (this.#server.listening) return
    const { host, port } = this.#options.listen
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#server.once('error', reject)
    this.#server.listen({ host, port }, resolve)
    await promise
    this.#server.off('error', reject)
    // A listening socket that fails later takes no more connections; the peers find out.
    this.#server.on('error', () => undefined)
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
    await sendSnapshot({ address, hello, message, chunks, signal, limits: this.#limits })
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    for (const peer of this.#peers.values()) peer.end()
    for (const socket of this.#inbound) socket.destroy()
    if (!this.#server.listening) return
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  #peer(id: NodeId): OutboundPeer | undefined {
    const known = this.#peers.get(id)
    if (known !== undefined) return known
    const address = this.#addresses.get(id)
    if (address === undefined) return undefined
    const hello: Hello = { group: this.#options.group, from: this.#options.id, to: id, carries: 'messages' }
    const onLost = (): void => this.#handler?.onUnreachable(id)
    const peer = new OutboundPeer({ address, hello, limits: this.#limits, onLost })
    this.#peers.set(id, peer)
    return peer
  }

  #onConnection(socket: Socket): void {
    this.#inbound.add(socket)
    const reader = new FrameReader(this.#limits.maxFrameBytes)
    let take: ((frame: Frame) => void) | undefined
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#inbound.delete(socket))
    // Who connects and says nothing is cut off.
    socket.setTimeout(this.#limits.connectTimeoutMs, () => take === undefined && socket.destroy())
    socket.on('data', chunk => {
      try {
        for (const frame of reader.push(chunk)) {
          if (take === undefined) take = this.#welcome(socket, frame)
          else take(frame)
        }
      } catch {
        // Not a peer, or one that lost its way: it may connect again.
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
    if (hello.carries === 'snapshot') return receiveSnapshot(socket, message => message.to === id, handler)
    return this.#receiveMessages(socket, handler)
  }

  #receiveMessages(socket: Socket, handler: TransportHandler): (frame: Frame) => void {
    let aliveAtMs = Number.NEGATIVE_INFINITY
    return ({ type, payload }) => {
      if (type !== FRAME.messages || this.#isStopped) return
      const messages = decodeMessages(payload).filter(({ to }) => to === this.#options.id)
      handler.onMessages(messages)
      const nowMs = performance.now()
      if (nowMs - aliveAtMs < ALIVE_EVERY_MS) return
      aliveAtMs = nowMs
      socket.write(frameHead(FRAME.alive, 0))
    }
  }
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
