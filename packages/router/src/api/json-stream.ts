import type { Exchange, StreamWriter } from '@waiter/proxy'

/** Documents that may wait for a watcher that reads slowly; one more, and it is cut off: it will ask again. */
export const STREAM_PENDING_MAX = 1_024
/** So much is handed to the engine at a time: a listing of all tokens must not count as a client that does not read. */
const PIECE_CHARS_MAX = 64 * 1_024

export interface JsonStreamOptions {
  readonly exchange: Exchange
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** The stream ends when nothing was sent for so long. */
  readonly idleTimeoutMs: number
  /** Called once, whoever ended it. */
  readonly onEnd: () => void
}

/**
 * An answer that goes on: JSON documents one after the other, without separators (spec §3.6). Never holds more than
 * `STREAM_PENDING_MAX` documents for its client.
 */
export class JsonStream {
  readonly #options: JsonStreamOptions
  readonly #writer: StreamWriter
  /** Documents, the first one perhaps sent in part. */
  readonly #pending: string[] = []
  #isBlocked = false
  #isOver = false
  #timer: NodeJS.Timeout | undefined

  constructor(options: JsonStreamOptions) {
    this.#options = options
    const headers = [['content-type', 'application/json'] as const, ...options.headers]
    this.#writer = options.exchange.respondStream({ status: 200, headers })
    this.#writer.onDrain = () => {
      this.#isBlocked = false
      this.#pump()
    }
    this.#writer.onClosed = () => this.#finish()
    this.#rest()
  }

  send(document: unknown): void {
    if (this.#isOver) return
    if (this.#pending.length >= STREAM_PENDING_MAX) {
      this.#finish()
      this.#options.exchange.abort()
      return
    }
    this.#pending.push(JSON.stringify(document))
    this.#pump()
  }

  end(): void {
    if (this.#isOver) return
    this.#finish()
    this.#writer.end()
  }

  #pump(): void {
    while (!this.#isBlocked && !this.#isOver) {
      const next = this.#pending.shift()
      if (next === undefined) return
      if (next.length > PIECE_CHARS_MAX) this.#pending.unshift(next.slice(cutAt(next)))
      this.#isBlocked = !this.#writer.write(next.length > PIECE_CHARS_MAX ? next.slice(0, cutAt(next)) : next)
      this.#rest()
    }
  }

  /** Begins to wait for the end of a time without news. */
  #rest(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.end(), this.#options.idleTimeoutMs)
  }

  #finish(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#pending.length = 0
    clearTimeout(this.#timer)
    this.#options.onEnd()
  }
}

/** Not between the halves of a surrogate pair: each piece is encoded by itself. */
function cutAt(text: string): number {
  const code = text.charCodeAt(PIECE_CHARS_MAX - 1)
  return code >= 0xd800 && code < 0xdc00 ? PIECE_CHARS_MAX - 1 : PIECE_CHARS_MAX
}
