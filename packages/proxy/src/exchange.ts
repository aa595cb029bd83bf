import type { Outcome } from './outcome.ts'

/** A request's head: cheap views over the scanned text. Stays valid for as long as somebody holds it. */
export interface RequestHead {
  readonly method: string
  /** As sent: origin-form, absolute-form or `*`; HTTP/2's `:path`. */
  readonly target: string
  /** Begins with `/` (or is `*`); never decoded or normalised. */
  readonly path: string
  /** Behind the first `?`, or null when there is none. */
  readonly query: string | null
  readonly httpVersion: '1.0' | '1.1' | '2.0'
  /** Lower-case host without port (an IPv6 literal keeps its brackets); empty for HTTP/1.0 without Host. */
  readonly host: string
  /** The Host field as sent. */
  readonly authority: string
  readonly bodyKind: 'none' | 'length' | 'chunked'
  /** Octets announced; 0 without a body, -1 when chunked. */
  readonly contentLength: number
  /** Asks for a protocol upgrade that may be tunnelled (never h2c): Upgrade, or an extended CONNECT of HTTP/2. */
  readonly isUpgrade: boolean
  readonly expectsContinue: boolean
  /** Fields of the head, repeated ones counted one by one. */
  readonly fieldCount: number
  /** Value of a field by lower-case name; repeated fields are joined with `, ` (cookies with `; `). */
  get(lowerName: string): string | undefined
  has(lowerName: string): boolean
  /**
   * Every field in order, names as sent.
   *
   * @param lowerPrefix the caller wants only fields whose names begin so: others may be left out, which saves their strings
   */
  forEach(callback: (name: string, value: string) => void, lowerPrefix?: string): void
}

/** What an owner may look at when the backend's response head arrives; valid only during `onResponseHead`. */
export type HeaderGetter = (lowerName: string) => string | undefined

/** What a backend speaks: HTTP/1.1 or HTTP/2, and whether in TLS. HTTP/2 without TLS by prior knowledge. */
export type BackendProtocol = 'http' | 'https' | 'h2' | 'h2c'

/** Where and how one request is forwarded. */
export interface ForwardTarget {
  /** `http` when absent. */
  readonly protocol?: BackendProtocol
  /** IPv4, IPv6 (without brackets) or a name. */
  readonly host: string
  readonly port: number
  /** Path and query to ask for instead of the client's; visible ASCII without blanks. */
  readonly requestTarget?: string | undefined
  /** Lines made by `renderHeader`, appended to the request's head. */
  readonly extraRequestHead: string
  /** A request field over HTTP/2 (lower-case name) that gets another value than the client's; absent: none does. */
  readonly changedRequestField?: { readonly name: string; readonly value: string } | undefined
  /** Lines made by `renderHeader`, appended to the response's head. */
  readonly extraResponseHead: string
  readonly connectTimeoutMs: number
  /** From the last request byte sent to the response head. */
  readonly responseTimeoutMs: number
  /** Longest silence while bodies stream, in either direction. */
  readonly streamIdleTimeoutMs: number
  /** Longest silence of an upgraded connection; `streamIdleTimeoutMs` when absent. */
  readonly tunnelIdleTimeoutMs?: number
  /** Called with the final status (not 1xx, but 101) before the head goes to the client. */
  onResponseHead?(status: number, get: HeaderGetter, fieldCount: number): void
  /**
   * Lines to append that depend on the response; called right after `onResponseHead`. Wins over nothing:
   * they are added to `extraResponseHead`.
   */
  readonly lateResponseHead?: (() => string) | undefined
  /**
   * A line made by `renderHeader` that goes to the client instead of the response's `location`; looked at after
   * `onResponseHead`, which may have set it. Absent: nothing is replaced.
   */
  readonly replacedLocation?: string | undefined
  /** Called with the response's trailers, if it has any and both protocols carry them, before they go to the client. */
  onResponseTrailers?(get: HeaderGetter): void
  /** Called exactly once per `forward()`. */
  onOutcome(outcome: Outcome): void
}

/** An answer of our own. */
export interface OwnResponse {
  readonly status: number
  /** Framing, `connection` and `date` belong to the engine and are refused here. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Strings are sent as UTF-8. Not sent for HEAD, 204 and 304. */
  readonly body?: string | Uint8Array
}

/** The writing end of `respondStream`. */
export interface StreamWriter {
  /** Sends one piece. False: wait for `onDrain`. Ignored once closed. */
  write(piece: string | Uint8Array): boolean
  /** Ends the response cleanly. */
  end(): void
  /** Called when a `write` that returned false has been flushed. */
  onDrain: (() => void) | null
  /** Called once if the client left, stalled or was cut before `end()`. */
  onClosed: (() => void) | null
}

/**
 * One request and its answer: a client side and, once forwarded, an upstream side.
 *
 * The owner must call `forward` or `respond`/`respondStream` (perhaps after `readBody`) exactly once, and again after
 * each outcome that says so (see `Outcome`). Calls on an exchange that is already over are ignored.
 */
export interface Exchange {
  readonly head: RequestHead
  /** The peer's address as the socket tells it. */
  readonly remoteAddress: string
  readonly localPort: number
  /** The client's connection to this engine is encrypted. */
  readonly isSecure: boolean
  /** `Clock.nowMs` when the head was complete. */
  readonly arrivedAtMs: number
  /** True once the exchange is over: answered, aborted or its client gone. */
  readonly isFinished: boolean
  /** Starts synchronously: with a pooled connection the head is written before this returns. */
  forward(target: ForwardTarget): void
  respond(response: OwnResponse): void
  /** Streams an answer (chunked; until close for HTTP/1.0). */
  respondStream(response: Omit<OwnResponse, 'body'>): StreamWriter
  /**
   * Reads the whole request body.
   *
   * @throws {WaiterError} WTR_BODY_TOO_LARGE (413), WTR_CLIENT_GONE, WTR_BODY_TIMEOUT (408), WTR_BODY_MALFORMED (400);
   * after the first and third the owner still answers
   */
  readBody(limitBytes: number): Promise<Uint8Array>
  /**
   * Called once if the client vanishes before the exchange is over, also while it is merely queued. When a forward is
   * in progress its `onOutcome` is told first (`client-gone`).
   */
  onClientGone: (() => void) | null
  /** Cuts the client's connection (over HTTP/2: its stream) without an answer. */
  abort(): void
  /** Says goodbye to both ends of a WebSocket (1001); nothing for other tunnels, and without one. */
  closeTunnel(): void
}
