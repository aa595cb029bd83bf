/** One request as the backend received it; all text is Latin-1, a character for a byte. */
export interface SeenRequest {
  /** Which case it belongs to; -1 when nothing in it tells. */
  readonly caseId: number
  readonly method: string
  readonly target: string
  readonly version: string
  /** Names in lower case. */
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly framing: 'none' | 'length' | 'chunked'
  readonly body: string
  readonly trailers: string
  /** False when the connection ended before the request did. */
  readonly isComplete: boolean
  /** What a proxy should not have let through. */
  readonly flaws: readonly string[]
  readonly bytes: number
}

/** How a conversation stood when nothing more came. */
export type End = 'open' | 'closed'

/** What one proxy made of one case. */
export interface Observation {
  /** Statuses of the final answers, in order. */
  readonly statuses: readonly number[]
  readonly end: End
  /** The answers, when they were no HTTP. */
  readonly nonsense: string
  readonly seen: readonly SeenRequest[]
}
