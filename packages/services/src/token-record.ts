import { err, ok, type Result } from '@waiter/base'
import { parseIsoTime } from './iso-time.ts'
import { isJsonObject, type JsonObject, ownValue, sortedCopy } from './json.ts'
import { PARAMETERS } from './parameters.ts'
import type { PreviousToken, TokenError, TokenSystemMetadata } from './token.ts'
import { SYSTEM_METADATA, USER_METADATA } from './token-metadata.ts'
import { tokenError } from './token-name.ts'

const EDITABLE_KEYS: readonly string[] = [...PARAMETERS.map(rule => rule.name), ...Object.keys(USER_METADATA)].sort()

/** Keys that users may set in a token: service parameters and user metadata. */
export function editableKeys(): readonly string[] {
  return EDITABLE_KEYS
}

/** The part of a token that users may edit. Values of a body must have been validated before. */
export function pickEditable(record: JsonObject): JsonObject {
  const picked: Record<string, unknown> = {}
  for (const key of EDITABLE_KEYS) {
    const value = ownValue(record, key)
    if (value !== undefined) picked[key] = sortedCopy(value)
  }
  return picked
}

/** Cuts a history so that at most `lengthMax` versions remain. */
export function truncateHistory(record: PreviousToken | undefined, lengthMax: number): PreviousToken | undefined {
  if (record === undefined || lengthMax <= 0) return undefined
  const { previous, ...version } = record
  const rest = truncateHistory(previous, lengthMax - 1)
  return rest === undefined ? version : { ...version, previous: rest }
}

/** System metadata as an administrator sends it: any part of it, times as text, `previous` as rendered. */
export function readSystemMetadata(
  body: JsonObject,
  historyLengthMax: number,
): Result<Partial<TokenSystemMetadata> & { readonly previous?: PreviousToken }, TokenError> {
  const read: Record<string, unknown> = {}
  for (const key of SYSTEM_METADATA) {
    const value = ownValue(body, key)
    if (value === undefined) continue
    const parsed = key === 'previous' ? readPrevious(value, historyLengthMax) : readOne(key, value)
    if (!parsed.ok) return parsed
    if (parsed.value !== undefined) read[key] = parsed.value
  }
  return ok(read as Partial<TokenSystemMetadata> & { readonly previous?: PreviousToken })
}

const TEXT_CHARS_MAX = 256

function readOne(key: string, value: unknown): Result<unknown, TokenError> {
  if (key === 'deleted') {
    if (typeof value !== 'boolean') return err(tokenError(400, 'deleted must be true or false'))
    return ok(value ? true : undefined)
  }
  if (key === 'last-update-time') {
    const time = typeof value === 'string' ? parseIsoTime(value) : value
    const isTime = typeof time === 'number' && Number.isSafeInteger(time) && time >= 0
    return isTime ? ok(time) : err(tokenError(400, 'last-update-time must be an ISO-8601 time'))
  }
  const isText = typeof value === 'string' && value !== '' && value.length <= TEXT_CHARS_MAX
  return isText
    ? ok(value)
    : err(tokenError(400, `${key} must be a non-empty string of at most ${TEXT_CHARS_MAX} characters`))
}

/** Former versions were valid when they were made, so only their shape is checked; unknown keys are dropped. */
function readPrevious(value: unknown, historyLengthMax: number): Result<PreviousToken | undefined, TokenError> {
  if (!isJsonObject(value)) return err(tokenError(400, 'previous must be a map'))
  if (Object.keys(value).length === 0 || historyLengthMax === 0) return ok(undefined)
  const system = readSystemMetadata(value, historyLengthMax - 1)
  if (!system.ok) return system
  return ok({ ...pickEditable(withoutHostileKeys(value)), ...system.value } as PreviousToken)
}

/** `__proto__` as a key of a nested map would change the copy's prototype. */
function withoutHostileKeys(value: JsonObject): JsonObject {
  return JSON.parse(JSON.stringify(value), (key, item) => (key === '__proto__' ? undefined : item)) as JsonObject
}
