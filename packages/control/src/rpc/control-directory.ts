import type { ClientReadableStream } from '@grpc/grpc-js'
import type { Logger, Term } from '@waiter/base'
import { type MonotonicClock, systemClock } from '../clock.ts'
import type { ClusterServiceClient, MemberAddress, WatchLeaderResponse } from '../generated/waiter/v1/cluster.ts'
import type { RpcClients } from './clients.ts'
import type { ControlLocator } from './control-locator.ts'

/** A lost watch is opened anew after this, doubling up to the maximum. */
const RETRY_MS_FIRST = 20
const RETRY_MS_MAX = 500

/** A control node that can be called. */
export interface ControlAddress {
  readonly nodeId: string
  /** `host:port` */
  readonly address: string
}

/** Who leads. */
export interface KnownLeader {
  readonly term: Term
  readonly leaderId: string
  readonly address: string
}

export interface ControlDirectoryOptions {
  readonly controls: readonly ControlAddress[]
  /** The control nodes say where all of them are. */
  readonly onMembers?: (members: readonly MemberAddress[], version: number) => void
  readonly clients: Pick<RpcClients, 'cluster'>
  readonly clock?: MonotonicClock
  readonly log: Logger
}

/**
 * Knows who leads by listening to all control nodes: the others tell of a new leader while a router may still wait for
 * an old one that hangs. Terms only grow.
 */
export class ControlDirectory implements ControlLocator {
  readonly #options: Omit<ControlDirectoryOptions, 'controls'>
  readonly #watches = new Map<string, ControlWatch>()
  readonly #listeners = new Set<() => void>()
  #known: KnownLeader | undefined
  /** What the node was told itself, and what the control nodes say of each other. */
  #told: readonly ControlAddress[] = []
  #heard: readonly ControlAddress[] = []
  #heardVersion = 0
  #isClosed = false

  constructor({ controls, ...options }: ControlDirectoryOptions) {
    this.#options = options
    this.setControls(controls)
  }

  get known(): KnownLeader | undefined {
    return this.#known
  }

  get hasOthers(): boolean {
    return this.#watches.size > 1
  }

  leader(): string | undefined {
    return this.#known?.address
  }

  any(): string {
    const leader = this.#known?.address
    if (leader !== undefined && this.#watches.get(leader)?.isUp) return leader
    for (const [address, watch] of this.#watches) if (watch.isUp) return address
    // Nobody answers: whoever is asked says so.
    const [first] = this.#watches.keys()
    return leader ?? first ?? ''
  }

  onLeader(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** A control node came back at another address, or others belong to the group now. */
  setControls(controls: readonly ControlAddress[]): void {
    this.#told = controls
    this.#followAll()
  }

  #followAll(): void {
    if (this.#isClosed) return
    const wanted = new Set([...this.#told, ...this.#heard].map(({ address }) => address))
    for (const [address, watch] of this.#watches) {
      if (wanted.has(address)) continue
      watch.close()
      this.#watches.delete(address)
    }
    for (const address of wanted) {
      if (!this.#watches.has(address)) this.#watches.set(address, this.#watch(address))
    }
  }

  close(): void {
    this.#isClosed = true
    for (const watch of this.#watches.values()) watch.close()
    this.#watches.clear()
    this.#listeners.clear()
  }

  #watch(address: string): ControlWatch {
    const { clients, clock = systemClock } = this.#options
    return new ControlWatch(clients.cluster(address), clock, news => this.#onNews(news))
  }

  #onMembers(members: readonly MemberAddress[], version: number): void {
    if (version <= this.#heardVersion) return
    this.#heardVersion = version
    this.#heard = members.flatMap(({ nodeId, grpc }) => (grpc === '' ? [] : [{ nodeId, address: grpc }]))
    this.#options.onMembers?.(members, version)
    this.#followAll()
  }

  #onNews({ term, leaderId, address, members, membersVersion }: WatchLeaderResponse): void {
    this.#onMembers(members, membersVersion)
    if (leaderId === '' || address === '' || term < (this.#known?.term ?? 0)) return
    const isSame = this.#known?.term === term && this.#known.address === address
    if (isSame) return
    this.#known = { term, leaderId, address }
    this.#options.log.debug({ term, leaderId, address }, 'a control node says who leads')
    for (const listener of [...this.#listeners]) listener()
  }
}

/** Listens to one control node, again and again. */
class ControlWatch {
  readonly #client: ClusterServiceClient
  readonly #clock: MonotonicClock
  readonly #onNews: (news: WatchLeaderResponse) => void
  #stream: ClientReadableStream<WatchLeaderResponse> | undefined
  #retryMs = RETRY_MS_FIRST
  #cancelRetry: () => void = () => undefined
  #isClosed = false
  /** It has said something, and the connection has not broken since. */
  isUp = false

  constructor(client: ClusterServiceClient, clock: MonotonicClock, onNews: (news: WatchLeaderResponse) => void) {
    this.#client = client
    this.#clock = clock
    this.#onNews = onNews
    this.#open()
  }

  close(): void {
    this.#isClosed = true
    this.isUp = false
    this.#cancelRetry()
    this.#stream?.cancel()
    this.#client.close()
  }

  #open(): void {
    const stream = this.#client.watchLeader({})
    this.#stream = stream
    stream.on('data', (news: WatchLeaderResponse) => {
      this.isUp = true
      this.#retryMs = RETRY_MS_FIRST
      if (!this.#isClosed) this.#onNews(news)
    })
    stream.on('error', () => this.#onLost(stream))
    stream.on('end', () => this.#onLost(stream))
  }

  #onLost(stream: ClientReadableStream<WatchLeaderResponse>): void {
    if (stream !== this.#stream || this.#isClosed) return
    this.#stream = undefined
    this.isUp = false
    this.#cancelRetry = this.#clock.schedule(this.#retryMs, () => this.#open())
    this.#retryMs = Math.min(RETRY_MS_MAX, this.#retryMs * 2)
  }
}
