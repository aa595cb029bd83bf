/**
 * The HTTP/2 engine: frames, HPACK, flow control and the rules of RFC 9113, in either role, without `node:http2`.
 *
 * **Contract.** `new Http2Connection({ role, io, clock, scheduler, owner })`, then `start()`; give it bytes by
 * `receive`, tell it `drained` and `transportClosed` (`attachSocket` does all that for a socket). A server's owner gets
 * `onRequest(stream)` for each valid request and answers with who listens to the stream; a client calls `request`.
 * Either way a stream tells its handler head, data, trailers, end or reset, and takes `sendHead`, `sendData`,
 * `sendTrailers`, `end`, `reset`. `sendData` returning false and `pause`/`resume` carry back-pressure both ways.
 *
 * **What it does not do.** Push (off), priorities (ignored), TLS and ALPN (the socket's), time-outs of requests (the
 * owner's), retries. README.md draws the machine and lists the limits.
 */
export {
  Http2Connection,
  type Http2ConnectionEnd,
  type Http2ConnectionOptions,
  type Http2ConnectionOwner,
} from './connection.ts'
export { ErrorCode, errorCodeName } from './error-code.ts'
export type { Http2ResponseHead } from './head-rules.ts'
export { HeaderField } from './header-field.ts'
export type { Http2Clock, Http2Io } from './io.ts'
export { DEFAULT_HTTP2_LIMITS, type Http2Limits } from './limits.ts'
export { guessPreface } from './preface.ts'
export { Http2RequestHead } from './request-head.ts'
export { attachSocket, SocketIo } from './socket-io.ts'
export { Http2Stream, type Http2StreamHandler, type StreamReset } from './stream.ts'
export { TurnScheduler } from './turn-scheduler.ts'
