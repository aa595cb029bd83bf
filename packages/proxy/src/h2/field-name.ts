import { STATIC_ENTRIES } from './hpack/static-entries.ts'

/** What a field name means to the message rules. */
export const FieldKind = {
  REGULAR: 0,
  METHOD: 1,
  SCHEME: 2,
  AUTHORITY: 3,
  PATH: 4,
  PROTOCOL: 5,
  STATUS: 6,
  UNKNOWN_PSEUDO: 7,
  /** Of one HTTP/1.1 connection; malformed in HTTP/2 (RFC 9113 §8.2.2). */
  FORBIDDEN: 8,
  TE: 9,
  CONTENT_LENGTH: 10,
  HOST: 11,
  COOKIE: 12,
  EXPECT: 13,
} as const

/** How our encoder treats a field (RFC 7541 §6.2). */
export const Indexing = {
  /** Kept in the table, while that pays. */
  INCREMENTAL: 0,
  /** Differs nearly every time: would only push others out. */
  WITHOUT: 1,
  /** Secret: no intermediary may index it either (RFC 7541 §7.1). */
  NEVER: 2,
} as const

/** All that depends on a field's name alone; one object per known name, one for all others. */
export interface FieldName {
  readonly kind: number
  readonly indexing: number
  /** First static entry with the name, or 0. */
  readonly staticIndex: number
  /** Static entries of the name by value. */
  readonly staticIndexByValue: ReadonlyMap<string, number> | null
}

const KINDS: Readonly<Record<string, number>> = {
  ':method': FieldKind.METHOD,
  ':scheme': FieldKind.SCHEME,
  ':authority': FieldKind.AUTHORITY,
  ':path': FieldKind.PATH,
  ':protocol': FieldKind.PROTOCOL,
  ':status': FieldKind.STATUS,
  connection: FieldKind.FORBIDDEN,
  'proxy-connection': FieldKind.FORBIDDEN,
  'keep-alive': FieldKind.FORBIDDEN,
  'transfer-encoding': FieldKind.FORBIDDEN,
  upgrade: FieldKind.FORBIDDEN,
  te: FieldKind.TE,
  'content-length': FieldKind.CONTENT_LENGTH,
  host: FieldKind.HOST,
  cookie: FieldKind.COOKIE,
  expect: FieldKind.EXPECT,
}

const SECRET_NAMES = ['authorization', 'proxy-authorization', 'cookie', 'set-cookie']
const CHANGING_NAMES = [
  ':path',
  'age',
  'content-length',
  'content-location',
  'content-range',
  'date',
  'etag',
  'expires',
  'grpc-timeout',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-unmodified-since',
  'last-modified',
  'location',
  'range',
  'request-id',
  'traceparent',
  'tracestate',
  'x-amzn-trace-id',
  'x-b3-spanid',
  'x-b3-traceid',
  'x-cid',
  'x-correlation-id',
  'x-forwarded-for',
  'x-request-id',
  'x-request-start',
]

const KNOWN: ReadonlyMap<string, FieldName> = buildKnown()
const OTHER: FieldName = makeName(FieldKind.REGULAR, Indexing.INCREMENTAL)
const OTHER_PSEUDO: FieldName = makeName(FieldKind.UNKNOWN_PSEUDO, Indexing.WITHOUT)

/** What is known of a name; the name itself is not checked. */
export function fieldNameOf(name: string): FieldName {
  const known = KNOWN.get(name)
  if (known !== undefined) return known
  return name.charCodeAt(0) === 0x3a ? OTHER_PSEUDO : OTHER
}

function makeName(kind: number, indexing: number): FieldName {
  return { kind, indexing, staticIndex: 0, staticIndexByValue: null }
}

function buildKnown(): Map<string, FieldName> {
  const indexes = new Map<string, { first: number; byValue: Map<string, number> }>()
  for (const [position, [name, value]] of STATIC_ENTRIES.entries()) {
    const entry = indexes.get(name) ?? { first: position + 1, byValue: new Map() }
    if (value !== '') entry.byValue.set(value, position + 1)
    indexes.set(name, entry)
  }
  const names = new Set([...Object.keys(KINDS), ...indexes.keys(), ...SECRET_NAMES, ...CHANGING_NAMES])
  return new Map([...names].map(name => [name, describe(name, indexes.get(name))]))
}

function describe(name: string, entry: { first: number; byValue: Map<string, number> } | undefined): FieldName {
  let indexing: number = Indexing.INCREMENTAL
  if (SECRET_NAMES.includes(name)) indexing = Indexing.NEVER
  else if (CHANGING_NAMES.includes(name)) indexing = Indexing.WITHOUT
  return {
    kind: KINDS[name] ?? FieldKind.REGULAR,
    indexing,
    staticIndex: entry?.first ?? 0,
    staticIndexByValue: entry === undefined || entry.byValue.size === 0 ? null : entry.byValue,
  }
}
