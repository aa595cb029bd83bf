import type { MemberId } from './member.ts'
import type { StreamMessage } from './message.ts'
import {
  claimToWire,
  MalformedMessage,
  parseClaims,
  parseCount,
  parseId,
  parseJsonList,
  parseList,
  parseText,
} from './parse.ts'
import type { Digest, RowDelta, RowPosition, WireEntry } from './rows/row-types.ts'
import type { GossipSettings } from './settings.ts'

type CodecLimits = Pick<GossipSettings, 'membersMax' | 'rowEntriesMax' | 'keyBytesMax' | 'valueBytesMax'>

/** W3: a stream message as text, one JSON list. */
export function encodeStreamMessage(message: StreamMessage): string {
  switch (message.kind) {
    case 'sync':
      return JSON.stringify([
        's',
        message.from,
        message.isReply ? 1 : 0,
        message.claims.map(claimToWire),
        digestToWire(message.digest),
      ])
    case 'rows':
      return JSON.stringify(['r', message.from, message.rows.map(rowToWire)])
    case 'want':
      return JSON.stringify(['w', message.from, digestToWire(message.digest)])
    case 'ping':
      return JSON.stringify(['p', message.from, message.to, message.sequence])
    case 'pong':
      return JSON.stringify(['o', message.from, message.sequence])
  }
}

/**
 * W2, W3: strict, and bounded by the settings.
 *
 * @throws {MalformedMessage}
 */
export function parseStreamMessage(text: string, limits: CodecLimits): StreamMessage {
  const [kind, rawFrom, a, b, c] = parseJsonList(text)
  const from = parseId(rawFrom)
  switch (kind) {
    case 's':
      return {
        kind: 'sync',
        from,
        isReply: parseCount(a, 1) === 1,
        claims: parseClaims(b, limits.membersMax + 1),
        digest: parseDigest(c, limits),
      }
    case 'r':
      return { kind: 'rows', from, rows: parseList(a, 'rows', limits.membersMax + 1).map(row => parseRow(row, limits)) }
    case 'w':
      return { kind: 'want', from, digest: parseDigest(a, limits) }
    case 'p':
      return { kind: 'ping', from, to: parseId(a), sequence: parseCount(b) }
    case 'o':
      return { kind: 'pong', from, sequence: parseCount(a) }
    default:
      throw new MalformedMessage('unknown kind')
  }
}

function digestToWire(digest: Digest): unknown[] {
  return [...digest].map(([owner, { generation, version }]) => [owner, generation, version])
}

function parseDigest(value: unknown, limits: CodecLimits): Digest {
  return new Map(
    parseList(value, 'digest', limits.membersMax + 1).map((item): [MemberId, RowPosition] => {
      const [owner, generation, version] = parseList(item, 'position', 3)
      return [parseId(owner), { generation: parseCount(generation), version: parseCount(version) }]
    }),
  )
}

function rowToWire({ owner, generation, base, version, floor, entries }: RowDelta): unknown[] {
  const wire = entries.map(entry => [entry.key, entry.value ?? null, entry.version, entry.ttlMs ?? null])
  return [owner, generation, base, version, floor, wire]
}

function parseRow(value: unknown, limits: CodecLimits): RowDelta {
  const [owner, generation, base, rawVersion, floor, entries] = parseList(value, 'row', 6)
  const version = parseCount(rawVersion)
  return {
    owner: parseId(owner),
    generation: parseCount(generation),
    base: parseCount(base, version),
    version,
    floor: parseCount(floor, version),
    entries: parseList(entries, 'entries', 2 * limits.rowEntriesMax).map(entry => parseEntry(entry, version, limits)),
  }
}

function parseEntry(value: unknown, versionMax: number, limits: CodecLimits): WireEntry {
  const [key, text, version, ttlMs] = parseList(value, 'entry', 4)
  return {
    key: parseText(key, limits.keyBytesMax),
    value: text === null ? undefined : parseText(text, limits.valueBytesMax),
    version: parseCount(version, versionMax),
    ttlMs: ttlMs === null ? undefined : parseCount(ttlMs),
  }
}
