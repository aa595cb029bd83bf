import type { LogIndex } from '../types.ts'
import { ByteReader, ByteWriter, MalformedBytes } from './bytes.ts'

/** Names a client session: the log index of the command that opened it, so it never repeats. 0: no session. */
export type SessionId = LogIndex

/** What clients may ask of the replicated map. */
export type KeyValueCommand =
  /** Opens a session. May be retried; a session opened twice and used once is evicted like any unused one. */
  | { readonly kind: 'openSession' }
  /** Ends a session and forgets its results. */
  | { readonly kind: 'closeSession'; readonly session: SessionId }
  | WriteCommand
  | WriteAllCommand

/** Writes or deletes one key. */
export interface WriteCommand extends SessionCommand, KeyWrite {
  readonly kind: 'write'
}

/** Writes or deletes several keys: all, or none when any has another version than expected (rule K10). */
export interface WriteAllCommand extends SessionCommand {
  readonly kind: 'writeAll'
  /** At least one; each key once. */
  readonly writes: readonly KeyWrite[]
}

/** What makes a command safe to be sent again. */
interface SessionCommand {
  /** 0: not protected against being applied twice; never retry it then. */
  readonly session: SessionId
  /** Unique in its session. A retry repeats it. */
  readonly sequence: number
  /** No command of this session below this sequence will be retried: its results may be forgotten. */
  readonly firstPending: number
}

/** A write of one key. */
export interface KeyWrite {
  readonly key: string
  /** The version the key must have (0: must not exist); undefined: whatever it has. */
  readonly expected: number | undefined
  /** undefined deletes. */
  readonly value: string | undefined
}

const OPEN = 1
const CLOSE = 2
const WRITE = 3
const WRITE_ALL = 4
const HAS_EXPECTED = 1
const HAS_VALUE = 2

/** A command as log entry data. */
export function encodeCommand(command: KeyValueCommand): Uint8Array {
  const writer = new ByteWriter()
  if (command.kind === 'openSession') return writer.varint(OPEN).finish()
  if (command.kind === 'closeSession') return writer.varint(CLOSE).varint(command.session).finish()
  writer.varint(command.kind === 'write' ? WRITE : WRITE_ALL)
  writer.varint(command.session).varint(command.sequence).varint(command.firstPending)
  if (command.kind === 'write') encodeWrite(writer, command)
  else {
    writer.varint(command.writes.length)
    for (const write of command.writes) encodeWrite(writer, write)
  }
  return writer.finish()
}

function encodeWrite(writer: ByteWriter, { key, expected, value }: KeyWrite): void {
  const flags = (expected === undefined ? 0 : HAS_EXPECTED) + (value === undefined ? 0 : HAS_VALUE)
  writer.text(key).varint(flags)
  if (expected !== undefined) writer.varint(expected)
  if (value !== undefined) writer.text(value)
}

function decodeWrite(reader: ByteReader): KeyWrite {
  const key = reader.text()
  const flags = reader.varint()
  const expected = (flags & HAS_EXPECTED) === 0 ? undefined : reader.varint()
  const value = (flags & HAS_VALUE) === 0 ? undefined : reader.text()
  return { key, expected, value }
}

/**
 * Reads what `encodeCommand` wrote.
 *
 * @throws {MalformedBytes} for anything else
 */
export function decodeCommand(data: Uint8Array): KeyValueCommand {
  const reader = new ByteReader(data)
  const tag = reader.varint()
  if (tag === OPEN) return { kind: 'openSession' }
  if (tag === CLOSE) return { kind: 'closeSession', session: reader.varint() }
  if (tag !== WRITE && tag !== WRITE_ALL)
    throw new MalformedBytes(`unknown command ${tag}: was it written by a newer release?`)
  const session = reader.varint()
  const sequence = reader.varint()
  const firstPending = reader.varint()
  if (tag === WRITE) return { kind: 'write', session, sequence, firstPending, ...decodeWrite(reader) }
  const writes: KeyWrite[] = []
  for (let left = reader.varint(); left > 0; left--) writes.push(decodeWrite(reader))
  return { kind: 'writeAll', session, sequence, firstPending, writes }
}
