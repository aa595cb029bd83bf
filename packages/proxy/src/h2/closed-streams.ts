/** How a stream that is no longer in the table ended. */
export const Ended = {
  /** Not known any more, or skipped by the peer. */
  UNKNOWN: 0,
  /** Both sides ended it, or the peer reset it: it may say nothing more on it. */
  BY_PEER: 1,
  /** We reset it: what was under way is to be ignored. */
  BY_US: 2,
} as const

const REMEMBERED_MAX = 256

/** Remembers the last streams that ended, so that late frames get the answer RFC 9113 §5.1 asks for. */
export class ClosedStreams {
  readonly #endedByPeer = new Ring()
  readonly #resetByUs = new Ring()

  record(streamId: number, how: typeof Ended.BY_PEER | typeof Ended.BY_US): void {
    if (how === Ended.BY_US) this.#resetByUs.add(streamId)
    else this.#endedByPeer.add(streamId)
  }

  howEnded(streamId: number): number {
    if (this.#resetByUs.has(streamId)) return Ended.BY_US
    return this.#endedByPeer.has(streamId) ? Ended.BY_PEER : Ended.UNKNOWN
  }
}

class Ring {
  #ids: Int32Array | null = null
  #next = 0

  add(id: number): void {
    if (this.#ids === null) this.#ids = new Int32Array(REMEMBERED_MAX)
    this.#ids[this.#next] = id
    this.#next = (this.#next + 1) % REMEMBERED_MAX
  }

  has(id: number): boolean {
    return this.#ids?.includes(id) ?? false
  }
}
