import { hash32 } from './hash.ts'
import { type Address, type Claim, isPresent, type Member, type MemberId } from './member.ts'

/** Everybody but oneself, as believed, and what is derived from it in the same step. */
export class MemberTable {
  readonly #members = new Map<MemberId, Member>()
  #present: readonly Member[] | undefined
  #hash: number | undefined

  get size(): number {
    return this.#members.size
  }

  get(id: MemberId): Member | undefined {
    return this.#members.get(id)
  }

  all(): IterableIterator<Member> {
    return this.#members.values()
  }

  /** The alive and the suspect. */
  present(): readonly Member[] {
    this.#present ??= [...this.#members.values()].filter(member => isPresent(member.state))
    return this.#present
  }

  put(claim: Claim, nowMs: number): Member {
    const known = this.#members.get(claim.id)
    const sinceMs = known?.state === claim.state ? known.sinceMs : nowMs
    const { id, address, incarnation, state } = claim
    const member: Member = { id, address, incarnation, state, sinceMs }
    this.#members.set(id, member)
    this.#changed()
    return member
  }

  remove(id: MemberId): void {
    this.#members.delete(id)
    this.#changed()
  }

  byAddress(address: Address): Member | undefined {
    for (const member of this.#members.values()) if (member.address === address) return member
    return undefined
  }

  /** D7: equal for equal sets of present (id, incarnation); whether one of them is suspected does not matter. */
  hash(): number {
    if (this.#hash === undefined) {
      this.#hash = 0
      for (const { id, incarnation } of this.present()) this.#hash = (this.#hash + viewTerm(id, incarnation)) >>> 0
    }
    return this.#hash
  }

  #changed(): void {
    this.#present = undefined
    this.#hash = undefined
  }
}

/** What one member adds to the hash of a view; a sum, so that order does not matter. */
export function viewTerm(id: MemberId, incarnation: number): number {
  return hash32(`${id} ${incarnation}`)
}
