import type { Machine } from './machine.ts'
import type { MsgReadIndex, MsgReadIndexResp } from './message.ts'
import type { PendingRead } from './read-queue.ts'
import { broadcastHeartbeat } from './replication.ts'
import { type LogIndex, NONE } from './types.ts'

/** What became of a read request: the answer comes in a later Ready, or never. */
export type ReadOutcome = 'pending' | 'dropped'

/** A leader is asked for a read index (rules R1–R4). */
export function leaderOnReadIndex(machine: Machine, message: MsgReadIndex): ReadOutcome {
  const read: PendingRead = { readId: message.readId, from: message.from === NONE ? machine.id : message.from }
  if (machine.reads.size >= machine.settings.maxPendingReads) return 'dropped'
  if (machine.log.term(machine.log.committed) !== machine.term) {
    machine.reads.addEarly(read)
    return 'pending'
  }
  serve(machine, read)
  return 'pending'
}

/** A follower passes the request on; without a leader there is nobody to ask. */
export function followerOnReadIndex(machine: Machine, message: MsgReadIndex): ReadOutcome {
  if (machine.leader === NONE) return 'dropped'
  machine.send({ ...message, to: machine.leader })
  return 'pending'
}

/** The leader's answer to a read this follower passed on. */
export function onReadIndexResp(machine: Machine, message: MsgReadIndexResp): void {
  machine.readStates.push({ readId: message.readId, index: message.index })
}

/** This term has its first commit: reads that came too early may start now (rule R3). */
export function startEarlyReads(machine: Machine): void {
  if (machine.log.term(machine.log.committed) !== machine.term) return
  for (const read of machine.reads.takeEarly()) serve(machine, read)
}

/** Answers every read whose round a quorum has confirmed. */
export function answerConfirmedReads(machine: Machine): void {
  for (const read of machine.reads.takeConfirmed(machine.id, machine.tracker.conf, machine.rules)) {
    answer(machine, read, read.index)
  }
}

function serve(machine: Machine, read: PendingRead): void {
  const { id, log, settings, tracker } = machine
  if (tracker.isSingleton(id) || settings.readOnly === 'leaseBased') answer(machine, read, log.committed)
  else startRound(machine, read)
}

function startRound(machine: Machine, read: PendingRead): void {
  if (!machine.settings.sharesReadRounds) machine.reads.closeRound()
  if (machine.reads.add(read, machine.log.committed, machine.rules)) broadcastHeartbeat(machine)
  answerConfirmedReads(machine)
}

function answer(machine: Machine, read: PendingRead, index: LogIndex): void {
  if (read.from === machine.id) machine.readStates.push({ readId: read.readId, index })
  else machine.send({ type: 'MsgReadIndexResp', to: read.from, readId: read.readId, index })
}
