import { maybeCommit } from './commit.ts'
import type { Machine } from './machine.ts'
import type { MsgApp, MsgAppResp, MsgHeartbeat, MsgHeartbeatResp, MsgUnreachable } from './message.ts'
import type { Progress } from './progress.ts'
import { answerConfirmedReads, startEarlyReads } from './reads.ts'
import { broadcastAppend, sendAppend } from './replication.ts'
import { sendTimeoutNow } from './transfer.ts'
import type { LogIndex, NodeId } from './types.ts'

/** A follower is sent entries (rules L2–L4). */
export function onAppend(machine: Machine, message: MsgApp): void {
  const { log, rules } = machine
  if (message.index < log.committed) {
    // Everything up to the commit index agrees with every leader there will be.
    accept(machine, message.from, log.committed)
    return
  }
  const previous = { index: message.index, term: message.logTerm }
  const conflict = log.matches(previous) ? rules.firstConflict(log, message.entries) : 0
  const lastNew = log.maybeAppend(previous, message.entries, { commit: message.commit, conflict })
  if (lastNew !== undefined) {
    accept(machine, message.from, lastNew)
    return
  }
  const hint = log.findConflictByTerm(Math.min(message.index, log.lastIndex()), message.logTerm)
  machine.trace({ kind: 'appendRefused', index: message.index, hint: hint.index })
  machine.send({
    type: 'MsgAppResp',
    to: message.from,
    index: message.index,
    reject: true,
    rejectHint: hint.index,
    logTerm: hint.term,
  })
}

/** A follower hears its leader. */
export function onHeartbeat(machine: Machine, message: MsgHeartbeat): void {
  machine.log.commitTo(message.commit)
  machine.send({ type: 'MsgHeartbeatResp', to: message.from, readRound: message.readRound })
}

/** A leader hears how far a member is (rules P2, P3, M1). */
export function onAppendResponse(machine: Machine, message: MsgAppResp, progress: Progress): void {
  progress.isRecentlyActive = true
  if (message.reject) {
    onReject(machine, message, progress)
    return
  }
  // Also an old acknowledgement is news for a probe: it shows that the follower answers.
  const isNews = progress.maybeUpdate(message.index)
  if (!isNews && !(progress.match === message.index && progress.state === 'probe')) return
  if (progress.state === 'probe') progress.becomeReplicate()
  else if (progress.state === 'replicate') progress.inflights.freeUpTo(message.index)
  else if (progress.match + 1 >= machine.log.firstIndex()) {
    // The follower reached the log again, by the snapshot or otherwise: replicate from there.
    progress.becomeProbe()
    progress.becomeReplicate()
  }
  if (maybeCommit(machine)) {
    startEarlyReads(machine)
    broadcastAppend(machine)
  } else if (message.from !== machine.id && progress.canBumpCommit(machine.log.committed)) {
    sendAppend(machine, message.from, true)
  }
  // The window may have opened for several messages at once.
  if (message.from !== machine.id) while (sendAppend(machine, message.from, false));
  if (message.from === machine.transferee && progress.match === machine.log.lastIndex()) {
    sendTimeoutNow(machine, message.from)
  }
}

/** A leader hears that a member is alive. */
export function onHeartbeatResponse(machine: Machine, message: MsgHeartbeatResp, progress: Progress): void {
  progress.isRecentlyActive = true
  progress.resumeFlow()
  if (progress.match < machine.log.lastIndex() || progress.state === 'probe') sendAppend(machine, message.from, true)
  if (message.readRound === 0) return
  machine.reads.answered(message.from, message.readRound)
  answerConfirmedReads(machine)
}

/** The transport lost something on the way to a follower: find out again where it stands. */
export function onUnreachable(_machine: Machine, _message: MsgUnreachable, progress: Progress): void {
  if (progress.state === 'replicate') progress.becomeProbe()
}

function onReject(machine: Machine, message: MsgAppResp, progress: Progress): void {
  let hint = message.rejectHint
  // The follower's term at the hint tells which of our entries cannot be there either.
  if (message.logTerm > 0) hint = machine.log.findConflictByTerm(message.rejectHint, message.logTerm).index
  if (!progress.maybeDecrease(message.index, hint)) return
  if (progress.state === 'replicate') progress.becomeProbe()
  sendAppend(machine, message.from, true)
}

function accept(machine: Machine, to: NodeId, index: LogIndex): void {
  machine.send({ type: 'MsgAppResp', to, index, reject: false, rejectHint: 0, logTerm: 0 })
}
