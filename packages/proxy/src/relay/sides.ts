import type { HeaderGetter } from '../exchange.ts'
import type { HeaderField } from '../h2/index.ts'

/** A response head as it came in. It is looked at and collected during `onHead` only. */
export interface RelayHead {
  readonly status: number
  /** Octets of body announced, or -1. */
  readonly contentLength: number
  /** The body ends with the connection: its end proves nothing. */
  readonly isCloseDelimited: boolean
  /** Nothing follows. */
  readonly isEnd: boolean
  /** Trailers may follow although the length was announced: in HTTP/2. */
  readonly mayEndInTrailers: boolean
  /** Fields of the head, repeated ones counted one by one. */
  readonly fieldCount: number
  readonly get: HeaderGetter
  /** Fields that go on: names in lower case, without pseudo-header fields and what policy or protocol keep here. */
  collect(): HeaderField[]
}

/** A response head on its way to the client. */
export interface RelayResponse {
  readonly status: number
  readonly contentLength: number
  readonly isEnd: boolean
  readonly mayEndInTrailers: boolean
  readonly fields: readonly HeaderField[]
}

/** Why an upstream side failed. */
export interface RelayFailure {
  readonly kind: 'refused' | 'connect' | 'closed' | 'reset' | 'malformed' | 'unprocessed' | 'gone-away'
  readonly detail: string
  /** RST_STREAM's, where there was one. */
  readonly code: number
  /** A kept connection was dead and not a byte came of this response: the request may be repeated unseen. */
  readonly isStale: boolean
  /** Of a stale one: the system refused to take a single byte. */
  readonly isUnsent: boolean
}

/** Who takes a request's body, as payload. Ranges are valid during the call only. */
export interface RelayBodySink {
  onRequestBody(bytes: Buffer, start: number, end: number): void
  onRequestEnd(trailers: readonly HeaderField[] | null): void
  onRequestMalformed(detail: string): void
  onRequestStalled(): void
}

/** The client's side of one exchange: what a relay reads of the request and writes of the response. */
export interface RelayClient {
  readonly isRequestComplete: boolean
  readonly hasBodyBeenTaken: boolean
  readonly hasResponseStarted: boolean
  /** It waits for 100 before it sends its body. */
  readonly awaitsContinue: boolean
  readonly requestBytes: number
  /** Octets it has not taken yet. */
  readonly pendingBytes: number
  openBody(sink: RelayBodySink): void
  closeBody(): void
  holdBody(): void
  releaseBody(): void
  /** Tells it to send its body, when the policy keeps `expect` from the backend. */
  continueIfKept(): void
  /** Ignored where the protocol knows no 1xx; 100 is sent once. */
  writeInterim(status: number, fields: readonly HeaderField[]): void
  writeHead(response: RelayResponse): void
  writeBody(bytes: Buffer, start: number, end: number): void
  writeEnd(trailers: readonly HeaderField[] | null): void
  /** The response is complete. */
  finish(): void
  /** Makes a broken response visible. */
  breakOff(code: number): void
  /** An answer of the engine's own, for a client that breaks the rules. */
  refuse(status: number, message: string): void
  /** Accepts the upgrade; from here on bytes are opaque. */
  openTunnel(response: RelayResponse, upgradeProtocol: string): void
  writeTunnel(bytes: Buffer, start: number, end: number): void
  endTunnel(): void
  /** @param isClean both directions ended by themselves; else what is open is cut */
  finishTunnel(isClean: boolean): void
}

/** What an upstream side tells its relay. */
export interface RelayUpstreamHandler {
  onConnected(): void
  onInterim(head: RelayHead): void
  onHead(head: RelayHead): void
  /** The backend switched protocols as asked: a tunnel begins. */
  onUpgraded(head: RelayHead, upgradeProtocol: string): void
  onBody(bytes: Buffer, start: number, end: number): void
  onEnd(trailers: readonly HeaderField[] | null): void
  onReadDone(): void
  onDrain(): void
  onTimeout(): void
  /** Nothing follows. */
  onBroken(failure: RelayFailure): void
}

/** The backend's side of one `forward()`. */
export interface RelayUpstream {
  readonly responseBytes: number
  readonly pendingBytes: number
  readonly isPaused: boolean
  /** Takes a connection, or opens one; `onConnected` may be called before this returns. */
  start(): void
  arm(delayMs: number): void
  sendHead(): void
  sendBody(bytes: Buffer, start: number, end: number): void
  sendEnd(trailers: readonly HeaderField[] | null): void
  pause(): void
  resume(): void
  /** A fresh connection for a request that a stale one lost; false when it cannot be repeated. */
  replay(): boolean
  /** The response is complete. */
  release(isRequestComplete: boolean): void
  /** Cuts it; the handler hears nothing more. */
  destroy(): void
  writeTunnel(bytes: Buffer, start: number, end: number): void
  endTunnel(): void
  finishTunnel(isClean: boolean): void
}
