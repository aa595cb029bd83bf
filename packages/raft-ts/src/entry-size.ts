import type { Entry, ProposedEntry } from './types.ts'

/** A single change, and what frames several of them, in etcd's protobuf encoding. */
const CHANGE_BYTES = 6
const CHANGES_FRAME_BYTES = 2

/** Bytes of the user's payload: what flow control and the uncommitted budget count. */
export function payloadBytes(entry: Entry | ProposedEntry): number {
  if (entry.kind === 'normal') return entry.data.length
  const { changes, context, isV1 } = entry.change
  // Without changes it is the end of a joint phase, which must always pass: nothing.
  const frame = changes.length === 0 || isV1 === true ? 0 : CHANGES_FRAME_BYTES
  return frame + changes.length * CHANGE_BYTES + context.length
}

/** Sum of `payloadBytes`. */
export function payloadsBytes(entries: readonly (Entry | ProposedEntry)[]): number {
  let sum = 0
  for (const entry of entries) sum += payloadBytes(entry)
  return sum
}

/** Bytes of an entry in etcd's protobuf encoding: type, term, index and payload. Size limits count these. */
export function entryBytes(entry: Entry): number {
  const payload = payloadBytes(entry)
  const framing = 2 + 1 + varintBytes(entry.term) + 1 + varintBytes(entry.index)
  return payload === 0 ? framing : framing + 1 + varintBytes(payload) + payload
}

/** Sum of `entryBytes`. */
export function entriesBytes(entries: readonly Entry[]): number {
  let sum = 0
  for (const entry of entries) sum += entryBytes(entry)
  return sum
}

/** The longest prefix within `maxBytes`, but always the first entry: progress must not depend on sizes. */
export function limitEntries(entries: readonly Entry[], maxBytes: number): readonly Entry[] {
  return sliceLimited(entries, { from: 0, to: entries.length, maxBytes })
}

/** `entries.slice(from, to)` within `maxBytes`, but at least one. Costs what it returns, not what there is. */
export function sliceLimited(
  entries: readonly Entry[],
  range: { readonly from: number; readonly to: number; readonly maxBytes: number },
): readonly Entry[] {
  let sum = 0
  let end = range.from
  for (; end < range.to; end++) {
    sum += entryBytes(entries[end]!)
    if (sum > range.maxBytes && end > range.from) break
  }
  return entries.slice(range.from, end)
}

function varintBytes(value: number): number {
  let bytes = 1
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++
  return bytes
}
