import { silentLogger } from '@waiter/base'
import {
  createProxyServer,
  type Exchange,
  type ForwardTarget,
  type HeaderPolicy,
  type Outcome,
  type ProxyLimits,
  type ProxyServer,
} from '../../src/index.ts'
import { FakeClock } from './fake-clock.ts'
import { dial, RawBackend, type RawPeer } from './raw-peer.ts'

interface Teardown {
  teardown(callback: () => void | Promise<void>): void
}

/** What the tests' owner does by default. */
export const TEST_POLICY: HeaderPolicy = {
  dropRequest: { names: ['authorization'], prefixes: ['x-waiter-'] },
  rewriteRequest: {
    cookie: value => {
      const kept = value.split('; ').filter(entry => !entry.startsWith('x-waiter-auth='))
      return kept.length === 0 ? null : kept.join('; ')
    },
  },
  dropResponseCookiePrefixes: ['x-waiter-auth='],
}

/** A proxy engine, a backend and a clock; every exchange waits until the test takes it. */
export class Harness {
  readonly clock = new FakeClock()
  readonly backend = new RawBackend()
  readonly proxy: ProxyServer
  readonly exchanges: Exchange[] = []
  port = 0
  /** Decides at once instead of the test. */
  onExchange: ((exchange: Exchange) => void) | null = null
  readonly logged: string[] = []
  readonly #waiters: (() => void)[] = []
  readonly #clients: RawPeer[] = []
  #taken = 0

  constructor(limits: Partial<ProxyLimits>, headerPolicy: HeaderPolicy) {
    this.proxy = createProxyServer({
      limits,
      headerPolicy,
      clock: this.clock,
      log: { ...silentLogger, error: (_fields, message) => this.logged.push(message) },
      onExchange: exchange => {
        if (this.onExchange !== null) {
          this.onExchange(exchange)
          return
        }
        this.exchanges.push(exchange)
        for (const waiter of this.#waiters.splice(0)) waiter()
      },
    })
  }

  async start(): Promise<void> {
    await this.backend.listen()
    this.port = (await this.proxy.listen({ host: '127.0.0.1', port: 0 })).port
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.socket.destroy()
    await this.backend.close()
    await this.proxy.close(0)
  }

  async client(): Promise<RawPeer> {
    const peer = await dial(this.port)
    this.#clients.push(peer)
    return peer
  }

  async nextExchange(): Promise<Exchange> {
    while (this.#taken >= this.exchanges.length) await new Promise<void>(resolve => this.#waiters.push(resolve))
    return this.exchanges[this.#taken++]!
  }

  /** Forwards to the backend; resolves with the outcome. */
  forward(exchange: Exchange, overrides: Partial<ForwardTarget> = {}): Promise<Outcome> {
    return new Promise(resolve => exchange.forward(this.target(resolve, overrides)))
  }

  target(onOutcome: (outcome: Outcome) => void, overrides: Partial<ForwardTarget> = {}): ForwardTarget {
    return {
      host: '127.0.0.1',
      port: this.backend.port,
      extraRequestHead: '',
      extraResponseHead: '',
      connectTimeoutMs: 1_000,
      responseTimeoutMs: 5_000,
      streamIdleTimeoutMs: 3_000,
      onOutcome,
      ...overrides,
    }
  }

  /** One request sent, its exchange, and its backend connection after forwarding. */
  async forwarded(
    request: string,
    overrides: Partial<ForwardTarget> = {},
  ): Promise<{ client: RawPeer; exchange: Exchange; outcome: Promise<Outcome>; upstream: RawPeer }> {
    const client = await this.client()
    client.write(request)
    const exchange = await this.nextExchange()
    const outcome = this.forward(exchange, overrides)
    const upstream = await this.backend.next()
    await upstream.until('\r\n\r\n')
    return { client, exchange, outcome, upstream }
  }
}

/** A started harness that stops with the test. */
export async function createHarness(
  t: Teardown,
  limits: Partial<ProxyLimits> = {},
  policy: HeaderPolicy = TEST_POLICY,
): Promise<Harness> {
  const harness = new Harness(limits, policy)
  await harness.start()
  t.teardown(() => harness.stop())
  return harness
}

/** A request head with a Host, and whatever else is given. */
export function get(path: string, ...fields: string[]): string {
  return `GET ${path} HTTP/1.1\r\nHost: service.example\r\n${fields.map(field => `${field}\r\n`).join('')}\r\n`
}

/** A 200 with a length. */
export function ok(body: string, ...fields: string[]): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${fields.map(field => `${field}\r\n`).join('')}\r\n${body}`
}
