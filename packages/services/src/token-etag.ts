import { md5 } from '@waiter/base'
import { isJsonObject } from './json.ts'
import type { PreviousToken, TokenRecord } from './token.ts'

/**
 * The version of a token: `E-` and the MD5 of all its keys in sorted order, each followed by its value's text; `previous`
 * does not count. Text of a value: a string as it is, a number as in JSON, `true`/`false`; nested ones as
 * `{"a" "b", "c" 1}` and `["a" "b"]`.
 */
export function tokenEtag(record: TokenRecord | PreviousToken): string {
  let text = ''
  for (const key of Object.keys(record).sort()) {
    const value: unknown = record[key as keyof typeof record]
    if (key !== 'previous' && value !== undefined) text += key + topLevelText(value)
  }
  return `E-${md5(text)}`
}

/** The version that others refer to: a deleted or absent token has none. */
export function tokenVersion(record: TokenRecord | undefined): string | undefined {
  return record === undefined || record.deleted === true ? undefined : tokenEtag(record)
}

/** Does an `if-match` value, quoted or not, name this version? */
export function matchesEtag(ifMatch: string, etag: string): boolean {
  const trimmed = ifMatch.trim().replace(/^W\//, '')
  return trimmed === etag || trimmed === `"${etag}"`
}

function topLevelText(value: unknown): string {
  if (typeof value === 'string') return value
  return value === null ? '' : nestedText(value)
}

function nestedText(value: unknown): string {
  if (value === null) return 'nil'
  if (Array.isArray(value)) return `[${value.map(nestedText).join(' ')}]`
  if (!isJsonObject(value)) return JSON.stringify(value)
  const entries = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)} ${nestedText(item)}`)
  return `{${entries.join(', ')}}`
}
