import type { Entry } from '../../types.ts'
import { Violation } from '../violation.ts'
import type { Invariant, NodeView } from './invariant.ts'

interface KnownEntry {
  readonly entry: Entry
  /** Term of the entry before it; undefined while nobody has shown both. */
  previousTerm: number | undefined
}

/**
 * Invariant 4: entries with equal index and term are equal, and so is everything before them. Kept inductively: each
 * entry ever seen is remembered with the term of its predecessor.
 */
export class LogMatching implements Invariant {
  readonly #known: Map<number, KnownEntry>[] = []
  readonly #lastLogById = new Map<number, string>()

  check({ node, status }: NodeView): void {
    const entries = node.raw.logEntries()
    const first = entries[0]
    const last = entries.at(-1)
    if (first === undefined || last === undefined) return
    // A log with the same ends has not changed: a middle cannot be exchanged without its end.
    const ends = `${first.index} ${last.term}/${last.index} ${node.disk.isWriting}`
    if (this.#lastLogById.get(status.id) === ends) return
    this.#lastLogById.set(status.id, ends)
    let previousTerm = node.raw.logTerm(first.index - 1)
    let index = first.index
    for (const entry of entries) {
      if (entry.index !== index++) throw new Violation('log-matching', `node ${status.id} has a gap at ${index - 1}`)
      this.#compare(status.id, entry, previousTerm)
      previousTerm = entry.term
    }
  }

  #compare(id: number, entry: Entry, previousTerm: number | undefined): void {
    if (previousTerm !== undefined && previousTerm > entry.term) {
      throw new Violation('log-matching', `node ${id}: term falls from ${previousTerm} at ${entry.term}/${entry.index}`)
    }
    this.#known[entry.index] ??= new Map()
    const byTerm = this.#known[entry.index]!
    const known = byTerm.get(entry.term)
    if (known === undefined) {
      byTerm.set(entry.term, { entry, previousTerm })
      return
    }
    const name = `${entry.term}/${entry.index}`
    if (!isSamePayload(known.entry, entry)) throw new Violation('log-matching', `two different entries ${name}`)
    if (known.previousTerm === undefined) known.previousTerm = previousTerm
    else if (previousTerm !== undefined && known.previousTerm !== previousTerm) {
      throw new Violation(
        'log-matching',
        `${name} follows term ${previousTerm} on node ${id}, else ${known.previousTerm}`,
      )
    }
  }
}

function isSamePayload(a: Entry, b: Entry): boolean {
  if (a.kind === 'normal' && b.kind === 'normal') {
    return a.data === b.data || (a.data.length === b.data.length && a.data.every((byte, at) => byte === b.data[at]))
  }
  return a.kind === 'confChange' && b.kind === 'confChange' && a.change === b.change
}
