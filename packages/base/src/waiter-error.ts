/** What every operational failure carries; `cause` is logged, never sent to a user. */
export interface WaiterErrorOptions {
  /** Stable machine-readable code, for example `WTR_NO_LEADER`. */
  readonly code: string
  /** HTTP status of the answer when this failure ends a request. */
  readonly status?: number
  /** True when the same call may succeed later without being changed. */
  readonly retryable?: boolean
  /** Plain data shown to the user beside the message. Must not hold secrets. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/**
 * An operational failure: something outside this process went wrong, or a user asked for something impossible.
 * The message is written for users; the cause's text never reaches the wire.
 */
export class WaiterError extends Error {
  override readonly name: string = 'WaiterError'
  readonly code: string
  readonly status: number
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>

  constructor(message: string, options: WaiterErrorOptions) {
    super(message, options.cause === undefined ? {} : { cause: options.cause })
    this.code = options.code
    this.status = options.status ?? 500
    this.retryable = options.retryable ?? false
    this.details = options.details ?? {}
  }
}
