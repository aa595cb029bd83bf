/** A name that a certificate is for: a host name, or `*.` and one. */
const NAME = /^(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/
const NAME_CHARS_MAX = 253

/** In lower case and without the root's dot; undefined when it is no name that a certificate can be for. */
export function normalizeServerName(name: string): string | undefined {
  const lower = name.toLowerCase().replace(/\.$/, '')
  return lower.length <= NAME_CHARS_MAX && NAME.test(lower) ? lower : undefined
}

/**
 * Which certificate a client gets (RFC 6125 §6.4.3, RFC 6066 §3): the one with exactly its name; else the one with a
 * wildcard in place of the name's first label, and of that alone; else the first one. Of several with one name, the
 * first.
 */
export class SniTable<T> {
  readonly #fallback: T
  readonly #exact = new Map<string, T>()
  /** By what follows `*.`. */
  readonly #wildcards = new Map<string, T>()

  constructor(entries: readonly [SniEntry<T>, ...SniEntry<T>[]]) {
    this.#fallback = entries[0].value
    for (const { names, value } of entries) {
      for (const name of names) {
        const normal = normalizeServerName(name)
        if (normal === undefined) continue
        const isWildcard = normal.startsWith('*.')
        const table = isWildcard ? this.#wildcards : this.#exact
        const key = isWildcard ? normal.slice(2) : normal
        if (!table.has(key)) table.set(key, value)
      }
    }
  }

  /** @param serverName what the client says it wants; nothing, when it does not */
  find(serverName: string | undefined): T {
    const name = serverName === undefined ? undefined : normalizeServerName(serverName)
    if (name === undefined || name.startsWith('*')) return this.#fallback
    const parent = name.slice(name.indexOf('.') + 1)
    return this.#exact.get(name) ?? (name.includes('.') ? this.#wildcards.get(parent) : undefined) ?? this.#fallback
  }
}

export interface SniEntry<T> {
  readonly names: readonly string[]
  readonly value: T
}
