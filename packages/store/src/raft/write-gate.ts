import { storeUnavailable } from '../errors.ts'
import { WRITES_QUEUED_MAX } from '../limits.ts'

/** Writes of one node on their way at once. Less than the results that the group remembers for a session (1,024). */
const WRITES_UNDER_WAY_MAX = 512

/** Lets a bounded number of writes through at a time, in order, and numbers them as a session of the group wants it. */
export class WriteGate {
  readonly #waiting: (() => void)[] = []
  /** In order of their numbers: a Set keeps the order of insertion. */
  readonly #underWay = new Set<number>()
  #last = 0

  /** @throws {WaiterError} `WTR_STORE_UNAVAILABLE` when too many wait already */
  async enter(): Promise<number> {
    if (this.#underWay.size >= WRITES_UNDER_WAY_MAX) {
      if (this.#waiting.length >= WRITES_QUEUED_MAX)
        throw storeUnavailable(`The store takes no more writes now: ${WRITES_QUEUED_MAX} wait already.`)
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
    const sequence = ++this.#last
    this.#underWay.add(sequence)
    return sequence
  }

  leave(sequence: number): void {
    this.#underWay.delete(sequence)
    this.#waiting.shift()?.()
  }

  /** No write below this number will be tried again. */
  get firstPending(): number {
    const [first] = this.#underWay
    return first ?? this.#last + 1
  }
}
