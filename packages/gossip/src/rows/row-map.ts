import type { Prng } from '@waiter/base'
import type { MemberId } from '../member.ts'
import { RULES, type Rules } from '../rules.ts'
import type { GossipSettings } from '../settings.ts'
import { deltaBytes, Row } from './row.ts'
import type { Digest, MergeOutcome, RowDelta, RowEntry, RowPosition } from './row-types.ts'

type RowLimits = Pick<
  GossipSettings,
  'rowEntriesMax' | 'rowBytesMax' | 'keyBytesMax' | 'valueBytesMax' | 'tombstoneMs' | 'membersMax'
>

const GENERATION_STEP_MAX = 2 ** 20

/** Whose row is written here, and under which limits. */
export interface RowMapOptions {
  readonly self: MemberId
  readonly generation: number
  readonly limits: RowLimits
  readonly random: Prng
  readonly rules?: Rules
}

/** Why a value was not taken. */
export type WriteOutcome = 'written' | 'unchanged' | 'key-too-long' | 'value-too-long' | 'row-full'

/** R1–R8: everybody's rows. One writer each, so that merging is keeping the later of two. */
export class RowMap {
  readonly #options: RowMapOptions
  readonly #rules: Rules
  readonly #own: Row
  readonly #rows = new Map<MemberId, Row>()
  /** How often our own row had to start over because somebody knew a later one. */
  ownRestarts = 0

  constructor(options: RowMapOptions) {
    this.#options = options
    this.#rules = options.rules ?? RULES
    this.#own = new Row(options.self, options.generation)
    this.#rows.set(options.self, this.#own)
  }

  get own(): RowPosition {
    return this.#own.position
  }

  /** Writes an entry of the own row. The same value again, without a lifetime, is no change. */
  set(key: string, value: string, when: { readonly nowMs: number; readonly ttlMs?: number }): WriteOutcome {
    const { limits } = this.#options
    if (key.length > limits.keyBytesMax) return 'key-too-long'
    if (value.length > limits.valueBytesMax) return 'value-too-long'
    const known = this.#own.get(key, when.nowMs)
    if (known === value && when.ttlMs === undefined) return 'unchanged'
    const extra = key.length + value.length + 64
    const isNew = known === undefined
    if (isNew && this.#own.size >= limits.rowEntriesMax) return 'row-full'
    if (this.#own.bytes + extra > limits.rowBytesMax) return 'row-full'
    this.#own.write(key, value, when)
    return 'written'
  }

  delete(key: string, nowMs: number): boolean {
    if (!this.#own.has(key)) return false
    this.#own.write(key, undefined, { nowMs })
    return true
  }

  digest(): Digest {
    return new Map([...this.#rows].map(([owner, row]) => [owner, row.position]))
  }

  owners(): MemberId[] {
    return [...this.#rows.keys()]
  }

  position(owner: MemberId): RowPosition | undefined {
    return this.#rows.get(owner)?.position
  }

  deltaSince(owner: MemberId, known: RowPosition | undefined, nowMs: number): RowDelta | undefined {
    const delta = this.#rows.get(owner)?.deltaSince(known, nowMs)
    // A row that nothing was ever written to is no news.
    return delta !== undefined && delta.version === 0 ? undefined : delta
  }

  /** R2–R5. */
  merge(delta: RowDelta, nowMs: number): MergeOutcome {
    if (delta.owner === this.#options.self) {
      this.noteOwn(delta)
      return 'stale'
    }
    const row = this.#rows.get(delta.owner)
    if (row !== undefined && !this.#rules.isLater(delta, row)) return 'stale'
    const isSame = row?.generation === delta.generation
    if (delta.base > 0 && !(isSame && this.#rules.connects(delta, row.position))) return 'gap'
    if (!this.#fits(delta, row)) return 'refused'
    const target = row ?? new Row(delta.owner, delta.generation)
    target.merge(delta, nowMs)
    this.#rows.set(delta.owner, target)
    return 'applied'
  }

  /**
   * R3: somebody knows a later row of ours: an earlier life's. Ours goes on above it, by a random step: two lives that
   * went above the same row must not meet in one generation.
   */
  noteOwn(position: RowPosition | undefined): boolean {
    if (position === undefined || !this.#rules.isLater(position, this.#own.position)) return false
    if (!this.#rules.goesAboveEarlierLife()) return false
    this.#own.generation = position.generation + 1 + this.#options.random.below(GENERATION_STEP_MAX)
    this.ownRestarts++
    return true
  }

  sweep(nowMs: number): void {
    const { tombstoneMs } = this.#options.limits
    for (const row of this.#rows.values()) row.sweep(nowMs, { isOwn: row === this.#own, tombstoneMs })
  }

  drop(owner: MemberId): void {
    if (owner !== this.#options.self) this.#rows.delete(owner)
  }

  /** What holds now in one row. */
  values(owner: MemberId, nowMs: number): Map<string, string> | undefined {
    return this.#rows.get(owner)?.values(nowMs)
  }

  entries(owner: MemberId, prefix: string, nowMs: number): readonly RowEntry[] {
    return this.#rows.get(owner)?.entries(prefix, nowMs) ?? []
  }

  /** D7: equal when the same rows are known up to the same versions. */
  hash(): number {
    let hash = 0
    for (const row of this.#rows.values()) if (row.version > 0) hash = (hash + row.hash()) >>> 0
    return hash
  }

  /** R8 */
  #fits(delta: RowDelta, row: Row | undefined): boolean {
    const { limits } = this.#options
    if (row === undefined && this.#rows.size >= limits.membersMax) return false
    const isWhole = delta.base === 0
    // Twice: an entry that is replaced is counted on both sides, and deletions take room until they are forgotten.
    const bytes = deltaBytes(delta) + (isWhole ? 0 : (row?.bytes ?? 0))
    const entries = delta.entries.length + (isWhole ? 0 : (row?.size ?? 0))
    return bytes <= 2 * limits.rowBytesMax && entries <= 2 * limits.rowEntriesMax
  }
}
