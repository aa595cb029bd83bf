/** What JSON can say. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject
export interface JsonObject {
  readonly [key: string]: JsonValue
}

export function isMap(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Maps are merged key by key; everything else is replaced by what comes on top. */
export function mergeDeep(base: JsonObject, top: JsonObject): JsonObject {
  const merged: Record<string, JsonValue> = { ...base }
  for (const [key, value] of Object.entries(top)) {
    const before = Object.hasOwn(base, key) ? base[key] : undefined
    merged[key] = isMap(before) && isMap(value) ? mergeDeep(before, value) : value
  }
  return merged
}

/** Keys that both have, as paths: `env.COLOUR`. */
export function commonPaths(one: JsonObject, other: JsonObject, prefix = ''): string[] {
  return Object.entries(other).flatMap(([key, value]) => {
    if (!Object.hasOwn(one, key)) return []
    const mine = one[key]
    return isMap(mine) && isMap(value) ? commonPaths(mine, value, `${prefix}${key}.`) : [`${prefix}${key}`]
  })
}
