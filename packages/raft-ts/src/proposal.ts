import type { Term } from '@waiter/base'
import { maybeCommit } from './commit.ts'
import { isJoint, isLeaveJoint } from './config-change.ts'
import { payloadsBytes } from './entry-size.ts'
import type { Machine } from './machine.ts'
import type { MsgProp } from './message.ts'
import { broadcastAppend } from './replication.ts'
import { type Entry, type LogIndex, NO_DATA, NONE, type NodeId, type ProposedEntry } from './types.ts'

/** What became of a proposal. Only `appended` says where it will stand, if this leadership lasts. */
export type ProposeOutcome =
  /** In the leader's log at `index` (the last of them) in `term`; committed when an entry of that term is applied there. */
  | { readonly kind: 'appended'; readonly index: LogIndex; readonly term: Term }
  /** Sent to the leader; whether it arrives is unknown. */
  | { readonly kind: 'forwarded'; readonly to: NodeId }
  /** A membership change that must wait; an empty entry stands in its place. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** Nothing happened and nothing will. */
  | { readonly kind: 'dropped'; readonly reason: DropReason; readonly leader: NodeId }

/** Why a proposal was dropped. */
export type DropReason = 'noLeader' | 'notLeader' | 'transferring' | 'uncommittedFull' | 'notMember'

/** A leader takes a proposal (rules F1, F2, C5). */
export function leaderOnPropose(machine: Machine, message: MsgProp): ProposeOutcome {
  if (!machine.tracker.progressById.has(machine.id)) return drop(machine, 'notMember')
  if (machine.transferee !== NONE) return drop(machine, 'transferring')
  let refusal: string | undefined
  const entries = message.entries.map((entry, offset): ProposedEntry => {
    if (entry.kind === 'normal') return entry
    refusal = machine.settings.validateConfChanges ? confChangeRefusal(machine, entry) : undefined
    if (refusal === undefined) {
      machine.pendingConfIndex = machine.log.lastIndex() + offset + 1
      return entry
    }
    machine.trace({ kind: 'confChangeRefused', reason: refusal })
    return { kind: 'normal', data: NO_DATA }
  })
  if (!appendEntries(machine, entries)) return drop(machine, 'uncommittedFull')
  const outcome: ProposeOutcome = { kind: 'appended', index: machine.log.lastIndex(), term: machine.term }
  broadcastAppend(machine)
  return refusal === undefined ? outcome : { kind: 'refused', reason: refusal }
}

/** A follower passes a proposal on if it may. */
export function followerOnPropose(machine: Machine, message: MsgProp): ProposeOutcome {
  if (machine.leader === NONE) return drop(machine, 'noLeader')
  if (!machine.settings.forwardProposals) return drop(machine, 'notLeader')
  machine.send({ ...message, to: machine.leader })
  return { kind: 'forwarded', to: machine.leader }
}

/** Nobody leads as far as this candidate knows. */
export function candidateOnPropose(machine: Machine): ProposeOutcome {
  return drop(machine, 'noLeader')
}

/**
 * Appends to the leader's own log. Its own acknowledgement waits for its own disk like everybody's (rule D1).
 *
 * @returns false when the uncommitted budget is spent
 */
export function appendEntries(machine: Machine, proposed: readonly ProposedEntry[]): boolean {
  if (!takeUncommittedBudget(machine, payloadsBytes(proposed))) return false
  const start = machine.log.lastIndex() + 1
  const entries = proposed.map((entry, at): Entry => ({ ...entry, index: start + at, term: machine.term }))
  const last = machine.log.append(entries)
  machine.send(ownAppendResponse(machine, last))
  if (machine.rules.countsOwnEntriesAtOnce()) {
    machine.tracker.progressById.get(machine.id)?.maybeUpdate(last)
    maybeCommit(machine)
  }
  return true
}

/** Entries have been applied: their bytes no longer count as uncommitted. */
export function reduceUncommitted(machine: Machine, bytes: number): void {
  machine.uncommittedBytes = Math.max(0, machine.uncommittedBytes - bytes)
}

function ownAppendResponse(machine: Machine, index: LogIndex) {
  return { type: 'MsgAppResp', to: machine.id, index, reject: false, rejectHint: 0, logTerm: 0 } as const
}

// Empty entries always pass (a new leader's no-op, the end of a joint configuration), and so does the first proposal
// of any size: otherwise a large one could never be made.
function takeUncommittedBudget(machine: Machine, bytes: number): boolean {
  const total = machine.uncommittedBytes + bytes
  if (machine.uncommittedBytes > 0 && bytes > 0 && total > machine.settings.maxUncommittedBytes) return false
  machine.uncommittedBytes = total
  return true
}

function confChangeRefusal(machine: Machine, entry: ProposedEntry & { kind: 'confChange' }): string | undefined {
  return machine.rules.confChangeRefusal({
    pendingIndex: machine.pendingConfIndex,
    applied: machine.log.applied,
    isJoint: isJoint(machine.tracker.conf),
    wantsLeave: isLeaveJoint(entry.change) || entry.change.changes.length === 0,
  })
}

function drop(machine: Machine, reason: DropReason): ProposeOutcome {
  machine.trace({ kind: 'proposalDropped', reason })
  return { kind: 'dropped', reason, leader: machine.leader }
}
