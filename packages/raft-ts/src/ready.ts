import { entriesBytes, payloadsBytes } from './entry-size.ts'
import type { Machine, ReadState } from './machine.ts'
import type { Message } from './message.ts'
import { APPEND_THREAD, APPLY_THREAD, type Entry, type HardState, type Snapshot, type SoftState } from './types.ts'

/**
 * What the caller must do now, in this order (rules D1–D4):
 * 1. send `messages` (they promise nothing that is not durable already);
 * 2. make `snapshot`, `hardState` and `entries` durable, in one batch or term and vote first, with a sync if `mustSync`;
 * 3. send `messagesAfterAppend`;
 * 4. install `snapshot` and apply `committed` to the state machine, calling `applyConfChange` for membership changes;
 * 5. serve `reads` whose index is applied;
 * 6. call `advance()`.
 *
 * With `asyncStorageWrites` steps 2 and 4 travel in `messages`, addressed to `APPEND_THREAD` and `APPLY_THREAD`; each of
 * the two works in order, at its own pace, and delivers the responses it was given. There is no step 6.
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
  if (machine.settings.asyncStorageWrites) return collectAsync(machine, baseline)
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
 * @returns the messages this node sends itself once the caller is done; none when they travel with the Ready
 */
export function acceptReady(machine: Machine, ready: Ready): readonly Message[] {
  const { log } = machine
  const steps: Message[] = []
  if (!machine.settings.asyncStorageWrites) {
    steps.push(...machine.messagesAfterAppend.filter(message => message.to === machine.id))
    steps.push(...appendResponses(machine, ready.snapshot, 0), ...applyResponses(machine, ready.committed))
  }
  log.unstable.accept()
  const lastApplied = ready.committed.at(-1)
  if (lastApplied !== undefined) log.acceptApplying(lastApplied.index, entriesBytes(ready.committed))
  machine.messages = []
  machine.reads.closeRound()
  machine.messagesAfterAppend = []
  machine.readStates = []
  machine.droppedReads = []
  return steps
}

// With asynchronous storage: what is to be written and applied travels as messages that carry their own answers.
function collectAsync(machine: Machine, baseline: ReadyBaseline): Ready {
  const { log, id, term, messagesAfterAppend } = machine
  const entries = log.unstable.nextEntries()
  const snapshot = log.unstable.nextSnapshot()
  const committed = log.nextCommitted()
  const hardState = isHardStateChanged(machine, baseline.hardState) ? machine.hardState : undefined
  const messages = [...machine.messages]
  if (entries.length > 0 || hardState !== undefined || snapshot !== undefined || messagesAfterAppend.length > 0) {
    const responses = [...messagesAfterAppend, ...appendResponses(machine, snapshot, term)]
    const head = { from: id, to: APPEND_THREAD, term: hardState?.term ?? 0 }
    messages.push({ type: 'MsgStorageAppend', ...head, hardState, entries, snapshot, responses })
  }
  if (committed.length > 0) {
    const responses = applyResponses(machine, committed)
    messages.push({ type: 'MsgStorageApply', from: id, to: APPLY_THREAD, term: 0, entries: committed, responses })
  }
  return {
    softState: isSoftStateChanged(machine, baseline.softState) ? machine.softState : undefined,
    hardState,
    entries,
    snapshot,
    messages,
    messagesAfterAppend: [],
    committed,
    reads: machine.readStates,
    droppedReads: machine.droppedReads,
    mustSync: entries.length > 0 || term !== baseline.hardState.term || machine.vote !== baseline.hardState.vote,
  }
}

// In asynchronous writes the answer carries the term in which it was asked for: it is dropped in a later one (rule D5).
function appendResponses(machine: Machine, snapshot: Snapshot | undefined, term: number): Message[] {
  const last = machine.log.unstable.entries.at(-1)
  if (last === undefined && snapshot === undefined) return []
  const upTo = { index: last?.index ?? 0, term: last?.term ?? 0 }
  const head = { from: APPEND_THREAD, to: machine.id, term }
  return [{ type: 'MsgStorageAppendResp', ...head, upTo, snapshot: snapshot?.index ?? 0 }]
}

function applyResponses(machine: Machine, committed: readonly Entry[]): Message[] {
  const last = committed.at(-1)
  if (last === undefined) return []
  const sizes = { batchBytes: entriesBytes(committed), payloadBytes: payloadsBytes(committed) }
  return [{ type: 'MsgStorageApplyResp', from: APPLY_THREAD, to: machine.id, term: 0, index: last.index, ...sizes }]
}

function isHardStateChanged(machine: Machine, before: HardState): boolean {
  return machine.term !== before.term || machine.vote !== before.vote || machine.log.committed !== before.commit
}

function isSoftStateChanged(machine: Machine, before: SoftState): boolean {
  return machine.leader !== before.leader || machine.role !== before.role
}
