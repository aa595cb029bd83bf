import type { Rules } from './rules.ts'
import type { ConfState, LogIndex, NodeId } from './types.ts'

/** A read that waits for the leadership to be confirmed. */
export interface PendingRead {
  readonly readId: string
  /** Who asked: this node, or a follower that gets the answer. */
  readonly from: NodeId
}

interface RoundRead extends PendingRead {
  readonly round: number
  /** Committed when the read was asked for: what the reader must have applied. */
  readonly index: LogIndex
}

/**
 * Reads of one leader in one term. Each read belongs to a *round* that only grows; heartbeats carry the newest round,
 * and an answer for a round confirms that round and all before it. Round and term together never repeat (rule R2).
 */
export class ReadQueue {
  #round = 0
  /** The heartbeats that ask for the newest round have not left yet: reads may still join it. */
  #isRoundOpen = false
  #waiting: RoundRead[] = []
  /** Asked for before this term's first commit: no index can be promised yet (rule R3). */
  #early: PendingRead[] = []
  readonly #answeredRoundById = new Map<NodeId, number>()

  get size(): number {
    return this.#waiting.length + this.#early.length
  }

  /** The round heartbeats ask to confirm; 0: no read waits. */
  get pendingRound(): number {
    return this.#waiting.at(-1)?.round ?? 0
  }

  /**
   * Adds a read to the open round, or opens one.
   *
   * @returns true when a round was opened: heartbeats must ask for it
   */
  add(read: PendingRead, index: LogIndex, rules: Rules): boolean {
    const wasOpen = this.#isRoundOpen
    if (!wasOpen) this.#round = rules.nextReadRound(this.#round)
    this.#isRoundOpen = true
    this.#waiting.push({ ...read, round: this.#round, index })
    return !wasOpen
  }

  /** The heartbeats of the open round leave now: later reads need another. */
  closeRound(): void {
    this.#isRoundOpen = false
  }

  addEarly(read: PendingRead): void {
    this.#early.push(read)
  }

  takeEarly(): readonly PendingRead[] {
    const early = this.#early
    this.#early = []
    return early
  }

  /** A member confirmed the leadership in `round`. */
  answered(id: NodeId, round: number): void {
    if (round > (this.#answeredRoundById.get(id) ?? 0)) this.#answeredRoundById.set(id, round)
  }

  /** Removes and returns the reads that a quorum has confirmed (rule R1). */
  takeConfirmed(self: NodeId, conf: ConfState, rules: Rules): readonly (PendingRead & { readonly index: LogIndex })[] {
    let confirmed = 0
    for (; confirmed < this.#waiting.length; confirmed++) {
      const { round } = this.#waiting[confirmed]!
      const votes = new Map<NodeId, boolean>([[self, true]])
      for (const [id, answered] of this.#answeredRoundById) if (answered >= round) votes.set(id, true)
      if (!rules.isReadConfirmed(rules.voteResult(conf, votes))) break
    }
    return confirmed === 0 ? [] : this.#waiting.splice(0, confirmed)
  }

  /** Everything that will never be answered because the leadership ended. */
  takeAll(): readonly PendingRead[] {
    const all = [...this.#early, ...this.#waiting]
    this.#early = []
    this.#waiting = []
    return all
  }
}
