import type { Prng } from '@waiter/base'
import { sample, shuffled } from './chance.ts'
import type { Address, Claim, Member, MemberId } from './member.ts'
import type { Membership, MembershipContext } from './membership.ts'
import type { Packet } from './message.ts'

interface Probe {
  readonly target: Member
  readonly sequence: number
  readonly timeoutAtMs: number
  readonly endAtMs: number
  hasAskedOthers: boolean
  relays: number
  nacksWanted: number
}

interface Relay {
  readonly requester: Address
  readonly sequence: number
  readonly nackAtMs: number
  readonly endAtMs: number
  hasNacked: boolean
}

/** Probes made for others at a time; more are not answered, and the asker asks two others as well. */
const RELAYS_MAX = 64
/** A relay says that it heard nothing after this share of the time-out, so that the word arrives in time. */
const NACK_SHARE = 0.8

/** Sends a packet with claims in the room that is left; `first` in any case (the buddy rule). */
export type SendPacket = (to: Address, packet: PacketBody, first?: Claim) => void

/** A packet before claims are added. */
export type PacketBody = Packet extends infer P ? (P extends Packet ? Omit<P, 'claims' | 'from'> : never) : never

/** P1–P6: finds out who answers, one member in every period. */
export class Prober {
  readonly #context: MembershipContext
  readonly #membership: Membership
  readonly #random: Prng
  readonly #send: SendPacket
  readonly #sync: (to: Address) => void
  #round: MemberId[] = []
  #probe: Probe | undefined
  readonly #relays = new Map<number, Relay>()
  #sequence = 0
  #nextAtMs: number
  failures = 0

  constructor(
    context: MembershipContext,
    membership: Membership,
    how: {
      readonly random: Prng
      readonly send: SendPacket
      readonly sync: (to: Address) => void
      readonly nowMs: number
    },
  ) {
    this.#context = context
    this.#membership = membership
    this.#random = how.random
    this.#send = how.send
    this.#sync = how.sync
    this.#nextAtMs = how.nowMs + how.random.next() * context.settings.probeIntervalMs
  }

  get nextAtMs(): number {
    let at = this.#nextAtMs
    if (this.#probe !== undefined) {
      at = Math.min(this.#probe.hasAskedOthers ? this.#probe.endAtMs : this.#probe.timeoutAtMs, at)
    }
    for (const relay of this.#relays.values()) at = Math.min(at, relay.hasNacked ? relay.endAtMs : relay.nackAtMs)
    return at
  }

  tick(nowMs: number): void {
    this.#tickRelays(nowMs)
    const probe = this.#probe
    if (probe !== undefined && nowMs >= probe.timeoutAtMs && !probe.hasAskedOthers) this.#askOthers(probe)
    if (probe !== undefined && nowMs >= probe.endAtMs) this.#fail(probe, nowMs)
    if (nowMs >= this.#nextAtMs) this.#start(nowMs)
  }

  /** H3: what was not answered while this process was away says nothing. */
  abandon(nowMs: number): void {
    this.#probe = undefined
    this.#relays.clear()
    this.#nextAtMs = nowMs + this.#context.settings.probeIntervalMs
  }

  onAck(sequence: number): void {
    if (this.#probe?.sequence === sequence) {
      this.#probe = undefined
      this.#context.health.improve()
      return
    }
    const relay = this.#relays.get(sequence)
    if (relay === undefined) return
    this.#relays.delete(sequence)
    this.#send(relay.requester, { kind: 'ack', sequence: relay.sequence, view: this.#membership.viewHash() })
  }

  /** P4: a relay that works but hears nothing either: this process's own network is in order. */
  onNack(sequence: number): void {
    if (this.#probe?.sequence === sequence) this.#probe.nacksWanted = Math.max(0, this.#probe.nacksWanted - 1)
  }

  /** P2: probes for somebody else. */
  onRequest(request: Extract<Packet, { kind: 'pingReq' }>, requester: Address, nowMs: number): void {
    if (this.#relays.size >= RELAYS_MAX) return
    const sequence = this.#nextSequence()
    const timeoutMs = this.#context.settings.probeTimeoutMs
    this.#relays.set(sequence, {
      requester,
      sequence: request.sequence,
      nackAtMs: nowMs + timeoutMs * NACK_SHARE,
      endAtMs: nowMs + timeoutMs * this.#context.settings.awarenessMax,
      hasNacked: false,
    })
    this.#send(request.address, { kind: 'ping', sequence, to: request.to, view: this.#membership.viewHash() })
  }

  #start(nowMs: number): void {
    const { settings, health } = this.#context
    const factor = health.score + 1
    this.#nextAtMs = nowMs + settings.probeIntervalMs * factor
    if (this.#probe !== undefined || this.#membership.hasLeft) return
    const target = this.#nextTarget()
    if (target === undefined) return
    const sequence = this.#nextSequence()
    this.#probe = {
      target,
      sequence,
      timeoutAtMs: nowMs + settings.probeTimeoutMs * factor,
      endAtMs: nowMs + settings.probeIntervalMs * factor,
      hasAskedOthers: false,
      relays: 0,
      nacksWanted: 0,
    }
    // P6, the buddy rule: a suspect hears first that it is one.
    const first = target.state === 'suspect' ? this.#membership.claimOf(target) : undefined
    this.#send(target.address, { kind: 'ping', sequence, to: target.id, view: this.#membership.viewHash() }, first)
  }

  /** P1: in random order, everybody once before anybody twice. */
  #nextTarget(): Member | undefined {
    for (let tries = 0; tries < 2; tries++) {
      for (let id = this.#round.pop(); id !== undefined; id = this.#round.pop()) {
        const member = this.#membership.table.get(id)
        if (member?.state === 'alive' || member?.state === 'suspect') return member
      }
      this.#round = shuffled(
        this.#membership.table.present().map(({ id }) => id),
        this.#random,
      )
    }
    return undefined
  }

  /** P2, P3: others try, and a stream does, in case only packets are lost. */
  #askOthers(probe: Probe): void {
    const { settings, rules, emit, self } = this.#context
    probe.hasAskedOthers = true
    if (!rules.asksOthers()) return
    const { target, sequence } = probe
    const others = this.#membership.table.present().filter(({ id, state }) => id !== target.id && state === 'alive')
    const relays = sample(others, settings.indirectProbes, this.#random)
    probe.relays = relays.length
    probe.nacksWanted = relays.length
    for (const relay of relays) {
      this.#send(relay.address, { kind: 'pingReq', sequence, to: target.id, address: target.address })
    }
    emit({ kind: 'stream', to: target.address, message: { kind: 'ping', from: self.id, to: target.id, sequence } })
  }

  #fail(probe: Probe, nowMs: number): void {
    this.#probe = undefined
    this.failures++
    // H1: relays that did not even say that they heard nothing point at this process.
    this.#context.health.worsen(probe.relays === 0 ? 1 : probe.nacksWanted)
    const member = this.#membership.table.get(probe.target.id)
    if (member?.incarnation !== probe.target.incarnation) return
    this.#membership.accuse(member, nowMs)
    // P6: packets do not seem to reach it; a stream may.
    this.#sync(member.address)
  }

  #tickRelays(nowMs: number): void {
    for (const [sequence, relay] of this.#relays) {
      if (nowMs >= relay.endAtMs) this.#relays.delete(sequence)
      else if (nowMs >= relay.nackAtMs && !relay.hasNacked) {
        relay.hasNacked = true
        this.#send(relay.requester, { kind: 'nack', sequence: relay.sequence })
      }
    }
  }

  #nextSequence(): number {
    this.#sequence = (this.#sequence % 0x7fff_ffff) + 1
    return this.#sequence
  }
}
