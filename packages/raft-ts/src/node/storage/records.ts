import { crc32c } from '../../index.ts'

/** Length, check of the header, checksum of the payload; each a little-endian u32. */
const HEADER_BYTES = 12
const HEADER_SALT = 0x52414654

/** What was found at the end of a segment. */
export interface ParsedRecords {
  readonly payloads: readonly Uint8Array[]
  /** Bytes up to here are whole records. */
  readonly validBytes: number
  /** `torn`: what follows is one unfinished write. `corrupt`: something that was once whole is damaged. */
  readonly end: 'clean' | 'torn' | 'corrupt'
}

/**
 * One record: everything that must become durable together. Its place in the file is part of the checksums, so that
 * old bytes that come back, or records inside of a payload, are never taken for records.
 */
export function encodeRecord(payload: Uint8Array, offset: number): Uint8Array {
  const record = new Uint8Array(HEADER_BYTES + payload.length)
  const view = new DataView(record.buffer)
  view.setUint32(0, payload.length, true)
  view.setUint32(4, headerCheck(payload.length, offset), true)
  view.setUint32(8, crc32c(payload, offset >>> 0), true)
  record.set(payload, HEADER_BYTES)
  return record
}

/** Bytes of a record with a payload of this size. */
export function recordBytes(payloadBytes: number): number {
  return HEADER_BYTES + payloadBytes
}

/**
 * Reads records until the end or the first that is not whole. Only one write is under way at a time, and it is one
 * record: what is not whole is a torn last write if and only if no record follows it.
 */
export function parseRecords(bytes: Uint8Array): ParsedRecords {
  const payloads: Uint8Array[] = []
  let at = 0
  while (at < bytes.length) {
    const payload = payloadAt(bytes, at)
    if (payload === undefined) {
      return { payloads, validBytes: at, end: hasRecordAfter(bytes, at) ? 'corrupt' : 'torn' }
    }
    payloads.push(payload)
    at += HEADER_BYTES + payload.length
  }
  return { payloads, validBytes: at, end: 'clean' }
}

function payloadAt(bytes: Uint8Array, at: number): Uint8Array | undefined {
  const length = payloadLengthAt(bytes, at)
  if (length === undefined || at + HEADER_BYTES + length > bytes.length) return undefined
  const payload = bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length)
  const stored = new DataView(bytes.buffer, bytes.byteOffset).getUint32(at + 8, true)
  return crc32c(payload, at >>> 0) === stored ? payload : undefined
}

function payloadLengthAt(bytes: Uint8Array, at: number): number | undefined {
  if (at + HEADER_BYTES > bytes.length) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const length = view.getUint32(at, true)
  return view.getUint32(at + 4, true) === headerCheck(length, at) ? length : undefined
}

function hasRecordAfter(bytes: Uint8Array, bad: number): boolean {
  for (let at = bad + 1; at + HEADER_BYTES <= bytes.length; at++) {
    if (payloadLengthAt(bytes, at) !== undefined && payloadAt(bytes, at) !== undefined) return true
  }
  return false
}

function headerCheck(length: number, offset: number): number {
  let check = Math.imul(length ^ HEADER_SALT, 0x9e3779b1) ^ Math.imul(offset + 1, 0x85ebca6b)
  check = Math.imul(check ^ (check >>> 15), 0x2c1b3c6d)
  return (check ^ (check >>> 13)) >>> 0
}
