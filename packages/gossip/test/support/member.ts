import { createPrng } from '@waiter/base'
import {
  type Claim,
  type Effect,
  Gossip,
  type GossipOptions,
  type GossipSettings,
  type Packet,
} from '../../src/index.ts'

export const addressOf = (id: string): string => `${id}.test:7000`

/** A claim about a member, made by itself unless somebody else is named. */
export function claim(id: string, state: Claim['state'] = 'alive', more: Partial<Claim> = {}): Claim {
  return { id, address: addressOf(id), incarnation: 10, state, from: state === 'alive' ? id : 'accuser', ...more }
}

/** A member `a` that can be driven by hand, and remembers what it wanted. */
export class Driven {
  readonly gossip: Gossip
  nowMs = 1_000
  readonly effects: Effect[] = []

  constructor(settings: Partial<GossipSettings> = {}, more: Partial<GossipOptions> = {}) {
    this.gossip = new Gossip({
      id: 'a',
      address: addressOf('a'),
      incarnation: 10,
      random: createPrng(1),
      nowMs: this.nowMs,
      settings,
      ...more,
    })
  }

  /** Hears claims in a packet of `b`. */
  hear(...claims: Claim[]): void {
    this.receive({ kind: 'gossip', from: 'b', claims })
  }

  receive(packet: Packet, from: string = addressOf(packet.from)): void {
    this.gossip.receivePacket(packet, from, this.nowMs)
    this.#take()
  }

  stream(message: Parameters<Gossip['receiveStream']>[0]) {
    const replies = this.gossip.receiveStream(message, this.nowMs)
    this.#take()
    return replies
  }

  set(key: string, value: string, ttlMs?: number) {
    return this.gossip.set(key, value, ttlMs === undefined ? { nowMs: this.nowMs } : { nowMs: this.nowMs, ttlMs })
  }

  /** Lets time pass, tick by tick as the machine asks for; `onPacket` may answer. */
  pass(ms: number, onPacket: (packet: Packet, to: string) => void = () => undefined): void {
    const untilMs = this.nowMs + ms
    for (let at = this.gossip.nextAtMs(); at <= untilMs; at = Math.max(this.nowMs + 1, this.gossip.nextAtMs())) {
      this.nowMs = Math.max(this.nowMs, at)
      const seen = this.effects.length
      this.gossip.tick(this.nowMs)
      this.#take()
      for (const effect of this.effects.slice(seen)) if (effect.kind === 'packet') onPacket(effect.packet, effect.to)
    }
    this.nowMs = untilMs
  }

  /** Answers every ping at once, in the name of whom it is for. */
  readonly answerAll = (packet: Packet): void => {
    if (packet.kind !== 'ping') return
    this.receive({ kind: 'ack', from: packet.to, claims: [], sequence: packet.sequence, view: this.view })
  }

  get view(): number {
    return this.gossip.status().viewHash
  }

  stateOf(id: string): string | undefined {
    return this.gossip.members().find(member => member.id === id)?.state
  }

  packets<K extends Packet['kind']>(kind: K): { readonly to: string; readonly packet: Extract<Packet, { kind: K }> }[] {
    return this.effects.flatMap(effect =>
      effect.kind === 'packet' && effect.packet.kind === kind
        ? [{ to: effect.to, packet: effect.packet as Extract<Packet, { kind: K }> }]
        : [],
    )
  }

  streams() {
    return this.effects.flatMap(effect => (effect.kind === 'stream' ? [effect] : []))
  }

  #take(): void {
    this.effects.push(...this.gossip.takeEffects())
  }
}
