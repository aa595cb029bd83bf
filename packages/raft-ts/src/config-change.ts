import { err, ok, type Result } from '@waiter/base'
import type { ConfChange, ConfChangeSingle, ConfState, NodeId } from './types.ts'

/**
 * The configuration after a change (rules C2–C6). Pure: a new configuration, or why there is none.
 *
 * @example applyConfChange(conf, { changes: [{ kind: 'addVoter', id: 4 }], transition: 'auto', context: NO_DATA })
 */
export function applyConfChange(conf: ConfState, change: ConfChange): Result<ConfState, string> {
  if (isLeaveJoint(change)) return leaveJoint(conf)
  const joint = jointTransition(change)
  return joint === undefined ? changeSimple(conf, change.changes) : enterJoint(conf, change.changes, joint.autoLeave)
}

/**
 * The configuration that a stored one describes: sorted, without doubles, and sound; or what is wrong with it. A
 * configuration here is its own description, so that restoring asks for nothing else.
 */
export function restoreConf(stored: ConfState): Result<ConfState, string> {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = stored
  return checked({
    voters: sorted(new Set(voters)),
    votersOutgoing: sorted(new Set(votersOutgoing)),
    learners: sorted(new Set(learners)),
    learnersNext: sorted(new Set(learnersNext)),
    autoLeave,
  })
}

/** True for the change that leaves a joint configuration: no changes, transition `auto`. */
export function isLeaveJoint(change: ConfChange): boolean {
  return change.changes.length === 0 && change.transition === 'auto'
}

/** Whether a change passes through a joint configuration, and if so whether that is left automatically. */
export function jointTransition(change: ConfChange): { readonly autoLeave: boolean } | undefined {
  if (change.transition === 'auto' && change.changes.length <= 1) return undefined
  return { autoLeave: change.transition !== 'explicit' }
}

/** Changes without a joint configuration: at most one voter may come or go (rule C2). */
export function changeSimple(conf: ConfState, changes: readonly ConfChangeSingle[]): Result<ConfState, string> {
  if (isJoint(conf)) return err('cannot change one member at a time while in a joint configuration')
  const next = applySingles(conf, changes)
  if (!next.ok) return next
  if (symmetricDifference(conf.voters, next.value.voters) > 1) {
    return err('more than one voter changed without a joint configuration')
  }
  return checked(next.value)
}

/** Starts a joint configuration: the present voters become the outgoing half, the changed ones the incoming (rule C3). */
export function enterJoint(
  conf: ConfState,
  changes: readonly ConfChangeSingle[],
  autoLeave: boolean,
): Result<ConfState, string> {
  if (isJoint(conf)) return err('the configuration is already joint')
  if (conf.voters.length === 0) return err('cannot make a configuration without voters joint')
  const next = applySingles({ ...conf, votersOutgoing: conf.voters }, changes)
  return next.ok ? checked({ ...next.value, autoLeave }) : next
}

/** Ends a joint configuration: the outgoing half is dropped, waiting learners become learners (rule C4). */
export function leaveJoint(conf: ConfState): Result<ConfState, string> {
  if (!isJoint(conf)) return err('cannot leave a configuration that is not joint')
  return checked({
    voters: conf.voters,
    votersOutgoing: [],
    learners: sorted([...conf.learners, ...conf.learnersNext]),
    learnersNext: [],
    autoLeave: false,
  })
}

/** True while two majorities are needed. */
export function isJoint(conf: ConfState): boolean {
  return conf.votersOutgoing.length > 0
}

/** True for voters of either half and learners. */
export function isMember({ voters, votersOutgoing, learners }: ConfState, id: NodeId): boolean {
  return voters.includes(id) || votersOutgoing.includes(id) || learners.includes(id)
}

/** Says what is wrong with a configuration, whoever made it; undefined when it is sound (rule C6). */
export function confStateFault(conf: ConfState): string | undefined {
  const voters = new Set([...conf.voters, ...conf.votersOutgoing])
  for (const id of conf.learners) if (voters.has(id)) return `${id} is both learner and voter`
  for (const id of conf.learnersNext) {
    if (!conf.votersOutgoing.includes(id)) return `${id} waits to be a learner but is not an outgoing voter`
    if (conf.learners.includes(id)) return `${id} waits to be a learner but is one`
  }
  if (!isJoint(conf) && conf.learnersNext.length > 0) return 'learners wait outside of a joint configuration'
  if (!isJoint(conf) && conf.autoLeave) return 'leaving automatically outside of a joint configuration'
  return undefined
}

/** True for equal members and equal flags. */
export function isSameConf(a: ConfState, b: ConfState): boolean {
  return (
    a.autoLeave === b.autoLeave &&
    isSameList(a.voters, b.voters) &&
    isSameList(a.votersOutgoing, b.votersOutgoing) &&
    isSameList(a.learners, b.learners) &&
    isSameList(a.learnersNext, b.learnersNext)
  )
}

function applySingles(conf: ConfState, changes: readonly ConfChangeSingle[]): Result<ConfState, string> {
  const voters = new Set(conf.voters)
  const outgoing = new Set(conf.votersOutgoing)
  const learners = new Set(conf.learners)
  const learnersNext = new Set(conf.learnersNext)
  for (const { kind, id } of changes) {
    if (id === 0 || kind === 'update') continue
    const wasLearner = learners.has(id)
    voters.delete(id)
    learners.delete(id)
    learnersNext.delete(id)
    if (kind === 'addVoter') voters.add(id)
    else if (kind === 'addLearner') {
      // A voter of the outgoing half still counts there: it becomes a learner only when that half is dropped.
      if (outgoing.has(id) && !wasLearner) learnersNext.add(id)
      else learners.add(id)
    }
  }
  if (voters.size === 0) return err('the change removes all voters')
  return ok({
    voters: sorted(voters),
    votersOutgoing: conf.votersOutgoing,
    learners: sorted(learners),
    learnersNext: sorted(learnersNext),
    autoLeave: conf.autoLeave,
  })
}

function checked(conf: ConfState): Result<ConfState, string> {
  const fault = confStateFault(conf)
  return fault === undefined ? ok(conf) : err(fault)
}

function sorted(ids: Iterable<NodeId>): readonly NodeId[] {
  return [...ids].sort((a, b) => a - b)
}

function symmetricDifference(a: readonly NodeId[], b: readonly NodeId[]): number {
  return a.filter(id => !b.includes(id)).length + b.filter(id => !a.includes(id)).length
}

function isSameList(a: readonly NodeId[], b: readonly NodeId[]): boolean {
  return a.length === b.length && a.every((id, at) => id === b[at])
}
