import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import type { AddressInfo, Server, Socket } from 'node:net'
import { silentLogger } from '@waiter/base'
import {
  type BackendProtocol,
  createProxyServer,
  type Exchange,
  type ForwardTarget,
  type Outcome,
  type ProxyLimits,
  type ProxyServer,
} from '../../src/index.ts'
import { TEST_POLICY } from '../support/harness.ts'

/** What a client speaks here. */
export type ClientProtocol = 'h1' | 'h2'
export type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void

/** All that one request came to. */
export interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: Buffer
  readonly trailers: Readonly<Record<string, string | undefined>>
  readonly interims: readonly number[]
  /** The response broke off, or never came. */
  readonly error: Error | null
}

export interface Wanted {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer
  /** Nothing follows the head. */
  readonly isWhole?: boolean
  /** Sends the body without a length. */
  readonly isStreamed?: boolean
  readonly trailers?: Readonly<Record<string, string>>
}

interface Teardown {
  teardown(callback: () => void | Promise<void>): void
}

/** One proxy with a client and a backend of any protocol; forwards every request and keeps the outcomes. */
export class Pairing {
  readonly client: ClientProtocol
  readonly backend: BackendProtocol
  readonly proxy: ProxyServer
  readonly outcomes: Outcome[] = []
  readonly exchanges: Exchange[] = []
  readonly statuses: number[] = []
  readonly responseTrailers: (string | undefined)[] = []
  handler: Handler = (_request, response) => response.end('ok')
  overrides: Partial<ForwardTarget> = {}
  /** For `https` and `h2`. */
  certificate: { readonly cert: string; readonly key: string } | undefined
  /** Decides instead of forwarding. */
  onExchange: ((exchange: Exchange) => void) | null = null
  port = 0
  backendPort = 0
  readonly backendSockets = new Set<Socket>()
  readonly #waiters = new Set<() => void>()
  #server: Server | null = null
  #session: http2.ClientHttp2Session | null = null
  readonly #agent = new http.Agent({ keepAlive: true })

  constructor(client: ClientProtocol, backend: BackendProtocol, limits: Partial<ProxyLimits> = {}) {
    this.client = client
    this.backend = backend
    this.proxy = createProxyServer({
      limits,
      headerPolicy: TEST_POLICY,
      log: silentLogger,
      onExchange: exchange => {
        this.exchanges.push(exchange)
        this.#wake()
        if (this.onExchange === null) this.forward(exchange)
        else this.onExchange(exchange)
      },
    })
  }

  get session(): http2.ClientHttp2Session {
    if (this.#session === null || this.#session.destroyed || this.#session.closed) {
      this.#session = http2.connect(`http://127.0.0.1:${this.port}`)
      this.#session.on('error', () => {})
    }
    return this.#session
  }

  async start(): Promise<void> {
    const serve: Handler = (request, response) => this.handler(request, response)
    this.#server = createBackend(this.backend, serve, this.certificate)
    this.#server.on('connection', (socket: Socket) => {
      this.backendSockets.add(socket)
      socket.on('close', () => this.backendSockets.delete(socket))
      socket.on('error', () => {})
      this.#wake()
    })
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.backendPort = (this.#server.address() as AddressInfo).port
    this.port = (await this.proxy.listen({ host: '127.0.0.1', port: 0 })).port
  }

  async stop(): Promise<void> {
    this.#session?.destroy()
    this.#agent.destroy()
    for (const socket of this.backendSockets) socket.destroy()
    const server = this.#server
    if (server?.listening === true) await new Promise<void>(resolve => server.close(() => resolve()))
    await this.proxy.close(0)
  }

  forward(exchange: Exchange, overrides: Partial<ForwardTarget> = this.overrides): void {
    exchange.forward({
      protocol: this.backend,
      host: '127.0.0.1',
      port: this.backendPort,
      extraRequestHead: 'x-extra-request: 1\r\n',
      extraResponseHead: 'x-extra-response: 1\r\n',
      connectTimeoutMs: 2_000,
      responseTimeoutMs: 20_000,
      streamIdleTimeoutMs: 20_000,
      onResponseHead: status => void this.statuses.push(status),
      onOutcome: outcome => {
        this.outcomes.push(outcome)
        this.#wake()
        const isOpen =
          outcome.kind === 'not-sent' ||
          outcome.kind === 'failed-before-response' ||
          outcome.kind === 'response-timeout'
        if (isOpen) exchange.respond({ status: 502, headers: [['x-outcome', outcome.kind]], body: outcome.kind })
      },
      ...overrides,
    })
  }

  /** Resolves when `condition` holds; looked at whenever something happened here. */
  when(condition: () => boolean): Promise<void> {
    return new Promise(resolve => {
      const check = (): void => {
        if (!condition()) return
        this.#waiters.delete(check)
        resolve()
      }
      this.#waiters.add(check)
      check()
    })
  }

  async outcome(index = 0): Promise<Outcome> {
    await this.when(() => this.outcomes.length > index)
    return this.outcomes[index]!
  }

  /** A request begun; the test writes and reads. */
  open(wanted: Wanted = {}): http.ClientRequest | http2.ClientHttp2Stream {
    const { method = 'GET', path = '/', headers = {} } = wanted
    if (this.client === 'h1') {
      const request = http.request({
        port: this.port,
        method,
        path,
        headers: { host: 'service.example', ...headers },
        agent: this.#agent,
      })
      request.on('error', () => {})
      return request
    }
    const stream = this.session.request(
      { ':method': method, ':path': path, ':authority': 'service.example', ...headers },
      {
        endStream: wanted.isWhole === true,
        waitForTrailers: wanted.trailers !== undefined,
      } as http2.ClientSessionRequestOptions,
    )
    stream.on('error', () => {})
    return stream
  }

  /** A whole request and its whole answer. */
  ask(wanted: Wanted = {}): Promise<Answer> {
    const { body, isStreamed = false, trailers } = wanted
    const headers: Record<string, string> = { ...wanted.headers }
    if (body !== undefined && !isStreamed) headers['content-length'] = String(body.length)
    if (this.client === 'h1' && (isStreamed || trailers !== undefined)) headers['transfer-encoding'] = 'chunked'
    const isWhole = body === undefined && trailers === undefined
    const request = this.open({ ...wanted, headers, isWhole })
    const answer = gather(request)
    if (request instanceof http.ClientRequest) {
      if (trailers !== undefined) request.addTrailers(trailers)
    } else if (trailers !== undefined) {
      request.on('wantTrailers', () => request.sendTrailers(trailers))
    }
    request.end(body)
    return answer
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) waiter()
  }
}

function createBackend(
  protocol: BackendProtocol,
  serve: Handler,
  certificate: { readonly cert: string; readonly key: string } | undefined,
): Server {
  const http1 = { keepAliveTimeout: 60_000 }
  if (protocol === 'h2c') return http2.createServer(serve as never) as unknown as Server
  if (protocol === 'http') return http.createServer(http1, serve)
  if (protocol === 'https') return https.createServer({ ...http1, ...certificate }, serve)
  return http2.createSecureServer({ ...certificate }, serve as never) as unknown as Server
}

/**
 * Resolves when a position has stood still for many turns of the event loop. Client, engine and backend all live in this
 * loop, and loopback makes nobody wait: what does not move then waits for somebody who does not read.
 */
export async function standsStill(position: () => number): Promise<void> {
  const TURNS = 300
  let before = 0
  for (let turns = 0; turns < TURNS; ) {
    await new Promise(resolve => setImmediate(resolve))
    const now = position()
    turns = now > 0 && now === before ? turns + 1 : 0
    before = now
  }
}

/** Collects what comes back on a request. */
export function gather(request: http.ClientRequest | http2.ClientHttp2Stream): Promise<Answer> {
  return new Promise(resolve => {
    const pieces: Buffer[] = []
    const interims: number[] = []
    let status = 0
    let headers: http.IncomingHttpHeaders = {}
    let trailers: Answer['trailers'] = {}
    let error: Error | null = null
    let hasEnded = false
    const done = (): void => resolve({ status, headers, body: Buffer.concat(pieces), trailers, interims, error })
    request.on('error', cause => {
      error = cause
    })
    if (request instanceof http.ClientRequest) {
      request.on('information', info => interims.push(info.statusCode))
      request.on('response', response => {
        status = response.statusCode ?? 0
        headers = response.headers
        response.on('data', (piece: Buffer) => pieces.push(piece))
        response.on('error', cause => {
          error = cause
        })
        response.on('end', () => {
          trailers = response.trailers
          hasEnded = true
        })
        response.on('close', () => {
          if (!hasEnded) error ??= new Error('cut')
          done()
        })
      })
      request.on('close', () => {
        if (status === 0) done()
      })
      return
    }
    request.on('headers', head => interims.push(Number(head[':status'])))
    request.on('response', head => {
      status = Number(head[':status'])
      headers = head as http.IncomingHttpHeaders
    })
    request.on('trailers', fields => {
      trailers = { ...(fields as Record<string, string>) }
    })
    request.on('data', (piece: Buffer) => pieces.push(piece))
    request.on('end', () => {
      hasEnded = true
    })
    request.on('close', () => {
      if (!hasEnded && request.rstCode !== 0) error ??= new Error(`reset ${request.rstCode}`)
      done()
    })
  })
}

/** A started pairing that stops with the test. */
export async function createPairing(
  t: Teardown,
  client: ClientProtocol,
  backend: BackendProtocol,
  limits: Partial<ProxyLimits> = {},
): Promise<Pairing> {
  const pairing = new Pairing(client, backend, limits)
  await pairing.start()
  t.teardown(() => pairing.stop())
  return pairing
}

/** Every combination with HTTP/2 on at least one side, and the plain one to compare with. */
export const PAIRINGS: readonly (readonly [ClientProtocol, BackendProtocol])[] = [
  ['h1', 'http'],
  ['h1', 'h2c'],
  ['h2', 'http'],
  ['h2', 'h2c'],
]

/** Bytes that tell where they belong. */
export function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8) * 13 + (i >> 16)) & 0xff
  return bytes
}
