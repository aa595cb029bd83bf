import { isSameConf } from '../../config-change.ts'
import type { ConfState, LogIndex, NodeId } from '../../types.ts'
import { Violation } from '../violation.ts'
import type { Invariant, NodeView } from './invariant.ts'

/**
 * Invariant 11: a leader proposes a membership change only when none is unapplied; all nodes go through the same
 * configurations; and of any two consecutive ones every pair of quorums overlaps.
 */
export class ConfigurationSafety implements Invariant {
  readonly #confByIndex = new Map<LogIndex, ConfState>()
  #newest: { index: LogIndex; conf: ConfState } | undefined

  constructor(initial: ConfState) {
    this.#newest = { index: 0, conf: initial }
  }

  check({ node, status }: NodeView): void {
    if (status.role !== 'leader' || status.pendingConfIndex <= status.applied) return
    const unapplied = node.raw.logEntries().filter(entry => entry.index > status.applied && entry.kind === 'confChange')
    // Older leaders may have left some; but then this one must not have added another.
    if (unapplied.length > 1 && unapplied.at(-1)!.term === status.hardState.term) {
      const where = unapplied.map(entry => entry.index).join(', ')
      throw new Violation('configuration-safety', `leader ${status.id} has unapplied membership changes at ${where}`)
    }
  }

  onConfApplied(index: LogIndex, conf: ConfState): void {
    const known = this.#confByIndex.get(index)
    if (known !== undefined) {
      if (!isSameConf(known, conf)) throw new Violation('configuration-safety', `two configurations at ${index}`)
      return
    }
    this.#confByIndex.set(index, conf)
    const before = this.#newest
    if (before === undefined || index <= before.index) return
    this.#newest = { index, conf }
    if (!doQuorumsOverlap(before.conf, conf)) {
      throw new Violation('configuration-safety', `configurations at ${before.index} and ${index} can decide apart`)
    }
  }
}

// Two majorities of sets that differ by at most one member overlap; so do a joint configuration and one of its halves.
function doQuorumsOverlap(a: ConfState, b: ConfState): boolean {
  const halves = (conf: ConfState) => [conf.voters, ...(conf.votersOutgoing.length > 0 ? [conf.votersOutgoing] : [])]
  return halves(a).some(left => halves(b).some(right => difference(left, right) <= 1))
}

function difference(a: readonly NodeId[], b: readonly NodeId[]): number {
  return a.filter(id => !b.includes(id)).length + b.filter(id => !a.includes(id)).length
}
