import { isMember } from './config-change.ts'
import type { Machine } from './machine.ts'
import { switchToConf } from './membership.ts'
import type { MsgSnap, MsgSnapStatus } from './message.ts'
import type { Progress } from './progress.ts'
import { NONE, type Snapshot } from './types.ts'

/** A follower is sent a snapshot (rules S1–S4). */
export function onSnapshot(machine: Machine, message: MsgSnap): void {
  const { snapshot } = message
  const isRestored = restore(machine, snapshot)
  if (!isRestored) machine.trace({ kind: 'snapshotIgnored', index: snapshot.index, commit: machine.log.committed })
  const index = isRestored ? machine.log.lastIndex() : machine.log.committed
  machine.send({ type: 'MsgAppResp', to: message.from, index, reject: false, rejectHint: 0, logTerm: 0 })
}

/** A leader hears what became of a snapshot it sent. Either way the follower is probed, after its next sign of life. */
export function onSnapshotStatus(_machine: Machine, message: MsgSnapStatus, progress: Progress): void {
  if (progress.state !== 'snapshot') return
  if (message.reject) progress.pendingSnapshot = 0
  progress.becomeProbe()
  progress.pauseFlow()
}

function restore(machine: Machine, snapshot: Snapshot): boolean {
  const { log } = machine
  if (snapshot.index <= log.committed) return false
  if (machine.role !== 'follower') {
    // Cannot happen: a snapshot of this term makes a follower first. Step out of the way should it do so all the same.
    machine.becomeFollower(machine.term + 1, NONE)
    return false
  }
  // Not a member there: taking it would make this node forget a configuration that counts on it.
  if (!isMember(snapshot.conf, machine.id)) return false
  if (log.matches(snapshot)) {
    // All of it is here already: only the commit index is news.
    log.commitTo(snapshot.index)
    return false
  }
  log.restore(snapshot)
  switchToConf(machine, snapshot.conf)
  machine.trace({ kind: 'snapshotRestored', index: snapshot.index, term: snapshot.term })
  return true
}
