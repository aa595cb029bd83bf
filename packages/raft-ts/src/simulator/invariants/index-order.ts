import { Violation } from '../violation.ts'
import type { Invariant, NodeView } from './invariant.ts'

/** Invariant 8: compacted <= snapshot <= applied <= commit <= last. */
export class IndexOrder implements Invariant {
  check({ node, status }: NodeView): void {
    const { commit } = status.hardState
    const applied = Math.max(node.machine.applied, status.applied)
    const snapshot = node.disk.snapshot.index
    // A snapshot on its way moves the log's beginning at once, while the state machine still waits for the disk.
    const isInstalling = status.applied < status.firstIndex - 1
    const compacted = isInstalling ? 0 : status.firstIndex - 1
    const isOrdered = compacted <= snapshot && snapshot <= applied && applied <= commit && commit <= status.lastIndex
    if (isOrdered) return
    const order = `compacted ${compacted}, snapshot ${snapshot}, applied ${applied}, commit ${commit}, last ${status.lastIndex}`
    throw new Violation('index-order', `node ${status.id}: ${order}`)
  }
}
