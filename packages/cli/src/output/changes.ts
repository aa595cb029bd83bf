import { isDeepStrictEqual } from 'node:util'
import { printableLine } from './printable.ts'

type Json = Readonly<Record<string, unknown>>

/** One difference between two documents, down to what is not a map any more. */
export interface Change {
  readonly op: 'add' | 'remove' | 'change'
  readonly path: readonly string[]
  readonly from?: unknown
  readonly to?: unknown
}

/** Sets, whatever order they are written in. */
const SETS: ReadonlySet<string> = new Set(['allowed-params'])
/** A longer value is cut. */
const VALUE_CHARS_MAX = 160
/** Values below these keys may be secrets, and a diff ends up in logs. */
const HIDDEN_BELOW: ReadonlySet<string> = new Set(['env'])

/** All differences, by path. Maps are compared key by key, everything else as a whole. */
export function computeChanges(from: Json, to: Json): Change[] {
  const changes: Change[] = []
  collect(from, to, [], changes)
  return changes
}

function collect(from: Json, to: Json, path: readonly string[], changes: Change[]): void {
  for (const key of [...new Set([...Object.keys(from), ...Object.keys(to)])].sort()) {
    const here = [...path, key]
    const [old, now] = [ownValue(from, key), ownValue(to, key)].map(value => normalise(here, value))
    if (isMap(old) && isMap(now)) collect(old, now, here, changes)
    else if (old === undefined && isMap(now) && Object.keys(now).length > 0) collect({}, now, here, changes)
    else if (now === undefined && isMap(old) && Object.keys(old).length > 0) collect(old, {}, here, changes)
    else if (old === undefined) changes.push({ op: 'add', path: here, to: now })
    else if (now === undefined) changes.push({ op: 'remove', path: here, from: old })
    else if (!isDeepStrictEqual(old, now)) changes.push({ op: 'change', path: here, from: old, to: now })
  }
}

/** Without the values that may be secrets. */
export function hideValues(change: Change): Change {
  return isHidden(change) ? { op: change.op, path: change.path } : change
}

/** `~ cpus: 0.1 → 0.2` */
export function renderChange(change: Change): string {
  const path = change.path.map(printableLine).join('.')
  if (isHidden(change)) return change.op === 'change' ? `~ ${path}: (another value)` : `${signOf(change)} ${path}`
  if (change.op === 'add') return `+ ${path}: ${renderValue(change.to)}`
  if (change.op === 'remove') return `- ${path}: ${renderValue(change.from)}`
  return `~ ${path}: ${renderValue(change.from)} → ${renderValue(change.to)}`
}

function signOf({ op }: Change): string {
  return op === 'add' ? '+' : '-'
}

function isHidden({ path }: Change): boolean {
  return HIDDEN_BELOW.has(path[0] ?? '')
}

function renderValue(value: unknown): string {
  const text = printableLine(JSON.stringify(value))
  return text.length > VALUE_CHARS_MAX ? `${text.slice(0, VALUE_CHARS_MAX)}…` : text
}

function normalise(path: readonly string[], value: unknown): unknown {
  const isSet = path.length === 1 && SETS.has(path[0] ?? '') && Array.isArray(value)
  return isSet ? [...new Set(value as unknown[])].sort() : value
}

function isMap(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function ownValue(map: Json, key: string): unknown {
  return Object.hasOwn(map, key) ? map[key] : undefined
}
