import type { Millis } from '@waiter/base'
import type { Descriptor } from './descriptor.ts'
import { type ResolveInput, resolveDescriptor } from './resolve-descriptor.ts'
import type { PreviousToken, SourceToken, TokenRecord } from './token.ts'
import { tokenEtag } from './token-etag.ts'

/** What a request's tokens meant before their newest change, or before the one before that. */
export interface FormerVersion {
  readonly descriptor: Descriptor
  /** The token version whose arrival ended this one. */
  readonly supersededBy: SourceToken & { readonly atMs: Millis }
}

/** Versions walked back at most, whatever the tokens' histories hold: histories are bounded, this bounds several of them. */
const STEPS_MAX = 16

/**
 * Walks back in time: each step takes back the newest change of any token that took part, and resolves the request again
 * (spec §2.8). Versions that do not resolve any more, and times at which a token was deleted, are skipped.
 *
 * @param latest what the request resolves to now
 * @param input what it was resolved from
 */
export function* formerVersions(latest: Descriptor, input: ResolveInput): Generator<FormerVersion, void, undefined> {
  const records = new Map<string, TokenRecord | PreviousToken>(
    latest.discovery.records.map(({ token, record }) => [token, record]),
  )
  for (let step = 0; step < STEPS_MAX; step++) {
    const newest = findNewestChange(records)
    if (newest === undefined) return
    const [token, record, previous] = newest
    records.set(token, previous)
    const supersededBy = { token, version: tokenEtag(record), atMs: record['last-update-time'] ?? 0 }
    const resolved = resolveDescriptor({
      ...input,
      // A former version that an administrator brought may lack system metadata; only its description matters here.
      findToken: name => (records.get(name) ?? input.findToken(name)) as TokenRecord | undefined,
    })
    if (resolved.ok) yield { descriptor: resolved.value, supersededBy }
  }
}

/** When any of the descriptor's tokens was written last; undefined when it comes from no token. */
export function latestUpdateMs({ discovery }: Descriptor): Millis | undefined {
  const times = discovery.records.map(({ record }) => record['last-update-time'])
  return times.length === 0 ? undefined : Math.max(...times)
}

type Change = readonly [token: string, record: TokenRecord | PreviousToken, previous: PreviousToken]

function findNewestChange(records: ReadonlyMap<string, TokenRecord | PreviousToken>): Change | undefined {
  let newest: Change | undefined
  for (const [token, record] of records) {
    const { previous } = record
    if (previous === undefined) continue
    if (newest === undefined || (record['last-update-time'] ?? 0) > (newest[1]['last-update-time'] ?? 0))
      newest = [token, record, previous]
  }
  return newest
}
