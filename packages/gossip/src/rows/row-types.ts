import type { MemberId } from '../member.ts'

/** One value of a row as it travels. No value: deleted. */
export interface WireEntry {
  readonly key: string
  readonly value: string | undefined
  readonly version: number
  /** How much longer it holds. Lifetimes travel, not times of day: members share no clock. */
  readonly ttlMs: number | undefined
}

/** One value of a row as it is read. */
export interface RowEntry {
  readonly key: string
  readonly value: string
  /** How much longer it holds; `Infinity`: until it is changed. */
  readonly ttlMs: number
}

/** R4: what changed in a row between two versions. `base` 0: the whole row, which replaces what was there. */
export interface RowDelta {
  readonly owner: MemberId
  readonly generation: number
  readonly base: number
  readonly version: number
  /** Of a whole row: deltas can be made from here on. */
  readonly floor: number
  readonly entries: readonly WireEntry[]
}

/** How far a row is known. */
export interface RowPosition {
  readonly generation: number
  readonly version: number
}

/** How far all rows are known. */
export type Digest = ReadonlyMap<MemberId, RowPosition>

/** What became of a delta. */
export type MergeOutcome = 'applied' | 'stale' | 'gap' | 'refused'
