import { createPrng } from '@waiter/base'
import { encodeCommand, type KeyValueResult, type NodeId } from '../../../src/index.ts'
import {
  KeyValueStateMachine,
  openWal,
  RaftNode,
  type RaftNodeEvent,
  type RaftNodeLimits,
  type RaftNodeOptions,
  type Ticker,
} from '../../../src/node/index.ts'
import { FaultDisk } from './fault-disk.ts'
import { MemoryNetwork } from './memory-network.ts'

const TICK_MS = 100
/** More turns than any single exchange takes. */
const QUIET_TURNS = 4
/** A cluster that is not quiet by then never will be. */
const TURNS_MAX = 20_000
const TICKS_MAX = 400

/** A node with everything around it. */
export interface Member {
  readonly id: NodeId
  readonly disk: FaultDisk
  machine: KeyValueStateMachine
  /** undefined while it is down. */
  node: RaftNode<KeyValueResult> | undefined
  readonly events: RaftNodeEvent[]
  tick: () => void
  /** Grows with every start. */
  life: number
}

/** How a cluster differs from the usual one. */
export interface ClusterOptions {
  readonly ids?: readonly NodeId[]
  readonly limits?: Partial<RaftNodeLimits>
  readonly segmentBytesMax?: number
  readonly bootstrapTerm?: number
  readonly raft?: RaftNodeOptions<KeyValueResult>['raft']
  /** What the nodes find when they start; empty ones otherwise. */
  readonly disks?: ReadonlyMap<NodeId, FaultDisk>
}

/** Nodes in one process over a network and disks in memory; time passes when the test ticks. */
export class TestCluster {
  readonly network = new MemoryNetwork()
  readonly members = new Map<NodeId, Member>()
  /** Nothing comes to rest any more: whoever waits for it, a test's script that was interrupted, waits for ever. */
  isHalted = false
  readonly options: ClusterOptions
  readonly #firstMembers: readonly NodeId[]
  #salt = 0

  constructor(options: ClusterOptions = {}) {
    this.options = options
    this.#firstMembers = options.ids ?? [1, 2, 3]
    for (const id of this.#firstMembers) this.add(id)
  }

  /** A node that is not started yet. */
  add(id: NodeId): Member {
    const machine = new KeyValueStateMachine()
    const member: Member = {
      id,
      disk: this.options.disks?.get(id) ?? new FaultDisk(),
      machine,
      node: undefined,
      events: [],
      tick: () => undefined,
      life: 0,
    }
    this.members.set(id, member)
    return member
  }

  member(id: NodeId): Member {
    return this.members.get(id)!
  }

  node(id: NodeId): RaftNode<KeyValueResult> {
    return this.member(id).node!
  }

  /** All that run. */
  get running(): Member[] {
    return [...this.members.values()].filter(({ node }) => node !== undefined)
  }

  async startAll(): Promise<void> {
    for (const id of this.members.keys()) await this.start(id)
  }

  async start(id: NodeId): Promise<RaftNode<KeyValueResult>> {
    const member = this.member(id)
    member.life++
    member.machine = new KeyValueStateMachine()
    const ticker: Ticker = {
      tickMs: TICK_MS,
      start: onTick => {
        member.tick = onTick
        return () => (member.tick = () => undefined)
      },
    }
    const { segmentBytesMax = 1 << 20, limits = {}, raft = {} } = this.options
    const newSalt = (): number => ++this.#salt
    member.node = await RaftNode.start({
      id,
      storage: await openWal({ directory: '/raft', fileSystem: member.disk.open(), segmentBytesMax, newSalt }),
      transport: this.network.transport(id),
      machine: member.machine,
      ticker,
      ...(this.#firstMembers.includes(id) ? { bootstrap: this.#firstMembers } : {}),
      ...(this.options.bootstrapTerm === undefined ? {} : { bootstrapTerm: this.options.bootstrapTerm }),
      raft: { random: createPrng(id * 1000 + member.life), ...raft },
      incarnation: String(member.life),
      limits: { stopTimeoutMs: 200, ...limits },
      onEvent: event => member.events.push(event),
    })
    return member.node
  }

  /** kill -9 and, as the caller says by `disk.restart`, perhaps power loss. */
  crash(id: NodeId): void {
    const member = this.member(id)
    member.disk.crash()
    member.tick = () => undefined
    member.node = undefined
    this.network.drop(id)
  }

  /** Lets everything that was begun come to rest, without time passing. */
  async settle(): Promise<void> {
    let quiet = 0
    for (let turn = 0; quiet < QUIET_TURNS; turn++) {
      if (this.isHalted) await new Promise(() => undefined)
      if (turn > TURNS_MAX) throw new Error('the cluster does not come to rest')
      await new Promise<void>(resolve => setImmediate(resolve))
      const isBusy = this.network.inFlight > 0 || this.running.some(({ disk }) => disk.busy > 0 && !disk.syncGate)
      quiet = isBusy ? 0 : quiet + 1
    }
  }

  /** Time passes on all nodes (or on some). */
  async tick(count = 1, ids: readonly NodeId[] = [...this.members.keys()]): Promise<void> {
    for (let done = 0; done < count; done++) {
      for (const id of ids) this.member(id).tick()
      await this.settle()
    }
  }

  /** Ticks until it holds. */
  async until(what: string, holds: () => boolean): Promise<void> {
    for (let ticks = 0; !holds(); ticks++) {
      if (ticks > TICKS_MAX) throw new Error(`still not after ${TICKS_MAX} ticks: ${what}`)
      await this.tick()
    }
  }

  /** The one of the newest term: another may not know yet that it is none any more. */
  get leader(): RaftNode<KeyValueResult> | undefined {
    const leaders = this.running.map(({ node }) => node!).filter(({ role }) => role === 'leader')
    return leaders.sort((a, b) => b.status().hardState.term - a.status().hardState.term)[0]
  }

  /** Makes a node lead. */
  async elect(id: NodeId): Promise<RaftNode<KeyValueResult>> {
    const node = this.node(id)
    await this.until(`node ${id} leads`, () => {
      if (node.role === 'follower') node.campaign()
      return node.role === 'leader'
    })
    await this.settle()
    return node
  }

  /** Every running node has applied the same, and as much as the leader has committed. */
  get isEqual(): boolean {
    const { leader } = this
    if (leader === undefined) return false
    const { commit } = leader.status().hardState
    const digests = new Set(this.running.map(({ machine }) => `${machine.map.applied} ${machine.map.digest}`))
    return digests.size === 1 && this.running.every(({ node }) => node!.applied === commit)
  }

  async stopAll(): Promise<void> {
    for (const { disk } of this.members.values()) disk.syncGate = undefined
    await Promise.all(this.running.map(({ node }) => node!.stop()))
  }
}

/** A write as log data. */
export function put(key: string, value = `value of ${key}`): Uint8Array {
  return encodeCommand({ kind: 'write', session: 0, sequence: 0, firstPending: 0, key, expected: undefined, value })
}
