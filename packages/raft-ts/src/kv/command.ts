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

/** Writes or deletes one key. */
export interface WriteCommand {
  readonly kind: 'write'
  /** 0: not protected against being applied twice; never retry it then. */
  readonly session: SessionId
  /** Unique in its session. A retry repeats it. */
  readonly sequence: number
  /** No command of this session below this sequence will be retried: its results may be forgotten. */
  readonly firstPending: number
  readonly key: string
  /** The version the key must have (0: must not exist); undefined: whatever it has. */
  readonly expected: number | undefined
  /** undefined deletes. */
  readonly value: string | undefined
}

const OPEN = 1
const CLOSE = 2
const WRITE = 3
const HAS_EXPECTED = 1
const HAS_VALUE = 2

/** A command as log entry data. */
export function encodeCommand(command: KeyValueCommand): Uint8Array {
  const writer = new ByteWriter()
  if (command.kind === 'openSession') return writer.varint(OPEN).finish()
  if (command.kind === 'closeSession') return writer.varint(CLOSE).varint(command.session).finish()
  const { expected, value } = command
  const flags = (expected === undefined ? 0 : HAS_EXPECTED) + (value === undefined ? 0 : HAS_VALUE)
  writer.varint(WRITE).varint(command.session).varint(command.sequence).varint(command.firstPending)
  writer.text(command.key).varint(flags)
  if (expected !== undefined) writer.varint(expected)
  if (value !== undefined) writer.text(value)
  return writer.finish()
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
  if (tag !== WRITE) throw new MalformedBytes(`unknown command ${tag}: was it written by a newer release?`)
  const session = reader.varint()
  const sequence = reader.varint()
  const firstPending = reader.varint()
  const key = reader.text()
  const flags = reader.varint()
  const expected = (flags & HAS_EXPECTED) === 0 ? undefined : reader.varint()
  const value = (flags & HAS_VALUE) === 0 ? undefined : reader.text()
  return { kind: 'write', session, sequence, firstPending, key, expected, value }
}
