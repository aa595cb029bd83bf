import type { EngineContext } from '../engine-context.ts'
import type { UpstreamTls } from '../upstream-socket.ts'
import { Http2Upstream, type Http2UpstreamOwner, type UpstreamSocketFailure } from './http2-upstream.ts'

/** Who wants to send a request. */
export interface StreamTaker {
  /** It needs a connection whose server told its settings. */
  readonly needsSettings: boolean
  /** Called with a connection that takes a request now; it must be sent before this returns. */
  onUpstream(upstream: Http2Upstream): void
  /** No connection could be made. */
  onNoUpstream(failure: UpstreamSocketFailure): void
}

/** The HTTP/2 connections to all backends: few per backend, opened when the present ones are full. */
export class Http2UpstreamPool {
  readonly #context: EngineContext
  /** By host, then by port; with TLS by the port's negative. */
  readonly #portsByHost = new Map<string, Map<number, Backend>>()

  constructor(context: EngineContext) {
    this.#context = context
  }

  get openCount(): number {
    let count = 0
    for (const backend of this.#backends()) count += backend.open.size
    return count
  }

  get idleCount(): number {
    let count = 0
    for (const backend of this.#backends())
      for (const upstream of backend.open) if (upstream.connection.streamCount === 0) count += 1
    return count
  }

  get bufferedBytes(): number {
    let bytes = 0
    for (const backend of this.#backends()) for (const upstream of backend.open) bytes += upstream.bufferedBytes
    return bytes
  }

  /** Gives `taker` a connection, at once if one has room. */
  take(host: string, port: number, tls: UpstreamTls | undefined, taker: StreamTaker): void {
    const key = tls === undefined ? port : -port
    const backend = this.#portsByHost.get(host)?.get(key) ?? this.#add(host, key, tls)
    backend.take(taker)
  }

  /** The taker has given up waiting. */
  cancel(host: string, port: number, tls: UpstreamTls | undefined, taker: StreamTaker): void {
    this.#portsByHost
      .get(host)
      ?.get(tls === undefined ? port : -port)
      ?.cancel(taker)
  }

  /** A retired instance: connections finish what they carry. */
  closeTarget(host: string, port: number): void {
    for (const backend of this.#backends()) {
      if (backend.host === host && backend.port === port) backend.shutdown()
    }
  }

  closeAll(scope: 'idle' | 'all'): void {
    for (const backend of this.#backends()) {
      if (scope === 'all') backend.destroy()
      else backend.shutdownIdle()
    }
  }

  /** Those of this moment. */
  #backends(): readonly Backend[] {
    return [...this.#portsByHost.values()].flatMap(ports => [...ports.values()])
  }

  #add(host: string, key: number, tls: UpstreamTls | undefined): Backend {
    const ports = this.#portsByHost.get(host) ?? new Map<number, Backend>()
    this.#portsByHost.set(host, ports)
    const backend = new Backend(this.#context, { host, port: Math.abs(key), tls }, () => {
      ports.delete(key)
      if (ports.size === 0 && this.#portsByHost.get(host) === ports) this.#portsByHost.delete(host)
    })
    ports.set(key, backend)
    return backend
  }
}

/** One backend: its connections and who waits for one. */
class Backend implements Http2UpstreamOwner {
  readonly host: string
  readonly port: number
  readonly open = new Set<Http2Upstream>()
  readonly #context: EngineContext
  readonly #tls: UpstreamTls | undefined
  readonly #onEmpty: () => void
  /** May take streams, or will once connected; oldest first, so that later ones run dry and close. */
  readonly #usable: Http2Upstream[] = []
  readonly #waiting: StreamTaker[] = []
  #isServing = false

  constructor(
    context: EngineContext,
    { host, port, tls }: { readonly host: string; readonly port: number; readonly tls: UpstreamTls | undefined },
    onEmpty: () => void,
  ) {
    this.#context = context
    this.host = host
    this.port = port
    this.#tls = tls
    this.#onEmpty = onEmpty
  }

  take(taker: StreamTaker): void {
    const upstream = this.#waiting.length === 0 ? this.#find(taker) : null
    if (upstream !== null) {
      this.#context.upstreamReusedTotal += 1
      taker.onUpstream(upstream)
      return
    }
    this.#waiting.push(taker)
    this.#openAsNeeded()
  }

  cancel(taker: StreamTaker): void {
    const index = this.#waiting.indexOf(taker)
    if (index < 0) return
    this.#waiting.splice(index, 1)
    if (this.#waiting.length > 0) return
    for (const upstream of [...this.#usable]) if (!upstream.isConnected) upstream.destroy()
  }

  shutdown(): void {
    for (const upstream of [...this.open]) upstream.shutdown()
  }

  shutdownIdle(): void {
    for (const upstream of [...this.open]) if (upstream.connection.streamCount === 0) upstream.shutdown()
  }

  destroy(): void {
    for (const upstream of [...this.open]) upstream.destroy()
  }

  onCapacity(): void {
    if (this.#isServing || this.#waiting.length === 0) return
    this.#isServing = true
    while (this.#waiting.length > 0) {
      const upstream = this.#find(this.#waiting[0]!)
      if (upstream === null) break
      this.#waiting.shift()!.onUpstream(upstream)
    }
    this.#isServing = false
  }

  onClosing(upstream: Http2Upstream): void {
    this.#forgetUsable(upstream)
    this.#openAsNeeded()
  }

  onClosed(upstream: Http2Upstream, failure: UpstreamSocketFailure | null): void {
    this.#forgetUsable(upstream)
    if (!this.open.delete(upstream)) return
    if (failure !== null && this.#usable.length === 0) {
      for (const taker of this.#waiting.splice(0)) taker.onNoUpstream(failure)
    }
    this.#openAsNeeded()
    if (this.open.size === 0 && this.#waiting.length === 0) this.#onEmpty()
  }

  #find(taker: StreamTaker): Http2Upstream | null {
    for (const upstream of this.#usable) {
      if (upstream.canRequest && (!taker.needsSettings || upstream.connection.hasPeerSettings)) return upstream
    }
    return null
  }

  /** One more connection when all who wait would not fit on those that are being made. */
  #openAsNeeded(): void {
    const { upstreamStreamsPerConnectionMax, upstreamHttp2PerTargetMax } = this.#context.limits
    let coming = 0
    for (const upstream of this.#usable) {
      if (!upstream.isConnected || !upstream.connection.hasPeerSettings) coming += upstreamStreamsPerConnectionMax
    }
    if (this.#waiting.length <= coming || this.open.size >= upstreamHttp2PerTargetMax) return
    const upstream = new Http2Upstream(this.#context, this, { host: this.host, port: this.port, tls: this.#tls })
    this.#context.upstreamConnectsTotal += 1
    this.open.add(upstream)
    this.#usable.push(upstream)
  }

  #forgetUsable(upstream: Http2Upstream): void {
    const index = this.#usable.indexOf(upstream)
    if (index >= 0) this.#usable.splice(index, 1)
  }
}
