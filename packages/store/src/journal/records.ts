import type { StateChange } from '../store-state.ts'

/*
 * A frame's body is records:  kind 1, version 8, key's length 2, value's length 4, key, value.
 * A delete has no value. The end of a snapshot is a record without key: its version is the snapshot's.
 */

const KIND = { put: 1, delete: 2, end: 3 } as const
const RECORD_HEAD_BYTES = 15

/** A change, or the end of a snapshot, without which it is not whole. */
export type JournalRecord = StateChange | { readonly kind: 'end'; readonly version: number }

/** One record's bytes. */
export function encodeRecord(record: JournalRecord): Buffer {
  const { key, value, version } = partsOf(record)
  const keyBytes = Buffer.byteLength(key)
  const valueBytes = Buffer.byteLength(value)
  const bytes = Buffer.allocUnsafe(RECORD_HEAD_BYTES + keyBytes + valueBytes)
  bytes.writeUInt8(KIND[record.kind], 0)
  bytes.writeBigUInt64LE(BigInt(version), 1)
  bytes.writeUInt16LE(keyBytes, 9)
  bytes.writeUInt32LE(valueBytes, 11)
  bytes.write(key, RECORD_HEAD_BYTES)
  bytes.write(value, RECORD_HEAD_BYTES + keyBytes)
  return bytes
}

/** All records of a body; undefined when it is not made of records. */
export function decodeRecords(body: Buffer): JournalRecord[] | undefined {
  const records: JournalRecord[] = []
  let at = 0
  while (at < body.length) {
    if (body.length - at < RECORD_HEAD_BYTES) return undefined
    const kind = body.readUInt8(at)
    const version = Number(body.readBigUInt64LE(at + 1))
    const keyStart = at + RECORD_HEAD_BYTES
    const valueStart = keyStart + body.readUInt16LE(at + 9)
    const end = valueStart + body.readUInt32LE(at + 11)
    if (end > body.length || !Number.isSafeInteger(version)) return undefined
    const key = body.toString('utf8', keyStart, valueStart)
    if (kind === KIND.put) {
      records.push({ kind: 'put', entry: { key, value: body.toString('utf8', valueStart, end), version } })
    } else if (kind === KIND.delete) records.push({ kind: 'delete', key, version })
    else if (kind === KIND.end) records.push({ kind: 'end', version })
    else return undefined
    at = end
  }
  return records
}

function partsOf(record: JournalRecord): { readonly key: string; readonly value: string; readonly version: number } {
  if (record.kind === 'put') return record.entry
  return { key: record.kind === 'delete' ? record.key : '', value: '', version: record.version }
}
