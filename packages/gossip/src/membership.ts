import type { BroadcastQueue } from './broadcast-queue.ts'
import type { LocalHealth } from './local-health.ts'
import { type Address, type Claim, isPresent, type Member, type MemberId } from './member.ts'
import { MemberTable, viewTerm } from './member-table.ts'
import type { Effect } from './message.ts'
import type { Rules } from './rules.ts'
import { type GossipSettings, suspicionBounds } from './settings.ts'
import { Suspicion } from './suspicion.ts'

/** What the parts of one machine share. */
export interface MembershipContext {
  readonly self: { readonly id: MemberId; readonly address: Address; readonly incarnation: number }
  readonly settings: GossipSettings
  readonly rules: Rules
  readonly health: LocalHealth
  readonly queue: BroadcastQueue
  readonly emit: (effect: Effect) => void
}

/** M1–M8, F1–F4: who is a member, and what is believed of each. */
export class Membership {
  readonly table: MemberTable = new MemberTable()
  readonly #context: MembershipContext
  readonly #suspicions = new Map<MemberId, Suspicion>()
  #incarnation: number
  #hasLeft = false
  refutations = 0

  constructor(context: MembershipContext) {
    this.#context = context
    this.#incarnation = context.self.incarnation
  }

  get incarnation(): number {
    return this.#incarnation
  }

  get hasLeft(): boolean {
    return this.#hasLeft
  }

  /** Oneself included. */
  get presentCount(): number {
    return this.table.present().length + 1
  }

  get suspicionCount(): number {
    return this.#suspicions.size
  }

  /** What one says of oneself. */
  selfClaim(): Claim {
    const { id, address } = this.#context.self
    return { id, address, incarnation: this.#incarnation, state: this.#hasLeft ? 'left' : 'alive', from: id }
  }

  /** What one would tell of a member. */
  claimOf({ id, address, incarnation, state }: Member): Claim {
    return { id, address, incarnation, state, from: this.#context.self.id }
  }

  /** D7 */
  viewHash(): number {
    const own = this.#hasLeft ? 0 : viewTerm(this.#context.self.id, this.#incarnation)
    return (this.table.hash() + own) >>> 0
  }

  /** M1, M2, M6: takes a claim over when it is news, and passes it on. */
  apply(claim: Claim, nowMs: number): void {
    if (claim.id === this.#context.self.id) this.#hearOfSelf(claim)
    else this.#hearOfOther(claim, nowMs)
  }

  #hearOfOther(claim: Claim, nowMs: number): void {
    const known = this.table.get(claim.id)
    // M6: the death of somebody unknown is no news; it would bring back who was reaped.
    if (known === undefined && !isPresent(claim.state)) return
    if (known === undefined && this.table.size >= this.#context.settings.membersMax) return
    if (known !== undefined && !this.#context.rules.isNews(claim, known)) {
      this.#confirm(claim, known)
      return
    }
    const member = this.table.put(claim, nowMs)
    this.#suspicions.delete(claim.id)
    if (member.state === 'suspect') this.#startSuspicion(member, claim.from, nowMs)
    this.#context.queue.push(claim)
    if (known?.state !== member.state) this.#tell(member, known)
  }

  /** M5: takes over what somebody knows of everybody. */
  applyAll(claims: readonly Claim[], from: MemberId, nowMs: number): void {
    for (const claim of claims) {
      // M6: not even as a suspicion.
      const isStranger = claim.id !== this.#context.self.id && this.table.get(claim.id) === undefined
      if (isStranger && !isPresent(claim.state)) continue
      const state = this.#context.rules.stateBySync(claim)
      this.apply(state === claim.state ? claim : { ...claim, state, from }, nowMs)
    }
  }

  /** F1: one's own probe failed. */
  accuse(member: Member, nowMs: number): void {
    this.apply({ ...this.claimOf(member), state: 'suspect' }, nowMs)
  }

  /** F3: declares dead whose time is over. M7: forgets who is gone for long. */
  tick(nowMs: number): void {
    for (const [id, suspicion] of this.#suspicions) {
      if (suspicion.deadlineMs > nowMs) continue
      this.#suspicions.delete(id)
      const member = this.table.get(id)
      if (member?.state === 'suspect') this.apply({ ...this.claimOf(member), state: 'dead' }, nowMs)
    }
  }

  /** M7 */
  reap(nowMs: number): void {
    const { settings, queue, emit } = this.#context
    for (const { id, state, sinceMs } of [...this.table.all()]) {
      if (isPresent(state) || sinceMs + settings.reapAfterMs > nowMs) continue
      this.table.remove(id)
      queue.forget(id)
      emit({ kind: 'member', id, state: 'reaped', previous: state })
    }
  }

  /** H3 */
  postponeSuspicions(byMs: number): void {
    for (const suspicion of this.#suspicions.values()) suspicion.postpone(byMs)
  }

  /** M8 */
  leave(): void {
    if (this.#hasLeft) return
    this.#hasLeft = true
    this.#context.queue.push(this.selfClaim())
  }

  get nextAtMs(): number {
    let at = Number.POSITIVE_INFINITY
    for (const { deadlineMs } of this.#suspicions.values()) at = Math.min(at, deadlineMs)
    return at
  }

  /** M3, M4: only the subject raises its incarnation, and does so when something wrong is said of it. */
  #hearOfSelf(claim: Claim): void {
    if (this.#hasLeft || claim.incarnation < this.#incarnation) return
    const { rules, health, queue, self, emit } = this.#context
    if (claim.state === 'alive') {
      if (claim.incarnation === this.#incarnation && claim.address === self.address) return
      emit({ kind: 'nameTaken', address: claim.address })
    } else if (!rules.refutes()) return
    else {
      this.refutations++
      health.worsen(1)
    }
    this.#incarnation = claim.incarnation + 1
    queue.push(this.selfClaim())
  }

  /** F2: another accuser shortens the time; that is passed on as far as it counts. */
  #confirm(claim: Claim, known: Member): void {
    if (claim.state !== 'suspect' || known.state !== 'suspect' || claim.incarnation !== known.incarnation) return
    if (this.#suspicions.get(claim.id)?.confirm(claim.from)) this.#context.queue.push(claim)
  }

  #startSuspicion(member: Member, accuser: MemberId, nowMs: number): void {
    const { settings } = this.#context
    const members = this.presentCount
    const bounds = suspicionBounds(settings, members)
    const wanted = settings.suspicionMultiplier - 2
    // F2: without enough others who could confirm, the shortest time counts from the start.
    const confirmationsWanted = members - 2 < wanted ? 0 : wanted
    this.#suspicions.set(member.id, new Suspicion(nowMs, accuser, { ...bounds, confirmationsWanted }))
  }

  #tell({ id, state }: Member, known: Member | undefined): void {
    this.#context.emit({ kind: 'member', id, state, previous: known?.state })
  }
}
