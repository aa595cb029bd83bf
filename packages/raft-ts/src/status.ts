import type { Machine } from './machine.ts'
import type { ProgressState } from './progress.ts'
import type { ConfState, HardState, LogIndex, NodeId, Role } from './types.ts'

/** What a leader believes about a member. */
export interface ProgressStatus {
  readonly id: NodeId
  readonly match: LogIndex
  readonly next: LogIndex
  readonly state: ProgressState
  readonly isLearner: boolean
  readonly isPaused: boolean
  readonly isRecentlyActive: boolean
  readonly pendingSnapshot: LogIndex
  readonly inflightCount: number
  readonly isInflightFull: boolean
}

/** A node as seen from outside. */
export interface Status {
  readonly id: NodeId
  readonly role: Role
  readonly leader: NodeId
  readonly hardState: HardState
  readonly applied: LogIndex
  readonly firstIndex: LogIndex
  readonly lastIndex: LogIndex
  readonly conf: ConfState
  readonly transferee: NodeId
  readonly pendingConfIndex: LogIndex
  readonly electionElapsed: number
  /** Ticks after which this node campaigns, as drawn last. */
  readonly randomizedElectionTicks: number
  readonly uncommittedBytes: number
  /** By member, sorted; empty unless this node leads. */
  readonly progress: readonly ProgressStatus[]
}

/** Copies what can be known of a node. */
export function computeStatus(machine: Machine): Status {
  const { log, tracker } = machine
  return {
    id: machine.id,
    role: machine.role,
    leader: machine.leader,
    hardState: machine.hardState,
    applied: log.applied,
    firstIndex: log.firstIndex(),
    lastIndex: log.lastIndex(),
    conf: tracker.conf,
    transferee: machine.transferee,
    pendingConfIndex: machine.pendingConfIndex,
    electionElapsed: machine.electionElapsed,
    randomizedElectionTicks: machine.randomizedElectionTicks,
    uncommittedBytes: machine.uncommittedBytes,
    progress: machine.role === 'leader' ? tracker.ids.map(id => progressOf(machine, id)) : [],
  }
}

function progressOf(machine: Machine, id: NodeId): ProgressStatus {
  const progress = machine.tracker.progressById.get(id)!
  return {
    id,
    match: progress.match,
    next: progress.next,
    state: progress.state,
    isLearner: progress.isLearner,
    isPaused: progress.isPaused,
    isRecentlyActive: progress.isRecentlyActive,
    pendingSnapshot: progress.pendingSnapshot,
    inflightCount: progress.inflights.count,
    isInflightFull: progress.inflights.isFull,
  }
}
