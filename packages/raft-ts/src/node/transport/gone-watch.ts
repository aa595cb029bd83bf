import { connect, type Socket } from 'node:net'
import type { NodeId } from '../../index.ts'
import type { PeerAddress } from './tcp-options.ts'

/** A dying process may still have its port when its connections end: it is asked for so often. */
const ASKED_MAX = 3
/** Before it is asked for again. */
const ASK_AGAIN_MS = 30

/** What the watch must know, and whom it tells. */
export interface GoneWatchOptions {
  readonly timeoutMs: number
  addressOf(peer: NodeId): PeerAddress | undefined
  /** True while a connection from it stands. */
  isConnected(peer: NodeId): boolean
  onGone(peer: NodeId): void
}

/**
 * Tells a peer that is gone from one that cannot be reached. When a connection with it ends, its port is knocked at: a host
 * that answers that nobody listens there, while no connection from the peer stands, says that the process has ended.
 * Silence says nothing, and a port that answers says that it lives, or lives again.
 */
export class GoneWatch {
  readonly #options: GoneWatchOptions
  readonly #knocking = new Map<NodeId, Socket>()
  readonly #timers = new Map<NodeId, NodeJS.Timeout>()
  #isEnded = false

  constructor(options: GoneWatchOptions) {
    this.#options = options
  }

  /** A connection with it has ended, whichever side began it. */
  onLost(peer: NodeId): void {
    this.#ask(peer, 1)
  }

  end(): void {
    this.#isEnded = true
    for (const socket of this.#knocking.values()) socket.destroy()
    for (const timer of this.#timers.values()) clearTimeout(timer)
    this.#timers.clear()
  }

  #ask(peer: NodeId, count: number): void {
    const address = this.#options.addressOf(peer)
    if (this.#isEnded || this.#knocking.has(peer) || address === undefined || this.#options.isConnected(peer)) return
    clearTimeout(this.#timers.get(peer))
    this.#timers.delete(peer)
    const socket = connect({ ...address })
    this.#knocking.set(peer, socket)
    socket.setTimeout(this.#options.timeoutMs, () => socket.destroy())
    socket.on('connect', () => {
      socket.destroy()
      if (count < ASKED_MAX) this.#askLater(peer, count + 1)
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' && !this.#isEnded && !this.#options.isConnected(peer))
        this.#options.onGone(peer)
    })
    socket.on('close', () => this.#knocking.delete(peer))
  }

  #askLater(peer: NodeId, count: number): void {
    if (this.#isEnded) return
    this.#timers.set(
      peer,
      setTimeout(() => this.#ask(peer, count), ASK_AGAIN_MS),
    )
  }
}
