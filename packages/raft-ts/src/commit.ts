import type { Machine } from './machine.ts'

/**
 * Commits what a quorum has, if an entry of the leader's own term is the last of it (rules M1, Q3).
 *
 * @returns true when the commit index moved
 */
export function maybeCommit(machine: Machine): boolean {
  const { log, rules, term, tracker } = machine
  const index = rules.committedIndex(tracker.conf, id => tracker.progressById.get(id)?.match)
  if (index <= log.committed || !rules.mayCommit(log, index, term)) return false
  log.commitTo(index)
  return true
}
