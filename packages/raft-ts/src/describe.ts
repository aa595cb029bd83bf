import type { Message, MsgStorageAppend, MsgStorageApply } from './message.ts'
import type { Ready } from './ready.ts'
import type { ProgressStatus, Status } from './status.ts'
import {
  APPEND_THREAD,
  APPLY_THREAD,
  type ConfChange,
  type ConfState,
  type Entry,
  type HardState,
  type NodeId,
  type ProposedEntry,
  type Role,
  type Snapshot,
  type SoftState,
} from './types.ts'

/** Turns a payload into text; the default quotes ASCII. */
export type DataFormatter = (data: Uint8Array) => string

const ROLE_NAMES: Readonly<Record<Role, string>> = {
  follower: 'StateFollower',
  preCandidate: 'StatePreCandidate',
  candidate: 'StateCandidate',
  leader: 'StateLeader',
}

const PROGRESS_NAMES = { probe: 'StateProbe', replicate: 'StateReplicate', snapshot: 'StateSnapshot' } as const
const NOTHING_TO_STORE = { hardState: undefined, snapshot: undefined }
const CHANGE_LETTERS = { addVoter: 'v', addLearner: 'l', remove: 'r', update: 'u' } as const

/** Payload bytes as a quoted ASCII string, other bytes as `\xNN`. */
export function describeData(data: Uint8Array): string {
  let text = ''
  for (const byte of data) {
    if (byte === 0x22 || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte)
    else text += `\\x${byte.toString(16).padStart(2, '0')}`
  }
  return `"${text}"`
}

/** `v1 l2 r3`: add voter 1, add learner 2, remove 3. */
export function describeConfChange(change: ConfChange): string {
  return change.changes.map(({ kind, id }) => `${CHANGE_LETTERS[kind]}${id}`).join(' ')
}

/** `term/index kind payload`. */
export function describeEntry(entry: Entry, format: DataFormatter = describeData): string {
  return `${entry.term}/${entry.index} ${describeProposed(entry, format)}`
}

/** One entry per line. */
export function describeEntries(entries: readonly Entry[], format: DataFormatter = describeData): string {
  return entries.map(entry => `${describeEntry(entry, format)}\n`).join('')
}

/** `Term:1 Vote:2 Commit:3`, without what is nothing. */
export function describeHardState({ term, vote, commit }: HardState): string {
  return `Term:${term}${vote === 0 ? '' : ` Vote:${vote}`} Commit:${commit}`
}

/** `Lead:1 State:StateLeader`. */
export function describeSoftState({ leader, role }: SoftState): string {
  return `Lead:${leader} State:${ROLE_NAMES[role]}`
}

/** `Voters:[1 2 3] VotersOutgoing:[] Learners:[] LearnersNext:[] AutoLeave:false`. */
export function describeConfState(conf: ConfState): string {
  const list = (ids: readonly NodeId[]): string => `[${ids.join(' ')}]`
  return (
    `Voters:${list(conf.voters)} VotersOutgoing:${list(conf.votersOutgoing)} ` +
    `Learners:${list(conf.learners)} LearnersNext:${list(conf.learnersNext)} AutoLeave:${conf.autoLeave}`
  )
}

/** `voters=(1 2 3)&&(1 2) learners=(4) autoleave`. */
export function describeConf(conf: ConfState): string {
  const list = (ids: readonly NodeId[]): string => `(${ids.join(' ')})`
  let text = `voters=${list(conf.voters)}`
  if (conf.votersOutgoing.length > 0) text += `&&${list(conf.votersOutgoing)}`
  if (conf.learners.length > 0) text += ` learners=${list(conf.learners)}`
  if (conf.learnersNext.length > 0) text += ` learners_next=${list(conf.learnersNext)}`
  return conf.autoLeave ? `${text} autoleave` : text
}

/** `Index:5 Term:1 ConfState:…`. */
export function describeSnapshot(snapshot: Snapshot): string {
  return `Index:${snapshot.index} Term:${snapshot.term} ConfState:${describeConfState(snapshot.conf)}`
}

/** One message on one line: `1->2 MsgApp Term:1 Log:1/3 Commit:3 Entries:[1/4 EntryNormal "foo"]`. */
export function describeMessage(message: Message, format: DataFormatter = describeData): string {
  const head = `${nameOf(message.from)}->${nameOf(message.to)} ${message.type} Term:${message.term} Log:${logOf(message)}`
  return head + rejectOf(message) + commitOf(message) + extrasOf(message, format)
}

/** `StateReplicate match=3 next=5 inflight=1`. */
export function describeProgress(progress: ProgressStatus): string {
  let text = `${PROGRESS_NAMES[progress.state]} match=${progress.match} next=${progress.next}`
  if (progress.isLearner) text += ' learner'
  if (progress.isPaused) text += ' paused'
  if (progress.pendingSnapshot > 0) text += ` pendingSnap=${progress.pendingSnapshot}`
  if (!progress.isRecentlyActive) text += ' inactive'
  if (progress.inflightCount > 0) text += ` inflight=${progress.inflightCount}`
  return progress.isInflightFull ? `${text}[full]` : text
}

/** Everything a Ready asks for, section by section; `<empty Ready>` when nothing. */
export function describeReady(ready: Ready, format: DataFormatter = describeData): string {
  const lines: string[] = []
  if (ready.softState !== undefined) lines.push(describeSoftState(ready.softState))
  if (ready.hardState !== undefined) lines.push(`HardState ${describeHardState(ready.hardState)}`)
  if (ready.reads.length > 0) {
    lines.push('ReadStates:', ...ready.reads.map(read => `${read.index} ${read.readId}`))
  }
  if (ready.droppedReads.length > 0) lines.push('DroppedReads:', ...ready.droppedReads)
  if (ready.entries.length > 0) lines.push('Entries:', ...ready.entries.map(entry => describeEntry(entry, format)))
  if (ready.snapshot !== undefined) lines.push(`Snapshot ${describeSnapshot(ready.snapshot)}`)
  if (ready.committed.length > 0) {
    lines.push('CommittedEntries:', ...ready.committed.map(entry => describeEntry(entry, format)))
  }
  const messages = [...ready.messages, ...ready.messagesAfterAppend]
  if (messages.length > 0) lines.push('Messages:', ...messages.map(message => describeMessage(message, format)))
  if (lines.length === 0) return '<empty Ready>\n'
  return `Ready MustSync=${ready.mustSync}:\n${lines.join('\n')}\n`
}

/** A status on a few lines: the node, its configuration, and on a leader each member's progress. */
export function describeStatus(status: Status): string {
  const head =
    `${status.id} ${ROLE_NAMES[status.role]} ${describeHardState(status.hardState)} Lead:${status.leader} ` +
    `Applied:${status.applied} Log:${status.firstIndex}..${status.lastIndex}`
  const members = status.progress.map(progress => `${progress.id}: ${describeProgress(progress)}\n`).join('')
  return `${head}\n${describeConf(status.conf)}\n${members}`
}

function describeProposed(entry: ProposedEntry, format: DataFormatter): string {
  if (entry.kind === 'normal') return `EntryNormal ${format(entry.data)}`
  const change = describeConfChange(entry.change)
  const name = entry.change.isV1 === true ? 'EntryConfChange' : 'EntryConfChangeV2'
  return change === '' ? name : `${name} ${change}`
}

function nameOf(id: NodeId): string {
  if (id === APPEND_THREAD) return 'AppendThread'
  return id === APPLY_THREAD ? 'ApplyThread' : String(id)
}

function logOf(message: Message): string {
  if (message.type === 'MsgStorageAppendResp') return `${message.upTo.term}/${message.upTo.index}`
  const index = 'index' in message ? message.index : 0
  return `${'logTerm' in message ? message.logTerm : 0}/${index}`
}

function rejectOf(message: Message): string {
  if (!('reject' in message) || !message.reject) return ''
  return ` Rejected (Hint: ${'rejectHint' in message ? message.rejectHint : 0})`
}

function commitOf(message: Message): string {
  return 'commit' in message && message.commit !== 0 ? ` Commit:${message.commit}` : ''
}

function extrasOf(message: Message, format: DataFormatter): string {
  if (message.type === 'MsgSnap') return ` Snapshot: ${describeSnapshot(message.snapshot)}`
  if (message.type === 'MsgStorageAppend' || message.type === 'MsgStorageApply') return storageText(message, format)
  if (message.type === 'MsgApp') return entriesText(message.entries.map(entry => describeEntry(entry, format)))
  if (message.type === 'MsgProp') {
    return entriesText(message.entries.map(entry => `0/0 ${describeProposed(entry, format)}`))
  }
  if ('readRound' in message && message.readRound !== 0) return ` Round:${message.readRound}`
  if ('readId' in message) return ` Read:${message.readId}`
  return ''
}

function storageText(message: MsgStorageAppend | MsgStorageApply, format: DataFormatter): string {
  const { hardState, snapshot } = message.type === 'MsgStorageAppend' ? message : NOTHING_TO_STORE
  const state = hardState === undefined ? '' : ` ${describeHardState(hardState)}`
  const snapshotText = snapshot === undefined ? '' : ` Snapshot: ${describeSnapshot(snapshot)}`
  const responses = message.responses.map(response => describeMessage(response, format))
  const responsesText = responses.length === 0 ? '' : ` Responses:[${responses.join(', ')}]`
  return state + entriesText(message.entries.map(entry => describeEntry(entry, format))) + snapshotText + responsesText
}

function entriesText(entries: readonly string[]): string {
  return entries.length === 0 ? '' : ` Entries:[${entries.join(', ')}]`
}
