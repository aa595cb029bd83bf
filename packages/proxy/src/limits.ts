/**
 * Every bound the engine keeps, with its unit in its name. All may be overridden by `createProxyServer({ limits })`.
 */
export interface ProxyLimits {
  /** Request line, fields and the blank line together; beyond it 431. Also bounds a response's head. */
  readonly headBytesMax: number
  /** Fields in one head; beyond it 431. */
  readonly headFieldsMax: number
  /** Request target; beyond it 414. */
  readonly targetBytesMax: number
  /** Trailer section of a chunked message. */
  readonly trailerBytesMax: number
  /** From the first byte of a head to its end; beyond it 408. Defeats slow-header attacks. */
  readonly headTimeoutMs: number
  /** How long a client connection may rest between requests. */
  readonly clientIdleTimeoutMs: number
  /** Slowest tolerated request body, judged over `bodyRateWindowMs`; back-pressure from the backend does not count. */
  readonly bodyBytesPerSecondMin: number
  readonly bodyRateWindowMs: number
  /** Bytes kept for a request that nobody reads yet (queued body, pipelined requests) before the socket is paused. */
  readonly clientInputBytesMax: number
  /** An unread request body up to this size is read and dropped to save the connection; beyond it we close. */
  readonly discardBytesMax: number
  /** How long a closed connection still swallows input, so that the client can read our last answer. */
  readonly lingerTimeoutMs: number
  /** Unsent bytes toward one socket above which the other side is paused. */
  readonly writeBufferBytesMax: number
  /** Unsent bytes of a `respondStream` writer above which the client counts as stalled and is cut. */
  readonly streamBufferBytesMax: number
  /** From the connection to the end of a TLS handshake. */
  readonly handshakeTimeoutMs: number
  /** TLS handshakes at once; with more, the oldest unfinished one is dropped. */
  readonly handshakesMax: number
  /** Client connections at once; more are dropped at accept. */
  readonly clientConnectionsMax: number
  /** Idle upstream connections kept per host and port. */
  readonly upstreamIdlePerTargetMax: number
  /** How long one may rest; below the 5 s after which a stock Node backend closes, so that we rarely meet a stale one. */
  readonly upstreamIdleTimeoutMs: number
  /** Requests at once on one HTTP/2 connection to a backend, however many it allows; the next ones open another. */
  readonly upstreamStreamsPerConnectionMax: number
  /** HTTP/2 connections to one backend; beyond it requests wait, at most their connect time-out. */
  readonly upstreamHttp2PerTargetMax: number
  /** How long one of them may rest. */
  readonly upstreamHttp2IdleTimeoutMs: number
  /** Unsent bytes of one request or response with HTTP/2 on either side, above which its source is paused. */
  readonly relayBufferBytesMax: number
  /** A WebSocket older than this is closed with a close frame. */
  readonly webSocketAgeMsMax: number
  /** How long its ends may take to answer our close frame. */
  readonly webSocketCloseTimeoutMs: number
  /** 1xx responses relayed for one request; more is a broken backend. */
  readonly interimResponsesMax: number
  /** Time between probes of a client that half-closed: tells "finished sending" from "gone". */
  readonly halfCloseProbeMs: number
}

const KIB = 1024

/** Defaults, each generous for honest peers and finite for the others. */
export const DEFAULT_LIMITS: ProxyLimits = {
  headBytesMax: 64 * KIB,
  headFieldsMax: 100,
  targetBytesMax: 8 * KIB,
  trailerBytesMax: 8 * KIB,
  headTimeoutMs: 10_000,
  clientIdleTimeoutMs: 60_000,
  bodyBytesPerSecondMin: 16,
  bodyRateWindowMs: 30_000,
  clientInputBytesMax: 64 * KIB,
  discardBytesMax: 256 * KIB,
  lingerTimeoutMs: 2_000,
  writeBufferBytesMax: 256 * KIB,
  streamBufferBytesMax: 1024 * KIB,
  handshakeTimeoutMs: 10_000,
  handshakesMax: 512,
  clientConnectionsMax: 20_000,
  upstreamIdlePerTargetMax: 256,
  upstreamIdleTimeoutMs: 4_000,
  upstreamStreamsPerConnectionMax: 256,
  upstreamHttp2PerTargetMax: 64,
  upstreamHttp2IdleTimeoutMs: 60_000,
  relayBufferBytesMax: 128 * KIB,
  webSocketAgeMsMax: 24 * 3_600_000,
  webSocketCloseTimeoutMs: 2_000,
  interimResponsesMax: 64,
  halfCloseProbeMs: 500,
}
