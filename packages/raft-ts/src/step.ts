import { assertNever } from '@waiter/base'
import { onAppend, onAppendResponse, onHeartbeat, onHeartbeatResponse, onUnreachable } from './append.ts'
import { isJoint } from './config-change.ts'
import {
  learnCommit,
  onCheckQuorum,
  onGone,
  onVoteRequest,
  onVoteResponse,
  startElection,
  tellCommit,
  tickElection,
} from './election.ts'
import type { Machine } from './machine.ts'
import type { Message, MsgStorageAppendResp, MsgStorageApplyResp } from './message.ts'
import type { Progress } from './progress.ts'
import {
  candidateOnPropose,
  followerOnPropose,
  leaderOnPropose,
  type ProposeOutcome,
  reduceUncommitted,
} from './proposal.ts'
import { followerOnReadIndex, leaderOnReadIndex, onReadIndexResp, type ReadOutcome } from './reads.ts'
import { broadcastHeartbeat } from './replication.ts'
import { onSnapshot, onSnapshotStatus } from './snapshot.ts'
import { followerOnTransfer, leaderOnTransfer } from './transfer.ts'
import { NO_DATA, NONE } from './types.ts'

/** What a step may answer at once; undefined for messages that are not requests. */
export type StepAnswer = ProposeOutcome | ReadOutcome | undefined

/** Feeds one message to the machine: first its term, then what it says. */
export function step(machine: Machine, message: Message): StepAnswer {
  if (message.type === 'MsgVoteResp' || message.type === 'MsgPreVoteResp') learnCommit(machine, message)
  if (message.term !== 0 && !isTermSettled(machine, message)) return undefined
  switch (message.type) {
    case 'MsgHup':
      startElection(machine, machine.settings.preVote ? 'preElection' : 'election')
      return undefined
    case 'MsgVote':
    case 'MsgPreVote':
      onVoteRequest(machine, message)
      return undefined
    case 'MsgStorageAppendResp':
      onStorageAppended(machine, message)
      return undefined
    case 'MsgStorageApplyResp':
      onStorageApplied(machine, message)
      return undefined
    default:
      if (machine.role === 'leader') return stepLeader(machine, message)
      if (machine.role === 'follower') return stepFollower(machine, message)
      return stepCandidate(machine, message)
  }
}

/** One tick of the clock. */
export function tick(machine: Machine): void {
  if (machine.role === 'leader') tickLeader(machine)
  else tickElection(machine, () => step(machine, { type: 'MsgHup', from: machine.id, to: machine.id, term: 0 }))
}

function tickLeader(machine: Machine): void {
  machine.heartbeatElapsed++
  machine.electionElapsed++
  if (machine.electionElapsed >= machine.settings.electionTicks) {
    machine.electionElapsed = 0
    if (machine.settings.checkQuorum) onCheckQuorum(machine)
    // A transfer that has not ended by now never will (rule T3).
    if (machine.role === 'leader') machine.abortTransfer()
  }
  if (machine.role !== 'leader' || machine.heartbeatElapsed < machine.settings.heartbeatTicks) return
  machine.heartbeatElapsed = 0
  broadcastHeartbeat(machine)
}

// Adopts a newer term, answers or drops an older one. True when the message is to be handled in the present term.
function isTermSettled(machine: Machine, message: Message): boolean {
  if (message.term > machine.term) return isNewerTermSettled(machine, message)
  if (message.term < machine.term) {
    onOlderTerm(machine, message)
    return false
  }
  return true
}

function isNewerTermSettled(machine: Machine, message: Message): boolean {
  const { type, term, from } = message
  if (type === 'MsgVote' || type === 'MsgPreVote') {
    if (!message.isTransfer && machine.isInLease && machine.rules.refusesVotesInLease()) {
      machine.trace({ kind: 'voteRefused', candidate: from, term, reason: 'hearsLeader' })
      if (type === 'MsgPreVote') machine.unansweredPreVote = message
      return false
    }
  }
  // A question in a later term, and the yes to this node's own question: nobody is in that term yet (rule E4).
  const isQuestion = type === 'MsgPreVote' || (type === 'MsgPreVoteResp' && !message.reject)
  if (isQuestion && !machine.rules.adoptsPreVoteTerm(type)) return true
  const isFromLeader = type === 'MsgApp' || type === 'MsgHeartbeat' || type === 'MsgSnap'
  machine.becomeFollower(term, isFromLeader ? from : NONE)
  return true
}

function onOlderTerm(machine: Machine, message: Message): void {
  const { checkQuorum, preVote } = machine.settings
  if ((checkQuorum || preVote) && (message.type === 'MsgHeartbeat' || message.type === 'MsgApp')) {
    // A leader that cannot be unseated by our votes (it is heard by others) must learn of the higher term from us,
    // or this node could neither follow it nor be followed (rule E7).
    machine.send({ type: 'MsgAppResp', to: message.from, index: 0, reject: false, rejectHint: 0, logTerm: 0 })
  } else if (message.type === 'MsgPreVote') {
    machine.send({ type: 'MsgPreVoteResp', to: message.from, reject: true, ...tellCommit(machine) })
  } else if (message.type === 'MsgStorageAppendResp') {
    // Of an earlier term: the entries may have been replaced since, and come back with the same name. The snapshot stands.
    onSnapshotStored(machine, message)
  }
}

// A flat switch over the protocol: one line per message, the logic is in the handlers.
function stepLeader(machine: Machine, message: Message): StepAnswer {
  switch (message.type) {
    case 'MsgBeat':
      broadcastHeartbeat(machine)
      return undefined
    case 'MsgCheckQuorum':
      onCheckQuorum(machine)
      return undefined
    case 'MsgProp':
      return leaderOnPropose(machine, message)
    case 'MsgReadIndex':
      return leaderOnReadIndex(machine, message)
    default: {
      const progress = machine.tracker.progressById.get(message.from)
      if (progress !== undefined) stepProgress(machine, message, progress)
      return undefined
    }
  }
}

function stepProgress(machine: Machine, message: Message, progress: Progress): void {
  if (message.type === 'MsgAppResp') onAppendResponse(machine, message, progress)
  else if (message.type === 'MsgHeartbeatResp') onHeartbeatResponse(machine, message, progress)
  else if (message.type === 'MsgSnapStatus') onSnapshotStatus(machine, message, progress)
  else if (message.type === 'MsgUnreachable') onUnreachable(machine, message, progress)
  else if (message.type === 'MsgTransferLeader') leaderOnTransfer(machine, message, progress)
}

function stepCandidate(machine: Machine, message: Message): StepAnswer {
  switch (message.type) {
    case 'MsgProp':
      return candidateOnPropose(machine)
    case 'MsgReadIndex':
      return 'dropped'
    case 'MsgApp':
    case 'MsgHeartbeat':
    case 'MsgSnap':
      machine.becomeFollower(message.term, message.from)
      stepFromLeader(machine, message)
      return undefined
    case 'MsgVoteResp':
    case 'MsgPreVoteResp':
      onVoteResponse(machine, message)
      return undefined
    default:
      return undefined
  }
}

function stepFollower(machine: Machine, message: Message): StepAnswer {
  switch (message.type) {
    case 'MsgProp':
      return followerOnPropose(machine, message)
    case 'MsgReadIndex':
      return followerOnReadIndex(machine, message)
    case 'MsgApp':
    case 'MsgHeartbeat':
    case 'MsgSnap':
      machine.electionElapsed = 0
      machine.hastenedTicks = 0
      machine.unansweredPreVote = undefined
      machine.leader = message.from
      stepFromLeader(machine, message)
      return undefined
    case 'MsgTransferLeader':
      followerOnTransfer(machine, message)
      return undefined
    case 'MsgForgetLeader':
      // Who might answer reads by a lease must not be helped to another leader before it has run out.
      if (machine.settings.readOnly === 'safe') machine.leader = NONE
      return undefined
    case 'MsgGone':
      onGone(machine, message)
      return undefined
    case 'MsgTimeoutNow':
      // No pre-vote: the leader itself wants this election.
      startElection(machine, 'transfer')
      return undefined
    case 'MsgReadIndexResp':
      onReadIndexResp(machine, message)
      return undefined
    default:
      return undefined
  }
}

function stepFromLeader(
  machine: Machine,
  message: Extract<Message, { type: 'MsgApp' | 'MsgHeartbeat' | 'MsgSnap' }>,
): void {
  if (message.type === 'MsgApp') onAppend(machine, message)
  else if (message.type === 'MsgHeartbeat') onHeartbeat(machine, message)
  else if (message.type === 'MsgSnap') onSnapshot(machine, message)
  else assertNever(message)
}

function onSnapshotStored({ log }: Machine, { snapshot }: MsgStorageAppendResp): void {
  if (snapshot === 0) return
  log.unstable.stableSnapshotTo(snapshot)
  if (snapshot > log.applied) log.appliedTo(snapshot, 0)
}

function onStorageAppended(machine: Machine, message: MsgStorageAppendResp): void {
  const { log, rules } = machine
  onSnapshotStored(machine, message)
  if (message.upTo.index !== 0) log.unstable.stableTo(message.upTo, rules.isStableAckCurrent(log, message.upTo))
}

function onStorageApplied(machine: Machine, message: MsgStorageApplyResp): void {
  const { log } = machine
  log.appliedTo(Math.max(message.index, log.applied), message.batchBytes)
  reduceUncommitted(machine, message.payloadBytes)
  maybeLeaveJoint(machine)
}

// The configuration that asked for it is applied: the leader ends the joint phase by an empty change (rule C4).
function maybeLeaveJoint(machine: Machine): void {
  const { conf } = machine.tracker
  if (!conf.autoLeave || !isJoint(conf) || machine.role !== 'leader') return
  if (machine.log.applied < machine.pendingConfIndex) return
  const change = { changes: [], transition: 'auto', context: NO_DATA } as const
  const entries = [{ kind: 'confChange', change }] as const
  step(machine, { type: 'MsgProp', from: machine.id, to: machine.id, term: 0, entries })
}
