/** Where a request stood when its client vanished or stalled. */
export type ClientPhase = 'request-body' | 'waiting' | 'response' | 'tunnel'

/**
 * Why nothing of a request reached a backend. `stale`: the pooled connection was dead and the method is not idempotent,
 * or the backend gave it up (HTTP/2: GOAWAY) before it looked at the request; the instance itself is probably well, so
 * forwarding to it again is right. `unprocessed`: the backend refused the request unseen (HTTP/2: REFUSED_STREAM), since
 * it has too much to do.
 */
export type NotSentReason = 'refused' | 'connect-timeout' | 'connect-error' | 'stale' | 'unprocessed'

/** Why an exchange failed while the client had not yet seen a response head. */
export type FailureReason =
  | 'closed' // the backend closed before a whole response head
  | 'reset' // the connection broke with an error
  | 'gone-away' // HTTP/2: given up before it was looked at (GOAWAY), and more of its body was sent than is kept
  | 'malformed-response' // the head breaks a rule of the README's list
  | 'unexpected-upgrade' // 101 that nobody asked for
  | 'request-stalled' // the backend stopped reading the request body (streamIdleTimeoutMs)

/**
 * How one `forward()` ended; reported exactly once per call.
 *
 * After `not-sent`, `failed-before-response` and `response-timeout` the client still waits: the owner must call
 * `forward()` or `respond()`. After every other kind the exchange is over.
 */
export type Outcome =
  /**
   * Response (or, with status 101, tunnel) relayed to its end. Bytes are those on the wire, heads included; over HTTP/2
   * those of names, values and bodies.
   */
  | {
      readonly kind: 'completed'
      readonly status: number
      readonly requestBytes: number
      readonly responseBytes: number
      /** Who ended a tunnel; absent for ordinary responses. */
      readonly tunnelEnd?: 'client' | 'upstream' | 'idle' | 'drain' | 'age'
    }
  /** No byte reached a backend: safe to forward anew, whatever the method. `code` is the system's, e.g. ECONNREFUSED. */
  | { readonly kind: 'not-sent'; readonly reason: NotSentReason; readonly code: string }
  /** `retryable`: the body is untouched and the method idempotent, so `forward()` may be called again. */
  | {
      readonly kind: 'failed-before-response'
      readonly reason: FailureReason
      readonly detail: string
      readonly retryable: boolean
    }
  /** No response head within `responseTimeoutMs` of the last request byte sent. */
  | { readonly kind: 'response-timeout' }
  /** The response broke off. The engine has already broken the client's connection visibly (no clean end). */
  | { readonly kind: 'failed-mid-response'; readonly status: number; readonly detail: string }
  | { readonly kind: 'client-gone'; readonly phase: ClientPhase }
  /** The client neither sends nor accepts bytes; answered 408 if no response had begun, and cut. */
  | { readonly kind: 'client-stalled'; readonly phase: ClientPhase }
  /** The request body broke the framing rules; answered 400 if no response had begun, and closed. */
  | { readonly kind: 'client-malformed'; readonly detail: string }
  /** The owner called `abort()`, or the server was closed. */
  | { readonly kind: 'aborted' }
