import { err, ok, type Result } from '@waiter/base'
import type { ServicesConfig } from './config.ts'
import { formatIsoTime } from './iso-time.ts'
import { isJsonObject, type JsonObject, ownValue } from './json.ts'
import { listed } from './map-checks.ts'
import { compilePattern } from './pattern.ts'
import { resolveDescriptor } from './resolve-descriptor.ts'
import type { Entitlements, TokenError, TokenRecord } from './token.ts'
import { tokenVersion } from './token-etag.ts'
import { SYSTEM_METADATA } from './token-metadata.ts'
import { tokenError } from './token-name.ts'
import { editableKeys } from './token-record.ts'

/** A parsed `GET /tokens` query; also what a watcher of tokens keeps. Make it with {@link parseTokenListingQuery}. */
export interface TokenListingQuery {
  readonly owners: readonly string[]
  readonly include: ReadonlySet<string>
  readonly isInMaintenance: boolean | undefined
  readonly managedBy: string | undefined
  readonly isRunAsRequester: boolean | undefined
  readonly requiresParameters: boolean | undefined
  /** Dotted paths that are shown under `parameters`. */
  readonly shownPaths: readonly string[]
  readonly filters: readonly TokenFilter[]
  readonly isWatch: boolean
  /** A watcher also wants to hear of what tokens refer to. */
  readonly wantsReferenceUpdates: boolean
  /** A watch ends when nothing was sent for so long; undefined: as configured. */
  readonly streamingTimeoutMs: number | undefined
}

interface TokenFilter {
  readonly path: string
  readonly accepted: readonly string[]
}

/** One element of the answer of `GET /tokens`. */
export interface TokenListingEntry {
  readonly token: string
  readonly owner: string
  readonly maintenance: boolean
  readonly 'reference-type->reference-name': Readonly<Record<string, string>>
  readonly deleted?: boolean
  /** Null: a deleted token has no version. */
  readonly etag?: string | null
  readonly 'last-update-time'?: string
  readonly cluster?: string
  readonly 'service-id'?: string
  readonly parameters?: JsonObject
}

const OWN_PARAMETERS = [
  'can-manage-as-user',
  'include',
  'maintenance',
  'owner',
  'parameters',
  'reference-updates',
  'requires-parameters',
  'run-as-requester',
  'streaming-timeout',
  'watch',
]
const QUERY_VALUES_MAX = 64

/** Reads the query of `GET /tokens` (spec §3.5); 400 for values that mean nothing. */
export function parseTokenListingQuery(
  query: ReadonlyMap<string, readonly string[]>,
): Result<TokenListingQuery, TokenError> {
  const valueCount = [...query.values()].reduce((sum, values) => sum + values.length, 0)
  if (valueCount > QUERY_VALUES_MAX) {
    return err(tokenError(400, `The query has ${valueCount} values; at most ${QUERY_VALUES_MAX} are allowed`))
  }
  const flags: Record<string, boolean | undefined> = {}
  for (const name of ['maintenance', 'run-as-requester', 'requires-parameters', 'watch', 'reference-updates']) {
    const value = query.get(name)?.at(-1)
    if (value !== undefined && value !== 'true' && value !== 'false') {
      return err(tokenError(400, `${name} must be true or false`))
    }
    flags[name] = value === undefined ? undefined : value === 'true'
  }
  const streamingTimeout = query.get('streaming-timeout')?.at(-1)
  if (streamingTimeout !== undefined && !/^\d{1,9}$/.test(streamingTimeout)) {
    return err(tokenError(400, 'streaming-timeout must be an integer number of milliseconds'))
  }
  const others = [...query].filter(([name]) => !OWN_PARAMETERS.includes(name))
  const known = [...editableKeys(), ...SYSTEM_METADATA]
  const unknown = others.map(([name]) => name).filter(name => !known.includes(name.split('.')[0]!))
  if (unknown.length > 0) return err(tokenError(400, `Unsupported query parameter(s): ${listed(unknown)}`))
  return ok({
    owners: query.get('owner') ?? [],
    include: new Set((query.get('include') ?? []).flatMap(value => value.split(','))),
    isInMaintenance: flags.maintenance,
    managedBy: query.get('can-manage-as-user')?.at(-1),
    isRunAsRequester: flags['run-as-requester'],
    requiresParameters: flags['requires-parameters'],
    shownPaths: query.get('parameters') ?? [],
    filters: others.map(([path, accepted]) => ({ path, accepted })),
    isWatch: flags.watch === true,
    wantsReferenceUpdates: flags['reference-updates'] === true,
    streamingTimeoutMs: streamingTimeout === undefined ? undefined : Number(streamingTimeout),
  })
}

export interface TokenListingContext {
  readonly entitlements: Entitlements
  readonly config: ServicesConfig
}

/** All tokens that the query selects, sorted by name. */
export function renderTokenListing(
  tokens: Iterable<readonly [string, TokenRecord]>,
  query: TokenListingQuery,
  context: TokenListingContext,
): TokenListingEntry[] {
  const entries: TokenListingEntry[] = []
  for (const [token, record] of tokens) {
    const entry = renderTokenEntry(token, record, { query, context })
    if (entry !== undefined) entries.push(entry)
  }
  return entries.sort((left, right) => (left.token < right.token ? -1 : 1))
}

/** One token's entry, or undefined when the query does not select it. A watch uses it for each change. */
export function renderTokenEntry(
  token: string,
  record: TokenRecord,
  { query, context }: { readonly query: TokenListingQuery; readonly context: TokenListingContext },
): TokenListingEntry | undefined {
  if (!isSelected(record, query, context.entitlements)) return undefined
  const { include } = query
  const serviceId = include.has('service-id') ? findServiceId(token, record, context.config) : undefined
  return {
    maintenance: record.maintenance !== undefined,
    owner: record.owner,
    'reference-type->reference-name': {},
    token,
    ...(include.has('metadata')
      ? {
          deleted: record.deleted === true,
          etag: tokenVersion(record) ?? null,
          'last-update-time': formatIsoTime(record['last-update-time']),
        }
      : {}),
    ...(include.has('cluster') ? { cluster: record.cluster } : {}),
    ...(serviceId === undefined ? {} : { 'service-id': serviceId }),
    ...(query.shownPaths.length === 0 ? {} : { parameters: showPaths(record, query.shownPaths) }),
  }
}

function isSelected(record: TokenRecord, query: TokenListingQuery, entitlements: Entitlements): boolean {
  if (record.deleted === true && !query.include.has('deleted')) return false
  if (query.owners.length > 0 && !query.owners.includes(record.owner)) return false
  const isMaintained = record.maintenance !== undefined
  if (query.isInMaintenance !== undefined && query.isInMaintenance !== isMaintained) return false
  if (query.managedBy !== undefined && !entitlements.mayManageToken(query.managedBy, record.owner)) return false
  const isRunAsRequester = (record['run-as-user'] ?? '*') === '*'
  if (query.isRunAsRequester !== undefined && query.isRunAsRequester !== isRunAsRequester) return false
  const requiresParameters = (record['allowed-params'] ?? []).length > 0
  if (query.requiresParameters !== undefined && query.requiresParameters !== requiresParameters) return false
  return query.filters.every(filter => isAccepted(readPath(record, filter.path), filter.accepted))
}

/** Equal text, or a pattern that matches the whole text; a lone `*` is itself. */
function isAccepted(value: unknown, accepted: readonly string[]): boolean {
  if (value === undefined || value === null) return false
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  return accepted.some(wanted => {
    if (wanted === text) return true
    if (wanted === '*') return false
    const pattern = compilePattern(wanted)
    return pattern.ok && pattern.value.matches(text)
  })
}

function readPath(record: TokenRecord, path: string): unknown {
  let value: unknown = record
  for (const key of path.split('.')) {
    if (!isJsonObject(value)) return undefined
    value = ownValue(value, key)
  }
  return value
}

function showPaths(record: TokenRecord, paths: readonly string[]): JsonObject {
  const shown: Record<string, unknown> = Object.create(null)
  for (const path of paths) {
    const value = readPath(record, path)
    if (value !== undefined) shown[path] = value
  }
  return shown
}

/** The service that the token means by itself: only when users and parameters leave nothing open. */
function findServiceId(token: string, record: TokenRecord, config: ServicesConfig): string | undefined {
  const isOpen = (record['run-as-user'] ?? '*') === '*' || (record['allowed-params'] ?? []).length > 0
  if (isOpen || record.deleted === true) return undefined
  const resolved = resolveDescriptor({
    headers: new Map([['token', token]]),
    host: undefined,
    findToken: () => record,
    requester: undefined,
    isOneUser: false,
    config,
  })
  return resolved.ok ? resolved.value.serviceId : undefined
}
