import { assert, type Prng } from '@waiter/base'
import { BroadcastQueue } from './broadcast-queue.ts'
import { jittered, sample } from './chance.ts'
import { LocalHealth } from './local-health.ts'
import { type Address, type Claim, isPresent, type Member, type MemberId } from './member.ts'
import { Membership, type MembershipContext } from './membership.ts'
import type { Effect, Packet, StreamMessage } from './message.ts'
import { claimBytes, encodePacket } from './packet-codec.ts'
import { isAddress, isMemberId } from './parse.ts'
import { type PacketBody, Prober } from './prober.ts'
import { RowMap, type WriteOutcome } from './rows/row-map.ts'
import { RowSpreader } from './rows/row-spreader.ts'
import type { RowEntry } from './rows/row-types.ts'
import { RULES, type Rules } from './rules.ts'
import { DEFAULT_SETTINGS, type GossipSettings, pushPullInterval, retransmitLimit } from './settings.ts'

/** Who this process is, and where it starts. */
export interface GossipOptions {
  readonly id: MemberId
  /** Where the others reach it. */
  readonly address: Address
  /** Higher than in any earlier life under this id: wall-clock milliseconds at the start. Never 0. */
  readonly incarnation: number
  readonly random: Prng
  readonly nowMs: number
  /** Where others may be found. Also what heals a group that fell apart (S2), so it should name most members. */
  readonly seeds?: readonly Address[]
  readonly settings?: Partial<GossipSettings>
  readonly rules?: Rules
}

/** What can be read off for metrics. */
export interface GossipStatus {
  readonly localHealth: number
  readonly incarnation: number
  readonly suspicions: number
  readonly refutations: number
  readonly probeFailures: number
  readonly queued: number
  readonly viewHash: number
  readonly rowsHash: number
  readonly rowGaps: number
  readonly rowsRefused: number
  readonly viewMismatches: number
}

/** Alone, seeds are tried so often. */
const JOIN_RETRY_MS = 1_000
/** D7: views that differ while nothing is on its way cause a full exchange at most so often. */
const MISMATCH_SYNC_GAP_MS = 2_000
/** S3: a lost member that speaks again is asked once more after so long, when its side has refuted its death. */
const HEAL_FOLLOW_UP_MS = 1_000
/** S2: about so many members of the group try somebody in every period. */
const HEALERS_WANTED = 3
/** Many may be dead for good; those who are not must be found among them. */
const HEAL_TARGETS = 3
const REAP_CHECK_MS = 5_000
/** M8: rounds of gossip before a leaver may go, at most; in a small group everybody is told in fewer. */
const LEAVE_ROUNDS_MAX = 5

/**
 * One member of a gossip group: a deterministic machine. Feed it time, packets and stream messages; carry out what
 * `takeEffects` hands over; call `tick` at `nextAtMs` at the latest.
 */
export class Gossip {
  readonly settings: GossipSettings
  readonly id: MemberId
  readonly address: Address
  readonly #random: Prng
  readonly #rules: Rules
  readonly #health: LocalHealth
  readonly #queue = new BroadcastQueue()
  readonly #membership: Membership
  readonly #prober: Prober
  readonly #rows: RowMap
  readonly #spreader: RowSpreader
  #seeds: readonly Address[]
  #lastMs: number
  #effects: Effect[] = []
  #nextGossipAtMs = 0
  #nextPushPullAtMs: number
  #nextHealAtMs: number
  #healFirst: Address | undefined
  #nextSweepAtMs: number
  #mismatchSyncAtMs = 0
  #leaveRoundsLeft = LEAVE_ROUNDS_MAX
  #viewMismatches = 0

  constructor(options: GossipOptions) {
    assert(isMemberId(options.id), `a member id is 1 to 128 printable ASCII characters, not ${options.id}`)
    assert(isAddress(options.address), `a member's address is host:port, not ${options.address}`)
    assert(Number.isSafeInteger(options.incarnation) && options.incarnation > 0, 'an incarnation is above 0')
    const settings = { ...DEFAULT_SETTINGS, ...options.settings }
    const { id, address, incarnation, random, nowMs, rules = RULES } = options
    this.settings = settings
    this.id = id
    this.address = address
    this.#random = random
    this.#rules = rules
    this.#health = new LocalHealth(settings)
    const context: MembershipContext = {
      self: { id, address, incarnation },
      settings,
      rules,
      health: this.#health,
      queue: this.#queue,
      emit: effect => this.#emit(effect),
    }
    this.#membership = new Membership(context)
    this.#prober = new Prober(context, this.#membership, {
      random,
      nowMs,
      send: (...args) => this.#send(...args),
      sync: to => this.#sync(to),
    })
    this.#rows = new RowMap({ self: id, generation: incarnation, limits: settings, random, rules })
    this.#spreader = new RowSpreader(
      { self: id, settings, random, onRow: owner => this.#emit({ kind: 'row', id: owner }) },
      this.#rows,
    )
    this.#seeds = options.seeds ?? []
    this.#lastMs = nowMs
    this.#nextPushPullAtMs = nowMs + random.next() * settings.pushPullIntervalMs
    this.#nextHealAtMs = nowMs
    this.#nextSweepAtMs = nowMs + REAP_CHECK_MS
    this.#queue.push(this.#membership.selfClaim())
  }

  /** When `tick` has something to do. */
  nextAtMs(): number {
    const isLeaving = this.#membership.hasLeft && this.#leaveRoundsLeft > 0
    const hasNews = isLeaving || (this.#queue.size > 0 && this.#membership.table.size > 0)
    const gossipAtMs = hasNews ? this.#nextGossipAtMs : Number.POSITIVE_INFINITY
    const at = Math.min(
      this.#prober.nextAtMs,
      this.#membership.nextAtMs,
      gossipAtMs,
      this.#nextPushPullAtMs,
      this.#nextHealAtMs,
      this.#nextSweepAtMs,
      this.#spreader.nextAtMs,
    )
    // What became due while nothing was to do is due since the last input, not since long ago (H3).
    return Math.max(at, this.#lastMs)
  }

  tick(nowMs: number): void {
    this.#noticeTime(nowMs)
    this.#prober.tick(nowMs)
    this.#membership.tick(nowMs)
    if (nowMs >= this.#nextSweepAtMs) this.#sweep(nowMs)
    if (nowMs >= this.#nextGossipAtMs) this.#gossip(nowMs)
    if (nowMs >= this.#spreader.nextAtMs) this.#emitAll(this.#spreader.spread(this.#membership.table.present(), nowMs))
    if (nowMs >= this.#nextPushPullAtMs) this.#pushPull(nowMs)
    if (nowMs >= this.#nextHealAtMs) this.#heal(nowMs)
  }

  /** @param from where the packet came from; answers go there */
  receivePacket(packet: Packet, from: Address, nowMs: number): void {
    this.#noticeTime(nowMs)
    for (const claim of packet.claims) this.#membership.apply(claim, nowMs)
    switch (packet.kind) {
      case 'ping':
        if (packet.to !== this.id) break
        this.#compareViews(packet.view, packet.from, nowMs)
        this.#send(from, { kind: 'ack', sequence: packet.sequence, view: this.#membership.viewHash() })
        break
      case 'ack':
        this.#prober.onAck(packet.sequence)
        this.#compareViews(packet.view, packet.from, nowMs)
        break
      case 'nack':
        this.#prober.onNack(packet.sequence)
        break
      case 'pingReq':
        this.#prober.onRequest(packet, from, nowMs)
        break
      case 'gossip':
    }
  }

  /** Returns what to send back on the same stream. */
  receiveStream(message: StreamMessage, nowMs: number): StreamMessage[] {
    this.#noticeTime(nowMs)
    switch (message.kind) {
      case 'sync':
        return this.#receiveSync(message, nowMs)
      case 'rows':
        return this.#spreader.receive(message, id => isPresent(this.#membership.table.get(id)?.state ?? 'dead'), nowMs)
      case 'want':
        return this.#spreader.answerWant(message.from, message.digest, nowMs)
      case 'ping':
        return message.to === this.id ? [{ kind: 'pong', from: this.id, sequence: message.sequence }] : []
      case 'pong':
        this.#prober.onAck(message.sequence)
        return []
    }
  }

  /** D5: a stream broke; what was sent last may be lost. */
  streamFailed(address: Address): void {
    const member = this.#membership.table.byAddress(address)
    if (member !== undefined) this.#spreader.forget(member.id)
  }

  setSeeds(seeds: readonly Address[]): void {
    this.#seeds = seeds
  }

  /** H2 */
  noteLoopDelay(delayMs: number): void {
    this.#health.noteLoopDelay(delayMs)
  }

  /** Writes an entry of the own row; it reaches everybody within a few rounds. */
  set(key: string, value: string, when: { readonly nowMs: number; readonly ttlMs?: number }): WriteOutcome {
    this.#noticeTime(when.nowMs)
    const outcome = this.#rows.set(key, value, when)
    if (outcome === 'written') this.#spreader.isDirty = true
    return outcome
  }

  delete(key: string, nowMs: number): void {
    this.#noticeTime(nowMs)
    if (this.#rows.delete(key, nowMs)) this.#spreader.isDirty = true
  }

  /** M8: says goodbye; `hasLeft` follows when the others had the chance to hear it. */
  leave(nowMs: number): void {
    this.#noticeTime(nowMs)
    const others = this.#membership.presentCount - 1
    // Everybody once, and a round more for what is lost.
    this.#leaveRoundsLeft = Math.min(LEAVE_ROUNDS_MAX, 1 + Math.ceil(others / this.settings.gossipFanOut))
    this.#membership.leave()
  }

  /** Everybody else, the dead too until they are reaped. */
  members(): Member[] {
    return [...this.#membership.table.all()]
  }

  /** R5: what one member says now; nothing of the dead. */
  row(id: MemberId, nowMs: number): ReadonlyMap<string, string> | undefined {
    if (id !== this.id && !isPresent(this.#membership.table.get(id)?.state ?? 'dead')) return undefined
    return this.#rows.values(id, nowMs)
  }

  /** The same with how much longer each value holds; for those whose key begins so. */
  entries(id: MemberId, prefix: string, nowMs: number): readonly RowEntry[] {
    if (id !== this.id && !isPresent(this.#membership.table.get(id)?.state ?? 'dead')) return []
    return this.#rows.entries(id, prefix, nowMs)
  }

  /** How far a row is known, for tests and displays. */
  rowPosition(id: MemberId): { readonly generation: number; readonly version: number } | undefined {
    return this.#rows.position(id)
  }

  takeEffects(): readonly Effect[] {
    const effects = this.#effects
    this.#effects = []
    return effects
  }

  status(): GossipStatus {
    return {
      localHealth: this.#health.score,
      incarnation: this.#membership.incarnation,
      suspicions: this.#membership.suspicionCount,
      refutations: this.#membership.refutations,
      probeFailures: this.#prober.failures,
      queued: this.#queue.size,
      viewHash: this.#membership.viewHash(),
      rowsHash: this.#rows.hash(),
      rowGaps: this.#spreader.gaps,
      rowsRefused: this.#spreader.refused,
      viewMismatches: this.#viewMismatches,
    }
  }

  /** H3: this process was away (stopped, or its event loop blocked): nobody is accused for that time. */
  #noticeTime(nowMs: number): void {
    const lateMs = nowMs - this.nextAtMs()
    this.#lastMs = nowMs
    if (lateMs <= this.settings.stallMs || !this.#rules.forgivesOwnAbsence()) return
    this.#health.worsen(1)
    this.#prober.abandon(nowMs)
    this.#membership.postponeSuspicions(lateMs)
  }

  #receiveSync(message: Extract<StreamMessage, { kind: 'sync' }>, nowMs: number): StreamMessage[] {
    const sender = this.#membership.table.get(message.from)
    if (sender !== undefined && !isPresent(sender.state) && this.#rules.heals()) {
      this.#healFirst = sender.address
      this.#nextHealAtMs = Math.min(this.#nextHealAtMs, nowMs + HEAL_FOLLOW_UP_MS)
    }
    this.#membership.applyAll(message.claims, message.from, nowMs)
    const rows = this.#spreader.answer(message.from, message.digest, nowMs)
    return message.isReply ? rows : [this.#syncMessage(true), ...rows]
  }

  #syncMessage(isReply: boolean): StreamMessage {
    const membership = this.#membership
    const claims: Claim[] = [membership.selfClaim()]
    for (const member of membership.table.all()) claims.push(membership.claimOf(member))
    return { kind: 'sync', from: this.id, isReply, claims, digest: this.#rows.digest() }
  }

  /** D7: views that differ though nothing is on its way: something was lost for good. */
  #compareViews(view: number, from: MemberId, nowMs: number): void {
    if (view === this.#membership.viewHash() || this.#queue.size > 0) return
    const member = this.#membership.table.get(from)
    if (member === undefined || nowMs < this.#mismatchSyncAtMs) return
    this.#viewMismatches++
    this.#mismatchSyncAtMs = nowMs + MISMATCH_SYNC_GAP_MS
    this.#sync(member.address)
  }

  #sync(to: Address): void {
    this.#emit({ kind: 'stream', to, message: this.#syncMessage(false) })
  }

  /** B1–B4: tells a few members the news; the dead too for a while, so that they can object. */
  #gossip(nowMs: number): void {
    const { settings } = this
    if (this.#membership.hasLeft && this.#leaveRoundsLeft > 0) {
      this.#leaveRoundsLeft--
      if (this.#leaveRoundsLeft === 0) this.#emit({ kind: 'hasLeft' })
    }
    this.#nextGossipAtMs = nowMs + settings.gossipIntervalMs
    if (this.#queue.size === 0) return
    const audience = this.members().filter(
      ({ state, sinceMs }) => isPresent(state) || (state === 'dead' && sinceMs + settings.gossipToDeadMs > nowMs),
    )
    if (audience.length === 0) this.#queue.clear()
    for (const { address } of sample(audience, settings.gossipFanOut, this.#random)) {
      if (this.#queue.size > 0) this.#send(address, { kind: 'gossip' })
    }
  }

  /** D6 */
  #pushPull(nowMs: number): void {
    const interval = pushPullInterval(this.settings, this.#membership.presentCount)
    this.#nextPushPullAtMs = nowMs + jittered(interval, this.#random)
    const [peer] = sample(this.#membership.table.present(), 1, this.#random)
    if (peer !== undefined && !this.#membership.hasLeft) this.#sync(peer.address)
  }

  /** S1, S2: alone it looks for a seed; in a group somebody looks for those who are missing. */
  #heal(nowMs: number): void {
    const { healIntervalMs } = this.settings
    const present = this.#membership.presentCount
    const isAlone = present === 1
    this.#nextHealAtMs =
      nowMs + jittered(isAlone ? Math.min(JOIN_RETRY_MS, healIntervalMs) : healIntervalMs, this.#random)
    const first = this.#healFirst
    this.#healFirst = undefined
    if (this.#membership.hasLeft || (!isAlone && !this.#rules.heals())) return
    const isMyTurn = this.#random.next() < HEALERS_WANTED / present
    const targets = first === undefined ? (isMyTurn ? this.#someMissing() : []) : [first]
    for (const target of targets) this.#sync(target)
  }

  #someMissing(): Address[] {
    const reached = new Set(this.#membership.table.present().map(({ address }) => address))
    const lost = this.members().filter(({ state }) => state === 'dead')
    const candidates = new Set([...this.#seeds, ...lost.map(({ address }) => address)])
    const missing = [...candidates].filter(address => address !== this.address && !reached.has(address))
    return sample(missing, HEAL_TARGETS, this.#random)
  }

  #sweep(nowMs: number): void {
    this.#nextSweepAtMs = nowMs + REAP_CHECK_MS
    const before = this.#rows.own.version
    this.#rows.sweep(nowMs)
    if (this.#rows.own.version !== before) this.#spreader.isDirty = true
    this.#membership.reap(nowMs)
  }

  /** B2: fills the room that is left with the most urgent news. */
  #send(to: Address, body: PacketBody, first?: Claim): void {
    const bare = { ...body, from: this.id, claims: first === undefined ? [] : [first] } as Packet
    const limit = retransmitLimit(this.settings, this.#membership.presentCount)
    const claims = this.#queue.take({
      bytes: this.settings.packetBytesMax - encodePacket(bare).length,
      sizeOf: claimBytes,
      limit: this.#rules.sendsLimited() ? limit : Number.POSITIVE_INFINITY,
    })
    if (body.kind === 'gossip' && claims.length === 0) return
    this.#emit({ kind: 'packet', to, packet: { ...bare, claims: [...bare.claims, ...claims] } })
  }

  #emitAll(effects: readonly Effect[]): void {
    for (const effect of effects) this.#emit(effect)
  }

  /** D1: a newcomer is told our row. D8: its own may have come before it did. */
  #greet(id: MemberId): void {
    this.#spreader.isDirty = true
    const message = this.#spreader.wantRefused(id)
    const member = this.#membership.table.get(id)
    if (message !== undefined && member !== undefined) this.#emit({ kind: 'stream', to: member.address, message })
  }

  #emit(effect: Effect): void {
    this.#effects.push(effect)
    if (effect.kind !== 'member') return
    const { id, state } = effect
    // The dead and the gone keep no row.
    if (state === 'alive') this.#greet(id)
    else if (state === 'dead' || state === 'left') this.#spreader.forget(id)
    else if (state === 'reaped') this.#rows.drop(id)
  }
}
