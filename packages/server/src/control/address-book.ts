import type { MemberAddress } from '@waiter/control'

/** More members than a group has. */
const HEARD_MAX = 64

/**
 * Where the members are. The store keeps it, but without a leader nobody can write there; so members also tell each
 * other. Of two addresses of one member the later one counts.
 */
export class AddressBook {
  readonly #heard = new Map<number, MemberAddress>()
  #recorded: ReadonlyMap<number, MemberAddress> = new Map()

  /** What the store says now. A member that it no longer lists is gone. */
  setRecorded(members: readonly MemberAddress[]): void {
    const before = this.#recorded
    this.#recorded = new Map(members.map(member => [member.id, member]))
    for (const id of before.keys()) if (!this.#recorded.has(id)) this.#heard.delete(id)
  }

  /** What members tell of themselves, or of others. @returns whether that is news */
  hear(members: readonly MemberAddress[]): boolean {
    let isNews = false
    for (const member of members) {
      const known = this.get(member.id)
      if (member.grpc === '' || (known !== undefined && known.sinceMs >= member.sinceMs)) continue
      if (known === undefined && this.#heard.size >= HEARD_MAX) continue
      this.#heard.set(member.id, member)
      isNews = true
    }
    return isNews
  }

  get(id: number): MemberAddress | undefined {
    const heard = this.#heard.get(id)
    const recorded = this.#recorded.get(id)
    return heard !== undefined && heard.sinceMs > (recorded?.sinceMs ?? -1) ? heard : recorded
  }

  get all(): readonly MemberAddress[] {
    const ids = new Set([...this.#recorded.keys(), ...this.#heard.keys()])
    return [...ids].sort((a, b) => a - b).flatMap(id => this.get(id) ?? [])
  }
}
