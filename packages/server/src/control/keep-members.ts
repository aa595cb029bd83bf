import type { ConfChangeSingle, ConfState, NodeId, ProgressStatus } from 'raft-ts'
import { type Candidate, chooseVoters } from './choose-voters.ts'

/** A newcomer becomes a voter when it is this close: its catching up must not hold up the others. */
const LAG_ENTRIES_MAX = 100

/** A control node as it is to be. */
export interface WantedMember {
  readonly id: NodeId
  readonly hostId: string
  /** `leaving`: is to be let go once somebody can take its place; `gone`: at once. */
  readonly state: 'staying' | 'leaving' | 'gone'
}

/** What the leader knows of the others. */
export interface GroupStatus {
  readonly id: NodeId
  readonly commit: number
  readonly progress: readonly Pick<ProgressStatus, 'id' | 'match' | 'isRecentlyActive'>[]
  /** For how long members have not been heard; absent: that is not looked at. */
  readonly silence?: MemberSilence
}

/** Who has not been heard for how long, and when somebody else votes instead. */
export interface MemberSilence {
  readonly ofMember: (id: NodeId) => number
  /** 0: nobody ever does without being told to. */
  readonly replaceAfterMs: number
}

const NOBODY: ReadonlySet<NodeId> = new Set()

/** What the leader would do next about the members. Undefined: nothing. */
export type MembersStep =
  | {
      readonly kind: 'change'
      readonly changes: readonly ConfChangeSingle[]
      /** A voter that has not been heard for long: it learns from now on, if it comes back. */
      readonly replaced?: NodeId
    }
  /** This leader is not to vote any more: another one leads first. */
  | { readonly kind: 'transfer'; readonly to: NodeId }
  /** Newcomers are on their way. */
  | { readonly kind: 'wait' }

/**
 * Decides the next step from the members there are to those there should be: newcomers learn first, then all voters
 * change together, and who leaves does so in the same step, so that the majority never depends on newcomers.
 */
export function nextMembersStep(
  conf: ConfState,
  wanted: readonly WantedMember[],
  status: GroupStatus,
): MembersStep | undefined {
  if (conf.votersOutgoing.length > 0 || conf.learnersNext.length > 0) return { kind: 'wait' }
  const present = new Set([...conf.voters, ...conf.learners])
  const strangers = wanted.filter(({ id, state }) => state === 'staying' && !present.has(id))
  if (strangers.length > 0) return { kind: 'change', changes: strangers.map(({ id }) => ({ kind: 'addLearner', id })) }
  const going = wanted.filter(({ id, state }) => state !== 'staying' && present.has(id))
  const dead = chooseDead(conf, wanted, status)
  const chosen = chooseNext(conf, wanted, status, dead)
  if (chosen === undefined) {
    // Learners do not count: they go while a voter's successor is waited for.
    const changes = going.filter(({ id }) => conf.learners.includes(id)).map(remove)
    return changes.length === 0 ? { kind: 'wait' } : { kind: 'change', changes }
  }
  const changes = [
    ...chosen.filter(id => !conf.voters.includes(id)).map((id): ConfChangeSingle => ({ kind: 'addVoter', id })),
    ...conf.voters
      .filter(id => !chosen.includes(id) && !going.some(one => one.id === id))
      .map((id): ConfChangeSingle => ({ kind: 'addLearner', id })),
    ...going.map(remove),
  ]
  if (changes.length === 0) return undefined
  const heir = heirOf(conf, chosen, status)
  if (heir !== undefined) return { kind: 'transfer', to: heir }
  const replaced = conf.voters.find(id => dead.has(id))
  return { kind: 'change', changes, ...(replaced === undefined ? {} : { replaced }) }
}

/**
 * Members that do not count as candidates: learners that have been silent for long, and the voter that has been so for
 * longest, if as many others can vote, have everything, and are heard. One at a time: the next one when that is done.
 */
function chooseDead(conf: ConfState, wanted: readonly WantedMember[], status: GroupStatus): ReadonlySet<NodeId> {
  const { silence, id: leader, progress } = status
  if (silence === undefined || silence.replaceAfterMs === 0) return NOBODY
  const isDead = (id: NodeId): boolean => id !== leader && silence.ofMember(id) >= silence.replaceAfterMs
  const staying = wanted.filter(({ state }) => state === 'staying').map(({ id }) => id)
  const learners = staying.filter(id => conf.learners.includes(id) && isDead(id))
  const voters = staying.filter(id => conf.voters.includes(id) && isDead(id))
  const [longest] = voters.toSorted((a, b) => silence.ofMember(b) - silence.ofMember(a))
  if (longest === undefined) return new Set(learners)
  const dead = new Set([...learners, longest])
  const candidates = toCandidates(conf, wanted, status).filter(({ id }) => !dead.has(id))
  const chosen = chooseVoters(candidates)
  const isReady = (id: NodeId): boolean => candidates.some(one => one.id === id && one.rank !== 'other')
  const isHeard = (id: NodeId): boolean => id === leader || progress.some(row => row.id === id && row.isRecentlyActive)
  const isSafe =
    chosen.length >= conf.voters.length && chosen.every(isReady) && chosen.filter(isHeard).length * 2 > chosen.length
  return isSafe ? dead : new Set(learners)
}

/** Who would vote when the changes asked for are done, as far as is known now. */
export function votersAfter(conf: ConfState, wanted: readonly WantedMember[], status: GroupStatus): readonly NodeId[] {
  return chooseVoters(toCandidates(conf, wanted, status))
}

/** Undefined: somebody chosen has not caught up yet. */
function chooseNext(
  conf: ConfState,
  wanted: readonly WantedMember[],
  status: GroupStatus,
  dead: ReadonlySet<NodeId>,
): readonly NodeId[] | undefined {
  const candidates = toCandidates(conf, wanted, status).filter(({ id }) => !dead.has(id))
  const isReady = (id: NodeId): boolean => candidates.some(one => one.id === id && one.rank !== 'other')
  const chosen = chooseVoters(candidates)
  if (chosen.length > 0 && chosen.every(isReady)) return chosen
  const isUrgent = wanted.some(({ id, state }) => state === 'gone' && conf.voters.includes(id))
  const ready = candidates.filter(({ rank }) => rank !== 'other')
  return isUrgent && ready.length > 0 ? chooseVoters(ready) : undefined
}

function toCandidates(
  { voters, learners }: ConfState,
  wanted: readonly WantedMember[],
  { id: leader, commit, progress }: GroupStatus,
): readonly Candidate[] {
  const rankOf = (id: NodeId): Candidate['rank'] => {
    if (voters.includes(id)) return 'voter'
    const row = progress.find(one => one.id === id)
    const match = row?.match ?? 0
    const isCaughtUp = match > 0 && match + LAG_ENTRIES_MAX >= commit
    return learners.includes(id) && isCaughtUp && (row?.isRecentlyActive === true || id === leader) ? 'ready' : 'other'
  }
  const known = wanted.filter(({ state }) => state === 'staying')
  // A voter of whom the store does not know yet stays.
  const unknown = voters.filter(id => !wanted.some(one => one.id === id)).map(id => ({ id, hostId: `of member ${id}` }))
  return [...known, ...unknown].map(({ id, hostId }) => ({ id, hostId, rank: rankOf(id) }))
}

/** Who leads instead of a leader that is not to vote any more, if somebody can. */
function heirOf(conf: ConfState, chosen: readonly NodeId[], status: GroupStatus): NodeId | undefined {
  if (chosen.includes(status.id)) return undefined
  const able = status.progress.filter(
    ({ id, isRecentlyActive }) =>
      id !== status.id && conf.voters.includes(id) && chosen.includes(id) && isRecentlyActive,
  )
  return able.toSorted((a, b) => b.match - a.match)[0]?.id
}

function remove({ id }: WantedMember): ConfChangeSingle {
  return { kind: 'remove', id }
}
