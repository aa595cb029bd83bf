import type { Prng } from '@waiter/base'
import { isPromise, type Message, type NodeId } from '../../../src/index.ts'
import type { FaultDisk, Loss } from './fault-disk.ts'
import { put, TestCluster } from './test-cluster.ts'

export const IDS: readonly NodeId[] = [1, 2, 3]

/** Who complains when something must not be. */
export interface Judge {
  fail(message: string): unknown
}

/** What a node has told others: it must still hold after any crash. */
interface Told {
  term: number
  vote: { term: number; candidate: NodeId } | undefined
  /** The last entry it said it has, and in which term. */
  acknowledged: { term: number; index: number } | undefined
}

/**
 * One scripted life of three nodes, in which everything happens that writes: the first start, an election, writes,
 * entries that another leader overwrites, snapshots, compaction, a snapshot that is installed, a transfer.
 */
export class Life {
  readonly cluster: TestCluster
  readonly acknowledged = new Set<string>()
  readonly #leaderByTerm = new Map<number, NodeId>()
  readonly #seen = new Map<NodeId, number>()
  readonly #told = new Map<NodeId, Told>(IDS.map(id => [id, { term: 0, vote: undefined, acknowledged: undefined }]))
  #writes = 0
  /** Calls until all nodes had started. */
  callsAtStart = 0
  #calls = 0

  constructor(disks?: ReadonlyMap<NodeId, FaultDisk>) {
    this.cluster = new TestCluster({
      segmentBytesMax: 300,
      limits: { snapshotEveryEntries: 4, trailingEntries: 1 },
      ...(disks === undefined ? {} : { disks }),
    })
    this.cluster.network.onSent = message => this.#onSent(message)
  }

  /** The life of the same nodes after their disks came back as these; what they told others before still binds them. */
  after(disks: ReadonlyMap<NodeId, FaultDisk>): Life {
    const next = new Life(disks)
    for (const key of this.acknowledged) next.acknowledged.add(key)
    for (const [id, told] of this.#told) next.#told.set(id, { ...told })
    next.#writes = this.#writes
    this.#noteLeaders(() => undefined)
    for (const [term, id] of this.#leaderByTerm) next.#leaderByTerm.set(term, id)
    return next
  }

  /** Everything but the disks that decides how `verify` goes. */
  get memory(): string {
    return JSON.stringify([[...this.acknowledged], [...this.#told], [...this.#leaderByTerm]])
  }

  /** Numbers the calls to all disks in one row. */
  onCall(told: (call: number, id: NodeId) => void): void {
    this.#calls = 0
    for (const { id, disk } of this.cluster.members.values()) disk.onCall = () => told(++this.#calls, id)
  }

  async script(): Promise<void> {
    const { cluster } = this
    await this.startMissing()
    this.callsAtStart = this.#calls
    await this.#lead(1)
    await this.#write(2)
    // What the cut-off leader wrote is overwritten.
    const old = cluster.member(1).node
    cluster.network.isolate(1, [2, 3])
    for (const key of ['x', 'y']) old?.propose(put(key), { timeoutMs: 1000 }).catch(() => undefined)
    await this.#lead(2)
    await this.#write(2)
    cluster.network.heal()
    await this.#equal()
    // Somebody misses so much that only a snapshot helps.
    cluster.network.isolate(3, [1, 2])
    await this.#write(7)
    cluster.network.heal()
    await this.#equal()
    await this.#lead(3)
    await this.#write(2)
    await this.#equal()
  }

  /** Everybody is back, agrees, and has what was acknowledged. */
  async verify(t: Judge, what: string): Promise<void> {
    await this.startMissing()
    this.#checkTold(t, what)
    await this.#elect()
    await this.#write(1)
    await this.#equal()
    const { running } = this.cluster
    for (const { id, machine } of running) {
      const lost = [...this.acknowledged].filter(key => machine.get(key)?.value !== `value of ${key}`)
      if (lost.length > 0) t.fail(`${what}: node ${id} has lost ${lost}`)
    }
    this.#checkLeaders(t, what)
    await this.cluster.stopAll()
  }

  async startMissing(): Promise<void> {
    for (const member of this.cluster.members.values()) {
      if (member.node === undefined) await this.cluster.start(member.id)
    }
  }

  powerLoss(): void {
    this.cluster.isHalted = true
    for (const id of IDS) this.cluster.crash(id)
  }

  powerBack(loss: Loss, random: Prng): void {
    this.cluster.isHalted = false
    for (const { disk } of this.cluster.members.values()) disk.restart(loss, random)
    this.cluster.network.heal()
  }

  async #lead(id: NodeId): Promise<void> {
    const node = this.cluster.member(id).node
    if (node !== undefined && node.role === 'follower') node.campaign()
    await this.cluster.until('somebody leads', () => this.cluster.leader !== undefined)
    if (node !== undefined && this.cluster.leader !== node) {
      // The one who is asked may die of it: time decides.
      this.cluster.leader!.transferLeader(id, { timeoutMs: 1000 }).catch(() => undefined)
      for (let ticks = 0; ticks < 12 && node.role !== 'leader'; ticks++) await this.cluster.tick()
    }
  }

  // Faster than time: somebody's log is good enough to lead.
  async #elect(): Promise<void> {
    for (const { node } of this.cluster.running) {
      if (this.cluster.leader !== undefined) return
      node?.campaign()
      await this.cluster.settle()
    }
  }

  async #write(count: number): Promise<void> {
    for (let at = 0; at < count; at++) {
      const key = `k${++this.#writes}`
      for (let attempt = 0; !this.acknowledged.has(key); attempt++) {
        if (attempt > 50) throw new Error(`${key} is not taken`)
        // Who died has come back by now.
        if (attempt > 0) await this.startMissing()
        const { leader } = this.cluster
        const written = leader?.propose(put(key), { timeoutMs: 1000 }).then(
          () => this.acknowledged.add(key),
          () => undefined,
        )
        await this.cluster.settle()
        if (!this.acknowledged.has(key)) await this.cluster.tick(3)
        if (!this.acknowledged.has(key)) await this.cluster.tick(12)
        void written
      }
    }
  }

  async #equal(): Promise<void> {
    await this.startMissing()
    await this.cluster.until('all are equal', () => this.cluster.isEqual)
  }

  #checkLeaders(t: Judge, what: string): void {
    this.#noteLeaders(complaint => t.fail(`${what}: ${complaint}`))
  }

  #noteLeaders(complain: (what: string) => void): void {
    for (const { id, events } of this.cluster.members.values()) {
      for (const event of events) {
        if (event.kind !== 'core' || event.event.kind !== 'roleChanged') continue
        const { role, term } = event.event
        if (term < (this.#seen.get(id) ?? 0) && role !== 'follower') complain(`the term of node ${id} fell`)
        this.#seen.set(id, term)
        if (role !== 'leader') continue
        const other = this.#leaderByTerm.get(term) ?? id
        if (other !== id) complain(`nodes ${other} and ${id} led in term ${term}`)
        this.#leaderByTerm.set(term, id)
      }
    }
  }

  #onSent(message: Message): void {
    const told = this.#told.get(message.from)
    // A pre-vote's term is a question, not a place where anybody is.
    if (told === undefined || message.type === 'MsgPreVote' || message.type === 'MsgPreVoteResp') return
    told.term = Math.max(told.term, message.term)
    if (!isPromise(message.type) || !('reject' in message) || message.reject) return
    if (message.type === 'MsgVoteResp') told.vote = { term: message.term, candidate: message.to }
    if (message.type === 'MsgAppResp') told.acknowledged = { term: message.term, index: message.index }
  }

  // D2: whatever was told to others before the crash is on the disk after it.
  #checkTold(t: Judge, what: string): void {
    for (const { id, node } of this.cluster.running) {
      const { hardState, lastIndex } = node!.status()
      const { term, vote, acknowledged } = this.#told.get(id)!
      if (hardState.term < term) t.fail(`${what}: node ${id} spoke in term ${term}, and is back in ${hardState.term}`)
      if (vote?.term === hardState.term && hardState.vote !== vote.candidate) {
        t.fail(`${what}: node ${id} forgot its vote for ${vote.candidate} in term ${vote.term}`)
      }
      // Only a later term can make a log shorter than what was acknowledged.
      if (acknowledged?.term === hardState.term && lastIndex < acknowledged.index) {
        t.fail(`${what}: node ${id} has lost entries up to ${acknowledged.index}, which it had acknowledged`)
      }
    }
  }
}

/** Runs until call k to the disks, and the power fails in it; false: there is no such call. */
export async function interrupted(life: Life, k: number, run: () => Promise<void>): Promise<boolean> {
  const { promise: down, resolve } = Promise.withResolvers<true>()
  life.onCall(call => {
    if (call !== k) return
    life.powerLoss()
    resolve(true)
  })
  const isDown = await Promise.race([down, run().then((): boolean => false)])
  // The script notices that it is over, and waits for ever.
  for (let turns = 0; turns < 3; turns++) await new Promise<void>(resolve => setImmediate(resolve))
  return isDown
}
