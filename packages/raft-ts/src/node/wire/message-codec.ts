import { assert } from '@waiter/base'
import { ByteReader, ByteWriter, MalformedBytes, type Message, type MsgAppResp, NO_DATA } from '../../index.ts'
import { readConf, readEntry, readProposed, writeConf, writeEntry, writeProposed } from './entry-codec.ts'

/*
 * A message is: tag, from, to, term, and then the fields of its type in the order of `message.ts`. Tags are for ever;
 * a new field means a new tag.
 */

const TAGS = {
  MsgProp: 1,
  MsgApp: 2,
  MsgAppResp: 3,
  MsgVote: 4,
  MsgPreVote: 5,
  MsgVoteResp: 6,
  MsgPreVoteResp: 7,
  MsgSnap: 8,
  MsgHeartbeat: 9,
  MsgHeartbeatResp: 10,
  MsgTransferLeader: 11,
  MsgTimeoutNow: 12,
  MsgReadIndex: 13,
  MsgReadIndexResp: 14,
} as const

type WireType = keyof typeof TAGS
type WireMessage = Extract<Message, { readonly type: WireType }>

const TYPE_BY_TAG: ReadonlyMap<number, WireType> = new Map(
  Object.entries(TAGS).map(([type, tag]) => [tag, type as WireType]),
)

/** Entries a message may announce: more is damage. */
const ENTRIES_MAX = 10_000_000

/** True for messages that travel; the others are local. */
export function isWireMessage(message: Message): message is WireMessage {
  return message.type in TAGS
}

/** Messages one after another as bytes, in order. */
export function encodeMessages(messages: readonly Message[]): Uint8Array {
  const writer = new ByteWriter(1024)
  for (const message of messages) {
    assert(isWireMessage(message), `${message.type} does not travel`)
    writer.varint(TAGS[message.type]).varint(message.from).varint(message.to).varint(message.term)
    writeBody(writer, message)
  }
  return writer.finish()
}

/**
 * Reads what `encodeMessages` wrote. Entry data are views into `bytes`.
 *
 * @throws {MalformedBytes} for anything else
 */
export function decodeMessages(bytes: Uint8Array): Message[] {
  const reader = new ByteReader(bytes)
  const messages: Message[] = []
  while (!reader.isAtEnd) messages.push(readMessage(reader))
  return messages
}

// A flat switch over the protocol.
function writeBody(writer: ByteWriter, message: WireMessage): void {
  switch (message.type) {
    case 'MsgProp':
      writer.varint(message.entries.length)
      for (const entry of message.entries) writeProposed(writer, entry)
      return
    case 'MsgApp':
      writer.varint(message.index).varint(message.logTerm).varint(message.commit).varint(message.entries.length)
      for (const entry of message.entries) writeEntry(writer, entry)
      return
    case 'MsgAppResp':
      writer
        .varint(message.index)
        .varint(message.reject ? 1 : 0)
        .varint(message.rejectHint)
        .varint(message.logTerm)
      return
    case 'MsgVote':
    case 'MsgPreVote':
      writer
        .varint(message.index)
        .varint(message.logTerm)
        .varint(message.isTransfer ? 1 : 0)
      return
    case 'MsgVoteResp':
    case 'MsgPreVoteResp':
      // Entries count from 1: an index of 0 says that the voter tells nothing (rule E9).
      writer
        .varint(message.reject ? 1 : 0)
        .varint(message.knownCommit?.index ?? 0)
        .varint(message.knownCommit?.term ?? 0)
      return
    case 'MsgSnap':
      // The content travels on its own stream.
      writer.varint(message.snapshot.index).varint(message.snapshot.term)
      writeConf(writer, message.snapshot.conf)
      return
    case 'MsgHeartbeat':
      writer.varint(message.commit).varint(message.readRound)
      return
    case 'MsgHeartbeatResp':
      writer.varint(message.readRound)
      return
    case 'MsgTransferLeader':
    case 'MsgTimeoutNow':
      return
    case 'MsgReadIndex':
      writer.text(message.readId)
      return
    case 'MsgReadIndexResp':
      writer.text(message.readId).varint(message.index)
  }
}

function readMessage(reader: ByteReader): Message {
  const tag = reader.varint()
  const type = TYPE_BY_TAG.get(tag)
  if (type === undefined) throw new MalformedBytes(`unknown message ${tag}: does the peer run a newer release?`)
  const envelope = { from: reader.varint(), to: reader.varint(), term: reader.varint() }
  return readBody(reader, type, envelope)
}

type Envelope = Pick<Message, 'from' | 'to' | 'term'>

// A flat switch over the protocol. Fields are read in the order in which the object literal names them.
function readBody(reader: ByteReader, type: WireType, envelope: Envelope): Message {
  const flag = (): boolean => reader.varint() === 1
  switch (type) {
    case 'MsgProp':
      return { type, ...envelope, entries: readMany(reader, () => readProposed(reader)) }
    case 'MsgApp': {
      const [index, logTerm, commit] = [reader.varint(), reader.varint(), reader.varint()]
      return { type, ...envelope, index, logTerm, commit, entries: readMany(reader, () => readEntry(reader)) }
    }
    case 'MsgAppResp':
      return readAppendResponse(reader, envelope)
    case 'MsgVote':
    case 'MsgPreVote':
      return { type, ...envelope, index: reader.varint(), logTerm: reader.varint(), isTransfer: flag() }
    case 'MsgVoteResp':
    case 'MsgPreVoteResp': {
      const reject = flag()
      const knownCommit = { index: reader.varint(), term: reader.varint() }
      return { type, ...envelope, reject, ...(knownCommit.index === 0 ? {} : { knownCommit }) }
    }
    case 'MsgSnap': {
      const id = { index: reader.varint(), term: reader.varint() }
      return { type, ...envelope, snapshot: { ...id, conf: readConf(reader), data: NO_DATA } }
    }
    case 'MsgHeartbeat':
      return { type, ...envelope, commit: reader.varint(), readRound: reader.varint() }
    case 'MsgHeartbeatResp':
      return { type, ...envelope, readRound: reader.varint() }
    case 'MsgTransferLeader':
    case 'MsgTimeoutNow':
      return { type, ...envelope }
    case 'MsgReadIndex':
      return { type, ...envelope, readId: reader.text() }
    case 'MsgReadIndexResp':
      return { type, ...envelope, readId: reader.text(), index: reader.varint() }
  }
}

function readAppendResponse(reader: ByteReader, envelope: Envelope): MsgAppResp {
  const index = reader.varint()
  const reject = reader.varint() === 1
  return { type: 'MsgAppResp', ...envelope, index, reject, rejectHint: reader.varint(), logTerm: reader.varint() }
}

function readMany<T>(reader: ByteReader, readOne: () => T): T[] {
  const count = reader.varint()
  if (count > ENTRIES_MAX) throw new MalformedBytes(`${count} entries announced, at most ${ENTRIES_MAX} can be`)
  const items: T[] = []
  for (let left = count; left > 0; left--) items.push(readOne())
  return items
}
