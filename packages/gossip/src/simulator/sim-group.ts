import { EventQueue, type Prng } from '@waiter/base'
import { Gossip } from '../gossip.ts'
import { hash32 } from '../hash.ts'
import type { Address, MemberId } from '../member.ts'
import type { Effect, Packet, StreamMessage } from '../message.ts'
import { encodePacket, parsePacket } from '../packet-codec.ts'
import { RULES, type Rules } from '../rules.ts'
import { DEFAULT_SETTINGS, type GossipSettings } from '../settings.ts'
import { encodeStreamMessage, parseStreamMessage } from '../stream-codec.ts'
import { exponentialMs, forkPrng } from './profile.ts'
import { Violation } from './violation.ts'

/** One process of the simulated group. */
export interface SimNode {
  readonly index: number
  readonly id: MemberId
  readonly address: Address
  gossip: Gossip
  isUp: boolean
  hasLeft: boolean
  pausedUntilMs: number
  /** When it last was away, cut off or started: it is not called healthy until a while after. */
  disturbedAtMs: number
  /** What came while it was paused: a socket's buffer. */
  inbox: (() => void)[]
  wakeAtMs: number
  life: number
}

/** What a watcher of the group is told. */
export interface GroupWatcher {
  onEffect?(node: SimNode, effect: Effect): void
  onInput?(node: SimNode): void
}

/** How the group and its network are. */
export interface GroupOptions {
  readonly seed: number
  readonly size: number
  readonly lossRate?: number
  readonly meanDelayMs?: number
  readonly settings?: Partial<GossipSettings>
  readonly rules?: Rules
  readonly watcher?: GroupWatcher
}

const SEED_COUNT = 3
const STREAM_TIMEOUT_MS = 1_000
const INBOX_MAX = 500
/** The wall clock at virtual time 0. */
const EPOCH_MS = 1_000_000

/** Members on a virtual network, in one thread, in virtual time. */
export class SimGroup {
  readonly nodes: SimNode[] = []
  readonly settings: GossipSettings
  readonly #options: GroupOptions
  readonly #queue = new EventQueue()
  readonly #random: Prng
  readonly #byAddress = new Map<Address, SimNode>()
  /** Packets of these directed links are lost; streams take another way. */
  readonly cutLinks: Set<string> = new Set<string>()
  /** Nodes of different sides hear nothing of each other. */
  sideOf: ((node: SimNode) => number) | undefined
  lossRate: number
  nowMs = 0
  packets = 0
  events = 0
  traceHash = 0
  /** What the node that acts now was given. */
  input: 'tick' | 'packet' | 'stream' = 'tick'

  constructor(options: GroupOptions) {
    this.#options = options
    this.settings = { ...DEFAULT_SETTINGS, ...options.settings }
    this.lossRate = options.lossRate ?? 0
    this.#random = forkPrng(options.seed, 'network')
  }

  /** Starts another node, or one that was down again. */
  start(index: number, clockOffsetMs = 0): SimNode {
    const address = `10.0.0.${index + 1}:7000`
    const known = this.nodes[index]
    const life = (known?.life ?? 0) + 1
    const gossip = new Gossip({
      id: `node-${index}`,
      address,
      incarnation: EPOCH_MS + Math.round(this.nowMs) + clockOffsetMs,
      random: forkPrng(this.#options.seed, `node ${index} ${life}`),
      nowMs: this.nowMs,
      seeds: this.seeds(),
      settings: this.settings,
      rules: this.#options.rules ?? RULES,
    })
    const fresh = { gossip, isUp: true, hasLeft: false, pausedUntilMs: 0, disturbedAtMs: this.nowMs, inbox: [], life }
    const node: SimNode = known
      ? Object.assign(known, fresh)
      : { index, id: `node-${index}`, address, wakeAtMs: Number.POSITIVE_INFINITY, ...fresh }
    this.nodes[index] = node
    this.#byAddress.set(address, node)
    this.#settle(node)
    return node
  }

  seeds(): Address[] {
    return Array.from({ length: Math.min(SEED_COUNT, this.#options.size) }, (_, index) => `10.0.0.${index + 1}:7000`)
  }

  startAll(): void {
    for (let index = 0; index < this.#options.size; index++) this.start(index)
  }

  crash(node: SimNode): void {
    node.isUp = false
    node.inbox = []
  }

  pause(node: SimNode, forMs: number): void {
    node.pausedUntilMs = this.nowMs + forMs
    this.schedule(forMs, () => this.#resume(node))
  }

  /** Does something to a running node, as its process would. */
  act(node: SimNode, what: (gossip: Gossip) => void): void {
    what(node.gossip)
    this.#settle(node)
  }

  schedule(inMs: number, run: () => void): void {
    this.#queue.push(this.nowMs + inMs, run)
  }

  /** Runs until the virtual time. */
  runUntil(atMs: number): void {
    let isOver = false
    this.#queue.push(atMs, () => {
      isOver = true
    })
    while (!isOver) {
      const event = this.#queue.pop()
      if (event === undefined) break
      this.nowMs = event.atMs
      this.events++
      event.run()
    }
  }

  upNodes(): SimNode[] {
    return this.nodes.filter(node => node.isUp && !node.hasLeft)
  }

  isReachable(from: SimNode, to: SimNode): boolean {
    return to.isUp && (this.sideOf === undefined || this.sideOf(from) === this.sideOf(to))
  }

  #resume(node: SimNode): void {
    if (!node.isUp || node.pausedUntilMs > this.nowMs) return
    node.disturbedAtMs = this.nowMs
    // Timers run before sockets are read, as in Node's event loop.
    this.#tick(node)
    for (const deliver of node.inbox.splice(0)) deliver()
  }

  #tick(node: SimNode): void {
    this.input = 'tick'
    node.gossip.tick(this.nowMs)
    this.#settle(node)
  }

  /** Carries out what an input led to, and sees to the next tick. */
  #settle(node: SimNode): void {
    for (const effect of node.gossip.takeEffects()) {
      this.#options.watcher?.onEffect?.(node, effect)
      this.#carryOut(node, effect)
    }
    this.#options.watcher?.onInput?.(node)
    const at = Math.max(this.nowMs, node.gossip.nextAtMs())
    // A tick that changed nothing must not spin.
    const wakeAtMs = at <= this.nowMs ? this.nowMs + 1 : at
    if (node.wakeAtMs <= wakeAtMs && node.wakeAtMs > this.nowMs) return
    node.wakeAtMs = wakeAtMs
    const { life } = node
    this.#queue.push(wakeAtMs, () => {
      if (node.life !== life || !node.isUp || node.wakeAtMs !== wakeAtMs) return
      if (node.pausedUntilMs > this.nowMs) return
      node.wakeAtMs = Number.POSITIVE_INFINITY
      this.#tick(node)
    })
  }

  #carryOut(node: SimNode, effect: Effect): void {
    if (effect.kind === 'packet') this.#sendPacket(node, effect.to, effect.packet)
    else if (effect.kind === 'stream') this.#sendStream(node, effect.to, [effect.message])
    else if (effect.kind === 'hasLeft') {
      node.hasLeft = true
      this.crash(node)
    }
  }

  #sendPacket(from: SimNode, address: Address, packet: Packet): void {
    this.packets++
    const bytes = encodePacket(packet)
    this.traceHash = hash32(`${this.traceHash} ${this.nowMs} ${address} ${bytes}`)
    if (bytes.length > this.settings.packetBytesMax) throw new Violation('packet-size', `${bytes.length} bytes`)
    const [lossDraw, delayMs] = [this.#random.next(), this.#delayMs()]
    const to = this.#byAddress.get(address)
    if (to === undefined || lossDraw < this.lossRate || this.cutLinks.has(`${from.index}>${to.index}`)) return
    if (!this.isReachable(from, to)) return
    const { life } = to
    this.schedule(delayMs, () =>
      this.#deliver(to, life, 'packet', () => to.gossip.receivePacket(parsePacket(bytes), from.address, this.nowMs)),
    )
  }

  /** In order, all or nothing; the sender learns of a break. */
  #sendStream(from: SimNode, address: Address, messages: readonly StreamMessage[]): void {
    const to = this.#byAddress.get(address)
    const { life: fromLife } = from
    if (to === undefined || !this.isReachable(from, to) || to.pausedUntilMs > this.nowMs + STREAM_TIMEOUT_MS) {
      this.schedule(STREAM_TIMEOUT_MS, () =>
        this.#deliver(from, fromLife, 'tick', () => from.gossip.streamFailed(address)),
      )
      return
    }
    const { life } = to
    const texts = messages.map(encodeStreamMessage)
    this.schedule(2 * this.#delayMs(), () =>
      this.#deliver(to, life, 'stream', () => {
        for (const text of texts) {
          const replies = to.gossip.receiveStream(parseStreamMessage(text, this.settings), this.nowMs)
          if (replies.length > 0) this.#sendStream(to, from.address, replies)
        }
      }),
    )
  }

  #deliver(to: SimNode, life: number, input: SimGroup['input'], run: () => void): void {
    if (!to.isUp || to.life !== life) return
    const deliver = (): void => {
      if (!to.isUp || to.life !== life) return
      this.input = input
      run()
      this.#settle(to)
    }
    if (to.pausedUntilMs <= this.nowMs) deliver()
    else if (to.inbox.length < INBOX_MAX) to.inbox.push(deliver)
  }

  #delayMs(): number {
    return 0.2 + exponentialMs(this.#random, this.#options.meanDelayMs ?? 1)
  }
}
