import type { HeaderField } from './header-field.ts'

/** Who owns a sending side: the stream. */
export interface SendSideOwner {
  /** END_STREAM is on its way. */
  onSendEnded(): void
  /** All that waited has been sent. */
  onSendDrained(): void
}

/** The sending half of one stream: its window and what waits for it. */
export class SendSide {
  readonly streamId: number
  readonly owner: SendSideOwner
  /** May fall below zero when the peer shrinks its initial window (RFC 9113 §6.9.2). */
  window: number
  /** Octets waiting. */
  bytes = 0
  /** Nothing more may be queued. */
  isEnding = false
  trailers: readonly HeaderField[] | null = null
  isOver = false
  /** In the connection's list of streams that may send. */
  isListed = false
  /** The source was told to wait. */
  owesDrain = false
  /** Octets ever sent, and how many when the stall watch last looked; -1 while nothing waits. */
  sentBytes = 0
  watchedBytes = -1
  /** Most streams never wait, so the list is made when one does. */
  #chunks: Buffer[] | null = null
  #firstOffset = 0

  constructor(owner: SendSideOwner, streamId: number, window: number) {
    this.owner = owner
    this.streamId = streamId
    this.window = window
  }

  /** Copies: the range is its giver's. */
  push(bytes: Buffer, start: number, end: number): void {
    if (this.#chunks === null) this.#chunks = []
    this.#chunks.push(Buffer.from(bytes.subarray(start, end)))
    this.bytes += end - start
  }

  /** Hands at most `limit` octets of the first chunk to `write`; returns how many. */
  shift(limit: number, write: (bytes: Buffer, start: number, end: number) => void): number {
    const chunks = this.#chunks!
    const chunk = chunks[0]!
    const start = this.#firstOffset
    const end = Math.min(chunk.length, start + limit)
    write(chunk, start, end)
    this.bytes -= end - start
    if (end === chunk.length) {
      chunks.shift()
      this.#firstOffset = 0
    } else {
      this.#firstOffset = end
    }
    return end - start
  }

  /** Drops what waits; nothing is sent any more. */
  close(): void {
    this.isOver = true
    this.#chunks = null
    this.bytes = 0
    this.trailers = null
  }
}
