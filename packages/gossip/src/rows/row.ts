import { hash32 } from '../hash.ts'
import type { MemberId } from '../member.ts'
import type { RowDelta, RowEntry, RowPosition, WireEntry } from './row-types.ts'

interface Entry {
  value: string | undefined
  readonly version: number
  readonly expiresAtMs: number
  /** When it was deleted, here. */
  readonly absentSinceMs: number | undefined
}

/** What is counted for an entry beside its key and value. */
const ENTRY_OVERHEAD_BYTES = 24

/** One row as this process knows it: always exactly what its owner wrote up to `version`. */
export class Row {
  readonly owner: MemberId
  generation: number
  version = 0
  /** Versions up to here can no longer be told apart: what was deleted before has been forgotten. */
  #floor = 0
  #entries = new Map<string, Entry>()
  #bytes = 0

  constructor(owner: MemberId, generation: number) {
    this.owner = owner
    this.generation = generation
  }

  get bytes(): number {
    return this.#bytes
  }

  get size(): number {
    return this.#entries.size
  }

  get position(): RowPosition {
    return { generation: this.generation, version: this.version }
  }

  /** Writes one entry under the next version. Only the owner does. */
  write(key: string, value: string | undefined, when: { readonly nowMs: number; readonly ttlMs?: number }): void {
    this.version++
    const expiresAtMs = when.ttlMs === undefined ? Number.POSITIVE_INFINITY : when.nowMs + when.ttlMs
    this.#put(key, {
      value,
      version: this.version,
      expiresAtMs,
      absentSinceMs: value === undefined ? when.nowMs : undefined,
    })
  }

  /** The value, unless it is deleted or over. */
  get(key: string, nowMs: number): string | undefined {
    const entry = this.#entries.get(key)
    return entry === undefined || entry.expiresAtMs <= nowMs ? undefined : entry.value
  }

  /** Whether somebody may still read a value, if only because a clock is behind. */
  has(key: string): boolean {
    return this.#entries.get(key)?.value !== undefined
  }

  /** All that holds now. */
  values(nowMs: number): Map<string, string> {
    const values = new Map<string, string>()
    for (const [key, { value, expiresAtMs }] of this.#entries) {
      if (value !== undefined && expiresAtMs > nowMs) values.set(key, value)
    }
    return values
  }

  /** What holds now under keys that begin so. */
  entries(prefix: string, nowMs: number): RowEntry[] {
    const found: RowEntry[] = []
    for (const [key, { value, expiresAtMs }] of this.#entries) {
      if (value === undefined || expiresAtMs <= nowMs || !key.startsWith(prefix)) continue
      found.push({ key, value, ttlMs: expiresAtMs - nowMs })
    }
    return found
  }

  /** R4: what somebody lacks who knows the row up to `known`. */
  deltaSince(known: RowPosition | undefined, nowMs: number): RowDelta | undefined {
    const isSame = known?.generation === this.generation
    if (known !== undefined && known.generation > this.generation) return undefined
    if (isSame && known.version >= this.version) return undefined
    const base = isSame && known.version >= this.#floor ? known.version : 0
    const entries: WireEntry[] = []
    for (const [key, { value, version, expiresAtMs }] of this.#entries) {
      if (version <= base) continue
      const ttlMs = expiresAtMs === Number.POSITIVE_INFINITY ? undefined : Math.max(0, Math.ceil(expiresAtMs - nowMs))
      entries.push({ key, value: ttlMs === 0 ? undefined : value, version, ttlMs: ttlMs === 0 ? undefined : ttlMs })
    }
    const { owner, generation, version } = this
    return { owner, generation, base, version, floor: this.#floor, entries }
  }

  /** Takes over a delta that connects (R4). A whole row replaces this one. */
  merge(delta: RowDelta, nowMs: number): void {
    const previous = this.#entries
    const isSame = delta.generation === this.generation
    if (delta.base === 0) {
      this.#entries = new Map()
      this.#bytes = 0
      this.#floor = delta.floor
    }
    for (const { key, value, version, ttlMs } of delta.entries) {
      const known = isSame ? previous.get(key) : undefined
      const heardMs = ttlMs === undefined ? Number.POSITIVE_INFINITY : nowMs + ttlMs
      // R7: the same entry never lives longer because it was heard again.
      const expiresAtMs = known?.version === version ? Math.min(known.expiresAtMs, heardMs) : heardMs
      const absentSinceMs = value === undefined ? nowMs : undefined
      this.#put(key, { value, version, expiresAtMs, absentSinceMs })
    }
    this.generation = delta.generation
    this.version = delta.version
  }

  /** R6: the owner turns what is over into a deletion; everybody forgets old deletions. */
  sweep(nowMs: number, terms: { readonly isOwn: boolean; readonly tombstoneMs: number }): void {
    for (const [key, entry] of this.#entries) {
      if (entry.value !== undefined && entry.expiresAtMs <= nowMs) {
        if (terms.isOwn) this.write(key, undefined, { nowMs })
        else this.#bytes -= entry.value.length
        // The expiry stays, so that the entry cannot come back from somebody whose clock is behind (R7).
        if (!terms.isOwn) entry.value = undefined
      } else if (entry.absentSinceMs !== undefined && entry.absentSinceMs + terms.tombstoneMs <= nowMs) {
        this.#floor = Math.max(this.#floor, entry.version)
        this.#bytes -= sizeOf(key, entry)
        this.#entries.delete(key)
      }
    }
  }

  hash(): number {
    return hash32(`${this.owner} ${this.generation} ${this.version}`)
  }

  #put(key: string, entry: Entry): void {
    const known = this.#entries.get(key)
    if (known !== undefined) {
      this.#bytes -= sizeOf(key, known)
      // Kept in the order of versions.
      this.#entries.delete(key)
    }
    this.#entries.set(key, entry)
    this.#bytes += sizeOf(key, entry)
  }
}

function sizeOf(key: string, { value }: Entry): number {
  return ENTRY_OVERHEAD_BYTES + key.length + (value?.length ?? 0)
}

/** What a delta adds at most. */
export function deltaBytes(delta: RowDelta): number {
  return delta.entries.reduce(
    (sum, { key, value }) => sum + ENTRY_OVERHEAD_BYTES + key.length + (value?.length ?? 0),
    0,
  )
}
