import { Inflights } from './inflights.ts'
import type { LogIndex } from './types.ts'

/** How the leader feeds a follower: `probe` searches where the logs agree, `replicate` streams, `snapshot` waits. */
export type ProgressState = 'probe' | 'replicate' | 'snapshot'

/** What a new Progress starts with. */
export interface ProgressOptions {
  readonly match: LogIndex
  readonly next: LogIndex
  readonly isLearner: boolean
  readonly isRecentlyActive: boolean
  readonly maxInflightMessages: number
  readonly maxInflightBytes: number
}

/**
 * What the leader believes about one follower. `match` is known to agree; `next` is what to send next; always
 * `match < next` (rule P1).
 *
 * ```
 *            ack                    log compacted
 *   probe ─────────▶ replicate ──────────────────▶ snapshot
 *     ▲  ◀─────────    │   reject, unreachable        │
 *     └──────────────────────────────────────────────-┘  snapshot delivered or failed
 * ```
 */
export class Progress {
  match: LogIndex
  next: LogIndex
  state: ProgressState = 'probe'
  pendingSnapshot: LogIndex = 0
  /** Heard from since the last quorum check. */
  isRecentlyActive: boolean
  isLearner: boolean
  readonly inflights: Inflights
  /** The highest commit index this follower has been told, to avoid telling it twice. */
  #sentCommit: LogIndex = 0
  #isFlowPaused = false

  constructor(options: ProgressOptions) {
    this.match = options.match
    this.next = options.next
    this.isLearner = options.isLearner
    this.isRecentlyActive = options.isRecentlyActive
    this.inflights = new Inflights(options.maxInflightMessages, options.maxInflightBytes)
  }

  /** True when no further entries may be sent until something is heard. */
  get isPaused(): boolean {
    return this.state === 'snapshot' || this.#isFlowPaused
  }

  becomeProbe(): void {
    const pending = this.state === 'snapshot' ? this.pendingSnapshot : 0
    this.#reset('probe')
    this.next = Math.max(this.match, pending) + 1
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1)
  }

  becomeReplicate(): void {
    this.#reset('replicate')
    this.next = this.match + 1
  }

  becomeSnapshot(index: LogIndex): void {
    this.#reset('snapshot')
    this.pendingSnapshot = index
    this.next = index + 1
    this.#sentCommit = index
  }

  /** Entries went out: replicating moves on at once, probing waits for the answer (rule P2). */
  sentEntries(count: number, bytes: number): void {
    if (this.state === 'replicate') {
      if (count > 0) {
        this.next += count
        this.inflights.add(this.next - 1, bytes)
      }
      this.#isFlowPaused = this.inflights.isFull
    } else if (count > 0) this.#isFlowPaused = true
  }

  sentCommit(index: LogIndex): void {
    this.#sentCommit = index
  }

  /** True when telling the follower `index` lets it commit more than it was told before. */
  canBumpCommit(index: LogIndex): boolean {
    return index > this.#sentCommit && this.#sentCommit < this.next - 1
  }

  /** @returns false for an old answer */
  maybeUpdate(index: LogIndex): boolean {
    if (index <= this.match) return false
    this.match = index
    this.next = Math.max(this.next, index + 1)
    this.#isFlowPaused = false
    return true
  }

  /**
   * The follower refused what follows `rejected`; `hint` is where it could agree (rule P3).
   *
   * @returns false for an old answer, which must not move anything back
   */
  maybeDecrease(rejected: LogIndex, hint: LogIndex): boolean {
    if (this.state === 'replicate') {
      if (rejected <= this.match) return false
      this.next = this.match + 1
    } else {
      if (this.next - 1 !== rejected) return false
      this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1)
      this.#isFlowPaused = false
    }
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1)
    return true
  }

  pauseFlow(): void {
    this.#isFlowPaused = true
  }

  resumeFlow(): void {
    this.#isFlowPaused = false
  }

  #reset(state: ProgressState): void {
    this.#isFlowPaused = false
    this.pendingSnapshot = 0
    this.state = state
    this.inflights.reset()
  }
}
