import { maybeCommit } from './commit.ts'
import type { Machine } from './machine.ts'
import { voterIds } from './quorum.ts'
import { answerConfirmedReads, startEarlyReads } from './reads.ts'
import { broadcastAppend, sendAppend } from './replication.ts'
import { type ConfState, NONE } from './types.ts'

/** A new configuration takes effect (rules C1, C7, C8). */
export function switchToConf(machine: Machine, conf: ConfState): void {
  const { tracker } = machine
  tracker.switchTo(conf, machine.log.lastIndex())
  machine.trace({ kind: 'confChanged', conf })
  const own = tracker.progressById.get(machine.id)
  if ((own === undefined || own.isLearner) && machine.role === 'leader') {
    // Its removal is committed, without counting itself. With etcd's behaviour it leads on until somebody else does.
    if (machine.settings.stepDownOnRemoval) machine.becomeFollower(machine.term, NONE)
    return
  }
  if (machine.role !== 'leader' || conf.voters.length === 0) return
  if (maybeCommit(machine)) {
    startEarlyReads(machine)
    broadcastAppend(machine)
  } else for (const id of tracker.ids) if (id !== machine.id) sendAppend(machine, id, false)
  answerConfirmedReads(machine)
  if (machine.transferee !== NONE && !voterIds(conf).includes(machine.transferee)) machine.abortTransfer()
}
