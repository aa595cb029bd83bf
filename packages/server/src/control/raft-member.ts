import { hkdfSync } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type Logger, WaiterError } from '@waiter/base'
import {
  type ClusterCalls,
  type ClusterMember,
  type ClusterNode,
  formatAddress,
  type LeaderNews,
  type MemberAddress,
  type MembersView,
  notLeader,
  parseAddress,
} from '@waiter/control'
import { openRaftStore, type RaftStore } from '@waiter/store'
import { NONE, type NodeId } from 'raft-ts'
import { createIntervalTicker, openWal, RaftNodeError, TcpTransport } from 'raft-ts/node'
import { readFirstState } from '../members/import-journal.ts'
import type { Bind, RaftStart } from '../process/messages.ts'
import { VERSION } from '../version.ts'
import { AddressBook } from './address-book.ts'
import { MemberRecords, toAddress } from './member-records.ts'
import { Silence } from './silence.ts'

/**
 * Heartbeats every 200 ms, a tick each, and a new leader after 400 to 1,000 ms without: a process may pause for some 400 ms
 * without losing the leadership. Each tick wakes three processes for some 100 µs: half the time that an idle node takes. A leader
 * whose process ends is not waited for (raft-ts, E10).
 */
const TICK_MS = 200
const RAFT = { electionTicks: 3, heartbeatTicks: 1 }
/** The first leader of a group that has just started need not wait for anybody to be missed. */
const FIRST_CAMPAIGN_EVERY_MS = 100
const FIRST_CAMPAIGNS_MAX = 20
const KEY_BYTES = 32
/** An election takes no longer. */
const HAND_OVER_MS = 1_000
/** Longer than an election time-out, after which a leader counts anew whom it hears, and a heartbeat. */
const LISTEN_LOOKS = RAFT.electionTicks + RAFT.heartbeatTicks + 1

export interface RaftMemberOptions {
  readonly nodeId: string
  readonly raft: RaftStart
  readonly bind: Bind & { readonly advertise: string }
  readonly secret: string
  readonly calls: ClusterCalls
  readonly log: Logger
}

/** What a member does itself; who comes and goes is seen to elsewhere. */
type MemberNode = Omit<ClusterNode, 'join' | 'announce' | 'leave' | 'members'>

/** This process as a member of the group of control nodes: its store, whom it knows, and who leads. */
export class RaftMember implements MemberNode {
  readonly store: RaftStore
  /** `host:port` where the others reach it. */
  readonly address: string
  readonly #options: RaftMemberOptions
  readonly #transport: TcpTransport
  readonly #listeners = new Set<() => void>()
  readonly #memberListeners = new Set<() => void>()
  /** Where the transport was told that the others are. */
  readonly #transportTold = new Map<NodeId, string>()
  /** Where all members are, and what the store says of them. */
  readonly book: AddressBook
  readonly records: MemberRecords
  /** Of the others, while this node leads. */
  readonly silence: Silence = new Silence()
  /** What members said that they run, when they announced themselves here. */
  readonly releases: Map<NodeId, string> = new Map()
  readonly #following: Promise<void>
  #isIntroduced = false
  #campaign: NodeJS.Timeout | undefined

  private constructor(
    options: RaftMemberOptions,
    parts: { store: RaftStore; transport: TcpTransport; book: AddressBook },
  ) {
    this.#options = options
    this.store = parts.store
    this.#transport = parts.transport
    this.book = parts.book
    this.records = new MemberRecords(parts.store, () => this.#onRecords(), options.log)
    this.#following = this.records.run()
    this.address = formatAddress(options.bind.advertise, parts.transport.port)
    this.store.node.subscribe(event => {
      if (event.kind === 'leaderChanged') this.#tell()
    })
  }

  /** Opens the log and takes part, as far as it knows the others. */
  static async open(options: RaftMemberOptions): Promise<RaftMember> {
    const { raft, bind, secret, calls, log } = options
    const storage = await openWal({ directory: raft.directory, log })
    const transport = await bindTransport(raft, bind, secret, log)
    const isEmpty = storage.snapshot === undefined && storage.reader.lastIndex() === 0
    const isFounding = isEmpty && raft.firstMembers.includes(raft.id)
    const book = new AddressBook()
    const store = await openRaftStore({
      id: raft.id,
      storage,
      transport,
      ...(isFounding ? { bootstrap: raft.firstMembers, bootstrapTerm: raft.firstTerm } : {}),
      first: isFounding && raft.firstStateFile !== undefined ? readFirstState(raft.firstStateFile) : undefined,
      raft: RAFT,
      ticker: createIntervalTicker(TICK_MS),
      forward: async (leader, command, timeoutMs) => {
        const address = book.get(leader)?.grpc
        if (address !== undefined) return await calls.propose(address, command, timeoutMs)
        return { kind: 'failed', mayHaveHappened: false, leader: 0, why: `where member ${leader} is, is not known yet` }
      },
      log,
    })
    return new RaftMember(options, { store, transport, book })
  }

  /** Tells where members are: those of this host, this one included, and what is known of others. */
  setPeers(members: readonly MemberAddress[]): void {
    this.hear(members)
    if (this.#isIntroduced) return
    this.#isIntroduced = true
    this.#hastenFirstElection()
  }

  /** Somebody tells where members are. */
  hear(members: readonly MemberAddress[]): void {
    if (this.book.hear(members)) this.#onBook()
  }

  /** Calls the listener when members come, go or are elsewhere. @returns what ends that */
  onMembersChange(listener: () => void): () => void {
    this.#memberListeners.add(listener)
    return () => this.#memberListeners.delete(listener)
  }

  leaderNews(): LeaderNews {
    const { node } = this.store
    const term = node.status().hardState.term
    const leader = this.book.get(node.leader)
    const where = { members: this.records.version === 0 ? [] : this.book.all, membersVersion: this.records.version }
    return leader === undefined
      ? { term, leaderId: '', address: '', ...where }
      : { term, leaderId: leader.nodeId, address: leader.grpc, ...where }
  }

  onLeaderNews(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async propose(command: Uint8Array, timeoutMs: number): ReturnType<ClusterNode['propose']> {
    return await this.store.propose(command, timeoutMs)
  }

  /** Where the members of the group are; empty texts: not known yet. */
  places(): readonly { readonly hostId: string; readonly address: string }[] {
    const { voters, votersOutgoing, learners, learnersNext } = this.store.node.conf
    const ids = new Set([...voters, ...votersOutgoing, ...learners, ...learnersNext])
    return [...ids].map(id => {
      const { hostId = '', grpc: address = '' } = this.book.get(id) ?? {}
      return { hostId, address }
    })
  }

  /** Hosts that are to leave, with all their control nodes. */
  leavingHosts(): readonly string[] {
    const byHost = Map.groupBy(this.records.all, ({ record }) => record.host)
    return [...byHost].flatMap(([host, all]) => (all.every(({ record }) => record.state === 'leaving') ? [host] : []))
  }

  async members(): Promise<Omit<MembersView, 'hosts' | 'routers'>> {
    const { node } = this.store
    const heard = await this.whoIsHeard()
    const nowMs = performance.now()
    const { hardState, progress, applied } = node.status()
    const { term, leaderId } = this.leaderNews()
    const { voters, votersOutgoing, learners, learnersNext } = node.conf
    const ids = [...new Set([...voters, ...votersOutgoing, ...learners, ...learnersNext])].sort((a, b) => a - b)
    const members = ids.map((id): ClusterMember => {
      const known = progress.find(row => row.id === id)
      return {
        id,
        nodeId: this.book.get(id)?.nodeId ?? '',
        hostId: this.book.get(id)?.hostId ?? '',
        address: this.book.get(id)?.grpc ?? '',
        role: voters.includes(id) ? 'voter' : votersOutgoing.includes(id) ? 'leaving' : 'learner',
        leads: id === node.leader,
        matchIndex: known?.match ?? 0,
        active: known !== undefined && heard.has(id),
        release: id === node.id ? VERSION : (this.releases.get(id) ?? this.records.get(id)?.record.release ?? ''),
        silentMs: known === undefined || heard.has(id) ? 0 : Math.round(this.silence.ofMember(id, nowMs)),
        isLeaving: this.records.get(id)?.record.state === 'leaving',
      }
    })
    const { nodeId } = this.#options
    return { nodeId, term, leaderId, members, commitIndex: hardState.commit, appliedIndex: applied }
  }

  /** Whom this leader hears, itself included. After each election time-out it begins anew: one look is not enough. */
  async whoIsHeard(): Promise<ReadonlySet<NodeId>> {
    const { node } = this.store
    const heard = new Set<NodeId>([node.id])
    for (let look = 0; look < LISTEN_LOOKS; look++) {
      const { progress } = node.status()
      for (const { id, isRecentlyActive } of progress) if (isRecentlyActive) heard.add(id)
      if (progress.every(({ id }) => heard.has(id))) break
      await delay(TICK_MS)
    }
    return heard
  }

  async transferLeader(nodeId: string): Promise<void> {
    const { node } = this.store
    if (node.role !== 'leader') throw notLeader(this.leaderNews().leaderId)
    const target = this.book.all.find(peer => peer.nodeId === nodeId && node.conf.voters.includes(peer.id))
    if (target === undefined)
      throw new WaiterError(`${nodeId} is no voting control node; see /cluster/members`, {
        code: 'WTR_NO_SUCH_MEMBER',
        status: 404,
      })
    const TRANSFER_MS = 3_000
    try {
      await node.transferLeader(target.id, { timeoutMs: TRANSFER_MS })
    } catch (error) {
      if (!(error instanceof RaftNodeError)) throw error
      throw new WaiterError(`${nodeId} did not take the leadership over: ${error.message}`, {
        code: 'WTR_NOT_TRANSFERRED',
        status: 503,
        retryable: true,
        cause: error,
      })
    }
  }

  /**
   * Lets a voter of another host lead, if this node does, before this one ends: nobody has to notice that it is gone.
   *
   * @returns whether another one leads
   */
  async handOver(): Promise<boolean> {
    const { node } = this.store
    const own = this.#options.raft.id
    if (node.role !== 'leader') return false
    const hostId = this.book.get(own)?.hostId
    const heirs = node
      .status()
      .progress.filter(({ id, isRecentlyActive }) => id !== own && isRecentlyActive && node.conf.voters.includes(id))
      .filter(({ id }) => this.book.get(id)?.hostId !== hostId)
    const heir = heirs.toSorted((a, b) => b.match - a.match)[0]
    if (heir === undefined) return false
    try {
      await node.transferLeader(heir.id, { timeoutMs: HAND_OVER_MS })
      return true
    } catch (error) {
      this.#options.log.info({ err: error, heir: heir.id }, 'the leadership could not be handed over')
      return false
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#campaign)
    this.records.stop()
    await this.store.close()
    await this.#following
  }

  #onRecords(): void {
    this.book.setRecorded(this.records.all.map(toAddress))
    for (const id of this.releases.keys()) if (this.records.get(id) === undefined) this.releases.delete(id)
    this.#onBook()
  }

  #onBook(): void {
    for (const { id, raft } of this.book.all) {
      if (id === this.#options.raft.id || raft === '' || this.#transportTold.get(id) === raft) continue
      this.#transportTold.set(id, raft)
      this.#tellTransport(id, raft)
    }
    for (const listener of [...this.#memberListeners]) listener()
    this.#tell()
  }

  #tellTransport(id: NodeId, raft: string): void {
    const address = parseAddress(raft)
    if (address !== undefined) this.#transport.setPeer(id, address)
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener()
  }

  /** One of them asks the others at once. Where somebody leads already, the others refuse, and nothing is disturbed. */
  #hastenFirstElection(): void {
    const { node } = this.store
    if (Math.min(...node.conf.voters) !== node.id) return
    let campaigns = 0
    const campaign = (): void => {
      if (node.leader !== NONE || ++campaigns > FIRST_CAMPAIGNS_MAX) clearInterval(this.#campaign)
      else node.campaign()
    }
    this.#campaign = setInterval(campaign, FIRST_CAMPAIGN_EVERY_MS)
    campaign()
  }
}

/** On the port it had before, if nobody has taken that meanwhile; a fixed one must be free. */
async function bindTransport(raft: RaftStart, bind: Bind, secret: string, log: Logger): Promise<TcpTransport> {
  const key = Buffer.from(hkdfSync('sha256', secret, 'waiter', 'raft-transport v1', KEY_BYTES))
  const open = async (port: number): Promise<TcpTransport> => {
    const transport = new TcpTransport({
      id: raft.id,
      group: raft.group,
      security: { kind: 'sharedKey', key },
      listen: { host: bind.host, port },
      log,
    })
    await transport.listen()
    return transport
  }
  if (bind.port === 0) return await open(0)
  try {
    return await open(bind.port)
  } catch (error) {
    if (bind.isFixed === true) throw portTaken(bind, error)
    log.warn({ err: error, port: bind.port }, 'the former port is taken; another one is used')
    return await open(0)
  }
}

function portTaken({ host, port }: Bind, cause: unknown): WaiterError {
  return new WaiterError(
    `cannot listen for control nodes on ${formatAddress(host, port)}: is the port in use, and the address ours? Choose ` +
      'others with cluster-config.port and cluster-config.host',
    { code: 'WTR_LISTEN_FAILED', cause },
  )
}
