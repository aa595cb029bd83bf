import {
  ByteReader,
  ByteWriter,
  type ConfChange,
  type ConfState,
  type Entry,
  type HardState,
  MalformedBytes,
  type NodeId,
  type Snapshot,
} from '../../index.ts'

const CHANGE_KINDS = ['addVoter', 'addLearner', 'remove', 'update'] as const
const TRANSITIONS = ['auto', 'implicit', 'explicit'] as const
const NORMAL = 0
const CONF_CHANGE = 1

/** Writes term, vote and commit. */
export function writeHardState(writer: ByteWriter, { term, vote, commit }: HardState): void {
  writer.varint(term).varint(vote).varint(commit)
}

/** Reads what `writeHardState` wrote. */
export function readHardState(reader: ByteReader): HardState {
  return { term: reader.varint(), vote: reader.varint(), commit: reader.varint() }
}

/** Writes one entry. */
export function writeEntry(writer: ByteWriter, entry: Entry): void {
  writer.varint(entry.index).varint(entry.term)
  if (entry.kind === 'normal') writer.varint(NORMAL).bytes(entry.data)
  else writeConfChange(writer.varint(CONF_CHANGE), entry.change)
}

/**
 * Reads what `writeEntry` wrote.
 *
 * @throws {MalformedBytes} for anything else
 */
export function readEntry(reader: ByteReader): Entry {
  const index = reader.varint()
  const term = reader.varint()
  const kind = reader.varint()
  // A copy: the record's buffer must not live as long as its smallest entry.
  if (kind === NORMAL) return { kind: 'normal', index, term, data: reader.bytes().slice() }
  if (kind === CONF_CHANGE) return { kind: 'confChange', index, term, change: readConfChange(reader) }
  throw new MalformedBytes(`unknown kind of entry ${kind} at index ${index}: was it written by a newer release?`)
}

/** A whole snapshot as bytes. */
export function encodeSnapshot({ index, term, conf, data }: Snapshot): Uint8Array {
  const writer = new ByteWriter(data.length + 128)
  writer.varint(index).varint(term)
  for (const ids of [conf.voters, conf.votersOutgoing, conf.learners, conf.learnersNext]) writeIds(writer, ids)
  return writer
    .varint(conf.autoLeave ? 1 : 0)
    .bytes(data)
    .finish()
}

/**
 * Reads what `encodeSnapshot` wrote.
 *
 * @throws {MalformedBytes} for anything else
 */
export function decodeSnapshot(bytes: Uint8Array): Snapshot {
  const reader = new ByteReader(bytes)
  const [index, term] = [reader.varint(), reader.varint()]
  const [voters, votersOutgoing, learners, learnersNext] = [
    readIds(reader),
    readIds(reader),
    readIds(reader),
    readIds(reader),
  ]
  const conf: ConfState = { voters, votersOutgoing, learners, learnersNext, autoLeave: reader.varint() === 1 }
  return { index, term, conf, data: reader.bytes() }
}

function writeConfChange(writer: ByteWriter, change: ConfChange): void {
  writer.varint(TRANSITIONS.indexOf(change.transition)).bytes(change.context).varint(change.changes.length)
  for (const { kind, id } of change.changes) writer.varint(CHANGE_KINDS.indexOf(kind)).varint(id)
}

function readConfChange(reader: ByteReader): ConfChange {
  const transition = pick(TRANSITIONS, reader.varint())
  const context = reader.bytes().slice()
  const changes = Array.from({ length: reader.varint() }, () => ({
    kind: pick(CHANGE_KINDS, reader.varint()),
    id: reader.varint(),
  }))
  return { changes, transition, context }
}

function pick<T>(choices: readonly T[], at: number): T {
  const choice = choices[at]
  if (choice === undefined) throw new MalformedBytes(`unknown variant ${at}: was it written by a newer release?`)
  return choice
}

function writeIds(writer: ByteWriter, ids: readonly NodeId[]): void {
  writer.varint(ids.length)
  for (const id of ids) writer.varint(id)
}

function readIds(reader: ByteReader): readonly NodeId[] {
  return Array.from({ length: reader.varint() }, () => reader.varint())
}
