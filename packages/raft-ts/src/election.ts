import type { Machine } from './machine.ts'
import type { MsgGone, MsgVote, MsgVoteResp } from './message.ts'
import { appendEntries } from './proposal.ts'
import { type VoteResult, voterIds } from './quorum.ts'
import { broadcastAppend } from './replication.ts'
import { type ConfChange, type EntryId, type LogIndex, NONE } from './types.ts'

/** What an election asks: whether it could be won, to be elected, or to be elected although a leader is heard. */
export type CampaignKind = 'preElection' | 'election' | 'transfer'

/** Starts an election if this node may lead (rules E1–E3). */
export function startElection(machine: Machine, kind: CampaignKind): void {
  if (machine.role === 'leader') return
  if (!machine.isPromotable) {
    machine.trace({ kind: 'campaignRefused', reason: 'notPromotable' })
    return
  }
  if (hasConfChange(machine, machine.log.applied, machine.log.committed)) {
    machine.trace({ kind: 'campaignRefused', reason: 'unappliedConfChange' })
    return
  }
  campaign(machine, kind)
}

/** Somebody asks for a vote or pre-vote in this term or (pre-vote) a later one (rules V1–V4). */
export function onVoteRequest(machine: Machine, message: MsgVote): void {
  const isPreVote = message.type === 'MsgPreVote'
  const type = isPreVote ? 'MsgPreVoteResp' : 'MsgVoteResp'
  const knownCommit = tellCommit(machine)
  const canVote =
    machine.vote === message.from ||
    (machine.vote === NONE && machine.leader === NONE) ||
    (isPreVote && message.term > machine.term)
  if (canVote && machine.log.isUpToDate({ index: message.index, term: message.logTerm })) {
    // The answer to a pre-vote carries the term that was asked for; the asker is there only in thought.
    machine.send({ type, to: message.from, term: message.term, reject: false, ...knownCommit })
    if (!isPreVote) {
      machine.electionElapsed = 0
      machine.vote = message.from
    }
    return
  }
  machine.trace({ kind: 'voteRefused', candidate: message.from, term: message.term, reason: 'log' })
  machine.send({ type, to: message.from, term: machine.term, reject: true, ...knownCommit })
}

/** What the answer to a vote says besides (rule E9). */
export function tellCommit({ log, settings }: Machine): { readonly knownCommit?: EntryId } {
  return settings.votesTellCommit ? { knownCommit: log.committedId() } : {}
}

/** A candidate is answered. */
export function onVoteResponse(machine: Machine, message: MsgVoteResp): void {
  const awaited = machine.role === 'preCandidate' ? 'MsgPreVoteResp' : 'MsgVoteResp'
  if (message.type !== awaited) return
  machine.tracker.recordVote(message.from, !message.reject)
  const result = electionResult(machine)
  if (result === 'lost') machine.becomeFollower(machine.term, NONE)
  if (result !== 'won') return
  if (machine.role === 'preCandidate') campaign(machine, 'election')
  else lead(machine)
}

/**
 * Learns from a vote's answer, of whatever term, how far the log is committed (rule E9). Only when a membership change is
 * among it: since changes take effect when applied, a candidate may need a majority of a half that is long gone, while
 * those who know that it is gone lack the log to lead.
 */
export function learnCommit(machine: Machine, { knownCommit }: MsgVoteResp): void {
  const { log, role } = machine
  if (!machine.settings.votesTellCommit) return
  if (knownCommit === undefined || role === 'leader' || knownCommit.index <= log.committed) return
  // What is committed is so for ever and for everybody: having the entry is all that is asked.
  if (!log.matches(knownCommit) || !hasConfChange(machine, log.committed, knownCommit.index)) return
  log.commitTo(knownCommit.index)
  // It may campaign again once it has applied the change (rule E3).
  if (role !== 'follower') machine.becomeFollower(machine.term, NONE)
}

/** A leader asks itself whether it still hears a quorum; if not, it steps down (rule E5). */
export function onCheckQuorum(machine: Machine): void {
  const { tracker } = machine
  if (machine.rules.voteResult(tracker.conf, tracker.activeVoters()) !== 'won') {
    machine.trace({ kind: 'quorumLost', term: machine.term })
    machine.becomeFollower(machine.term, NONE)
  }
  for (const [id, progress] of tracker.progressById) if (id !== machine.id) progress.isRecentlyActive = false
}

/**
 * A follower is told that a member is gone for certain. If it was the leader, nobody need wait for it: the first of the other
 * voters asks at once whether it would be elected, the others in turn, unless somebody leads by then (rule E10).
 */
export function onGone(machine: Machine, { from }: MsgGone): void {
  const { settings, tracker, term, id, rules, unansweredPreVote: asked } = machine
  // Without pre-vote a rumour could unseat a leader; who answers reads by a lease must not be replaced before it has run out.
  if (from !== machine.leader || !settings.preVote || settings.readOnly !== 'safe') return
  machine.trace({ kind: 'leaderGone', leader: from, term })
  machine.leader = NONE
  machine.unansweredPreVote = undefined
  // Who heard of it a moment sooner has asked already.
  if (asked !== undefined && asked.term > term) onVoteRequest(machine, asked)
  const turn = voterIds(tracker.conf)
    .filter(voter => voter !== from)
    .indexOf(id)
  if (turn === 0) startElection(machine, rules.asksBeforeHastenedElection() ? 'preElection' : 'election')
  // A tick may be over in a moment: two at least lie between the first and the second.
  else if (turn > 0) machine.hastenedTicks = turn + 1
}

/** One tick of a node that does not lead. */
export function tickElection(machine: Machine, startCampaign: () => void): void {
  machine.electionElapsed++
  const isHastened = machine.hastenedTicks > 0 && --machine.hastenedTicks === 0
  if (!machine.isPromotable) return
  if (machine.electionElapsed < machine.randomizedElectionTicks && !isHastened) return
  machine.electionElapsed = 0
  startCampaign()
}

function campaign(machine: Machine, kind: CampaignKind): void {
  const isPreVote = kind === 'preElection'
  if (isPreVote) machine.becomePreCandidate()
  else machine.becomeCandidate()
  const term = isPreVote ? machine.term + 1 : machine.term
  const isTransfer = kind === 'transfer'
  machine.trace({ kind: 'campaigned', term, isPreVote, isTransfer })
  const last = machine.log.lastId()
  machine.electorates = machine.rules.electorates(machine.tracker.conf, unappliedChanges(machine))
  const electors = machine.electorates.flatMap(voterIds).sort((a, b) => a - b)
  machine.electors = new Set(electors)
  for (const to of machine.electors) {
    if (to === machine.id) {
      // Its own vote is a promise like any other: it counts when the disk has it (rule D2).
      machine.send({ type: isPreVote ? 'MsgPreVoteResp' : 'MsgVoteResp', to, term, reject: false })
    } else {
      const type = isPreVote ? 'MsgPreVote' : 'MsgVote'
      machine.send({ type, to, term, index: last.index, logTerm: last.term, isTransfer })
    }
  }
}

function lead(machine: Machine): void {
  machine.becomeLeader()
  const first = machine.rules.entriesAtTermStart()
  if (first.length > 0) appendEntries(machine, first)
  broadcastAppend(machine)
}

/** How the election stands: won in every configuration that counts, or lost in one (rule E11). */
function electionResult({ electorates, rules, tracker }: Machine): VoteResult {
  const results = electorates.map(conf => rules.voteResult(conf, tracker.votes))
  if (results.includes('lost')) return 'lost'
  return results.includes('pending') ? 'pending' : 'won'
}

/** Membership changes in the log that are not known to be committed; a candidate has no others (rule E3). */
function unappliedChanges({ log, settings }: Machine): readonly ConfChange[] {
  const changes: ConfChange[] = []
  for (let from = log.committed + 1; from <= log.lastIndex(); ) {
    const page = log.slice(from, log.lastIndex() + 1, settings.maxApplyBytes)
    if (page === undefined || page.length === 0) break
    for (const entry of page) if (entry.kind === 'confChange') changes.push(entry.change)
    from += page.length
  }
  return changes
}

/** Whether there is a membership change in `(after, through]`, as far as the log can be read. */
function hasConfChange(machine: Machine, after: LogIndex, through: LogIndex): boolean {
  const pageBytes = machine.settings.maxApplyBytes
  for (let from = after + 1; from <= through; ) {
    const page = machine.log.slice(from, through + 1, pageBytes)
    if (page === undefined || page.length === 0) return false
    if (page.some(entry => entry.kind === 'confChange')) return true
    from += page.length
  }
  return false
}
