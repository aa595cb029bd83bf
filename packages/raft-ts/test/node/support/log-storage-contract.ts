import { createPrng, type Prng } from '@waiter/base'
import type { Test } from 'tap'
import type { ConfState, Entry, HardState } from '../../../src/index.ts'
import type { LogStorage, SnapshotId } from '../../../src/node/index.ts'

/** How the contract opens, loses and reopens one implementation. */
export interface StorageUnderTest {
  /** Opens what is there; the first time it is empty. */
  open(): Promise<LogStorage>
  /** False when a crash can only be played while nothing is being written. */
  readonly crashesAnywhere: boolean
  /** The process and the power go: nothing of what was opened is used any more. */
  crash(random: Prng): void
}

const CONF: ConfState = { voters: [1, 2, 3], votersOutgoing: [], learners: [4], learnersNext: [], autoLeave: false }

/** What every `LogStorage` must do; called by the test of each implementation. */
export function createLogStorageContract(t: Test, name: string, create: () => StorageUnderTest): void {
  t.test(`${name}: starts empty`, async t => {
    const log = await create().open()
    t.same(log.reader.initialState().hardState, { term: 0, vote: 0, commit: 0 })
    t.same([log.reader.firstIndex(), log.reader.lastIndex()], [1, 0])
    t.equal(log.snapshot, undefined)
    await log.close()
  })

  t.test(`${name}: what was written is there after a restart and after a crash`, async t => {
    const under = create()
    const log = await under.open()
    const change: Entry = {
      kind: 'confChange',
      index: 3,
      term: 2,
      change: { transition: 'implicit', changes: [{ kind: 'addLearner', id: 9 }], context: Buffer.from('at home') },
    }
    const entries = [entry(1, 1), entry(2, 2, ''), change]
    await log.write({ hardState: state(2, 3, 1), snapshot: undefined, entries })
    sameEntries(t, log, entries)
    await log.close()
    const again = await under.open()
    sameEntries(t, again, entries)
    t.same(again.reader.initialState().hardState.term, 2)
    t.same(again.reader.initialState().hardState.vote, 3)
    await again.write({ hardState: undefined, snapshot: undefined, entries: [entry(4, 2)] })
    under.crash(createPrng(1))
    const third = await under.open()
    sameEntries(t, third, [...entries, entry(4, 2)])
    await third.close()
  })

  t.test(`${name}: D3 writing entry i discards what was at i and after`, async t => {
    const under = create()
    const log = await under.open()
    await log.write({ hardState: state(1, 0, 1), snapshot: undefined, entries: entries(1, 5, 1) })
    await log.write({ hardState: state(2, 0, 1), snapshot: undefined, entries: [entry(3, 2)] })
    const expected = [entry(1, 1), entry(2, 1), entry(3, 2)]
    sameEntries(t, log, expected)
    under.crash(createPrng(2))
    sameEntries(t, await under.open(), expected)
  })

  t.test(`${name}: writes that overlap are durable in order`, async t => {
    const under = create()
    const log = await under.open()
    const writes = [1, 2, 3, 4].map(index =>
      log.write({ hardState: state(1, 0, index - 1), snapshot: undefined, entries: [entry(index, 1)] }),
    )
    await Promise.all(writes)
    sameEntries(t, log, entries(1, 4, 1))
    under.crash(createPrng(3))
    sameEntries(t, await under.open(), entries(1, 4, 1))
  })

  t.test(`${name}: a commit index that is only noted may be lost, but nothing else`, async t => {
    const under = create()
    const log = await under.open()
    await log.write({ hardState: state(1, 2, 0), snapshot: undefined, entries: entries(1, 3, 1) })
    log.noteCommit(2)
    t.equal(log.reader.initialState().hardState.commit, 2)
    under.crash(createPrng(4))
    const again = await under.open()
    t.ok(again.reader.initialState().hardState.commit <= 2)
    t.same(again.reader.initialState().hardState.vote, 2)
    sameEntries(t, again, entries(1, 3, 1))
  })

  t.test(`${name}: a saved snapshot survives, and compaction forgets what it covers`, async t => {
    const under = create()
    const log = await under.open()
    await log.write({ hardState: state(1, 0, 9), snapshot: undefined, entries: entries(1, 10, 1) })
    await log.saveSnapshot({ index: 8, term: 1, conf: CONF }, [Buffer.from('state '), Buffer.from('of 8')])
    t.equal(log.reader.firstIndex(), 1, 'the log stays')
    await log.compact(6)
    t.equal(log.reader.firstIndex(), 7)
    t.equal(log.reader.term(6), 1)
    under.crash(createPrng(5))
    const again = await under.open()
    t.same(again.snapshot, { index: 8, term: 1, conf: CONF })
    t.equal(await contentOf(again, again.snapshot!), 'state of 8')
    t.equal(again.reader.lastIndex(), 10)
    t.same(again.reader.snapshot()?.conf, CONF)
    await again.close()
  })

  t.test(`${name}: D4 a received snapshot takes the log's place once a batch names it`, async t => {
    const under = create()
    const log = await under.open()
    await log.write({ hardState: state(1, 0, 1), snapshot: undefined, entries: entries(1, 10, 1) })
    const id: SnapshotId = { index: 5, term: 2, conf: CONF }
    await receive(log, id, 'from the leader')
    t.equal(log.snapshot, undefined, 'received is not installed')
    await log.write({ hardState: state(2, 0, 5), snapshot: id, entries: [entry(6, 2)] })
    const check = async (open: LogStorage): Promise<void> => {
      t.same(open.snapshot, id)
      t.same([open.reader.firstIndex(), open.reader.lastIndex()], [6, 6])
      sameEntries(t, open, [entry(6, 2)])
      t.equal(await contentOf(open, id), 'from the leader')
    }
    await check(log)
    under.crash(createPrng(6))
    await check(await under.open())
  })

  t.test(`${name}: a received snapshot that nobody names leaves no trace`, async t => {
    const under = create()
    const log = await under.open()
    await log.write({ hardState: state(1, 0, 1), snapshot: undefined, entries: entries(1, 3, 1) })
    const sink = await log.receiveSnapshot({ index: 9, term: 2, conf: CONF })
    await sink.write(Buffer.from('unwanted'))
    await sink.finish()
    await sink.abort()
    await log.close()
    const again = await under.open()
    t.equal(again.snapshot, undefined)
    sameEntries(t, again, entries(1, 3, 1))
    await again.close()
  })

  t.test(
    `${name}: a snapshot that is being read stays readable when a newer one comes; the old name is gone`,
    async t => {
      const log = await create().open()
      await log.write({ hardState: state(1, 0, 9), snapshot: undefined, entries: entries(1, 10, 1) })
      await log.saveSnapshot({ index: 4, term: 1, conf: CONF }, [Buffer.from('old')])
      const source = (await log.openSnapshot({ index: 4, term: 1 }))!
      await log.saveSnapshot({ index: 8, term: 1, conf: CONF }, [Buffer.from('new')])
      t.equal(await read(source.chunks()), 'old')
      await source.close()
      t.equal(await log.openSnapshot({ index: 4, term: 1 }), undefined)
      await log.close()
    },
  )

  t.test(`${name}: any crash leaves a beginning of what was written, never less than what was resolved`, async t => {
    const isPlayed = create().crashesAnywhere
    t.ok(true, isPlayed ? 'anywhere' : 'only at rest: see the tests above')
    for (let seed = 1; isPlayed && seed <= 60; seed++) await crashSomewhere(t, create(), seed)
  })
}

// Random batches; the process dies after some of them, while others are on their way.
async function crashSomewhere(t: Test, under: StorageUnderTest, seed: number): Promise<void> {
  const random = createPrng(seed)
  let log = await under.open()
  let model: Entry[] = []
  for (let life = 0; life < 4; life++) {
    let durable = model
    let last = 0
    const pending: Entry[][] = []
    const batches = 1 + random.below(6)
    let term = log.reader.initialState().hardState.term + 1
    for (let batch = 0; batch < batches; batch++) {
      if (random.next() < 0.3) term++
      const commit = log.reader.initialState().hardState.commit
      const from = Math.max(commit, model.length - random.below(3)) + 1
      const added = entries(from, from + random.below(4), term)
      model = [...model.slice(0, from - 1), ...added]
      pending.push(model)
      const written = log.write({ hardState: state(term, 1, commit), snapshot: undefined, entries: added })
      const [number, upTo] = [++last, model]
      const noted = written.then(() => {
        if (number > 0) durable = upTo
      })
      if (random.next() < 0.5) await noted
      else noted.catch(() => undefined)
    }
    under.crash(random)
    log = await under.open()
    const found = readAll(log)
    const isBeginning = [durable, ...pending].some(
      candidate => namesOf(candidate.slice(0, found.length)) === namesOf(found),
    )
    t.ok(isBeginning, `seed ${seed}: a beginning of one of the batches`)
    const kept = durable.every((written, at) => found[at]?.term === written.term || isReplaced(pending, durable, at))
    t.ok(kept, `seed ${seed}: nothing resolved is lost`)
    model = [...found]
  }
  await log.close()
}

function namesOf(list: readonly Entry[]): string {
  return list.map(({ index, term, ...rest }) => `${index}.${term}.${'data' in rest ? rest.data : ''}`).join(' ')
}

// An entry that was resolved may only be missing when a later, unresolved batch replaced it.
function isReplaced(pending: readonly Entry[][], durable: readonly Entry[], at: number): boolean {
  const later = pending.slice(pending.indexOf(durable as Entry[]) + 1)
  return later.some(batch => batch[at]?.term !== durable[at]?.term)
}

/** An entry for tests. */
export function entry(index: number, term: number, data: string = `entry ${index} of ${term}`): Entry {
  return { kind: 'normal', index, term, data: Buffer.from(data) }
}

/** Entries of one term for tests. */
export function entries(from: number, to: number, term: number): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, offset) => entry(from + offset, term))
}

function state(term: number, vote: number, commit: number): HardState {
  return { term, vote, commit }
}

/** Everything that can be read of a log. */
export function readAll(log: LogStorage): readonly Entry[] {
  const { reader } = log
  return (reader.entries(reader.firstIndex(), reader.lastIndex() + 1, Number.POSITIVE_INFINITY) ?? []).map(plain)
}

function sameEntries(t: Test, log: LogStorage, expected: readonly Entry[]): void {
  t.same(readAll(log), expected.map(plain))
}

function plain(found: Entry): Entry {
  if (found.kind === 'normal') return { ...found, data: Buffer.from(found.data) }
  return { ...found, change: { ...found.change, context: Buffer.from(found.change.context) } }
}

async function receive(log: LogStorage, id: SnapshotId, text: string): Promise<void> {
  const sink = await log.receiveSnapshot(id)
  await sink.write(Buffer.from(text))
  await sink.finish()
}

async function contentOf(log: LogStorage, id: SnapshotId): Promise<string> {
  const source = (await log.openSnapshot(id))!
  const text = await read(source.chunks())
  await source.close()
  return text
}

async function read(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const pieces: Uint8Array[] = []
  for await (const piece of chunks) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}
