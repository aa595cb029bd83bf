import { encodeCommand } from 'raft-ts'
import t from 'tap'
import type { Change, ProposeOutcome, RaftStore } from '../src/index.ts'
import { ReplicatedMap } from '../src/raft/replicated-map.ts'
import { RaftGroup } from './support/raft-group.ts'

const value = async (store: RaftStore, key: string): Promise<string | undefined> => (await store.get(key))?.value

t.test('every member takes writes, and every member reads what any has written', async t => {
  const group = await RaftGroup.start()
  t.teardown(() => group.closeAll())
  for (const id of group.ids) {
    t.match(await group.store(id).compareAndSet(`key-${id}`, 0, `from ${id}`), { kind: 'written' })
    for (const other of group.ids) t.equal(await value(group.store(other), `key-${id}`), `from ${id}`)
  }
})

t.test('a forwarded write whose answer is lost is tried again and applied once', async t => {
  let lost = 0
  const spoil = async (send: () => Promise<ProposeOutcome>): Promise<ProposeOutcome> => {
    const outcome = await send()
    if (lost >= 3) return outcome
    lost++
    return { kind: 'failed', mayHaveHappened: true, leader: 0, why: 'the answer was lost' }
  }
  const group = await RaftGroup.start({ spoil })
  t.teardown(() => group.closeAll())
  const follower = await group.follower()
  const outcomes = []
  for (let count = 0; count < 5; count++) outcomes.push(await follower.compareAndSet(`key-${count}`, 0, 'x'))
  t.equal(lost, 3)
  const versions = [1, 2, 3, 4, 5].map(version => ({ kind: 'written', version }))
  t.same(outcomes, versions, 'a second application would have been a conflict, or taken a version')
})

t.test('a forwarded write that never arrives is tried again', async t => {
  let attempts = 0
  const spoil = async (send: () => Promise<ProposeOutcome>): Promise<ProposeOutcome> =>
    ++attempts % 2 === 1
      ? { kind: 'failed', mayHaveHappened: true, leader: 0, why: 'the connection broke' }
      : await send()
  const group = await RaftGroup.start({ spoil })
  t.teardown(() => group.closeAll())
  t.match(await (await group.follower()).compareAndSet('a', 0, '1'), { kind: 'written', version: 1 })
  t.equal(attempts, 4, 'the session took two, the write took two')
})

t.test('the leader goes: writes and reads that were under way and new ones succeed', async t => {
  const group = await RaftGroup.start({ patienceMs: 20_000 })
  t.teardown(() => group.closeAll())
  const leader = await group.leader()
  const others = [...group.stores.values()].filter(store => store !== leader)
  let isWriting = true
  const written: string[] = []
  const writers = others.map(async (store, writer) => {
    for (let count = 0; isWriting; count++) {
      const key = `${writer}-${count}`
      t.match(await store.compareAndSet(key, 0, 'x'), { kind: 'written' })
      written.push(key)
    }
  })
  await group.close(leader.node.id)
  await group.leader()
  const atElection = written.length
  while (written.length < atElection + 10) await new Promise(setImmediate)
  isWriting = false
  await Promise.all(writers)
  const back = await group.open(leader.node.id)
  for (const key of written) t.equal(await value(back, key), 'x')
})

t.test('without a majority nothing is written or read for certain; watches go on with what is known', async t => {
  const group = await RaftGroup.start({ patienceMs: 200 })
  t.teardown(() => group.closeAll())
  const [one = 0, two = 0, three = 0] = group.ids
  const survivor = group.store(one)
  await survivor.compareAndSet('a', 0, '1')
  await Promise.all([group.close(two), group.close(three)])
  const refusal = { name: 'WaiterError', code: 'WTR_STORE_UNAVAILABLE', status: 503, retryable: true }
  const reason = /2 of the 3 control nodes must answer, and they do not.*requests are served as before/
  await t.rejects(survivor.compareAndSet('b', 0, '1'), { ...refusal, message: reason })
  await t.rejects(survivor.get('a'), { ...refusal, message: reason })
  const seen: Change[] = []
  for await (const change of survivor.watch('', new AbortController().signal)) {
    seen.push(change)
    if (change.kind === 'synced') break
  }
  t.match(seen, [{ kind: 'put', entry: { key: 'a', value: '1' } }, { kind: 'synced' }])
  await group.open(two)
  await group.leader()
  t.match(await survivor.compareAndSet('c', 0, '1'), { kind: 'written' }, 'it heals')
})

t.test('a member that was far behind is sent everything, and serves it', async t => {
  const group = await RaftGroup.start({ limits: { snapshotEveryEntries: 10, trailingEntries: 1 } })
  t.teardown(() => group.closeAll())
  const leader = await group.leader()
  const { id } = (await group.follower()).node
  await group.close(id)
  for (let count = 0; count < 50; count++) await leader.compareAndSet(`key-${count}`, 0, 'x')
  const again = await group.open(id)
  t.equal(await value(again, 'key-49'), 'x')
  t.ok(again.node.metrics.snapshotsReceived > 0)
})

t.test('watchers that missed what a snapshot jumped over are told to start again', async t => {
  const there = new ReplicatedMap({ first: { entries: [{ key: 'b', value: '2', version: 5 }], version: 5 } })
  const here = new ReplicatedMap({ first: { entries: [{ key: 'a', value: '1', version: 1 }], version: 1 } })
  const watch = here.state.watch('', new AbortController().signal)[Symbol.asyncIterator]()
  t.match((await watch.next()).value, { kind: 'put', entry: { key: 'a' } })
  t.match((await watch.next()).value, { kind: 'synced' })
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    yield* there.capture()
  }
  await here.restore(pieces())
  await t.rejects(watch.next(), { code: 'WTR_WATCH_LAGGED', message: /sent everything anew/ })
  t.same(here.state.list(''), [{ key: 'b', value: '2', version: 5 }])
})

t.test('a group begins with entries from elsewhere, in a term that was not used before', async t => {
  const entries = [
    { key: 'tokens/a', value: 'one', version: 3 },
    { key: 'tokens/b', value: 'two', version: 7 },
  ]
  const group = await RaftGroup.start({ first: { entries, version: 9 }, bootstrapTerm: 42 })
  t.teardown(() => group.closeAll())
  for (const id of group.ids) t.same(await group.store(id).get('tokens/a'), entries[0])
  t.same(await (await group.follower()).compareAndSet('tokens/b', 7, 'three'), { kind: 'written', version: 10 })
  t.ok((await group.leader()).node.status().hardState.term > 42)
  await group.closeAll()
  for (const id of group.ids) await group.open(id)
  await group.leader()
  t.equal(await value(group.store(1), 'tokens/b'), 'three', 'what was first is not taken again')
})

t.test('a session that the group has forgotten is replaced by a new one', async t => {
  const group = await RaftGroup.start({ ids: [1] })
  t.teardown(() => group.closeAll())
  const store = group.store(1)
  await store.compareAndSet('a', 0, '1')
  const MAX_SESSIONS = 4096
  const opening = encodeCommand({ kind: 'openSession' })
  await Promise.all(Array.from({ length: MAX_SESSIONS }, () => store.propose(opening, 10_000)))
  t.same(await store.compareAndSet('b', 0, '2'), { kind: 'written', version: 2 })
})

t.test('more writes at once than the group remembers results: all are written', async t => {
  const group = await RaftGroup.start()
  t.teardown(() => group.closeAll())
  const follower = await group.follower()
  const outcomes = await Promise.all(
    Array.from({ length: 3000 }, (_, at) => follower.compareAndSet(`key-${at}`, 0, 'x')),
  )
  t.ok(outcomes.every(({ kind }) => kind === 'written'))
})

t.test(
  'a write that waits for a leader that does not answer goes to the next one as soon as that is known',
  async t => {
    let isSilent = true
    let silenced = 0
    const spoil = async (send: () => Promise<ProposeOutcome>): Promise<ProposeOutcome> => {
      if (!isSilent) return await send()
      silenced++
      void send()
      return await new Promise(() => undefined)
    }
    const group = await RaftGroup.start({ spoil, patienceMs: 20_000 })
    t.teardown(() => group.closeAll())
    const leader = await group.leader()
    const [writer, next] = [...group.stores.values()].filter(store => store !== leader) as [RaftStore, RaftStore]
    const writing = writer.compareAndSet('a', 0, '1')
    while (silenced === 0) await new Promise(resolve => setImmediate(resolve))
    isSilent = false
    await leader.node.transferLeader(next.node.id)
    t.match(await writing, { kind: 'written', version: 1 })
  },
)

t.test('a named write is applied once, wherever it is put, and refused when its session is forgotten', async t => {
  const group = await RaftGroup.start()
  t.teardown(() => group.closeAll())
  const [first, second] = [...group.stores.values()] as [RaftStore, RaftStore]
  const id = { session: await first.openSession(), sequence: 1, firstPending: 1 }
  const write = { key: 'a', expected: 0, value: '1' }
  t.same(await first.compareAndSetOnce(write, id), { kind: 'written', version: 1 })
  t.same(await second.compareAndSetOnce(write, id), { kind: 'written', version: 1 })
  t.match(await second.compareAndSetOnce(write, { ...id, sequence: 2 }), { kind: 'conflict', current: { value: '1' } })
  t.same(await second.compareAndSetOnce(write, { ...id, session: 999 }), { kind: 'refused', mayHaveHappened: false })
})
