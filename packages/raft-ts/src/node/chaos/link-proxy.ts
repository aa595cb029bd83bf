import { connect, createServer, type Server, type Socket } from 'node:net'

/** What a link does with bytes. */
export type LinkState =
  | { readonly kind: 'open' }
  /** Connections are broken as soon as they stand. */
  | { readonly kind: 'reset' }
  /** Connections are broken, and new ones refused as if nobody listened: to the sender the other is gone. */
  | { readonly kind: 'refused' }
  /** Connections stand and nothing gets through: the worst for those who wait for an error. */
  | { readonly kind: 'silent' }
  /** Everything arrives late. */
  | { readonly kind: 'slow'; readonly delayMs: number }

const HOST = '127.0.0.1'
const OPEN: LinkState = { kind: 'open' }

/**
 * The way from one member to another: what the first sends to the second passes here. Only its own connections do, so
 * that one direction of a pair can fail alone.
 */
export class LinkProxy {
  readonly #server: Server
  #port = 0
  #targetPort: number | undefined
  readonly #sockets = new Set<Socket>()
  #state: LinkState = OPEN

  private constructor() {
    this.#server = createServer({ noDelay: true }, socket => this.#onConnection(socket))
  }

  static async open(): Promise<LinkProxy> {
    const proxy = new LinkProxy()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    proxy.#server.once('error', reject)
    proxy.#server.listen(0, HOST, resolve)
    await promise
    proxy.#server.removeAllListeners('error')
    // Its port was taken while nobody listened there: the link stays broken, and the run says so when it does not heal.
    proxy.#server.on('error', () => undefined)
    const address = proxy.#server.address()
    proxy.#port = typeof address === 'object' && address !== null ? address.port : 0
    return proxy
  }

  get port(): number {
    return this.#port
  }

  /** Where the second listens; undefined while it is down. */
  set targetPort(port: number | undefined) {
    this.#targetPort = port
    this.#listenOrNot()
  }

  set(state: LinkState): void {
    this.#state = state
    this.#listenOrNot()
    if (state.kind === 'reset' || state.kind === 'refused') for (const socket of this.#sockets) socket.resetAndDestroy()
    else if (state.kind === 'silent') for (const socket of this.#sockets) socket.pause()
    // What was held back arrives now, as after a real partition.
    else for (const socket of this.#sockets) socket.resume()
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    if (this.#server.listening) await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  // As the system does it: where nobody listens, connections are refused.
  #listenOrNot(): void {
    const isListening = this.#targetPort !== undefined && this.#state.kind !== 'refused'
    if (isListening && !this.#server.listening) this.#server.listen(this.#port, HOST)
    else if (!isListening && this.#server.listening) this.#server.close()
  }

  #onConnection(inbound: Socket): void {
    const port = this.#targetPort
    if (this.#state.kind === 'reset' || port === undefined) {
      inbound.resetAndDestroy()
      return
    }
    const outbound = connect({ host: HOST, port, noDelay: true })
    this.#forward(inbound, outbound)
    this.#forward(outbound, inbound)
  }

  #forward(from: Socket, to: Socket): void {
    this.#sockets.add(from)
    from.on('error', () => undefined)
    from.on('close', () => {
      this.#sockets.delete(from)
      to.destroy()
    })
    let lastAtMs = 0
    from.on('data', bytes => {
      const nowMs = performance.now()
      const delayMs = this.#state.kind === 'slow' ? this.#state.delayMs : 0
      // Never before what came before it: bytes of a stream keep their order also when the delay ends.
      lastAtMs = Math.max(nowMs + delayMs, lastAtMs)
      if (lastAtMs > nowMs) setTimeout(() => to.writable && to.write(bytes), lastAtMs - nowMs)
      else if (!to.write(bytes)) {
        from.pause()
        to.once('drain', () => this.#state.kind !== 'silent' && from.resume())
      }
    })
    from.on('end', () => to.end())
    if (this.#state.kind === 'silent') from.pause()
  }
}
