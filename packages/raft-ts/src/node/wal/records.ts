import { ByteReader, ByteWriter, type Entry, type HardState } from '../../index.ts'
import { readEntry, writeEntry } from '../wire/entry-codec.ts'
import { checksum } from './checksum.ts'

/*
 * A file of the log is a row of records:
 *
 *   [payload's length u32][crc32c u32][type u8][payload]     little-endian
 *
 * The checksum covers length, type and payload, and starts from the file's salt (0 for the head itself). The salt is
 * random for each file: nobody who chooses values can make bytes that look like a record.
 *
 * One batch is a `state` record and then what belongs to it, written by one call and made durable by one sync. The
 * state comes first, so that of a torn batch term and vote survive before any entry does (rule D2); its commit index is
 * at most the last entry before the batch, so that no prefix of a batch claims more than is there.
 */

/** Bytes before a payload. */
export const RECORD_HEAD_BYTES = 9
/** Longer payloads are damage: one entry, or one piece of a snapshot. */
export const PAYLOAD_BYTES_MAX: number = 1024 * 1024 * 1024

/** What a record is. Numbers are for ever. */
export const RECORD = {
  segmentHead: 1,
  state: 2,
  entry: 3,
  snapshotInstalled: 4,
  snapshotHead: 16,
  snapshotPiece: 17,
  snapshotEnd: 18,
} as const

/** One of `RECORD`. */
export type RecordType = (typeof RECORD)[keyof typeof RECORD]

const KNOWN: ReadonlySet<number> = new Set(Object.values(RECORD))

/** One record as it was read. */
export interface RawRecord {
  readonly type: RecordType
  /** A view into the file's bytes. */
  readonly payload: Uint8Array
  /** Where the next record begins. */
  readonly end: number
}

/** The checkpoint at the start of each batch. */
export interface StateRecord extends HardState {
  /** Everything before this offset of the same file was durable when the batch was written. */
  readonly durableBytes: number
}

/** What a segment begins with. */
export interface SegmentHead extends HardState {
  readonly format: number
  readonly sequence: number
  readonly salt: number
}

/** Grows with every incompatible change; older ones stay readable. */
export const LOG_FORMAT = 1

/** Puts records one after another into one buffer. */
export class RecordWriter {
  readonly #salt: number
  #parts: Uint8Array[] = []
  #bytes = 0

  constructor(salt: number) {
    this.#salt = salt
  }

  get bytes(): number {
    return this.#bytes
  }

  add(type: RecordType, payload: Uint8Array): this {
    const head = Buffer.allocUnsafe(RECORD_HEAD_BYTES)
    head.writeUInt32LE(payload.length, 0)
    head[8] = type
    head.writeUInt32LE(recordChecksum(head, payload, this.#salt), 4)
    this.#parts.push(head, payload)
    this.#bytes += head.length + payload.length
    return this
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts, this.#bytes)
  }
}

/** The record at an offset; undefined when there is no sound one. */
export function readRecord(file: Buffer, at: number, salt: number): RawRecord | undefined {
  if (at + RECORD_HEAD_BYTES > file.length) return undefined
  const length = file.readUInt32LE(at)
  const type = file[at + 8]!
  const end = at + RECORD_HEAD_BYTES + length
  if (end > file.length || length > PAYLOAD_BYTES_MAX || !KNOWN.has(type)) return undefined
  const payload = file.subarray(at + RECORD_HEAD_BYTES, end)
  const head = file.subarray(at, at + RECORD_HEAD_BYTES)
  if (recordChecksum(head, payload, salt) !== file.readUInt32LE(at + 4)) return undefined
  return { type: type as RecordType, payload, end }
}

/** The head of a new segment. */
export function encodeSegmentHead(head: SegmentHead): Uint8Array {
  const writer = new ByteWriter().varint(head.format).varint(head.sequence).varint(head.salt)
  return writer.varint(head.term).varint(head.vote).varint(head.commit).finish()
}

/** Reads a segment's head. */
export function decodeSegmentHead(payload: Uint8Array): SegmentHead {
  const reader = new ByteReader(payload)
  const [format, sequence, salt] = [reader.varint(), reader.varint(), reader.varint()]
  return { format, sequence, salt, term: reader.varint(), vote: reader.varint(), commit: reader.varint() }
}

/** The checkpoint of a batch. */
export function encodeState(state: StateRecord): Uint8Array {
  const writer = new ByteWriter().varint(state.durableBytes)
  return writer.varint(state.term).varint(state.vote).varint(state.commit).finish()
}

/** Reads a checkpoint. */
export function decodeState(payload: Uint8Array): StateRecord {
  const reader = new ByteReader(payload)
  return { durableBytes: reader.varint(), term: reader.varint(), vote: reader.varint(), commit: reader.varint() }
}

/** An entry as a payload. */
export function encodeEntry(entry: Entry): Uint8Array {
  const dataBytes = entry.kind === 'normal' ? entry.data.length : 64
  const writer = new ByteWriter(dataBytes + ENTRY_HEAD_BYTES_MAX)
  writeEntry(writer, entry)
  return writer.finish()
}

/** Reads an entry; its data is a view. */
export function decodeEntry(payload: Uint8Array): Entry {
  return readEntry(new ByteReader(payload))
}

// Kind, index, term and length as varints, and what the writer keeps free.
const ENTRY_HEAD_BYTES_MAX = 48

function recordChecksum(head: Uint8Array, payload: Uint8Array, salt: number): number {
  const overLength = checksum(head.subarray(0, 4), salt)
  return checksum(payload, checksum(head.subarray(8, RECORD_HEAD_BYTES), overLength))
}
