import { createPrng, type Prng } from '@waiter/base'
import t from 'tap'
import type { NodeId } from '../../src/index.ts'
import type { Loss } from './support/fault-disk.ts'
import { put, TestCluster } from './support/test-cluster.ts'

/*
 * One scripted life of three nodes, in which everything happens that writes: the first start, an election, writes,
 * entries that another leader overwrites, snapshots, compaction, a snapshot that is installed, a transfer. It is lived
 * once for every call k to a disk, and k is the last thing that happens before the crash.
 */

const IDS: readonly NodeId[] = [1, 2, 3]

class Life {
  readonly cluster = new TestCluster({
    segmentBytesMax: 300,
    limits: { snapshotEveryEntries: 4, trailingEntries: 1 },
  })
  readonly acknowledged = new Set<string>()
  readonly #leaderByTerm = new Map<number, NodeId>()
  readonly #seen = new Map<NodeId, number>()
  #writes = 0
  /** Calls until all nodes had started. */
  callsAtStart = 0
  #calls = 0

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
  async verify(t: Tap.Test, what: string): Promise<void> {
    await this.startMissing()
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
    for (const id of IDS) this.cluster.crash(id)
  }

  powerBack(loss: Loss, random: Prng): void {
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

  #checkLeaders(t: Tap.Test, what: string): void {
    for (const { id, events } of this.cluster.members.values()) {
      for (const event of events) {
        if (event.kind !== 'core' || event.event.kind !== 'roleChanged') continue
        const { role, term } = event.event
        if (term < (this.#seen.get(id) ?? 0) && role !== 'follower') t.fail(`${what}: the term of node ${id} fell`)
        this.#seen.set(id, term)
        if (role !== 'leader') continue
        const other = this.#leaderByTerm.get(term) ?? id
        if (other !== id) t.fail(`${what}: nodes ${other} and ${id} led in term ${term}`)
        this.#leaderByTerm.set(term, id)
      }
    }
  }
}

declare namespace Tap {
  type Test = Pick<typeof t, 'fail'>
}

async function countCalls(): Promise<{ readonly calls: number; readonly atStart: number }> {
  const life = new Life()
  let calls = 0
  life.onCall(call => {
    calls = call
  })
  await life.script()
  await life.cluster.stopAll()
  return { calls, atStart: life.callsAtStart }
}

// The power of all fails at call k, and perhaps once more while they restart.
async function powerFailsAt(t: Tap.Test, k: number, loss: Loss, again: number): Promise<boolean> {
  const life = new Life()
  const random = createPrng(k * 7 + again)
  const reached = await interrupted(life, k, () => life.script())
  if (!reached) return false
  life.powerBack(loss, random)
  if (again > 0 && (await interrupted(life, again, () => life.startMissing()))) life.powerBack(loss, random)
  life.onCall(() => undefined)
  await life.verify(t, `power fails at call ${k}, ${loss}, again ${again}`)
  return true
}

// True when call k came: the run is given up there.
async function interrupted(life: Life, k: number, run: () => Promise<void>): Promise<boolean> {
  const { promise: down, resolve } = Promise.withResolvers<true>()
  life.onCall(call => {
    if (call !== k) return
    life.powerLoss()
    resolve(true)
  })
  return Promise.race([down, run().then((): boolean => false)])
}

// Only the process that makes call k dies; the others live on, and it comes back by itself.
async function nodeDiesAt(t: Tap.Test, k: number, loss: Loss): Promise<void> {
  const life = new Life()
  const random = createPrng(k)
  life.onCall((call, id) => {
    if (call !== k) return
    life.cluster.crash(id)
    life.cluster.member(id).disk.restart(loss, random)
  })
  await life.script()
  await life.verify(t, `a node dies at call ${k}, ${loss}`)
}

const LOSSES: readonly Loss[] = ['everything unsynced is lost', 'any part is lost', 'nothing is lost']

t.test(
  'D1 D2 D3 D4 D6 whatever call the power fails at, all nodes agree and no acknowledged write is lost',
  async t => {
    const { calls } = await countCalls()
    t.ok(calls > 150, `${calls} calls to disks`)
    for (let k = 1; k <= calls; k++) {
      const again = k % 2 === 0 ? 0 : 1 + (k % 7)
      await powerFailsAt(t, k, k % 5 === 0 ? LOSSES[k % LOSSES.length]! : 'any part is lost', again)
    }
    t.pass(`${calls} places`)
  },
)

t.test('D2 D6 whatever call one node dies at, it comes back, agrees and has lost nothing', async t => {
  const { calls, atStart } = await countCalls()
  // Before that there is nobody to live on.
  for (let k = atStart + 1; k <= calls; k++) await nodeDiesAt(t, k, LOSSES[k % LOSSES.length]!)
  t.pass(`${calls} places`)
})
