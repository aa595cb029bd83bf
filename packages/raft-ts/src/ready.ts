import { entriesBytes, payloadsBytes } from './entry-size.ts'
import type { Machine, ReadState } from './machine.ts'
import type { Message } from './message.ts'
import type { Entry, HardState, Snapshot, SoftState } from './types.ts'

/**
 * What the caller must do now, in this order (rules D1–D4):
 * 1. send `messages` (they promise nothing that is not durable already);
 * 2. make `snapshot`, `hardState` and `entries` durable, in one batch or term and vote first, with a sync if `mustSync`;
 * 3. send `messagesAfterAppend`;
 * 4. install `snapshot` and apply `committed` to the state machine, calling `applyConfChange` for membership changes;
 * 5. serve `reads` whose index is applied;
 * 6. call `advance()`.
 */
export interface Ready {
  /** Set when leader or role changed; nothing to persist. */
  readonly softState: SoftState | undefined
  /** Set when term, vote or commit changed. */
  readonly hardState: HardState | undefined
  readonly entries: readonly Entry[]
  readonly snapshot: Snapshot | undefined
  readonly messages: readonly Message[]
  readonly messagesAfterAppend: readonly Message[]
  readonly committed: readonly Entry[]
  readonly reads: readonly ReadState[]
  /** Reads of this node that nobody will answer: ask again, under a new id. */
  readonly droppedReads: readonly string[]
  /** False when only the commit index would be written, which may be lost. */
  readonly mustSync: boolean
}

/** What was handed out last: a Ready shows only changes. */
export interface ReadyBaseline {
  readonly softState: SoftState
  readonly hardState: HardState
}

/** True when there is anything to do. Cheap: nothing is copied. */
export function hasReady(machine: Machine, baseline: ReadyBaseline): boolean {
  const { log } = machine
  return (
    machine.messages.length > 0 ||
    machine.messagesAfterAppend.length > 0 ||
    machine.readStates.length > 0 ||
    machine.droppedReads.length > 0 ||
    log.unstable.offsetInProgress < log.unstable.offset + log.unstable.entries.length ||
    log.unstable.nextSnapshot() !== undefined ||
    log.hasNextCommitted() ||
    isHardStateChanged(machine, baseline.hardState) ||
    isSoftStateChanged(machine, baseline.softState)
  )
}

/** Collects what is to be done, without marking it as handed out. */
export function collectReady(machine: Machine, baseline: ReadyBaseline): Ready {
  const { log } = machine
  const entries = log.unstable.nextEntries()
  const isPromiseChanged = machine.term !== baseline.hardState.term || machine.vote !== baseline.hardState.vote
  const toOthers = machine.messagesAfterAppend.filter(message => message.to !== machine.id)
  const snapshot = log.unstable.nextSnapshot()
  return {
    softState: isSoftStateChanged(machine, baseline.softState) ? machine.softState : undefined,
    hardState: isHardStateChanged(machine, baseline.hardState) ? machine.hardState : undefined,
    entries,
    snapshot,
    // No message may speak of a term that this node could forget (rule D2).
    messages: isPromiseChanged ? [] : machine.messages,
    messagesAfterAppend: isPromiseChanged ? [...machine.messages, ...toOthers] : toOthers,
    committed: log.nextCommitted(),
    reads: machine.readStates,
    droppedReads: machine.droppedReads,
    mustSync: isPromiseChanged || entries.length > 0 || snapshot !== undefined,
  }
}

/**
 * Marks a Ready as handed out.
 *
 * @returns the messages this node sends itself once the caller is done
 */
export function acceptReady(machine: Machine, ready: Ready): readonly Message[] {
  const { log } = machine
  const local = { from: machine.id, to: machine.id, term: 0 }
  const steps: Message[] = machine.messagesAfterAppend.filter(message => message.to === machine.id)
  log.unstable.accept()
  const { unstable } = log
  if (unstable.entries.length > 0 || unstable.snapshot !== undefined) {
    const upTo = unstable.entries.at(-1) ?? { index: 0, term: 0 }
    const id = { index: upTo.index, term: upTo.term }
    steps.push({ ...local, type: 'MsgStorageAppendResp', upTo: id, snapshot: unstable.snapshot?.index ?? 0 })
  }
  const lastApplied = ready.committed.at(-1)
  if (lastApplied !== undefined) {
    const batchBytes = entriesBytes(ready.committed)
    log.acceptApplying(lastApplied.index, batchBytes)
    const payload = payloadsBytes(ready.committed)
    steps.push({ ...local, type: 'MsgStorageApplyResp', index: lastApplied.index, batchBytes, payloadBytes: payload })
  }
  machine.messages = []
  machine.reads.closeRound()
  machine.messagesAfterAppend = []
  machine.readStates = []
  machine.droppedReads = []
  return steps
}

function isHardStateChanged(machine: Machine, before: HardState): boolean {
  return machine.term !== before.term || machine.vote !== before.vote || machine.log.committed !== before.commit
}

function isSoftStateChanged(machine: Machine, before: SoftState): boolean {
  return machine.leader !== before.leader || machine.role !== before.role
}
