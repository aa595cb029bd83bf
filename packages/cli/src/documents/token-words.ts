import type { JsonObject, JsonValue } from './json-document.ts'
import { cliError } from '../errors.ts'

const WHOLE = /-(?:failures|index|instances|length|level|mins|ms|secs)$/
const DECIMAL = /-(?:factor|rate|threshold)$/
const NUMBERS: ReadonlyMap<string, 'whole' | 'decimal'> = new Map([
  ['cpus', 'decimal'],
  ['mem', 'decimal'],
  ['ports', 'whole'],
])
/** Maps whose values are text, whatever they look like. */
const TEXT_MAPS: ReadonlySet<string> = new Set(['env', 'metadata'])
const YES = /^(?:yes|true|y)$/i
const NO = /^(?:no|false|n)$/i
const KEY_PARTS_MAX = 8

/**
 * Parameters of a token as flags, `--cpus 0.1 --env.COLOUR red` (spec §10.2): the type of a value follows from the name,
 * and a name with dots is a place in a map.
 *
 * @throws WaiterError for a word that is neither a flag nor its value
 */
export function readParameterWords(words: readonly string[]): JsonObject {
  let document: JsonObject = {}
  for (let at = 0; at < words.length; ) {
    const word = words[at] as string
    const [, name, given] = /^--([^=\s]+)(?:=(.*))?$/s.exec(word) ?? []
    if (name === undefined) throw cliError('usage', `${JSON.stringify(word)} is neither a flag nor the value of one`)
    const value = given ?? words[at + 1]
    if (value === undefined || (given === undefined && value.startsWith('--')))
      throw cliError('usage', `--${name} needs a value`)
    document = place(document, name.split('.'), readValue(name, value))
    at += given === undefined ? 2 : 1
  }
  return document
}

/** What was meant by a value that a shell passes as text. */
export function readValue(name: string, text: string): JsonValue {
  if (TEXT_MAPS.has(name.split('.', 1)[0] as string)) return text
  const kind = NUMBERS.get(name) ?? (WHOLE.test(name) ? 'whole' : DECIMAL.test(name) ? 'decimal' : undefined)
  if (kind === 'whole' && /^-?\d{1,15}$/.test(text)) return Number(text)
  if (kind === 'decimal' && /^-?\d{1,15}(?:\.\d{1,15})?$/.test(text)) return Number(text)
  if (YES.test(text)) return true
  return NO.test(text) ? false : text
}

function place(document: JsonObject, [key = '', ...rest]: readonly string[], value: JsonValue): JsonObject {
  if (key === '' || key === '__proto__' || rest.length >= KEY_PARTS_MAX)
    throw cliError('usage', 'a flag is the name of a parameter, with dots between the keys of a map')
  const before = Object.hasOwn(document, key) ? document[key] : undefined
  if (rest.length === 0 && before !== undefined) throw cliError('usage', `--${key} is there twice`)
  if (rest.length === 0) return { ...document, [key]: value }
  if (before !== undefined && (typeof before !== 'object' || before === null || Array.isArray(before)))
    throw cliError('usage', `--${key} is both a value and a map`)
  return { ...document, [key]: place((before ?? {}) as JsonObject, rest, value) }
}
