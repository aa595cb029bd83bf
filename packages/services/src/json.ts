import { err, ok, type Result } from '@waiter/base'

/** A JSON object as `JSON.parse` makes it. Read its keys only through `Object.hasOwn` or `Object.keys`. */
export type JsonObject = Readonly<Record<string, unknown>>

/** Is it an object that is neither an array nor null? */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Reads an own key; inherited ones (`constructor`, `__proto__`) do not exist for us. */
export function ownValue(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined
}

/** JSON with sorted keys at every depth: equal values give equal text whatever order their keys were written in. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (!isJsonObject(value)) return JSON.stringify(value)
  const entries = Object.keys(value)
    .filter(key => value[key] !== undefined)
    .sort()
    .map(key => `${JSON.stringify(key)}:${canonicalJson(value[key])}`)
  return `{${entries.join(',')}}`
}

/** A deep copy whose keys are sorted at every depth. Keys must have been checked: `__proto__` must not occur. */
export function sortedCopy<T>(value: T): T
export function sortedCopy(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(item => sortedCopy(item))
  if (!isJsonObject(value)) return value
  const copy: Record<string, unknown> = {}
  for (const key of Object.keys(value).sort()) {
    if (value[key] !== undefined) copy[key] = sortedCopy(value[key])
  }
  return copy
}

/** Limits of a parsed JSON text. */
export interface JsonLimits {
  readonly charsMax: number
  readonly depthMax: number
  /** Keys of all objects and items of all arrays together. */
  readonly itemsMax: number
}

/** Parses JSON within limits. The error is one sentence for people; it never repeats the text. */
export function parseLimitedJson(text: string, limits: JsonLimits): Result<unknown, string> {
  if (text.length > limits.charsMax) return err(`The JSON is longer than ${limits.charsMax} characters.`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return err('The text is not valid JSON.')
  }
  let items = 0
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > limits.depthMax) return err(`The JSON is nested deeper than ${limits.depthMax} levels.`)
    const next: unknown[] = []
    for (const item of level) {
      if (typeof item !== 'object' || item === null) continue
      const children: unknown[] = Object.values(item)
      items += children.length
      if (items > limits.itemsMax) return err(`The JSON has more than ${limits.itemsMax} keys and items.`)
      for (const child of children) next.push(child)
    }
    level = next
  }
  return ok(value)
}
