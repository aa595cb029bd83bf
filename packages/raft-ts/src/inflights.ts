import { assert } from '@waiter/base'
import type { LogIndex } from './types.ts'

/**
 * The append messages sent to one follower and not yet answered: a ring bounded by count and by bytes (rule P4). Only
 * the last index of each message is kept, in increasing order.
 */
export class Inflights {
  readonly maxMessages: number
  /** Infinity: only the count bounds. */
  readonly maxBytes: number
  #lastIndexes: LogIndex[] = []
  #sizes: number[] = []
  #start = 0
  #count = 0
  #bytes = 0

  constructor(maxMessages: number, maxBytes: number) {
    this.maxMessages = maxMessages
    this.maxBytes = maxBytes
  }

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytes
  }

  get isFull(): boolean {
    return this.#count === this.maxMessages || this.#bytes >= this.maxBytes
  }

  /** Remembers a message that ends at `lastIndex`. The caller asked `isFull` before. */
  add(lastIndex: LogIndex, bytes: number): void {
    assert(!this.isFull, `more than ${this.maxMessages} append messages in flight`)
    const capacity = this.#lastIndexes.length
    if (this.#count === capacity) this.#grow()
    const at = (this.#start + this.#count) % this.#lastIndexes.length
    this.#lastIndexes[at] = lastIndex
    this.#sizes[at] = bytes
    this.#count++
    this.#bytes += bytes
  }

  /** Everything up to `index` has been acknowledged. */
  freeUpTo(index: LogIndex): void {
    while (this.#count > 0 && this.#lastIndexes[this.#start]! <= index) {
      this.#bytes -= this.#sizes[this.#start]!
      this.#start = (this.#start + 1) % this.#lastIndexes.length
      this.#count--
    }
  }

  reset(): void {
    this.#start = 0
    this.#count = 0
    this.#bytes = 0
  }

  #grow(): void {
    const from = this.#start
    this.#lastIndexes = [...this.#lastIndexes.slice(from), ...this.#lastIndexes.slice(0, from)]
    this.#sizes = [...this.#sizes.slice(from), ...this.#sizes.slice(0, from)]
    this.#start = 0
    const capacity = Math.min(this.maxMessages, Math.max(8, this.#lastIndexes.length * 2))
    while (this.#lastIndexes.length < capacity) {
      this.#lastIndexes.push(0)
      this.#sizes.push(0)
    }
  }
}
