import { silentLogger } from '@waiter/base'
import type { NodeId } from 'raft-ts'
import { createIntervalTicker, MemoryDisk, MemoryLogStorage, type PeerAddress, TcpTransport } from 'raft-ts/node'
import type { FirstState, ProposeOutcome, RaftStore, RaftStoreOptions } from '../../src/index.ts'
import { openRaftStore } from '../../src/index.ts'

const HOST = '127.0.0.1'
/** Elections take 200 to 400 ms. */
const TICK_MS = 20

export interface RaftGroupOptions {
  readonly ids?: readonly NodeId[]
  readonly first?: FirstState
  readonly bootstrapTerm?: number
  readonly watchQueueChangesMax?: number
  readonly patienceMs?: number
  readonly limits?: RaftStoreOptions['limits']
  /** Loses what is sent to the leader, or its answer. */
  readonly spoil?: (send: () => Promise<ProposeOutcome>) => Promise<ProposeOutcome>
}

/** Members in this process, real ones over loopback; their disks are memory that outlives them. */
export class RaftGroup {
  readonly ids: readonly NodeId[]
  readonly stores = new Map<NodeId, RaftStore>()
  readonly #options: RaftGroupOptions
  readonly #disks = new Map<NodeId, MemoryDisk>()
  readonly #transports = new Map<NodeId, TcpTransport>()
  readonly #addresses = new Map<NodeId, PeerAddress>()

  private constructor(options: RaftGroupOptions) {
    this.#options = options
    this.ids = options.ids ?? [1, 2, 3]
  }

  static async start(options: RaftGroupOptions = {}): Promise<RaftGroup> {
    const group = new RaftGroup(options)
    for (const id of group.ids) await group.#bind(id)
    await Promise.all(group.ids.map(id => group.open(id)))
    group.store(group.ids[0]!).node.campaign()
    await group.leader()
    return group
  }

  store(id: NodeId): RaftStore {
    return this.stores.get(id)!
  }

  /** Whom a majority of those that are up believe to lead. */
  async leader(): Promise<RaftStore> {
    for (;;) {
      const up = [...this.stores.values()]
      for (const store of up) {
        const believers = up.filter(other => other.node.leader === store.node.id).length
        if (store.node.role === 'leader' && believers * 2 > this.ids.length) return store
      }
      await new Promise(resolve => setTimeout(resolve, 5))
    }
  }

  async follower(): Promise<RaftStore> {
    const leader = await this.leader()
    return [...this.stores.values()].find(store => store !== leader)!
  }

  /** Starts a member, again if it was stopped, on what its disk holds. */
  async open(id: NodeId): Promise<RaftStore> {
    if (!this.#transports.has(id)) await this.#bind(id)
    const { first, bootstrapTerm, watchQueueChangesMax, patienceMs, limits, spoil } = this.#options
    const forward: RaftStoreOptions['forward'] = async (leader, command, timeoutMs) => {
      const send = async (): Promise<ProposeOutcome> =>
        (await this.stores
          .get(leader)
          ?.propose(command, timeoutMs)
          .catch(() => undefined)) ?? {
          kind: 'failed',
          mayHaveHappened: true,
          leader: 0,
          why: 'the leader is away',
        }
      return await (spoil === undefined ? send() : spoil(send))
    }
    const store = await openRaftStore({
      id,
      storage: new MemoryLogStorage(this.#disks.get(id)!),
      transport: this.#transports.get(id)!,
      bootstrap: this.ids,
      ...(bootstrapTerm === undefined ? {} : { bootstrapTerm }),
      first,
      ticker: createIntervalTicker(TICK_MS),
      forward,
      ...(watchQueueChangesMax === undefined ? {} : { watchLimits: { queueChangesMax: watchQueueChangesMax } }),
      ...(patienceMs === undefined ? {} : { patienceMs }),
      ...(limits === undefined ? {} : { limits }),
      log: silentLogger,
    })
    this.stores.set(id, store)
    return store
  }

  async close(id: NodeId): Promise<void> {
    const store = this.stores.get(id)
    this.stores.delete(id)
    this.#transports.delete(id)
    await store?.close()
  }

  async closeAll(): Promise<void> {
    await Promise.all(this.ids.map(id => this.close(id)))
  }

  async #bind(id: NodeId): Promise<void> {
    if (!this.#disks.has(id)) this.#disks.set(id, new MemoryDisk())
    const transport = new TcpTransport({
      id,
      group: 'test',
      security: { kind: 'trustedNetwork' },
      listen: { host: HOST, port: 0 },
      peers: this.#addresses,
      limits: { reconnectMs: 10 },
    })
    await transport.listen()
    const address = { host: HOST, port: transport.port }
    this.#transports.set(id, transport)
    this.#addresses.set(id, address)
    for (const [other, peer] of this.#transports) {
      if (other === id) continue
      peer.setPeer(id, address)
    }
  }
}
