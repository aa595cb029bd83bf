import {
  type ByteReader,
  type ByteWriter,
  type ConfChange,
  type ConfChangeSingle,
  type ConfState,
  type Entry,
  MalformedBytes,
  type NodeId,
  type ProposedEntry,
} from '../../index.ts'

/*
 * Numbers are varints, texts and byte strings carry their length. An entry is: kind, index, term, and the data or the
 * membership change. The same bytes are used on disk and on the wire.
 */

const NORMAL = 0
const CONF_CHANGE = 1
const CHANGE_KINDS = ['addVoter', 'addLearner', 'remove', 'update'] as const
const TRANSITIONS = ['auto', 'implicit', 'explicit'] as const
/** A configuration with more members than this is damage. */
const MEMBERS_MAX = 10_000

/** Writes an entry. */
export function writeEntry(writer: ByteWriter, entry: Entry): void {
  writer.varint(entry.kind === 'normal' ? NORMAL : CONF_CHANGE)
  writer.varint(entry.index).varint(entry.term)
  writePayload(writer, entry)
}

/** Reads an entry. Its data is a view into the bytes that are read. */
export function readEntry(reader: ByteReader): Entry {
  const kind = reader.varint()
  const index = reader.varint()
  const term = reader.varint()
  return { ...readPayload(reader, kind), index, term }
}

/** Writes an entry that has no place in a log yet. */
export function writeProposed(writer: ByteWriter, entry: ProposedEntry): void {
  writer.varint(entry.kind === 'normal' ? NORMAL : CONF_CHANGE)
  writePayload(writer, entry)
}

/** Reads an entry that has no place in a log yet. */
export function readProposed(reader: ByteReader): ProposedEntry {
  return readPayload(reader, reader.varint())
}

/** Writes who belongs to the group. */
export function writeConf(writer: ByteWriter, conf: ConfState): void {
  writeIds(writer, conf.voters)
  writeIds(writer, conf.votersOutgoing)
  writeIds(writer, conf.learners)
  writeIds(writer, conf.learnersNext)
  writer.varint(conf.autoLeave ? 1 : 0)
}

/** Reads who belongs to the group. */
export function readConf(reader: ByteReader): ConfState {
  return {
    voters: readIds(reader),
    votersOutgoing: readIds(reader),
    learners: readIds(reader),
    learnersNext: readIds(reader),
    autoLeave: reader.varint() === 1,
  }
}

function writePayload(writer: ByteWriter, entry: ProposedEntry): void {
  if (entry.kind === 'normal') {
    writer.bytes(entry.data)
    return
  }
  const { changes, transition, context } = entry.change
  writer.varint(TRANSITIONS.indexOf(transition)).varint(changes.length)
  for (const { kind, id } of changes) writer.varint(CHANGE_KINDS.indexOf(kind)).varint(id)
  writer.bytes(context)
}

function readPayload(reader: ByteReader, kind: number): ProposedEntry {
  if (kind === NORMAL) return { kind: 'normal', data: reader.bytes() }
  if (kind !== CONF_CHANGE)
    throw new MalformedBytes(`unknown kind of entry ${kind}: was it written by a newer release?`)
  return { kind: 'confChange', change: readConfChange(reader) }
}

function readConfChange(reader: ByteReader): ConfChange {
  const transition = oneOf(TRANSITIONS, reader.varint())
  const changes = readMany(reader, (): ConfChangeSingle => {
    const kind = oneOf(CHANGE_KINDS, reader.varint())
    return { kind, id: reader.varint() }
  })
  return { transition, changes, context: reader.bytes() }
}

function writeIds(writer: ByteWriter, ids: readonly NodeId[]): void {
  writer.varint(ids.length)
  for (const id of ids) writer.varint(id)
}

function readIds(reader: ByteReader): NodeId[] {
  return readMany(reader, () => reader.varint())
}

function readMany<T>(reader: ByteReader, readOne: () => T): T[] {
  const count = reader.varint()
  if (count > MEMBERS_MAX) throw new MalformedBytes(`${count} members announced, at most ${MEMBERS_MAX} can be`)
  return Array.from({ length: count }, readOne)
}

function oneOf<T>(values: readonly T[], at: number): T {
  const value = values[at]
  if (value === undefined) throw new MalformedBytes(`unknown tag ${at}: was it written by a newer release?`)
  return value
}
