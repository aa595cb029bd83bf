import type { Machine } from './machine.ts'
import type { MsgTransferLeader } from './message.ts'
import type { Progress } from './progress.ts'
import { sendAppend } from './replication.ts'
import { NONE, type NodeId } from './types.ts'

/** A leader is asked to hand over (rules T1–T4). The successor first catches up; an election time-out aborts. */
export function leaderOnTransfer(machine: Machine, message: MsgTransferLeader, progress: Progress): void {
  const to = message.from
  if (progress.isLearner || machine.transferee === to) return
  machine.abortTransfer()
  if (to === machine.id) return
  machine.electionElapsed = 0
  machine.transferee = to
  machine.trace({ kind: 'transferStarted', to })
  if (progress.match === machine.log.lastIndex()) sendTimeoutNow(machine, to)
  else sendAppend(machine, to, true)
}

/** A follower passes the wish on to the leader. */
export function followerOnTransfer(machine: Machine, message: MsgTransferLeader): void {
  if (machine.leader === NONE) return
  machine.send({ ...message, to: machine.leader, term: machine.term })
}

/** The successor has everything: it may campaign at once, and those who hear a leader vote nevertheless (rule T2). */
export function sendTimeoutNow(machine: Machine, to: NodeId): void {
  machine.send({ type: 'MsgTimeoutNow', to })
}
