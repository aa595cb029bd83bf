import type { EngineContext } from './engine-context.ts'
import { UpstreamConnection, type UpstreamConnectionOwner, type UpstreamHandler } from './upstream-connection.ts'
import type { UpstreamTls } from './upstream-socket.ts'

/** Idle connections of one host and port, last used last. */
interface HostPool {
  readonly idle: UpstreamConnection[]
}

/** All HTTP/1.1 connections of a server to backends, with TLS or without: resting ones by host and port, and every open one for closing and counting. */
export class UpstreamPool implements UpstreamConnectionOwner {
  readonly tls: UpstreamTls | undefined
  readonly #context: EngineContext
  readonly #portsByHost = new Map<string, Map<number, HostPool>>()
  readonly #open = new Set<UpstreamConnection>()
  #idleCount = 0

  constructor(context: EngineContext, tls: UpstreamTls | undefined) {
    this.#context = context
    this.tls = tls
  }

  get openCount(): number {
    return this.#open.size
  }

  get idleCount(): number {
    return this.#idleCount
  }

  get bufferedBytes(): number {
    let bytes = 0
    for (const connection of this.#open) bytes += connection.bufferedBytes
    return bytes
  }

  /** The most recently used resting connection: the likeliest to be alive, and the others may age out. */
  take(host: string, port: number): UpstreamConnection | null {
    const connection = this.#portsByHost.get(host)?.get(port)?.idle.pop()
    if (connection === undefined) return null
    this.#idleCount -= 1
    this.#context.upstreamReusedTotal += 1
    return connection
  }

  /** Opens a new one; `handler` hears whether it connects. */
  connect(host: string, port: number, timeoutMs: number, handler: UpstreamHandler): UpstreamConnection {
    const connection = new UpstreamConnection(this.#context, this, host, port)
    connection.handler = handler
    this.#open.add(connection)
    this.#context.upstreamConnectsTotal += 1
    connection.timer.arm(timeoutMs)
    return connection
  }

  /** Takes a connection back after use: keeps it when it can serve again, else closes it. */
  release(connection: UpstreamConnection): void {
    const { limits, isDraining } = this.#context
    if (!connection.isReusable || isDraining) {
      connection.destroy()
      return
    }
    let pools = this.#portsByHost.get(connection.host)
    if (pools === undefined) {
      pools = new Map()
      this.#portsByHost.set(connection.host, pools)
    }
    let pool = pools.get(connection.port)
    if (pool === undefined) {
      pool = { idle: [] }
      pools.set(connection.port, pool)
    }
    if (pool.idle.length >= limits.upstreamIdlePerTargetMax) {
      connection.destroy()
      return
    }
    connection.rest(limits.upstreamIdleTimeoutMs)
    pool.idle.push(connection)
    this.#idleCount += 1
  }

  /** A connection has closed; called by it. */
  forget(connection: UpstreamConnection): void {
    this.#open.delete(connection)
    const pools = this.#portsByHost.get(connection.host)
    const pool = pools?.get(connection.port)
    if (pools === undefined || pool === undefined) return
    const index = pool.idle.lastIndexOf(connection)
    if (index < 0) return
    pool.idle.splice(index, 1)
    this.#idleCount -= 1
    if (pool.idle.length === 0) {
      pools.delete(connection.port)
      if (pools.size === 0) this.#portsByHost.delete(connection.host)
    }
  }

  /** Closes what rests toward a retired instance; connections in use close when their response is complete. */
  closeTarget(host: string, port: number): void {
    for (const connection of [...this.#open]) {
      if (connection.host !== host || connection.port !== port) continue
      if (connection.handler === null) connection.destroy()
      else connection.isRetired = true
    }
  }

  /** Closes resting connections, or all. */
  closeAll(scope: 'idle' | 'all'): void {
    for (const connection of [...this.#open]) {
      if (connection.handler === null || scope === 'all') connection.destroy()
    }
  }
}
