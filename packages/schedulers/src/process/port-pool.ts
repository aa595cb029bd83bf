import { createServer } from 'node:net'
import type { Millis, Prng } from '@waiter/base'
import { schedulerError } from '../errors.ts'

/** First and last port that instances may get, both included. */
export interface PortRange {
  readonly first: number
  readonly last: number
}

/** What a pool is made from. */
export interface PortPoolOptions {
  readonly range: PortRange
  /** How long a port rests after use: late packets and clients with an old address must not meet a new instance. */
  readonly quarantineMs: number
  readonly prng: Prng
  nowMs(): Millis
}

/**
 * Hands out local ports, each to one instance at a time.
 *
 * A port is verified by binding it on all addresses right before it is given, so that a port that somebody else took
 * is skipped. The search starts at a random place, so that several Waiters on one machine seldom meet.
 */
export class PortPool {
  readonly #options: PortPoolOptions
  readonly #used = new Set<number>()
  readonly #restsUntilMs = new Map<number, number>()
  #next: number

  constructor(options: PortPoolOptions) {
    this.#options = options
    this.#next = options.range.first + options.prng.below(this.#size())
  }

  /**
   * Reserves `count` ports for one instance.
   *
   * @throws WaiterError `WTR_NO_FREE_PORT` (retryable) when the range has not that many free ones; none are kept then
   */
  async reserve(count: number): Promise<readonly number[]> {
    const reserved: number[] = []
    for (let tried = 0; tried < this.#size() && reserved.length < count; tried++) {
      const port = this.#takeCandidate()
      if (port !== null && (await this.#tryPort(port))) reserved.push(port)
    }
    // A rest is a precaution; starting nothing for two minutes would be the greater harm. Longest rested first.
    for (const port of reserved.length < count ? [...this.#restsUntilMs.keys()] : []) {
      if (reserved.length === count) break
      if (!this.#restsUntilMs.delete(port)) continue // somebody else took it meanwhile
      if (await this.#tryPort(port)) reserved.push(port)
    }
    if (reserved.length === count) return reserved
    for (const port of reserved) this.#used.delete(port)
    const { first, last } = this.#options.range
    throw schedulerError(
      'WTR_NO_FREE_PORT',
      `Only ${reserved.length} of ${count} ports are free in ${first}-${last}: ${this.#used.size} are used by instances ` +
        `and ${this.#restsUntilMs.size} rest after use. Widen the port range or stop instances.`,
    )
  }

  async #tryPort(port: number): Promise<boolean> {
    this.#used.add(port) // before the wait, so that nobody else tries the same port
    if (await canBind(port)) return true
    this.#used.delete(port)
    return false
  }

  /** Marks ports of an instance that runs already. */
  adopt(ports: readonly number[]): void {
    for (const port of ports) this.#used.add(port)
  }

  /** Gives ports back; they rest until `quarantineMs` after `sinceMs` (default: now). */
  release(ports: readonly number[], sinceMs: number = this.#options.nowMs()): void {
    for (const port of ports) {
      this.#used.delete(port)
      this.#restsUntilMs.delete(port) // kept in the order of release
      this.#restsUntilMs.set(port, sinceMs + this.#options.quarantineMs)
    }
  }

  /** Gives ports back that nobody has listened on: no rest needed. */
  releaseUnused(ports: readonly number[]): void {
    for (const port of ports) this.#used.delete(port)
  }

  #takeCandidate(): number | null {
    const { range, nowMs } = this.#options
    const port = this.#next
    this.#next = port >= range.last ? range.first : port + 1
    if (this.#used.has(port)) return null
    const restsUntilMs = this.#restsUntilMs.get(port)
    if (restsUntilMs === undefined) return port
    if (restsUntilMs > nowMs()) return null
    this.#restsUntilMs.delete(port)
    return port
  }

  #size(): number {
    return this.#options.range.last - this.#options.range.first + 1
  }
}

/** Listening on all addresses of both families conflicts with any listener on any of them. */
function canBind(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer(socket => socket.destroy())
    server.once('error', () => resolve(false))
    server.listen({ port, exclusive: true }, () => server.close(() => resolve(true)))
  })
}
