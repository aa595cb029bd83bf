import type { ClientConnection } from './client-connection.ts'
import type { UpstreamConnection, UpstreamFailure, UpstreamHandler } from './upstream-connection.ts'

/** Who ended a tunnel. */
export type TunnelEnd = 'client' | 'upstream' | 'idle'

/** What a tunnel joins, and whom it tells when it is over. */
export interface TunnelOptions {
  readonly client: ClientConnection
  readonly upstream: UpstreamConnection
  readonly idleTimeoutMs: number
  readonly writeBufferBytesMax: number
  readonly onEnd: (end: TunnelEnd) => void
}

/**
 * An upgraded connection: bytes go both ways unread, with back-pressure, half-close passed on, and one idle limit for
 * both directions together.
 */
export class Tunnel implements UpstreamHandler {
  readonly #options: TunnelOptions
  #firstEnd: TunnelEnd | null = null
  #isOver = false

  constructor(options: TunnelOptions) {
    this.#options = options
    options.upstream.handler = this
    options.upstream.enterTunnel()
    options.upstream.timer.arm(options.idleTimeoutMs)
  }

  onClientBytes(bytes: Buffer): void {
    const { client, upstream, idleTimeoutMs, writeBufferBytesMax } = this.#options
    if (this.#isOver) return
    client.requestBytes += bytes.length
    upstream.writeBytes(Buffer.from(bytes))
    if (upstream.writableLength > writeBufferBytesMax) client.pauseTunnel()
    upstream.timer.arm(idleTimeoutMs)
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
    const { client, upstream, idleTimeoutMs, writeBufferBytesMax } = this.#options
    client.writeBytes(Buffer.from(bytes.subarray(start, end)))
    if (client.writableLength > writeBufferBytesMax) upstream.pause()
    upstream.timer.arm(idleTimeoutMs)
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
    this.#finish(this.#firstEnd ?? 'idle')
  }

  onConnected(): void {}
  onInterim(): void {}
  onHead(): void {}
  onBody(): void {}
  onReadDone(): void {}

  /** Passes FIN on; the second one ends the tunnel. */
  #halfClose(from: 'client' | 'upstream'): void {
    if (this.#isOver) return
    const { client, upstream, idleTimeoutMs } = this.#options
    if (this.#firstEnd !== null && this.#firstEnd !== from) {
      this.#finish(this.#firstEnd)
      return
    }
    this.#firstEnd = from
    if (from === 'client') upstream.endWriting()
    else client.endWriting()
    upstream.timer.arm(idleTimeoutMs)
  }

  #finish(end: TunnelEnd): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#options.upstream.finishTunnel()
    this.#options.onEnd(end)
  }
}
