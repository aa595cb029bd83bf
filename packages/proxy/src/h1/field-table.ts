import { FOLDED_NAME, TO_LOWER } from './char-tables.ts'

/** What the engine must know of a field; everything from `REWRITE` up is an index into the policy's rewriters. */
export const FieldCode = {
  OTHER: 0,
  HOST: 1,
  CONTENT_LENGTH: 2,
  TRANSFER_ENCODING: 3,
  CONNECTION: 4,
  UPGRADE: 5,
  EXPECT: 6,
  SET_COOKIE: 7,
  /** Not forwarded: hop-by-hop, or the owner's policy says so. */
  DROP: 8,
  EXPECT_DROP: 9,
  REWRITE: 16,
} as const

const UNDERSCORE = 0x5f

interface Entry {
  readonly lower: Uint8Array
  readonly code: number
}

/** Names looked up as strings that are remembered; HTTP/2 peers may make up any number of them. */
const KNOWN_NAMES_MAX = 1024

/**
 * Maps a field name in the raw bytes to its code without making a string.
 *
 * A name that differs from a listed one by underscores for hyphens is dropped: CGI, WSGI and their like see no
 * difference, so that `X_Waiter_Auth_Principal` would pass for what only we may say.
 */
export class FieldTable {
  readonly #byLength: (Entry[] | undefined)[] = []
  readonly #codeByName = new Map<string, number>()
  readonly #prefixesByFirst: (Entry[] | undefined)[] = new Array<Entry[] | undefined>(256).fill(undefined)

  /** Exact names win over prefixes; of equal names the first wins. */
  constructor(names: Iterable<readonly [string, number]>, prefixes: Iterable<readonly [string, number]>) {
    const seen = new Set<string>()
    for (const [name, code] of names) {
      const lower = name.toLowerCase()
      if (seen.has(lower)) continue
      seen.add(lower)
      while (this.#byLength.length <= lower.length) this.#byLength.push(undefined)
      const entries = this.#byLength[lower.length] ?? []
      entries.push({ lower: toBytes(lower), code })
      this.#byLength[lower.length] = entries
    }
    for (const [prefix, code] of prefixes) {
      const lower = toBytes(prefix.toLowerCase())
      const first = lower[0] ?? 0
      const entries = this.#prefixesByFirst[first] ?? []
      entries.push({ lower, code })
      this.#prefixesByFirst[first] = entries
    }
  }

  /** The same for a name that is already a string, in lower case and Latin-1. */
  codeOfName(name: string): number {
    const known = this.#codeByName.get(name)
    if (known !== undefined) return known
    const bytes = toBytes(name)
    const code = bytes.length === 0 ? FieldCode.OTHER : this.codeOf(bytes, 0, bytes.length)
    if (this.#codeByName.size >= KNOWN_NAMES_MAX) this.#codeByName.clear()
    this.#codeByName.set(name, code)
    return code
  }

  codeOf(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start
    const first = TO_LOWER[bytes[start]!]!
    const entries = length < this.#byLength.length ? this.#byLength[length] : undefined
    if (entries !== undefined) {
      for (let i = 0; i < entries.length; i++) {
        const entry = entries[i]!
        if (entry.lower[0] === first && matches(entry.lower, bytes, start)) return codeFor(entry, bytes, start)
      }
    }
    const prefixes = this.#prefixesByFirst[first]
    if (prefixes !== undefined) {
      for (let i = 0; i < prefixes.length; i++) {
        const entry = prefixes[i]!
        if (entry.lower.length <= length && matches(entry.lower, bytes, start)) return codeFor(entry, bytes, start)
      }
    }
    return FieldCode.OTHER
  }
}

/** Compares with underscores taken for hyphens. */
function matches(lower: Uint8Array, bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < lower.length; i++) if (FOLDED_NAME[bytes[start + i]!] !== lower[i]) return false
  return true
}

function codeFor({ lower, code }: Entry, bytes: Uint8Array, start: number): number {
  for (let i = 0; i < lower.length; i++) if (bytes[start + i] === UNDERSCORE) return FieldCode.DROP
  return code
}

function toBytes(text: string): Uint8Array {
  return Uint8Array.from(text, char => char.charCodeAt(0))
}
