import { isMember } from './config-change.ts'
import { payloadsBytes } from './entry-size.ts'
import type { Machine } from './machine.ts'
import type { Progress } from './progress.ts'
import type { NodeId } from './types.ts'

/** Sends to everybody what they lack, or an empty append that carries the commit index. */
export function broadcastAppend(machine: Machine): void {
  for (const id of machine.tracker.ids) if (id !== machine.id) sendAppend(machine, id, true)
}

/** Heartbeats to everybody, carrying the newest read round. */
export function broadcastHeartbeat(machine: Machine): void {
  const readRound = machine.reads.pendingRound
  for (const to of machine.tracker.ids) {
    if (to === machine.id) continue
    const progress = machine.tracker.progressById.get(to)!
    // Not more than the follower is known to hold: a heartbeat must not commit what may differ (rule M3).
    const commit = Math.min(progress.match, machine.log.committed)
    machine.send({ type: 'MsgHeartbeat', to, commit, readRound })
    progress.sentCommit(commit)
  }
}

/**
 * Sends the next entries to a member, or the snapshot when they are compacted.
 *
 * @param sendsEmpty also without entries, to carry the commit index or to probe
 * @returns false when nothing was sent
 */
export function sendAppend(machine: Machine, to: NodeId, sendsEmpty: boolean): boolean {
  const progress = machine.tracker.progressById.get(to)
  if (progress === undefined || progress.isPaused) return false
  const index = progress.next - 1
  const logTerm = machine.log.term(index)
  if (logTerm === undefined) return sendSnapshot(machine, to, progress)
  // A full window still lets empty appends through, so that a lost answer cannot stop the flow for good.
  const isFull = progress.state === 'replicate' && progress.inflights.isFull
  const entries = isFull ? [] : machine.log.entriesFrom(progress.next, machine.settings.maxMessageBytes)
  if (entries === undefined) return sendSnapshot(machine, to, progress)
  if (entries.length === 0 && !sendsEmpty) return false
  machine.send({ type: 'MsgApp', to, index, logTerm, entries, commit: machine.log.committed })
  progress.sentEntries(entries.length, payloadsBytes(entries))
  progress.sentCommit(machine.log.committed)
  return true
}

function sendSnapshot(machine: Machine, to: NodeId, progress: Progress): boolean {
  if (!progress.isRecentlyActive) return false
  const snapshot = machine.log.snapshot()
  if (snapshot === undefined || snapshot.index === 0) return false
  // It would be ignored, and asked for again at once: a newcomer waits until a snapshot knows of it (rules S4, S6).
  if (machine.settings.snapshotsToMembersOnly && !isMember(snapshot.conf, to)) return false
  progress.becomeSnapshot(snapshot.index)
  machine.send({ type: 'MsgSnap', to, snapshot })
  machine.trace({ kind: 'snapshotSent', to, index: snapshot.index })
  return true
}
