import type { ClientConnection } from './client-connection.ts'
import type { EngineContext } from './engine-context.ts'
import type { UpstreamConnection, UpstreamFailure, UpstreamHandler } from './upstream-connection.ts'
import { type WebSocketEnd, WebSocketWatch } from './websocket/web-socket-watch.ts'

/** Who ended a tunnel. */
export type TunnelEnd = 'client' | 'upstream' | WebSocketEnd

/** What a tunnel joins, and whom it tells when it is over. */
export interface TunnelOptions {
  readonly client: ClientConnection
  readonly upstream: UpstreamConnection
  readonly idleTimeoutMs: number
  readonly context: EngineContext
  /** What the two agreed to speak. */
  readonly protocol: string
  readonly onEnd: (end: TunnelEnd) => void
}

/**
 * An upgraded connection: bytes go both ways as they are, with back-pressure, half-close passed on, and one idle limit
 * for both directions together. A WebSocket is followed, so that it can be ended with a close frame.
 */
export class Tunnel implements UpstreamHandler {
  readonly #options: TunnelOptions
  readonly #watch: WebSocketWatch | null
  #firstEnd: TunnelEnd | null = null
  #isOver = false

  constructor(options: TunnelOptions) {
    this.#options = options
    options.upstream.handler = this
    options.upstream.enterTunnel()
    options.upstream.timer.arm(options.idleTimeoutMs)
    const { client, upstream, context } = options
    this.#watch =
      options.protocol.toLowerCase() === 'websocket'
        ? new WebSocketWatch({
            writeToClient: (bytes, start, end) => client.writeBytes(Buffer.from(bytes.subarray(start, end))),
            writeToBackend: (bytes, start, end) => upstream.writeBytes(Buffer.from(bytes.subarray(start, end))),
            wheel: context.wheel,
            ageMsMax: context.limits.webSocketAgeMsMax,
            onExpired: () => this.close('age'),
          })
        : null
  }

  /** Ends a WebSocket with a close frame. Of any other protocol nobody knows how: only time ends it. */
  close(end: WebSocketEnd): void {
    if (this.#isOver || this.#watch === null || this.#watch.closing !== null) return
    this.#firstEnd ??= end
    this.#watch.close(end)
    this.#options.upstream.timer.arm(this.#options.context.limits.webSocketCloseTimeoutMs)
  }

  onClientBytes(bytes: Buffer): void {
    const { client, upstream, context } = this.#options
    if (this.#isOver) return
    client.body.requestBytes += bytes.length
    if (this.#watch === null) upstream.writeBytes(Buffer.from(bytes))
    else this.#watch.passToBackend(bytes, 0, bytes.length)
    if (upstream.writableLength > context.limits.writeBufferBytesMax) client.pauseTunnel()
    this.#armIdle()
  }

  onClientEnd(): void {
    this.#halfClose('client')
  }

  onClientDrain(): void {
    if (!this.#isOver) this.#options.upstream.resume()
  }

  onClientGone(): void {
    this.#finish(this.#firstEnd ?? 'client')
  }

  onTunnelBytes(bytes: Buffer, start: number, end: number): void {
    const { client, upstream, context } = this.#options
    if (this.#watch === null) client.writeBytes(Buffer.from(bytes.subarray(start, end)))
    else this.#watch.passToClient(bytes, start, end)
    if (client.writableLength > context.limits.writeBufferBytesMax) upstream.pause()
    this.#armIdle()
  }

  onEnd(): void {
    this.#halfClose('upstream')
  }

  onDrain(): void {
    this.#options.client.resumeTunnel()
  }

  onBroken(_cause: UpstreamFailure): void {
    this.#finish(this.#firstEnd ?? 'upstream')
  }

  onTimeout(): void {
    if (this.#watch === null || this.#watch.closing !== null || this.#firstEnd !== null)
      this.#finish(this.#firstEnd ?? 'idle')
    else this.close('idle')
  }

  onConnected(): void {}
  onInterim(): void {}
  onHead(): void {}
  onBody(): void {}
  onReadDone(): void {}

  /** Passes FIN on; the second one ends the tunnel. */
  #halfClose(from: 'client' | 'upstream'): void {
    if (this.#isOver) return
    const { client, upstream } = this.#options
    if (this.#firstEnd !== null && this.#firstEnd !== from) {
      this.#finish(this.#firstEnd)
      return
    }
    this.#firstEnd = from
    if (from === 'client') upstream.endWriting()
    else client.endWriting()
    this.#armIdle()
  }

  /** While it is being closed, the time for that runs. */
  #armIdle(): void {
    if (this.#watch === null || this.#watch.closing === null)
      this.#options.upstream.timer.arm(this.#options.idleTimeoutMs)
  }

  #finish(end: TunnelEnd): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#watch?.finish()
    this.#options.upstream.finishTunnel()
    this.#options.onEnd(end)
  }
}
