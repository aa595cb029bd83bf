import fc from 'fast-check'
import t from 'tap'
import { type Entry, entriesBytes, entryBytes, limitEntries, MemoryStorage, NO_DATA, RaftLog } from '../src/index.ts'
import { confOf, entriesOf } from './support/cluster.ts'

const SEED = { seed: 20_261_123, numRuns: 1000 }
const entry = (term: number, index: number, bytes = 0): Entry => ({
  kind: 'normal',
  term,
  index,
  data: new Uint8Array(bytes),
})
const logOf = (...terms: number[]) =>
  new RaftLog(new MemoryStorage({ conf: confOf([1]), entries: entriesOf(...terms) }), 1e9)
const names = (log: RaftLog) =>
  log
    .slice(log.firstIndex(), log.lastIndex() + 1, 1e9)
    ?.map(e => `${e.term}/${e.index}`)
    .join(' ')

for (const [rule, story, has, previous, sends, want, ends] of [
  ['L2', 'appends after a matching entry', [1, 1], [2, 1], [[2, 3]], 3, '1/1 1/2 2/3'],
  ['L2', 'refuses after an entry of another term', [1, 1], [2, 2], [[2, 3]], undefined, '1/1 1/2'],
  ['L2', 'refuses beyond its end', [1, 1], [5, 1], [[2, 6]], undefined, '1/1 1/2'],
  [
    'L2',
    'takes everything from the beginning',
    [],
    [0, 0],
    [
      [1, 1],
      [1, 2],
    ],
    2,
    '1/1 1/2',
  ],
  [
    'L3',
    'keeps entries that agree, though the message ends before them',
    [1, 1, 1],
    [0, 0],
    [[1, 1]],
    1,
    '1/1 1/2 1/3',
  ],
  [
    'L3',
    'keeps its log when told what it has',
    [1, 1, 2],
    [1, 1],
    [
      [1, 2],
      [2, 3],
    ],
    3,
    '1/1 1/2 2/3',
  ],
  [
    'L3',
    'replaces from the first that differs',
    [1, 1, 1, 1],
    [1, 1],
    [
      [1, 2],
      [2, 3],
    ],
    3,
    '1/1 1/2 2/3',
  ],
  [
    'L3',
    'replaces everything when all differ',
    [1, 1],
    [0, 0],
    [
      [2, 1],
      [2, 2],
      [2, 3],
    ],
    3,
    '2/1 2/2 2/3',
  ],
] as const) {
  t.test(`${rule} ${story}`, async t => {
    const log = logOf(...has)
    const entries = sends.map(([term, index]) => entry(term, index))
    const conflict = log.findConflict(entries)
    t.equal(log.maybeAppend({ index: previous[0], term: previous[1] }, entries, { commit: 0, conflict }), want)
    t.equal(names(log) ?? '', ends)
  })
}

t.test('L3 a committed entry is never replaced', async t => {
  const log = logOf(1, 1, 1)
  log.commitTo(2)
  t.throws(
    () => log.maybeAppend({ index: 1, term: 1 }, [entry(2, 2)], { commit: 2, conflict: 2 }),
    /conflicts with committed/,
  )
  t.throws(() => log.append([entry(2, 2)]), /below committed/)
  t.throws(() => log.commitTo(9), /beyond the last entry/)
})

t.test('L1 any sequence of appends leaves what an array would hold', async () => {
  const step = fc.record({ at: fc.nat({ max: 12 }), count: fc.integer({ min: 1, max: 4 }), isStable: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), steps => {
      const storage = new MemoryStorage({ conf: confOf([1]) })
      const log = new RaftLog(storage, 1e9)
      let model: Entry[] = []
      let term = 0
      for (const { at, count, isStable } of steps) {
        term++
        const from = Math.min(at, model.length)
        const added = Array.from({ length: count }, (_, offset) => entry(term, from + 1 + offset))
        model = [...model.slice(0, from), ...added]
        log.append(added)
        if (!isStable) continue
        storage.append(log.unstable.nextEntries())
        const last = model.at(-1)!
        log.unstable.accept()
        log.unstable.stableTo(last, true)
      }
      const whole = log.slice(1, log.lastIndex() + 1, 1e9) ?? []
      return (
        log.lastIndex() === model.length &&
        whole.length === model.length &&
        model.every((wanted, at) => whole[at] === wanted && log.term(at + 1) === wanted.term)
      )
    }),
    SEED,
  )
})

t.test('L4 the hint is the last place whose term fits', async () => {
  const terms = fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 10 }).map(list => list.sort((a, b) => a - b))
  fc.assert(
    fc.property(terms, fc.nat({ max: 10 }), fc.nat({ max: 6 }), (list, index, term) => {
      const log = logOf(...list)
      const from = Math.min(index, list.length)
      const found = log.findConflictByTerm(from, term)
      let want = from
      while (want > 0 && list[want - 1]! > term) want--
      return found.index === want && found.term === (want === 0 ? 0 : list[want - 1])
    }),
    SEED,
  )
})

t.test('L4 a compacted place has no term to offer', async t => {
  const storage = new MemoryStorage({ snapshot: { index: 5, term: 3, conf: confOf([1]), data: NO_DATA } })
  const log = new RaftLog(storage, 1e9)
  t.same(log.findConflictByTerm(4, 1), { index: 4, term: 0 })
  t.equal(log.term(5), 3)
  t.equal(log.term(4), undefined)
  t.equal(log.slice(5, 6, 1e9), undefined)
})

for (const [story, term, index, want] of [
  ['a later term is better, though shorter', 4, 1, true],
  ['an older term is worse, though longer', 2, 9, false],
  ['the same term and longer', 3, 4, true],
  ['the same term and as long', 3, 3, true],
  ['the same term and shorter', 3, 2, false],
] as const) {
  t.test(`V3 ${story}`, async t => {
    t.equal(logOf(1, 2, 3).isUpToDate({ term, index }), want)
  })
}

t.test('V3 for every pair of logs, the comparison is term first, then index', async t => {
  for (let term = 1; term <= 4; term++) {
    for (let index = 0; index <= 4; index++) {
      const want = term > 2 || (term === 2 && index >= 2)
      t.equal(logOf(1, 2).isUpToDate({ term, index }), want, `${term}/${index}`)
    }
  }
})

t.test('F3 committed entries come in batches of bounded size, at least one', async t => {
  const storage = new MemoryStorage({ conf: confOf([1]), entries: [1, 2, 3, 4].map(index => entry(1, index, 100)) })
  const log = new RaftLog(storage, 250)
  log.commitTo(4)
  const batches: number[] = []
  while (log.hasNextCommitted()) {
    const batch = log.nextCommitted()
    batches.push(batch.length)
    log.acceptApplying(batch.at(-1)!.index, entriesBytes(batch))
    t.notOk(log.hasNextCommitted(), 'one batch at a time')
    log.appliedTo(batch.at(-1)!.index, entriesBytes(batch))
  }
  t.same(batches, [2, 2])
  const tiny = new RaftLog(storage, 1)
  tiny.commitTo(4)
  t.equal(tiny.nextCommitted().length, 1)
})

t.test('F3 sizes count what etcd would write', async t => {
  t.equal(entryBytes(entry(1, 1)), 6)
  t.equal(entryBytes(entry(1, 1, 10)), 18)
  t.equal(entryBytes(entry(300, 200, 200)), 2 + 3 + 3 + 1 + 2 + 200)
  t.equal(limitEntries([entry(1, 1), entry(1, 2), entry(1, 3)], 12).length, 2)
  t.equal(limitEntries([entry(1, 1), entry(1, 2)], 0).length, 1)
})

t.test('F3 a slice over the durable and the fresh part keeps its limit', async () => {
  fc.assert(
    fc.property(fc.nat({ max: 6 }), fc.nat({ max: 6 }), fc.nat({ max: 80 }), (stable, fresh, maxBytes) => {
      const all = Array.from({ length: stable + fresh }, (_, at) => entry(1, at + 1, 4))
      const log = new RaftLog(new MemoryStorage({ conf: confOf([1]), entries: all.slice(0, stable) }), 1e9)
      log.append(all.slice(stable))
      const got = log.slice(1, all.length + 1, maxBytes)
      return got !== undefined && got.length === limitEntries(all, maxBytes).length
    }),
    SEED,
  )
})

t.test('D3 writing an entry discards what was there and after', async t => {
  const storage = new MemoryStorage({ conf: confOf([1]), entries: entriesOf(1, 1, 1, 1) })
  storage.append([entry(2, 2)])
  t.equal(storage.lastIndex(), 2)
  t.equal(storage.term(2), 2)
  t.throws(() => storage.append([entry(2, 9)]), /gap in the log/)
})

t.test('D4 a received snapshot replaces the durable log; an older one does not', async t => {
  const storage = new MemoryStorage({ conf: confOf([1]), entries: entriesOf(1, 1, 1, 1, 1) })
  storage.restore({ index: 3, term: 2, conf: confOf([1]), data: NO_DATA })
  t.equal(storage.lastIndex(), 3, 'what came after it was another history')
  t.equal(storage.firstIndex(), 4)
  storage.restore({ index: 2, term: 2, conf: confOf([1]), data: NO_DATA })
  t.equal(storage.snapshot()?.index, 3)
})

t.test('D4 compaction keeps to the snapshot', async t => {
  const storage = new MemoryStorage({ conf: confOf([1]), entries: entriesOf(1, 1, 1, 1, 1) })
  t.throws(() => storage.compact(3), /beyond the snapshot/)
  storage.saveSnapshot(4, confOf([1]), NO_DATA)
  storage.compact(2)
  t.same([storage.firstIndex(), storage.lastIndex()], [3, 5])
  t.equal(storage.term(2), 1)
  t.equal(storage.entries(2, 4, 1e9), undefined)
  t.throws(() => storage.saveSnapshot(9, confOf([1]), NO_DATA), /snapshot of 9/)
})
