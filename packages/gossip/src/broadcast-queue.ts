import type { Claim, MemberId } from './member.ts'

interface Queued {
  readonly claim: Claim
  readonly sequence: number
  sent: number
}

/**
 * B1–B3: the updates that ride on packets. Least sent first, then newest; each is dropped when it has been sent often
 * enough, and replaced by a newer one of the same member. Never holds more than one claim per member.
 */
export class BroadcastQueue {
  readonly #queued = new Map<MemberId, Queued>()
  #sequence = 0

  get size(): number {
    return this.#queued.size
  }

  push(claim: Claim): void {
    this.#queued.set(claim.id, { claim, sequence: this.#sequence++, sent: 0 })
  }

  forget(id: MemberId): void {
    this.#queued.delete(id)
  }

  /** B4: there is nobody to tell. Whoever comes later is told by a full exchange. */
  clear(): void {
    this.#queued.clear()
  }

  /** Takes what fits into `bytes`, in order of urgency; counts it as sent. */
  take(terms: { readonly bytes: number; readonly sizeOf: (claim: Claim) => number; readonly limit: number }): Claim[] {
    const taken: Claim[] = []
    if (this.#queued.size === 0) return taken
    let bytes = terms.bytes
    const urgent = [...this.#queued.values()].sort((a, b) => a.sent - b.sent || b.sequence - a.sequence)
    for (const queued of urgent) {
      const size = terms.sizeOf(queued.claim)
      if (size > bytes) continue
      bytes -= size
      taken.push(queued.claim)
      queued.sent++
      if (queued.sent >= terms.limit) this.#queued.delete(queued.claim.id)
    }
    return taken
  }
}
