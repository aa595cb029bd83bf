import type { Claim, Member } from './member.ts'
import { supersedes } from './member.ts'
import type { RowPosition } from './rows/row-types.ts'

/**
 * The decisions that make gossip correct, each as one small pure function. The machine asks them instead of deciding
 * inline, so that each can be read, tested and, by the simulator's planted bugs, broken on its own.
 */
export interface Rules {
  /** M1 */
  isNews(claim: Claim, known: Member): boolean
  /** M3: a member refutes what is wrongly said of it. */
  refutes(): boolean
  /** M5: a death learned by full exchange is only a suspicion. */
  stateBySync(claim: Claim): Claim['state']
  /** P2: whether others are asked before somebody is suspected. */
  asksOthers(): boolean
  /** H3: time in which this process was away is not held against others. */
  forgivesOwnAbsence(): boolean
  /** S2: seeds and the lost are tried again and again. */
  heals(): boolean
  /** R4: a delta applies only where it connects. */
  connects(delta: { readonly base: number }, known: RowPosition): boolean
  /** R2: a later generation replaces the row, whatever the version. */
  isLater(a: RowPosition, b: RowPosition): boolean
  /** R3: a row goes on above what others know of an earlier life. */
  goesAboveEarlierLife(): boolean
  /** B1 */
  sendsLimited(): boolean
}

/** How it should be. */
export const RULES: Rules = {
  isNews: supersedes,
  refutes: () => true,
  stateBySync: claim => (claim.state === 'dead' ? 'suspect' : claim.state),
  asksOthers: () => true,
  forgivesOwnAbsence: () => true,
  heals: () => true,
  connects: (delta, known) => delta.base <= known.version,
  isLater: (a, b) => a.generation > b.generation || (a.generation === b.generation && a.version > b.version),
  goesAboveEarlierLife: () => true,
  sendsLimited: () => true,
}
