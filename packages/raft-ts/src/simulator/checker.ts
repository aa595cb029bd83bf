import type { Message } from '../message.ts'
import type { ConfState, LogIndex } from '../types.ts'
import { CommitLedger } from './commit-ledger.ts'
import { CommittedImmutable } from './invariants/committed-immutable.ts'
import { CommittedOnQuorum } from './invariants/committed-on-quorum.ts'
import { ConfigurationSafety } from './invariants/configuration-safety.ts'
import { DurablePromises } from './invariants/durable-promises.ts'
import { ElectionSafety } from './invariants/election-safety.ts'
import { IndexOrder } from './invariants/index-order.ts'
import type { Invariant } from './invariants/invariant.ts'
import { LeaderAppendOnly } from './invariants/leader-append-only.ts'
import { LeaderCompleteness } from './invariants/leader-completeness.ts'
import { LogMatching } from './invariants/log-matching.ts'
import { MonotonicState } from './invariants/monotonic-state.ts'
import { ProgressBounds } from './invariants/progress-bounds.ts'
import { StateMachineSafety } from './invariants/state-machine-safety.ts'
import type { SimNode } from './sim-node.ts'

/** Holds the twelve invariants and asks them after every event. */
export class Checker {
  readonly #invariants: readonly Invariant[]
  readonly #nodes: ReadonlyMap<number, SimNode>
  readonly #ledger = new CommitLedger()

  constructor(setup: {
    readonly nodes: ReadonlyMap<number, SimNode>
    readonly initial: ConfState
    readonly maxInflightMessages: number
  }) {
    this.#nodes = setup.nodes
    this.#invariants = [
      new ElectionSafety(),
      new LeaderAppendOnly(),
      new LeaderCompleteness(),
      new LogMatching(),
      new CommittedOnQuorum(),
      new CommittedImmutable(),
      new StateMachineSafety(),
      new IndexOrder(),
      new MonotonicState(),
      new ProgressBounds(setup.maxInflightMessages),
      new ConfigurationSafety(setup.initial),
      new DurablePromises(),
    ]
  }

  /** The highest index committed anywhere so far. */
  get committedIndex(): LogIndex {
    return this.#ledger.lastIndex
  }

  /** The term of what was committed at an index, whoever did it. */
  committedTerm(index: LogIndex): number | undefined {
    return this.#ledger.term(index)
  }

  check(node: SimNode): void {
    if (!node.isUp) return
    const view = { node, status: node.raw.status(), ledger: this.#ledger, nodes: this.#nodes }
    for (const invariant of this.#invariants) invariant.check?.(view)
  }

  onSent(node: SimNode, message: Message): void {
    for (const invariant of this.#invariants) invariant.onSent?.(node, message)
  }

  onApplied(node: SimNode): void {
    for (const invariant of this.#invariants) invariant.onApplied?.(node)
  }

  onConfApplied(index: LogIndex, conf: ConfState): void {
    for (const invariant of this.#invariants) invariant.onConfApplied?.(index, conf)
  }

  onRestart(node: SimNode): void {
    for (const invariant of this.#invariants) invariant.onRestart?.(node)
  }

  onCampaign(term: number): void {
    for (const invariant of this.#invariants) invariant.onCampaign?.(term)
  }
}
