import t from 'tap'
import { type Message, NO_DATA, type Snapshot } from '../src/index.ts'
import { confOf, entriesOf, TestCluster, TestNode } from './support/cluster.ts'

const snapshotOf = (index: number, term: number, voters: readonly number[] = [1, 2]): Snapshot => ({
  index,
  term,
  conf: confOf(voters),
  data: NO_DATA,
})
const snap = (snapshot: Snapshot, term = 3): Message => ({ type: 'MsgSnap', from: 2, to: 1, term, snapshot })

t.test('S1 a snapshot at or below the commit index is ignored', async t => {
  const node = new TestNode(1, {
    conf: confOf([1, 2]),
    entries: entriesOf(1, 1, 1),
    hardState: { term: 1, vote: 0, commit: 3 },
  })
  for (const index of [2, 3]) {
    node.raw.step(snap(snapshotOf(index, 1)))
    t.match(node.drain(), [{ type: 'MsgAppResp', index: 3, reject: false }])
  }
  t.equal(node.log(), '1/1 1/2 1/3')
})

t.test('S2 a snapshot whose end is in the log only commits', async t => {
  const node = new TestNode(1, {
    conf: confOf([1, 2]),
    entries: entriesOf(1, 1, 1),
    hardState: { term: 1, vote: 0, commit: 1 },
  })
  node.raw.step(snap(snapshotOf(2, 1)))
  t.match(node.drain(), [{ type: 'MsgAppResp', index: 2 }])
  t.equal(node.log(), '1/1 1/2 1/3', 'the tail stays: it may be what others need')
  t.equal(node.status.hardState.commit, 2)
})

t.test('S3 another snapshot replaces the log and the configuration', async t => {
  const node = new TestNode(1, {
    conf: confOf([1, 2]),
    entries: entriesOf(1, 1, 1, 1, 1),
    hardState: { term: 1, vote: 0, commit: 1 },
  })
  node.raw.step(snap(snapshotOf(3, 2, [1, 2, 3])))
  t.match(node.drain(), [{ type: 'MsgAppResp', index: 3 }])
  t.equal(node.log(), '')
  t.match(node.status, {
    firstIndex: 4,
    lastIndex: 3,
    applied: 3,
    hardState: { commit: 3 },
    conf: { voters: [1, 2, 3] },
  })
  t.equal(node.storage.lastIndex(), 3)
  node.raw.step(snap(snapshotOf(3, 2, [1, 2, 3])))
  t.match(node.drain(), [{ type: 'MsgAppResp', index: 3 }], 'the same again changes nothing')
})

t.test('S3 while a snapshot is installed nothing is applied and nobody campaigns', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2]) })
  node.raw.step(snap(snapshotOf(3, 2)))
  const ready = node.raw.ready()
  t.equal(ready.snapshot?.index, 3)
  t.ok(ready.mustSync)
  node.raw.step({
    type: 'MsgApp',
    from: 2,
    to: 1,
    term: 3,
    index: 3,
    logTerm: 2,
    entries: entriesOf(1, 1, 1, 3).slice(3),
    commit: 4,
  })
  node.raw.campaign()
  t.equal(node.status.role, 'follower')
  node.persist(ready)
  node.finish(ready)
  node.drain()
  t.same(
    node.applied.map(entry => entry.index),
    [4],
  )
})

t.test('S4 a node ignores a snapshot of which it is not a member', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2]) })
  node.raw.step(snap(snapshotOf(5, 2, [2, 3])))
  t.match(node.drain(), [{ type: 'MsgAppResp', index: 0 }])
  t.equal(node.status.lastIndex, 0)
  for (const conf of [confOf([2], { learners: [1] }), confOf([2], { votersOutgoing: [1, 2] })]) {
    const member = new TestNode(1, { conf: confOf([1, 2]) })
    member.raw.step(snap({ ...snapshotOf(5, 2), conf }))
    t.match(member.drain(), [{ type: 'MsgAppResp', index: 5 }])
  }
})

function withSlowFollower(): TestCluster {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.isolate(3)
  for (const text of ['a', 'b', 'c']) cluster.propose(1, text)
  cluster.node(1).compact()
  cluster.node(1).raw.reportUnreachable(3)
  return cluster
}

t.test('S5 a follower beyond compaction recovers by snapshot', async t => {
  const cluster = withSlowFollower()
  cluster.heal()
  cluster.tick(1, 3)
  t.equal(cluster.node(3).status.applied, 4)
  t.match(cluster.node(1).status.progress[2], { id: 3, state: 'replicate', match: 4 })
  cluster.propose(1, 'd')
  t.equal(cluster.node(3).status.applied, 5)
})

t.test('S5 while a snapshot is under way nothing else is sent', async t => {
  const cluster = withSlowFollower()
  cluster.filter = message => message.to !== 3 || message.type === 'MsgHeartbeat'
  const leader = cluster.node(1)
  leader.raw.step({ type: 'MsgHeartbeatResp', from: 3, to: 1, term: 1, readRound: 0 })
  t.match(leader.drain(), [{ type: 'MsgSnap', to: 3 }])
  t.match(leader.status.progress[2], { state: 'snapshot', pendingSnapshot: 4, isPaused: true })
  leader.raw.propose(NO_DATA)
  t.notOk(leader.drain().some(({ to, type }) => to === 3 && type !== 'MsgHeartbeat'))
  leader.raw.reportSnapshot(3, true)
  t.match(leader.status.progress[2], { state: 'probe', next: 5, isPaused: true })
})

t.test('S5 a failed snapshot is tried again after the next sign of life', async t => {
  const cluster = withSlowFollower()
  const leader = cluster.node(1)
  const alive: Message = { type: 'MsgHeartbeatResp', from: 3, to: 1, term: 1, readRound: 0 }
  leader.raw.step(alive)
  leader.drain()
  leader.raw.reportSnapshot(3, false)
  t.match(leader.status.progress[2], { state: 'probe', next: 2, isPaused: true })
  t.same(leader.drain(), [])
  leader.raw.step(alive)
  t.match(leader.drain(), [{ type: 'MsgSnap', to: 3 }])
})

t.test('S5 an answer that reaches the log ends the wait, report or not', async t => {
  const cluster = withSlowFollower()
  const leader = cluster.node(1)
  leader.raw.step({ type: 'MsgHeartbeatResp', from: 3, to: 1, term: 1, readRound: 0 })
  leader.drain()
  leader.raw.step({ type: 'MsgAppResp', from: 3, to: 1, term: 1, index: 4, reject: false, rejectHint: 0, logTerm: 0 })
  t.match(leader.status.progress[2], { state: 'replicate', match: 4 })
})

t.test('S5 a silent follower is sent no snapshot', async t => {
  const cluster = withSlowFollower()
  cluster.tick(1, 21)
  const leader = cluster.node(1)
  leader.raw.propose(NO_DATA)
  t.notOk(leader.drain().some(message => message.type === 'MsgSnap'))
})

t.test('S2 restart after compaction', async t => {
  const cluster = withSlowFollower()
  const { storage } = cluster.node(1)
  const snapshot = storage.snapshot()
  const node = new TestNode(1, {
    ...(snapshot === undefined ? {} : { snapshot }),
    hardState: storage.initialState().hardState,
  })
  t.match(node.status, { firstIndex: 5, lastIndex: 4, applied: 4, hardState: { commit: 4 } })
})
