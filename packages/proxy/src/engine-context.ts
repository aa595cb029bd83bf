import type { Logger } from '@waiter/base'
import { BulkBuffers } from './bulk-buffers.ts'
import type { Clock } from './clock.ts'
import type { WriteRequestConstructor } from './direct-writes.ts'
import type { Exchange } from './exchange.ts'
import type { CompiledPolicy } from './h1/compiled-policy.ts'
import { HeadScanner } from './h1/head-scanner.ts'
import { DEFAULT_HTTP2_LIMITS, type Http2Clock, type Http2Limits, TurnScheduler } from './h2/index.ts'
import type { Http2UpstreamPool } from './h2-upstream/http2-pool.ts'
import type { ProxyLimits } from './limits.ts'
import type { Refusal, RenderError } from './proxy-server.ts'
import { type TimerWheel, WheelTimer } from './timer-wheel.ts'
import type { UpstreamPool } from './upstream-pool.ts'
import type { UpstreamTls } from './upstream-socket.ts'

/** Bytes one read may bring. */
const READ_BUFFER_BYTES = 64 * 1024
const DATE_REFRESH_MS = 500
/** Scanners kept for the next head; about 2 KiB each. */
const SPARE_SCANNERS_MAX = 1024

/** `:method`, `:scheme`, `:authority`, `:path`. */
const PSEUDO_FIELDS_MAX = 4

/** What all connections of one server share. Mutable on purpose: counters and the drain flag live here. */
export class EngineContext {
  readonly limits: ProxyLimits
  readonly policy: CompiledPolicy
  readonly clock: Clock
  readonly wheel: TimerWheel
  readonly log: Logger
  readonly renderError: RenderError
  readonly onExchange: (exchange: Exchange) => void
  readonly onRefusal: ((refusal: Refusal) => void) | undefined
  pool!: UpstreamPool
  /** The same over TLS. */
  securePool!: UpstreamPool
  http2Pool!: Http2UpstreamPool
  readonly upstreamTls: UpstreamTls
  /** Lets HTTP/2 connections say in one write what they have to say in a turn. */
  readonly turns: TurnScheduler = new TurnScheduler()
  readonly http2Clock: Http2Clock
  readonly http2ClientLimits: Http2Limits
  readonly http2UpstreamLimits: Http2Limits
  /** All sockets read into this; whoever keeps bytes past the read callback copies them. */
  readonly readBuffer: Buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
  /** For the connections that stream long bodies. */
  readonly bulkBuffers: BulkBuffers = new BulkBuffers()
  /** Whether client sockets can do so too: see `supportsStaticReads`. */
  hasStaticReads = false
  /** How plain sockets are written to past Node's streams: see `findDirectWrites`. */
  directWrites: WriteRequestConstructor | null = null
  isDraining = false
  activeExchanges = 0
  requestsTotal = 0
  refusedTotal = 0
  upstreamConnectsTotal = 0
  upstreamReusedTotal = 0
  staleRetriesTotal = 0
  droppedConnectionsTotal = 0
  readonly #spareScanners: HeadScanner[] = []
  #date = ''
  #dateAtMs = Number.NEGATIVE_INFINITY

  constructor(options: {
    limits: ProxyLimits
    policy: CompiledPolicy
    clock: Clock
    wheel: TimerWheel
    log: Logger
    renderError: RenderError
    onExchange: (exchange: Exchange) => void
    upstreamTls: UpstreamTls
    http2Limits: Partial<Http2Limits>
    onRefusal?: ((refusal: Refusal) => void) | undefined
  }) {
    const { limits, wheel, clock, http2Limits } = options
    this.limits = limits
    this.upstreamTls = options.upstreamTls
    this.http2Clock = { nowMs: () => clock.nowMs(), createTimer: onTimeout => new WheelTimer(wheel, onTimeout) }
    this.http2ClientLimits = { ...clientLimits(limits), ...http2Limits }
    this.http2UpstreamLimits = { ...upstreamLimits(limits), ...http2Limits }
    this.policy = options.policy
    this.clock = options.clock
    this.wheel = options.wheel
    this.log = options.log
    this.renderError = options.renderError
    this.onExchange = options.onExchange
    this.onRefusal = options.onRefusal
  }

  /** A scanner ready for a request head. */
  takeScanner(): HeadScanner {
    const spare = this.#spareScanners.pop()
    if (spare === undefined) return new HeadScanner('request', this.limits, this.policy.requestTable)
    spare.reset()
    return spare
  }

  /** Heads made with it stay valid: they notice its next reset. */
  returnScanner(scanner: HeadScanner): void {
    if (this.#spareScanners.length < SPARE_SCANNERS_MAX) this.#spareScanners.push(scanner)
  }

  /** The Date field of our own answers, made at most twice a second. */
  httpDate(): string {
    const nowMs = this.clock.nowMs()
    if (nowMs - this.#dateAtMs >= DATE_REFRESH_MS) {
      this.#date = new Date().toUTCString()
      this.#dateAtMs = nowMs
    }
    return this.#date
  }
}

/** Bounds of clients' connections: the same as over HTTP/1.1 where there is such a thing. */
function clientLimits(limits: ProxyLimits): Http2Limits {
  return {
    ...DEFAULT_HTTP2_LIMITS,
    headerListBytesMax: limits.headBytesMax,
    headerFieldsMax: limits.headFieldsMax + PSEUDO_FIELDS_MAX,
    targetBytesMax: limits.targetBytesMax,
    headTimeoutMs: limits.headTimeoutMs,
    idleTimeoutMs: limits.clientIdleTimeoutMs,
    lingerTimeoutMs: limits.lingerTimeoutMs,
    interimResponsesMax: limits.interimResponsesMax,
  }
}

/** Bounds of connections to backends. Slow clients of one must not stop the others: each stream may fill its window. */
function upstreamLimits(limits: ProxyLimits): Http2Limits {
  return {
    ...clientLimits(limits),
    idleTimeoutMs: limits.upstreamHttp2IdleTimeoutMs,
    receiveBufferBytesMax: limits.upstreamStreamsPerConnectionMax * DEFAULT_HTTP2_LIMITS.streamWindowBytes,
  }
}
