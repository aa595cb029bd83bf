import type { Prng } from '@waiter/base'
import type { SimProcess, SimTime } from './sim-time.ts'

/** gRPC's keep-alive finds a silent peer after this, at the earliest and at the latest. */
const SILENCE_MS_MIN = 1_500
const SILENCE_MS_MAX = 6_000
/** An attempt to connect to who does not answer fails after this. */
const CONNECT_TIMEOUT_MS = 1_000
/** How often what could not be delivered is tried again, as TCP would. */
const RETRANSMIT_MS = 100

export type Handler = (...values: never[]) => void

/** As much of an event emitter as the streams of gRPC are used for. */
class Emitter {
  readonly #handlers = new Map<string, Handler[]>()

  on(event: string, handler: Handler): this {
    this.#handlers.set(event, [...(this.#handlers.get(event) ?? []), handler])
    return this
  }

  once(event: string, handler: Handler): this {
    return this.on(event, handler)
  }

  fire(event: string, value?: unknown): void {
    for (const handler of this.#handlers.get(event) ?? []) (handler as (given: unknown) => void)(value)
  }
}

/** How messages of one kind of stream become bytes, so that nobody shares an object with somebody far away. */
export interface Codec {
  request(message: unknown): unknown
  response(message: unknown): unknown
}

/** May replace, drop or multiply what one end says: planted bugs. */
export type Tamper = (message: unknown) => readonly unknown[]

/** The calling end of a stream, as `ClientDuplexStream` and `ClientReadableStream` are used. */
export class ClientEnd extends Emitter {
  readonly writableLength = 0
  readonly #stream: SimStream

  constructor(stream: SimStream) {
    super()
    this.#stream = stream
  }

  write(message: unknown): boolean {
    this.#stream.toServer(message)
    return true
  }

  end(): void {
    this.#stream.clientEnds()
  }

  cancel(): void {
    this.#stream.cancel()
  }
}

/** The answering end, as `ServerDuplexStream` and `ServerWritableStream` are used. */
export class ServerEnd extends Emitter {
  readonly #stream: SimStream

  constructor(stream: SimStream) {
    super()
    this.#stream = stream
  }

  write(message: unknown): boolean {
    this.#stream.toClient(message)
    return true
  }

  end(): void {
    this.#stream.serverEnds(undefined)
  }

  emit(event: string, error: unknown): boolean {
    this.fire(event, error)
    this.#stream.serverEnds(error)
    return true
  }
}

interface Way {
  readonly queue: { readonly dueMs: number; readonly run: () => void }[]
  isMoving: boolean
  dueMs: number
}

/** One stream between two processes: in order, never lost, unless the whole stream breaks. */
class SimStream {
  readonly client: SimProcess
  readonly server: SimProcess
  readonly clientEnd: ClientEnd = new ClientEnd(this)
  readonly serverEnd: ServerEnd = new ServerEnd(this)
  readonly #network: SimNetwork
  readonly #codec: Codec
  readonly #up: Way = { queue: [], isMoving: false, dueMs: 0 }
  readonly #down: Way = { queue: [], isMoving: false, dueMs: 0 }
  /** The term of who answers; known once the caller has introduced itself. */
  leaderTerm = 0
  /** The newest assignment that arrived. */
  arrivedVersion = 0
  #isClientOver = false
  #isServerOver = false
  tamperUp: Tamper = message => [message]
  tamperDown: Tamper = message => [message]

  constructor(network: SimNetwork, client: SimProcess, server: SimProcess, codec: Codec) {
    this.#network = network
    this.client = client
    this.server = server
    this.#codec = codec
  }

  get isOver(): boolean {
    return this.#isClientOver && this.#isServerOver
  }

  toServer(message: unknown): void {
    if (this.#isClientOver) return
    for (const each of this.tamperUp(message)) {
      const copy = this.#codec.request(each)
      this.#send('up', () => {
        this.#network.time.note(() => [this.client.name, this.server.name, copy])
        if (!this.#isServerOver) this.serverEnd.fire('data', copy)
      })
    }
  }

  /** A message that the client never sent: only planted bugs do that. */
  forgeUp(message: unknown): void {
    const copy = this.#codec.request(message)
    this.#send('up', () => {
      if (!this.#isServerOver) this.serverEnd.fire('data', copy)
    })
  }

  toClient(message: unknown): void {
    if (this.#isServerOver) return
    for (const each of this.tamperDown(message)) {
      const copy = this.#codec.response(each)
      this.#send('down', () => {
        this.#network.time.note(() => [this.server.name, this.client.name, copy])
        if (!this.#isClientOver) this.clientEnd.fire('data', copy)
      })
    }
  }

  clientEnds(): void {
    this.#send('up', () => {
      if (!this.#isServerOver) this.serverEnd.fire('end')
    })
  }

  serverEnds(error: unknown): void {
    if (this.#isServerOver) return
    this.#isServerOver = true
    this.#send('down', () => this.#clientLost(error))
  }

  cancel(): void {
    if (this.#isClientOver) return
    this.client.clock.soon(() => this.#clientLost(new Error('cancelled')))
    this.#send('up', () => this.#serverLost())
  }

  /** Both sides learn that it is broken, each when its keep-alive says so. */
  break(afterMs: () => number): void {
    this.#network.time.after(afterMs(), () => this.client.run(() => this.#clientLost(new Error('the stream broke'))))
    this.#network.time.after(afterMs(), () => this.server.run(() => this.#serverLost()))
  }

  #clientLost(error: unknown): void {
    if (this.#isClientOver) return
    this.#isClientOver = true
    this.#up.queue.length = 0
    if (error === undefined) this.clientEnd.fire('end')
    else this.clientEnd.fire('error', error)
  }

  #serverLost(): void {
    if (this.#isServerOver) return
    this.#isServerOver = true
    this.#down.queue.length = 0
    this.serverEnd.fire('cancelled')
  }

  #send(direction: 'up' | 'down', run: () => void): void {
    const way = direction === 'up' ? this.#up : this.#down
    way.dueMs = Math.max(way.dueMs, this.#network.time.nowMs + this.#network.latencyMs())
    way.queue.push({ dueMs: way.dueMs, run })
    if (!way.isMoving) this.#move(direction, way)
  }

  #move(direction: 'up' | 'down', way: Way): void {
    const { time } = this.#network
    const [next] = way.queue
    way.isMoving = next !== undefined
    if (next === undefined) return
    const [from, to] = direction === 'up' ? [this.client, this.server] : [this.server, this.client]
    time.after(next.dueMs - time.nowMs, () => {
      const isHeld = this.#network.isCut(from.host, to.host)
      if (!isHeld && way.queue[0] === next) {
        way.queue.shift()
        to.run(next.run)
      }
      if (isHeld) time.after(RETRANSMIT_MS, () => this.#move(direction, way))
      else this.#move(direction, way)
    })
  }
}

/** Who can be called at an address. */
export interface Listener {
  readonly process: SimProcess
  serve(kind: string, call: ServerEnd, stream: SimStream): void
}

/** Hosts, what cuts them off from each other, and the streams between their processes. */
export class SimNetwork {
  readonly time: SimTime
  readonly #random: Prng
  readonly #listeners = new Map<string, Listener>()
  readonly #cuts = new Set<string>()
  #streams: SimStream[] = []
  /** Extra delay of everything, for a while. */
  slownessMs = 0
  lossPerMille = 0
  /** When a link was disturbed last, by pair of hosts. */
  readonly #disturbedAtMs = new Map<string, number>()

  constructor(time: SimTime, random: Prng) {
    this.time = time
    this.#random = random
  }

  listen(address: string, listener: Listener): void {
    this.#listeners.set(address, listener)
  }

  latencyMs(): number {
    const LATENCY_MS_MAX = 4
    return 1 + this.#random.below(LATENCY_MS_MAX) + (this.slownessMs > 0 ? this.#random.below(this.slownessMs) : 0)
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.has(`${from}>${to}`)
  }

  /** One datagram; it may be lost. */
  send(from: SimProcess, to: SimProcess, deliver: () => void): void {
    if (this.#random.below(1000) < this.lossPerMille) return
    this.time.after(this.latencyMs(), () => {
      if (this.isCut(from.host, to.host)) return
      this.time.note(() => [from.name, to.name])
      to.run(deliver)
    })
  }

  connect(client: SimProcess, address: string, kind: string, codec: Codec): SimStream {
    const listener = this.#listeners.get(address)
    const server = listener?.process ?? client
    const stream = new SimStream(this, client, server, codec)
    const isDead = listener === undefined || !listener.process.isAlive
    const isCut = this.isCut(client.host, server.host) || this.isCut(server.host, client.host)
    if (isCut || isDead) {
      const delayMs = isCut ? CONNECT_TIMEOUT_MS : this.latencyMs()
      stream.break(() => delayMs)
      return stream
    }
    this.#streams.push(stream)
    listener.serve(kind, stream.serverEnd, stream)
    return stream
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`)
    this.#disturb(from, to)
    const isHit = ({ client, server }: SimStream): boolean =>
      (client.host === from && server.host === to) || (client.host === to && server.host === from)
    for (const stream of this.#open()) if (isHit(stream)) this.#breakIfSilent(stream)
  }

  heal(from: string, to: string): void {
    this.#cuts.delete(`${from}>${to}`)
    this.#disturb(from, to)
  }

  healAll(): void {
    for (const cut of [...this.#cuts]) {
      const [from = '', to = ''] = cut.split('>')
      this.heal(from, to)
    }
    this.slownessMs = 0
    this.lossPerMille = 0
  }

  /** The process ended: its streams break at once, as far as the others can be told. */
  ended(process: SimProcess): void {
    for (const stream of this.#open()) {
      if (stream.client !== process && stream.server !== process) continue
      const isCut =
        this.isCut(stream.client.host, stream.server.host) || this.isCut(stream.server.host, stream.client.host)
      stream.break(() => (isCut ? this.#silenceMs() : this.latencyMs()))
    }
  }

  /** Whoever is paused does not answer pings either. */
  paused(process: SimProcess): void {
    for (const stream of this.#open())
      if (stream.client === process || stream.server === process) this.#breakIfSilent(stream)
  }

  /** One stream breaks: what was under way on it is lost. */
  breakOne(): void {
    const open = this.#open()
    open[this.#random.below(Math.max(1, open.length))]?.break(() => this.latencyMs())
  }

  /** For how long nothing was wrong between two hosts. */
  undisturbedMs(one: string, other: string): number {
    if (this.isCut(one, other) || this.isCut(other, one)) return 0
    return this.time.nowMs - (this.#disturbedAtMs.get(pairOf(one, other)) ?? 0)
  }

  #disturb(from: string, to: string): void {
    this.#disturbedAtMs.set(pairOf(from, to), this.time.nowMs)
  }

  #silenceMs(): number {
    return SILENCE_MS_MIN + this.#random.below(SILENCE_MS_MAX - SILENCE_MS_MIN)
  }

  #breakIfSilent(stream: SimStream): void {
    const { client, server } = stream
    this.time.after(this.#silenceMs(), () => {
      const isCut = this.isCut(client.host, server.host) || this.isCut(server.host, client.host)
      if (isCut || client.isPaused || server.isPaused) stream.break(() => this.latencyMs())
    })
  }

  #open(): SimStream[] {
    this.#streams = this.#streams.filter(stream => !stream.isOver)
    return this.#streams
  }
}

export type { SimStream }

function pairOf(one: string, other: string): string {
  return one < other ? `${one} ${other}` : `${other} ${one}`
}
