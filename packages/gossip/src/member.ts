/** Who a member is: a printable name of at most 128 characters, unique in its cluster. */
export type MemberId = string

/** Where a member's packets and streams go: `host:port`, IPv6 hosts in brackets. */
export type Address = string

/** What is believed of a member. */
export type MemberState = 'alive' | 'suspect' | 'dead' | 'left'

/** What one member says of another (or of itself): the unit that gossip spreads. */
export interface Claim {
  readonly id: MemberId
  readonly address: Address
  readonly incarnation: number
  readonly state: MemberState
  /** Who found out. Suspicions of different accusers confirm each other (F2). */
  readonly from: MemberId
}

/** A member as one of the others sees it. */
export interface Member {
  readonly id: MemberId
  readonly address: Address
  readonly incarnation: number
  readonly state: MemberState
  readonly sinceMs: number
}

/** At equal incarnation the higher rank wins (M1). */
const RANKS: Readonly<Record<MemberState, number>> = { alive: 0, suspect: 1, dead: 2, left: 3 }

/** M1: whether a claim is news compared with what is known. */
export function supersedes(
  claim: Pick<Claim, 'incarnation' | 'state'>,
  known: Pick<Claim, 'incarnation' | 'state'>,
): boolean {
  if (claim.incarnation !== known.incarnation) return claim.incarnation > known.incarnation
  return RANKS[claim.state] > RANKS[known.state]
}

/** Still counted: a suspect is a member until it is dead. */
export function isPresent(state: MemberState): boolean {
  return state === 'alive' || state === 'suspect'
}
