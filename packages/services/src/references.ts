import type { Millis, ServiceId } from '@waiter/base'
import type { ServicesConfig } from './config.ts'
import { pickParameters, RAW_SERVICE_ID_PREFIX } from './discover-service.ts'
import { canonicalJson } from './json.ts'
import type { PreviousToken, SourceToken, TokenRecord } from './token.ts'
import { tokenEtag } from './token-etag.ts'
import { computeTokenMetadata } from './token-metadata.ts'
import type { FindWithdrawals, Withdrawal } from './withdrawal.ts'

/** One way in which a service was reached: through these versions of tokens; without any: on the fly. */
export interface ServiceReference {
  readonly sources: readonly SourceToken[]
}

/** A reference as `/apps` shows it (spec §2.9). */
export function renderReference({ sources }: ServiceReference): Readonly<Record<string, unknown>> {
  return sources.length === 0 ? {} : { token: { sources } }
}

export interface StalenessInput {
  readonly serviceId: ServiceId
  readonly references: readonly ServiceReference[]
  /** A token as stored; deleted ones with their history. */
  readonly findToken: (name: string) => TokenRecord | undefined
  readonly findWithdrawals: FindWithdrawals
  readonly config: ServicesConfig
}

/** A service that nothing leads to any more. */
export interface Staleness {
  /** When the last way to it was closed; undefined: nobody can tell, the token is gone for good. */
  readonly sinceMs: Millis | undefined
  /** How long it may be wanted for fallback from then on: fallback period and stale time-out. */
  readonly keepMs: Millis
}

const MS_PER_SECOND = 1_000
const MS_PER_MINUTE = 60_000

/** Is the service stale, and since when (rules S1 to S8)? Undefined: some reference still leads to it, or none is known. */
export function computeStaleness(input: StalenessInput): Staleness | undefined {
  const { references } = input
  if (references.length === 0) return undefined
  let sinceMs: Millis | undefined = 0
  let keepMs = 0
  for (const reference of references) {
    const ends = reference.sources
      .filter(source => !source.token.startsWith(RAW_SERVICE_ID_PREFIX))
      .map(source => findEnd(source, input))
    if (reference.sources.length === 0 || ends.some(end => end === 'current')) return undefined
    const endedMs = latestOf(ends)
    sinceMs = sinceMs === undefined || endedMs === undefined ? undefined : Math.max(sinceMs, endedMs)
    keepMs = Math.max(keepMs, computeKeepMs(reference, input))
  }
  return { sinceMs, keepMs }
}

type End = 'current' | Millis | undefined

function latestOf(ends: readonly End[]): Millis | undefined {
  const times = ends.filter(end => typeof end === 'number')
  return times.length === 0 ? undefined : Math.max(...times)
}

/** When a token ceased to lead to the service; `current`: it still does. */
function findEnd({ token, version }: SourceToken, input: StalenessInput): End {
  const latest = input.findToken(token)
  if (latest === undefined) return undefined
  const history = historyOf(latest)
  const source = history.find(record => tokenEtag(record) === version)
  // It is older than the history: the last write is the best that is known.
  if (source === undefined) return latest['last-update-time']
  // What counts is the newest version that describes the same.
  const description = describe(source)
  const position = history.findIndex(record => record.deleted !== true && describe(record) === description)
  const withdrawals = input.findWithdrawals(token)?.withdrawals ?? []
  const etag = position < 0 ? undefined : tokenEtag(history[position]!)
  const own = withdrawals.find(one => one.version === etag && one.serviceId === input.serviceId)
  if (own !== undefined) return own.atMs
  const newer = position < 0 ? history : history.slice(0, position)
  const last = newer.findLast(record => !leadsOn(record, latest, { newer, withdrawals, serviceId: input.serviceId }))
  return last === undefined ? 'current' : (last['last-update-time'] ?? 0)
}

type Version = TokenRecord | PreviousToken

function historyOf(latest: TokenRecord): readonly Version[] {
  const history: Version[] = []
  for (let record: Version | undefined = latest; record !== undefined; record = record.previous) history.push(record)
  return history
}

interface Succeeding {
  /** All versions that came after the one in question, newest first. */
  readonly newer: readonly Version[]
  readonly withdrawals: readonly Withdrawal[]
  readonly serviceId: ServiceId
}

/**
 * Does a newer version leave the older one in use? It does when what it describes was withdrawn in favour of that one,
 * and when it splits its traffic with it.
 */
function leadsOn(version: Version, latest: TokenRecord, { newer, withdrawals, serviceId }: Succeeding): boolean {
  if (version.deleted === true) return false
  const description = describe(version)
  const isWithdrawn = newer.some(
    one =>
      describe(one) === description &&
      withdrawals.some(({ version: etag, predecessorId }) => predecessorId === serviceId && etag === tokenEtag(one)),
  )
  if (isWithdrawn) return true
  const percent = latest['traffic-split']?.percent ?? 100
  return percent < 100 && description === describe(latest)
}

/** All of a token that the id of its service depends on. */
function describe(record: TokenRecord | PreviousToken): string {
  return canonicalJson([pickParameters(record), record['service-mapping'] ?? null])
}

/** From the tokens as they are now (spec §2.9). */
function computeKeepMs({ sources }: ServiceReference, { findToken, config }: StalenessInput): Millis {
  const merged = Object.assign({}, ...sources.map(({ token }) => findToken(token) ?? {})) as PreviousToken
  const metadata = computeTokenMetadata(merged, config)
  return metadata['fallback-period-secs'] * MS_PER_SECOND + metadata['stale-timeout-mins'] * MS_PER_MINUTE
}
