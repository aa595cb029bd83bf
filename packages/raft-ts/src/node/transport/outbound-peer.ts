import type { Socket } from 'node:net'
import { FRAME, frameHead } from './frames.ts'
import { encodeHello, type Hello } from './hello.ts'
import { connectSecurely, readyEvent, type TransportSecurity } from './security.ts'
import type { PeerAddress, TcpTransportLimits } from './tcp-options.ts'

/** What a connection to a peer needs. */
export interface OutboundPeerOptions {
  readonly address: PeerAddress
  readonly hello: Hello
  readonly security: TransportSecurity
  readonly limits: TcpTransportLimits
  /** What was on its way is lost. `wasConnected`: the peer was there until now. */
  readonly onLost: (wasConnected: boolean) => void
  /** Why it is lost, if there is more to say than that the peer went away. */
  readonly onError: (error: Error) => void
}

/** The one connection that carries this node's messages to one peer. Made when needed, and again when it breaks. */
export class OutboundPeer {
  readonly #options: OutboundPeerOptions
  #socket: Socket | undefined
  /** No new attempt before this time of the process's clock. */
  #retryAtMs = 0
  /** When something was sent that the peer has not reacted to; undefined: it has. */
  #unansweredSinceMs: number | undefined
  #isEnded = false

  constructor(options: OutboundPeerOptions) {
    this.#options = options
  }

  /** Queues a batch of messages. False: it is dropped. */
  send(payload: Uint8Array): boolean {
    const nowMs = performance.now()
    const { maxQueuedBytes, silentMsMax } = this.#options.limits
    if (nowMs - (this.#unansweredSinceMs ?? nowMs) > silentMsMax) this.#socket?.destroy()
    const socket = this.#connected(nowMs)
    if (socket === undefined || socket.writableLength > maxQueuedBytes) return false
    this.#unansweredSinceMs ??= nowMs
    writeFrame(socket, FRAME.messages, payload)
    return true
  }

  end(): void {
    this.#isEnded = true
    this.#socket?.destroy()
  }

  #connected(nowMs: number): Socket | undefined {
    if (this.#socket !== undefined && !this.#socket.destroyed) return this.#socket
    if (this.#isEnded || nowMs < this.#retryAtMs) return undefined
    const { address, hello, security, limits, onLost, onError } = this.#options
    this.#retryAtMs = nowMs + limits.reconnectMs
    this.#unansweredSinceMs = undefined
    const socket = connectSecurely({ address, group: hello.group, to: hello.to }, security)
    this.#socket = socket
    const timer = setTimeout(() => socket.destroy(), limits.connectTimeoutMs)
    let wasConnected = false
    socket.on(readyEvent(security), () => {
      clearTimeout(timer)
      wasConnected = true
    })
    socket.on('error', error => {
      socket.destroy()
      onError(error)
    })
    socket.on('close', () => {
      clearTimeout(timer)
      this.#retryAtMs = performance.now() + limits.reconnectMs
      if (!this.#isEnded) onLost(wasConnected)
    })
    socket.on('data', () => {
      this.#unansweredSinceMs = undefined
    })
    writeFrame(socket, FRAME.hello, encodeHello(hello))
    return socket
  }
}

/** Writes head and payload with one system call. Returns false when the socket's buffer is full. */
export function writeFrame(socket: Socket, type: number, payload: Uint8Array): boolean {
  socket.cork()
  socket.write(frameHead(type, payload.length))
  const hasRoom = socket.write(payload)
  socket.uncork()
  return hasRoom
}
