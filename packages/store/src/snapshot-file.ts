import { WaiterError } from '@waiter/base'
import { crc32c } from './journal/crc32c.ts'
import type { Key } from './key-value-store.ts'
import { checkKey, checkValue } from './limits.ts'

const FORMAT = 1
const KIND = 'waiter-snapshot'
/** `{"crc32c":"0a1b2c3d"}` and the line's end. */
const TRAILER = /^\{"crc32c":"([0-9a-f]{8})"\}\n$/
const TRAILER_BYTES = 22

/** What a snapshot file says of itself. */
export interface SnapshotHeader {
  /** Name of the cluster it was taken of. */
  readonly cluster: string
  /** Of the software that took it. */
  readonly release: string
  /** ISO 8601. */
  readonly created: string
}

export interface SnapshotEntry {
  readonly key: Key
  readonly value: string
}

export interface SnapshotContent {
  readonly header: SnapshotHeader
  readonly entries: readonly SnapshotEntry[]
}

/**
 * A copy of what a cluster keeps, as a file of lines of JSON: a header that says how many entries follow, the entries, and
 * the CRC-32C of everything before.
 */
export function encodeSnapshotFile({ header, entries }: SnapshotContent): Buffer {
  const head = { kind: KIND, format: FORMAT, ...header, entries: entries.length }
  const lines = [head, ...entries.map(({ key, value }) => ({ key, value }))].map(line => `${JSON.stringify(line)}\n`)
  const bytes = Buffer.from(lines.join(''))
  return Buffer.concat([bytes, Buffer.from(`{"crc32c":"${checksumOf(bytes)}"}\n`)])
}

/**
 * Reads such a file.
 *
 * @throws WaiterError WTR_SNAPSHOT_CORRUPT saying what is wrong: nothing of a damaged file is used
 */
export function parseSnapshotFile(bytes: Buffer): SnapshotContent {
  const body = bytes.subarray(0, -TRAILER_BYTES)
  const checksum = TRAILER.exec(bytes.subarray(-TRAILER_BYTES).toString('latin1'))?.[1]
  if (checksum === undefined) throw corrupt('its last line is not a checksum: it is cut off, or no snapshot')
  if (checksum !== checksumOf(body)) throw corrupt('its checksum does not fit: it was damaged or changed')
  const [first, ...rest] = body.toString('utf8').split('\n').slice(0, -1).map(parseLine)
  const { kind, format, cluster, release, created, entries: count } = first ?? {}
  if (kind !== KIND) throw corrupt('it does not begin like a snapshot')
  if (format !== FORMAT) throw corrupt(`its format is ${String(format)}, this Waiter reads ${FORMAT}: use a newer one`)
  if (count !== rest.length) throw corrupt(`it says that it has ${String(count)} entries, but has ${rest.length}`)
  const entries = rest.map(toEntry)
  if (new Set(entries.map(({ key }) => key)).size !== entries.length) throw corrupt('a key is in it twice')
  return { header: { cluster: String(cluster), release: String(release), created: String(created) }, entries }
}

function toEntry({ key, value }: Record<string, unknown>): SnapshotEntry {
  if (typeof key !== 'string' || typeof value !== 'string') throw corrupt('an entry has no key or no value')
  checkKey(key)
  checkValue(value)
  return { key, value }
}

function parseLine(line: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(line)
    if (typeof parsed === 'object' && parsed !== null) return parsed as Record<string, unknown>
  } catch {
    // Said below.
  }
  throw corrupt('a line is not a JSON object')
}

function checksumOf(bytes: Uint8Array): string {
  return crc32c(bytes).toString(16).padStart(8, '0')
}

function corrupt(why: string): WaiterError {
  return new WaiterError(`The snapshot cannot be used: ${why}.`, { code: 'WTR_SNAPSHOT_CORRUPT', status: 400 })
}
