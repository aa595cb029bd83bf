import type { Message } from '../../message.ts'
import type { Status } from '../../status.ts'
import type { ConfState, LogIndex } from '../../types.ts'
import type { CommitLedger } from '../commit-ledger.ts'
import type { SimNode } from '../sim-node.ts'

/** A node right after something happened to it. */
export interface NodeView {
  readonly node: SimNode
  readonly status: Status
  readonly ledger: CommitLedger
  /** All nodes there are, for what only a global observer can know. */
  readonly nodes: ReadonlyMap<number, SimNode>
}

/** One property that must hold after every event. Checks throw a `Violation`. */
export interface Invariant {
  /** After every event on a node. */
  check?(view: NodeView): void
  /** Before a message leaves. */
  onSent?(node: SimNode, message: Message): void
  /** After a state machine took an entry or a snapshot. */
  onApplied?(node: SimNode): void
  onConfApplied?(index: LogIndex, conf: ConfState): void
  onRestart?(node: SimNode): void
  /** When a node becomes a candidate (not a pre-candidate) in a term. */
  onCampaign?(term: number): void
}
