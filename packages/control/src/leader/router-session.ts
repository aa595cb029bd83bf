import type { RouterId, ServiceId, Term } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'
import type { ServiceLeases } from '../agent/leader-link.ts'
import { fromServiceLeases } from '../agent/wire.ts'
import type {
  AttachResponse,
  PeerRouter,
  RouterQuestion,
  ServiceAssignment,
} from '../generated/waiter/v1/coordinator.ts'

/** The sending half of a router's stream. */
export interface SessionStream {
  /** False: call `onDrain` back before writing again. */
  write(response: AttachResponse): boolean
  onDrain(callback: () => void): void
  end(): void
}

/** Where a session takes what it sends. */
export interface SessionSource {
  /** The service as this router may use it, with the version of its assignment; undefined: it is gone. */
  leasesFor(
    serviceId: ServiceId,
    routerId: RouterId,
  ): { readonly leases: ServiceLeases; readonly version: number } | undefined
  /** Other routers that lend slots. */
  peersOf(routerId: RouterId): readonly PeerRouter[]
  /** Routers that have not attached, and may be serving. */
  readonly awaitedRouterIds: readonly RouterId[]
}

/** What a router was told of a service on this stream. */
interface SentService {
  definition: ServiceDefinition
  /** The oldest assignment version that it may work from, with the stream version that carried it. */
  oldest: SentVersion
  /** Later ones, oldest first; undefined: none. */
  later: readonly SentVersion[] | undefined
}

interface SentVersion {
  readonly streamVersion: number
  readonly version: number
}

/**
 * One attached router. Remembers which services it has to be told about and tells it in batches: however many changes a
 * loop turn brings, each service travels once, and a router that reads slowly gets the newest state, not a backlog.
 */
export class RouterSession {
  readonly routerId: RouterId
  readonly nodeId: string
  readonly worker: number
  readonly httpUrl: string
  /** Where it lends slots; empty: nowhere. */
  readonly peerAddress: string
  readonly gossipAddress: string
  /** It is to be left out: it gets no slots. */
  isDraining = false
  readonly #stream: SessionStream
  readonly #source: SessionSource
  readonly #term: Term
  readonly #soon: (task: () => void) => void
  readonly #dirty = new Set<ServiceId>()
  readonly #sent = new Map<ServiceId, SentService>()
  /** Routers that this one must hear of, those that are dead, and which of these travelled with which version. */
  readonly #freshPeers = new Set<RouterId>()
  readonly #deadPeers = new Set<RouterId>()
  #deathsSent: { readonly streamVersion: number; readonly routerId: RouterId }[] = []
  #streamVersion = 0
  #isFull = true
  #isStranger = false
  #isFlushDue = false
  #isBlocked = false
  #isAllowed = false
  #isClosed = false

  constructor(options: {
    readonly routerId: RouterId
    readonly nodeId: string
    readonly worker: number
    readonly httpUrl: string
    readonly peerAddress: string
    readonly gossipAddress: string
    readonly stream: SessionStream
    readonly source: SessionSource
    readonly term: Term
    /** Runs a task at the end of the turn. */
    readonly soon: (task: () => void) => void
  }) {
    this.routerId = options.routerId
    this.nodeId = options.nodeId
    this.worker = options.worker
    this.httpUrl = options.httpUrl
    this.peerAddress = options.peerAddress
    this.gossipAddress = options.gossipAddress
    this.#stream = options.stream
    this.#source = options.source
    this.#term = options.term
    this.#soon = options.soon
  }

  /** The router must hear of this service (again). */
  markDirty(serviceId: ServiceId): void {
    this.#dirty.add(serviceId)
    this.#scheduleFlush()
  }

  /** Another router came, or came back: whoever was told that it is dead has not heard of its next death. */
  markPeer(routerId: RouterId): void {
    this.#deadPeers.delete(routerId)
    this.#deathsSent = this.#deathsSent.filter(sent => sent.routerId !== routerId)
    this.#freshPeers.add(routerId)
    this.#scheduleFlush()
  }

  /** Another router is dead; `heardDeaths` says when this one knows. */
  markDead(routerId: RouterId): void {
    this.#freshPeers.delete(routerId)
    this.#deadPeers.add(routerId)
    this.#scheduleFlush()
  }

  /** Dead routers that this one knows of, given the stream version that it acknowledged; each is listed once. */
  heardDeaths(streamVersion: number): readonly RouterId[] {
    if (this.#deathsSent.length === 0) return []
    const heard = this.#deathsSent.filter(sent => sent.streamVersion <= streamVersion)
    this.#deathsSent = this.#deathsSent.filter(sent => sent.streamVersion > streamVersion)
    return heard.map(({ routerId }) => routerId)
  }

  /** The service is gone: a new one of the same id counts its assignment versions anew. */
  forget(serviceId: ServiceId): void {
    this.#sent.delete(serviceId)
    this.markDirty(serviceId)
  }

  begin(leaderId: string): void {
    this.#stream.write({ message: { $case: 'welcome', value: { term: this.#term, leaderId } } })
  }

  /**
   * The router may be told of slots. Sends the first, full assignment even when there is nothing to assign.
   *
   * @param isStranger it may have been given up before: it hears of the others only after it has ended everything with them
   */
  allow(isStranger = false): void {
    this.#isAllowed = true
    this.#isStranger = isStranger
    this.#scheduleFlush()
  }

  /**
   * Which assignment version of a service the router works from, given the stream version that it acknowledged.
   * Undefined: none was sent.
   */
  acknowledgedVersion(serviceId: ServiceId, streamVersion: number): number | undefined {
    const sent = this.#sent.get(serviceId)
    if (sent === undefined) return undefined
    while (sent.later !== undefined && sent.later[0]!.streamVersion <= streamVersion) {
      sent.oldest = sent.later[0]!
      sent.later = sent.later.length === 1 ? undefined : sent.later.slice(1)
    }
    return sent.oldest.streamVersion <= streamVersion ? sent.oldest.version : undefined
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  ask(question: RouterQuestion): void {
    if (!this.#isClosed) this.#stream.write({ message: { $case: 'question', value: question } })
  }

  close(): void {
    this.#isClosed = true
    this.#stream.end()
  }

  #scheduleFlush(): void {
    if (this.#isFlushDue || this.#isBlocked || this.#isClosed || !this.#isAllowed) return
    this.#isFlushDue = true
    this.#soon(() => {
      this.#isFlushDue = false
      this.#flush()
    })
  }

  get #hasNews(): boolean {
    return this.#isFull || this.#dirty.size + this.#freshPeers.size + this.#deadPeers.size > 0
  }

  #flush(): void {
    if (this.#isClosed || !this.#hasNews) return
    this.#streamVersion += 1
    const upserts: ServiceAssignment[] = []
    const removals: ServiceId[] = []
    for (const serviceId of this.#dirty) {
      const found = this.#source.leasesFor(serviceId, this.routerId)
      if (found === undefined) {
        removals.push(serviceId)
        this.#sent.delete(serviceId)
        continue
      }
      const { leases, version } = found
      const sent = this.#sent.get(serviceId)
      upserts.push(fromServiceLeases(leases, sent?.definition === leases.definition))
      if (sent === undefined) {
        const oldest = { streamVersion: this.#streamVersion, version }
        this.#sent.set(serviceId, { definition: leases.definition, oldest, later: undefined })
        continue
      }
      sent.definition = leases.definition
      this.#noteVersion(sent, version)
    }
    this.#dirty.clear()
    const isFull = this.#isFull
    this.#isFull = false
    const isAlone = isFull && this.#isStranger
    const known = isFull || this.#freshPeers.size > 0 ? this.#source.peersOf(this.routerId) : []
    const peers = known.filter(peer => !isAlone && (isFull || this.#freshPeers.has(peer.routerId)))
    const deadRouterIds = [...this.#deadPeers]
    for (const routerId of deadRouterIds) this.#deathsSent.push({ streamVersion: this.#streamVersion, routerId })
    this.#freshPeers.clear()
    this.#deadPeers.clear()
    if (isAlone) for (const { routerId } of known) this.markPeer(routerId)
    const value = {
      term: this.#term,
      version: this.#streamVersion,
      full: isFull,
      upserts,
      removals,
      peers,
      deadRouterIds,
      awaitedRouterIds: isFull && !isAlone ? [...this.#source.awaitedRouterIds] : [],
      namesAllRouters: isFull,
    }
    if (this.#stream.write({ message: { $case: 'assignment', value } })) return
    this.#isBlocked = true
    this.#stream.onDrain(() => {
      this.#isBlocked = false
      if (this.#hasNews) this.#scheduleFlush()
    })
  }

  /** Of one assignment version, the first stream version that carried it is enough to know. */
  #noteVersion(sent: SentService, version: number): void {
    if ((sent.later?.at(-1) ?? sent.oldest).version === version) return
    sent.later = [...(sent.later ?? []), { streamVersion: this.#streamVersion, version }]
  }
}
