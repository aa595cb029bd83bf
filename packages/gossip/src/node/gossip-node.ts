import { randomBytes } from 'node:crypto'
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { createPrng, type Logger, WaiterError } from '@waiter/base'
import {
  type Address,
  type Effect,
  encodePacket,
  encodeStreamMessage,
  Gossip,
  type GossipSettings,
  type GossipStatus,
  MalformedMessage,
  type Member,
  type MemberId,
  type MemberState,
  parsePacket,
  parseStreamMessage,
  type RowEntry,
} from '../index.ts'
import { formatAddress, splitAddress } from './address.ts'
import { ENVELOPE_BYTES, Envelope, PACKET_BYTES_MAX, type Refusal } from './envelope.ts'
import { type ClusterKey, deriveKey, SECRET_BYTES_MIN } from './keys.ts'
import { RateLimit } from './rate-limit.ts'
import { StreamClients } from './stream-clients.ts'
import { StreamServer, type Traffic } from './stream-server.ts'

/** Who gossips, where, and with whom. */
export interface GossipNodeOptions {
  readonly id: MemberId
  /** Packets and streams share the port; 0 lets the system choose. */
  readonly bind: { readonly host: string; readonly port: number }
  /** The host that others reach this one by, when it is not `bind.host`. */
  readonly advertisedHost?: string
  /** What all members share. The first seals, all open. */
  readonly secrets: readonly [string, ...string[]]
  /** Members of differently named clusters do not hear each other, even with one secret. */
  readonly cluster: string
  readonly seeds?: readonly Address[]
  readonly settings?: Partial<GossipSettings>
  readonly log: Logger
  /** Another member's row says something new. */
  readonly onRow?: (id: MemberId) => void
  /** This member has ended by itself: a bug, which the log tells of. */
  readonly onFailed?: () => void
  readonly onMember?: (change: {
    readonly id: MemberId
    readonly state: MemberState | 'reaped'
    readonly previous: MemberState | undefined
  }) => void
}

/** The machine's numbers, and the network's. */
export interface GossipNodeStatus extends GossipStatus {
  readonly packetsSent: number
  readonly packetsReceived: number
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly packetsRefused: Readonly<Record<Refusal, number>>
  readonly streams: number
  readonly streamFailures: number
  readonly strangers: number
  readonly loopDelayMs: number
  /** Of the last half minute or so: how late nearly all of this member's timers were at most. */
  readonly loopDelayP99Ms: number
}

/** A source may send so many packets a second; more are dropped unseen. A member of a large group sends about 100. */
const PACKETS_PER_SECOND_MAX = 2_000
/** Ports are tried so often until one is free for packets and streams. */
const PORT_TRIES = 20
/** A name clash or the like is told about once in so long. */
const COMPLAINT_GAP_MS = 60_000
const TIMER_MS_MAX = 60_000
/** Timers that are remembered for `loopDelayP99Ms`; an idle member has about four a second. */
const DELAYS_KEPT = 128
const P99 = 0.99

/** A gossip member with sockets and clocks: `Gossip` on UDP for packets and TLS with a shared key for streams. */
export class GossipNode implements AsyncDisposable {
  readonly id: MemberId
  readonly address: Address
  readonly #options: GossipNodeOptions
  readonly #gossip: Gossip
  readonly #envelope: Envelope
  readonly #udp: Socket
  readonly #server: StreamServer
  readonly #clients: StreamClients
  readonly #rate = new RateLimit(PACKETS_PER_SECOND_MAX)
  readonly #refused: Record<Refusal, number>
  #timer: NodeJS.Timeout | undefined
  #dueAtMs = Number.POSITIVE_INFINITY
  #loopDelayMs = 0
  readonly #delaysMs = new Float64Array(DELAYS_KEPT)
  #delaysCount = 0
  #sent = 0
  #received = 0
  /** Bodies of packets and streams, without what the network adds. */
  readonly #traffic: Traffic
  #complainedAtMs = Number.NEGATIVE_INFINITY
  #onLeft: (() => void) | undefined
  #isStopped = false

  /**
   * Binds the sockets and starts to gossip.
   *
   * @throws {WaiterError} `GOSSIP_BAD_OPTIONS`, `GOSSIP_LISTEN`
   */
  static async start(options: GossipNodeOptions): Promise<GossipNode> {
    if (options.secrets.some(secret => Buffer.byteLength(secret) < SECRET_BYTES_MIN)) {
      const message = `Gossip cannot start: a cluster secret has fewer than ${SECRET_BYTES_MIN} bytes and can be guessed.`
      throw new WaiterError(message, { code: 'GOSSIP_BAD_OPTIONS' })
    }
    const [newest, ...older] = options.secrets
    const keys = [
      deriveKey(newest, options.cluster),
      ...older.map(secret => deriveKey(secret, options.cluster)),
    ] as const
    let node: GossipNode | undefined
    const traffic: Traffic = { bytesSent: 0, bytesReceived: 0 }
    const server = new StreamServer(keys, text => node?.answer(text) ?? [], traffic)
    const udp = await bindBoth(options.bind, server)
    node = new GossipNode(options, { keys, udp, server, traffic })
    return node
  }

  private constructor(
    options: GossipNodeOptions,
    parts: {
      readonly keys: readonly [ClusterKey, ...ClusterKey[]]
      readonly udp: Socket
      readonly server: StreamServer
      readonly traffic: Traffic
    },
  ) {
    this.id = options.id
    this.#options = options
    this.#udp = parts.udp
    this.#server = parts.server
    this.#traffic = parts.traffic
    this.#envelope = new Envelope(parts.keys, () => Date.now())
    this.#refused = { size: 0, rate: 0, version: 0, key: 0, proof: 0, time: 0, replay: 0, malformed: 0 }
    const nowMs = (): number => performance.now()
    this.#clients = new StreamClients(parts.keys[0], {
      answer: text => this.answer(text),
      onFailed: address => this.#input(gossip => gossip.streamFailed(address)),
      nowMs,
      traffic: parts.traffic,
    })
    this.address = formatAddress(options.advertisedHost ?? options.bind.host, this.#udp.address().port)
    this.#gossip = new Gossip({
      id: options.id,
      address: this.address,
      incarnation: Date.now(),
      random: createPrng(randomBytes(4).readUInt32LE()),
      nowMs: nowMs(),
      ...(options.seeds === undefined ? {} : { seeds: options.seeds }),
      settings: { ...options.settings, packetBytesMax: PACKET_BYTES_MAX - ENVELOPE_BYTES },
    })
    this.#udp.on('message', (packet, from) => this.#receive(packet, from))
    // A host that refuses packets is a matter of the probes.
    this.#udp.on('error', error => this.#options.log.warn({ error: error.message }, 'gossip: a packet was not sent'))
    this.#settle()
  }

  members(): Member[] {
    return this.#gossip.members()
  }

  /** What a member says now; nothing of who is not there. */
  row(id: MemberId): ReadonlyMap<string, string> | undefined {
    return this.#gossip.row(id, performance.now())
  }

  /** The same with how much longer each value holds; for those whose key begins so. */
  entries(id: MemberId, prefix: string): readonly RowEntry[] {
    return this.#gossip.entries(id, prefix, performance.now())
  }

  /** Says something to everybody. False: it exceeds a limit, and was not said. */
  set(key: string, value: string, ttlMs?: number): boolean {
    let isTaken = false
    this.#input((gossip, nowMs) => {
      const outcome = gossip.set(key, value, ttlMs === undefined ? { nowMs } : { nowMs, ttlMs })
      isTaken = outcome === 'written' || outcome === 'unchanged'
    })
    return isTaken
  }

  delete(key: string): void {
    this.#input((gossip, nowMs) => gossip.delete(key, nowMs))
  }

  setSeeds(seeds: readonly Address[]): void {
    this.#gossip.setSeeds(seeds)
  }

  status(): GossipNodeStatus {
    return {
      ...this.#gossip.status(),
      packetsSent: this.#sent,
      packetsReceived: this.#received,
      ...this.#traffic,
      packetsRefused: { ...this.#refused },
      streams: this.#clients.size,
      streamFailures: this.#clients.failures,
      strangers: this.#server.strangers,
      loopDelayMs: Math.round(this.#loopDelayMs),
      loopDelayP99Ms: Math.round(this.#loopDelayP99Ms()),
    }
  }

  /** Says goodbye to the others; resolves when they had the chance to hear it. */
  async leave(): Promise<void> {
    if (this.#isStopped) return
    const left = Promise.withResolvers<void>()
    this.#onLeft = left.resolve
    this.#input((gossip, nowMs) => gossip.leave(nowMs))
    await left.promise
  }

  /** Falls silent at once, without goodbye. */
  async stop(): Promise<void> {
    if (this.#isStopped) return
    this.#isStopped = true
    this.#onLeft?.()
    clearTimeout(this.#timer)
    this.#clients.stop()
    const closed = once(this.#udp, 'close')
    this.#udp.close()
    await Promise.all([closed, this.#server.stop()])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** Answers a frame of a peer that has proved itself. */
  private answer(text: string): readonly string[] {
    if (this.#isStopped) return []
    this.#traffic.bytesReceived += text.length
    const message = parseStreamMessage(text, this.#gossip.settings)
    let replies: string[] = []
    this.#input((gossip, nowMs) => {
      replies = gossip.receiveStream(message, nowMs).map(encodeStreamMessage)
    })
    return replies
  }

  #receive(bytes: Buffer, from: RemoteInfo): void {
    if (this.#isStopped) return
    this.#traffic.bytesReceived += bytes.length
    const opened = this.#rate.admits(from.address, performance.now())
      ? this.#envelope.open(bytes)
      : ({ refusal: 'rate' } as const)
    if ('refusal' in opened) {
      this.#refused[opened.refusal]++
      return
    }
    try {
      const packet = parsePacket(opened.body)
      this.#received++
      this.#input((gossip, nowMs) => gossip.receivePacket(packet, formatAddress(from.address, from.port), nowMs))
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error
      this.#refused.malformed++
    }
  }

  #input(what: (gossip: Gossip, nowMs: number) => void): void {
    if (this.#isStopped) return
    try {
      what(this.#gossip, performance.now())
      this.#settle()
    } catch (error) {
      // Whoever gossips can do without; nothing else may end because of it.
      this.#options.log.error({ err: error }, 'a bug: gossip ends here')
      void this.stop()
      this.#options.onFailed?.()
    }
  }

  #tick(): void {
    const nowMs = performance.now()
    // A timer of our own that fires late is the event loop's delay, measured without another timer.
    this.#loopDelayMs = Math.max(0, nowMs - this.#dueAtMs)
    this.#gossip.noteLoopDelay(this.#loopDelayMs)
    this.#delaysMs[this.#delaysCount++ % DELAYS_KEPT] = this.#loopDelayMs
    this.#dueAtMs = Number.POSITIVE_INFINITY
    this.#input((gossip, now) => gossip.tick(now))
  }

  #loopDelayP99Ms(): number {
    const sorted = this.#delaysMs.slice(0, Math.min(this.#delaysCount, DELAYS_KEPT)).sort()
    return sorted[Math.ceil(sorted.length * P99) - 1] ?? 0
  }

  #settle(): void {
    for (const effect of this.#gossip.takeEffects()) this.#carryOut(effect)
    if (this.#isStopped) return
    const atMs = this.#gossip.nextAtMs()
    if (atMs === this.#dueAtMs) return
    clearTimeout(this.#timer)
    this.#dueAtMs = atMs
    const inMs = Math.min(TIMER_MS_MAX, Math.max(1, Math.ceil(atMs - performance.now())))
    this.#timer = setTimeout(() => this.#tick(), inMs).unref()
  }

  #carryOut(effect: Effect): void {
    switch (effect.kind) {
      case 'packet': {
        const { host, port } = splitAddress(effect.to)
        this.#sent++
        const sealed = this.#envelope.seal(encodePacket(effect.packet))
        this.#traffic.bytesSent += sealed.length
        this.#udp.send(sealed, port, host, ignoreFailure)
        return
      }
      case 'stream':
        this.#clients.send(effect.to, encodeStreamMessage(effect.message))
        return
      case 'member':
        this.#options.onMember?.(effect)
        return
      case 'row':
        this.#options.onRow?.(effect.id)
        return
      case 'nameTaken':
        this.#complain(effect.address)
        return
      case 'hasLeft':
        this.#onLeft?.()
    }
  }

  #complain(address: Address): void {
    const nowMs = performance.now()
    if (nowMs - this.#complainedAtMs < COMPLAINT_GAP_MS) return
    this.#complainedAtMs = nowMs
    const { log, id } = this.#options
    log.warn({ id, address }, 'gossip: somebody else has this name, or an earlier life of it is still remembered')
  }
}

/** Who does not answer is found out by the probes; whether a packet left says little. */
function ignoreFailure(): void {}

async function bindBoth(bind: GossipNodeOptions['bind'], server: StreamServer): Promise<Socket> {
  let failure: unknown
  for (let tries = 0; tries < (bind.port === 0 ? PORT_TRIES : 1); tries++) {
    const udp = createSocket(bind.host.includes(':') ? 'udp6' : 'udp4')
    try {
      udp.bind({ address: bind.host, port: bind.port })
      await once(udp, 'listening')
      server.raw.listen(udp.address().port, bind.host)
      await once(server.raw, 'listening')
      return udp
    } catch (error) {
      failure = error
      udp.close()
    }
  }
  const where = formatAddress(bind.host, bind.port)
  const message = `Gossip cannot listen on ${where} for UDP and TCP: ${(failure as Error).message}. Choose another port.`
  throw new WaiterError(message, { code: 'GOSSIP_LISTEN', cause: failure })
}
