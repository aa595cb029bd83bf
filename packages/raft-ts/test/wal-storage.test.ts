import { createPrng } from '@waiter/base'
import t from 'tap'
import { type Entry, encodeText, type HardState, type Snapshot } from '../src/index.ts'
import { openFolder } from '../src/node/storage/file-system.ts'
import type { DurableState, LogStorage } from '../src/node/storage/log-storage.ts'
import { MemoryLogStorage } from '../src/node/storage/memory-log-storage.ts'
import { WalStorage } from '../src/node/storage/wal-storage.ts'
import { change, confOf } from './support/cluster.ts'
import { CrashFolder, PowerLoss } from './support/crash-folder.ts'

const entry = (index: number, term: number, text = `entry ${term}/${index}`): Entry => ({
  kind: 'normal',
  index,
  term,
  data: encodeText(text),
})
const entries = (from: number, to: number, term: number) =>
  Array.from({ length: to - from + 1 }, (_, at) => entry(from + at, term))
const hard = (term: number, vote: number, commit: number): HardState => ({ term, vote, commit })
const snapshot = (index: number, term: number): Snapshot => ({
  index,
  term,
  conf: confOf([1, 2], { learners: [3] }),
  data: encodeText(`state ${index}`),
})
/** Plain, so that buffers and arrays of bytes compare equal. */
const plain = (state: DurableState) =>
  JSON.parse(JSON.stringify(state, (_, value) => (value instanceof Uint8Array ? [...value] : value)))

const implementations: [string, () => Promise<{ storage: LogStorage; reopen: () => Promise<LogStorage> }>][] = [
  [
    'memory',
    async () => {
      const storage = new MemoryLogStorage()
      return { storage, reopen: async () => new MemoryLogStorage(storage.state) }
    },
  ],
  [
    'write-ahead log',
    async () => {
      const folder = new CrashFolder()
      const storage = await WalStorage.open(folder, { maxSegmentBytes: 200 })
      return { storage, reopen: () => WalStorage.open(folder) }
    },
  ],
  [
    'write-ahead log on a disk',
    async () => {
      const path = t.testdir()
      const storage = await WalStorage.open(await openFolder(path), { maxSegmentBytes: 200 })
      return {
        storage,
        reopen: async () => {
          await storage.close()
          return await WalStorage.open(await openFolder(path))
        },
      }
    },
  ],
]

for (const [name, make] of implementations) {
  t.test(`D3 D4 the contract of a log storage: ${name}`, async t => {
    const { storage, reopen } = await make()
    t.same(plain(storage.initial), { hardState: hard(0, 0, 0), entries: [] }, 'a new one is empty')
    await storage.append({ hardState: hard(1, 2, 0), entries: entries(1, 9, 1) })
    await storage.append({
      entries: [
        {
          kind: 'confChange',
          index: 10,
          term: 1,
          change: { ...change([{ kind: 'addLearner', id: 7 }], 'explicit'), context: encodeText('x') },
        },
      ],
    })
    await Promise.all([
      storage.append({ entries: entries(6, 8, 2) }),
      storage.append({ hardState: hard(2, 1, 3), entries: entries(8, 9, 2) }),
      storage.append({ entries: entries(10, 12, 2) }),
    ])
    await storage.saveSnapshot(snapshot(4, 1), 3)
    await storage.append({ entries: entries(13, 14, 2) })
    const again = await reopen()
    t.same(
      plain(again.initial),
      plain({ hardState: hard(2, 1, 4), snapshot: snapshot(4, 1), entries: [entry(5, 1), ...entries(6, 14, 2)] }),
    )
    await again.append({ hardState: hard(3, 0, 20), snapshot: snapshot(20, 3), entries: entries(21, 22, 3) })
    await again.close()
  })
}

t.test('D4 a snapshot from the leader replaces the log', async t => {
  const folder = new CrashFolder()
  const storage = await WalStorage.open(folder)
  await storage.append({ hardState: hard(1, 2, 0), entries: entries(1, 9, 1) })
  await storage.append({ hardState: hard(3, 0, 5), snapshot: snapshot(5, 3), entries: [] })
  await storage.append({ entries: entries(6, 7, 3) })
  const { initial } = await WalStorage.open(folder)
  t.same(plain(initial), plain({ hardState: hard(3, 0, 5), snapshot: snapshot(5, 3), entries: entries(6, 7, 3) }))
  t.equal((await folder.list()).filter(name => name.startsWith('snap')).length, 1)
})

t.test('D2 batches that arrive during a sync share the next', async t => {
  const folder = new CrashFolder()
  const storage = await WalStorage.open(folder)
  const before = folder.syncs
  await Promise.all(entries(1, 100, 1).map(one => storage.append({ entries: [one] })))
  t.equal(folder.syncs - before, 1, 'asked for in one turn: one sync')
  t.equal((await WalStorage.open(folder)).initial.entries.length, 100)
})

t.test('D6 a commit hint rides with the next batch', async t => {
  const folder = new CrashFolder()
  const storage = await WalStorage.open(folder)
  await storage.append({ hardState: hard(1, 1, 0), entries: entries(1, 5, 1) })
  const { syncs } = folder
  storage.hintCommit(4)
  t.equal(folder.syncs, syncs)
  await storage.append({ entries: entries(6, 6, 1) })
  t.equal((await WalStorage.open(folder)).initial.hardState.commit, 4)
})

t.test('D3 compaction deletes segments, and keeps term and vote', async t => {
  const folder = new CrashFolder()
  const storage = await WalStorage.open(folder, { maxSegmentBytes: 100 })
  await storage.append({ hardState: hard(7, 3, 0), entries: [] })
  for (let index = 1; index <= 50; index++) await storage.append({ entries: entries(index, index, 7) })
  const before = (await folder.list()).length
  await storage.saveSnapshot(snapshot(50, 7), 45)
  t.ok((await folder.list()).length < before / 3)
  const { initial } = await WalStorage.open(folder)
  t.match(initial.hardState, { term: 7, vote: 3 })
  t.same(initial.entries, [])
})

t.test('D8 after a failed write everything is refused', async t => {
  const folder = new CrashFolder()
  const storage = await WalStorage.open(folder)
  folder.crashAt = folder.calls + 2
  await t.rejects(storage.append({ entries: entries(1, 1, 1) }), { code: 'RAFT_STORAGE_FAILED' })
  folder.crashAt = Number.POSITIVE_INFINITY
  await t.rejects(
    storage.append({ entries: entries(1, 1, 1) }),
    { code: 'RAFT_STORAGE_FAILED' },
    'the disk is well again, but nobody knows what it holds',
  )
})

/** What was promised: everything acknowledged so far, and the batch that may or may not have made it. */
interface Promises {
  readonly kept: MemoryLogStorage
  readonly maybe: MemoryLogStorage
}

type Script = readonly ((storage: LogStorage) => Promise<void>)[]

const SCRIPT: Script = [
  s => s.append({ hardState: hard(1, 1, 0), entries: entries(1, 3, 1) }),
  s => s.append({ hardState: hard(1, 1, 2), entries: entries(4, 6, 1) }),
  s => s.append({ hardState: hard(2, 2, 2), entries: [] }),
  s => s.append({ entries: entries(5, 9, 2) }),
  s => s.saveSnapshot(snapshot(4, 1), 4),
  s => s.append({ hardState: hard(2, 2, 8), entries: entries(10, 12, 2) }),
  s => s.saveSnapshot(snapshot(8, 2), 6),
  s => s.append({ hardState: hard(4, 0, 20), snapshot: snapshot(20, 4), entries: [] }),
  s => s.append({ hardState: hard(4, 1, 20), entries: entries(21, 24, 4) }),
  s => s.saveSnapshot(snapshot(22, 4), 22),
  s => s.append({ hardState: hard(5, 3, 23), entries: entries(24, 25, 5) }),
]

/** Runs the script until the power goes at the k-th call. @returns undefined when it did not */
async function runUntilPowerLoss(folder: CrashFolder, crashAt: number): Promise<Promises | undefined> {
  folder.crashAt = crashAt
  const kept = new MemoryLogStorage()
  let storage: WalStorage
  try {
    storage = await WalStorage.open(folder, { maxSegmentBytes: 150 })
  } catch (error) {
    if (error instanceof PowerLoss) return { kept, maybe: kept }
    throw error
  }
  for (const step of SCRIPT) {
    const maybe = new MemoryLogStorage(kept.state)
    await step(maybe)
    try {
      await step(storage)
    } catch {
      return { kept, maybe }
    }
    await step(kept)
  }
  return undefined
}

t.test('D2 wherever the power goes, what was acknowledged is there and nothing is half there', async t => {
  let crashes = 0
  for (let crashAt = 1; ; crashAt++) {
    let isOver = false
    for (let seed = 0; seed < 40; seed++) {
      const folder = new CrashFolder()
      const promises = await runUntilPowerLoss(folder, crashAt)
      if (promises === undefined) {
        isOver = true
        break
      }
      crashes++
      const recovered = await WalStorage.open(folder.afterCrash(createPrng(crashAt * 1000 + seed)))
      const found = JSON.stringify(plain(recovered.initial))
      const allowed = [promises.kept.state, promises.maybe.state, ...halfSnapshot(promises)].map(state =>
        JSON.stringify(plain(state)),
      )
      if (!allowed.includes(found)) t.same(JSON.parse(found), JSON.parse(allowed[0]!), `call ${crashAt}, seed ${seed}`)
      // And it goes on from there.
      const next = (recovered.initial.entries.at(-1)?.index ?? recovered.initial.snapshot?.index ?? 0) + 1
      await recovered.append({ entries: entries(next, next, 9) })
    }
    if (isOver) break
  }
  t.ok(crashes > 2000, `${crashes} crashes`)
})

// A received snapshot may have its name before the log knows of it; it then stands for the log, with its term.
function halfSnapshot({ kept, maybe }: Promises): readonly DurableState[] {
  const received = maybe.state.snapshot
  const { hardState } = kept.state
  if (received === undefined || received.index <= (kept.state.snapshot?.index ?? 0)) return []
  const isNewTerm = received.term > hardState.term
  return [
    { hardState: isNewTerm ? hard(received.term, 0, received.index) : hardState, snapshot: received, entries: [] },
  ]
}

t.test('D10 the power may go again during the repair', async t => {
  for (let seed = 0; seed < 60; seed++) {
    const random = createPrng(seed)
    const folder = new CrashFolder()
    const promises = (await runUntilPowerLoss(folder, 12 + random.below(25)))!
    let broken = folder.afterCrash(random)
    for (let crashAt = 1; crashAt < 6; crashAt++) {
      broken.crashAt = crashAt
      try {
        await WalStorage.open(broken)
      } catch (error) {
        if (!(error instanceof PowerLoss)) throw error
      }
      broken = broken.afterCrash(random)
    }
    const { initial } = await WalStorage.open(broken)
    t.ok(initial.hardState.term >= promises.kept.state.hardState.term, `seed ${seed}`)
  }
})

t.test('D10 a flipped bit is never taken for data: it is noticed, or was an unfinished last write', async t => {
  const random = createPrng(5)
  let noticed = 0
  for (let round = 0; round < 300; round++) {
    const folder = new CrashFolder()
    const storage = await WalStorage.open(folder)
    await storage.append({ hardState: hard(1, 1, 0), entries: entries(1, 3, 1) })
    await storage.append({ hardState: hard(1, 1, 3), entries: entries(4, 6, 1) })
    const whole = JSON.stringify(plain({ hardState: hard(1, 1, 3), snapshot: undefined, entries: entries(1, 6, 1) }))
    const half = JSON.stringify(plain({ hardState: hard(1, 1, 0), snapshot: undefined, entries: entries(1, 3, 1) }))
    const [name] = await folder.list()
    folder.rot(name!, random.below((await folder.read(name!)).length * 8))
    try {
      const found = JSON.stringify(plain((await WalStorage.open(folder)).initial))
      t.ok(found === half && found !== whole, 'only the last record may be taken for torn')
    } catch (error) {
      t.match(error, { code: 'RAFT_STORAGE_CORRUPT', message: /join again, empty, under a new id/ })
      noticed++
    }
  }
  t.ok(noticed > 100, `${noticed} of 300 noticed`)
})

t.test('D10 a missing segment or snapshot is noticed', async t => {
  for (const victim of ['wal-0000000000000003.log', 'snap-0000000000000006.bin']) {
    const folder = new CrashFolder()
    const storage = await WalStorage.open(folder, { maxSegmentBytes: 100 })
    for (let index = 1; index <= 6; index++) await storage.append({ entries: entries(index * 3 - 2, index * 3, 1) })
    if (victim.startsWith('snap')) await storage.saveSnapshot(snapshot(6, 1), 6)
    await folder.remove(victim)
    await t.rejects(WalStorage.open(folder), { code: 'RAFT_STORAGE_CORRUPT' }, victim)
  }
})
