import t from 'tap'
import { confOf, TestCluster } from './support/cluster.ts'

t.test('T1 an up-to-date successor takes over at once, without a pre-vote', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.node(1).raw.transferLeader(2)
  cluster.settle()
  t.same(cluster.leaders, [2])
  t.equal(cluster.node(2).status.hardState.term, 2)
})

t.test('T1 a slow successor first gets everything', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.isolate(3)
  for (const text of ['a', 'b']) cluster.propose(1, text)
  cluster.heal()
  cluster.node(1).raw.transferLeader(3)
  cluster.settle()
  cluster.tick(1, 1)
  t.same(cluster.leaders, [3])
})

t.test('T1 also by snapshot', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.isolate(3)
  for (const text of ['a', 'b']) cluster.propose(1, text)
  cluster.node(1).compact()
  cluster.heal()
  cluster.node(1).raw.transferLeader(3)
  cluster.settle()
  cluster.tick(1, 2)
  t.same(cluster.leaders, [3])
})

t.test('T1 a follower passes the wish on', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.node(3).raw.transferLeader(3)
  cluster.settle()
  t.same(cluster.leaders, [3])
})

t.test('T2 those who hear the leader vote nevertheless', async t => {
  const cluster = new TestCluster(5)
  cluster.elect(1)
  cluster.tick(1, 2)
  cluster.node(1).raw.transferLeader(4)
  cluster.settle()
  t.same(cluster.leaders, [4])
})

t.test('T3 a transfer to a dead node is given up after T ticks', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.isolate(3)
  cluster.node(1).raw.transferLeader(3)
  cluster.settle()
  t.equal(cluster.node(1).status.transferee, 3)
  cluster.tick(1, 9)
  t.equal(cluster.node(1).status.transferee, 3)
  cluster.tick(1, 1)
  t.equal(cluster.node(1).status.transferee, 0)
  t.match(cluster.propose(1, 'x'), { kind: 'appended' })
})

t.test('T4 proposals are dropped meanwhile', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.isolate(3)
  cluster.node(1).raw.transferLeader(3)
  t.match(cluster.propose(1, 'x'), { kind: 'dropped', reason: 'transferring' })
})

t.test('T4 a newer wish replaces an older, and the leader itself ends it', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.isolate(2, 3)
  for (const [to, want] of [
    [2, 2],
    [2, 2],
    [3, 3],
    [1, 0],
  ] as const) {
    cluster.node(1).raw.transferLeader(to)
    t.equal(cluster.node(1).status.transferee, want)
  }
})

t.test('T4 a learner or a stranger cannot be chosen', async t => {
  const cluster = new TestCluster(0)
  const conf = confOf([1, 2], { learners: [3] })
  for (const id of [1, 2, 3]) cluster.add(id, { conf })
  cluster.elect(1)
  for (const id of [3, 9]) {
    cluster.node(1).raw.transferLeader(id)
    t.equal(cluster.node(1).status.transferee, 0)
  }
})

t.test('T3 a removed successor ends the transfer, and so does a new term', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.isolate(3)
  cluster
    .node(1)
    .raw.proposeConfChange({ changes: [{ kind: 'remove', id: 3 }], transition: 'auto', context: new Uint8Array(0) })
  cluster.node(1).raw.transferLeader(3)
  cluster.settle()
  t.equal(cluster.node(1).status.transferee, 0)
  const other = new TestCluster(3)
  other.elect(1)
  other.isolate(3)
  other.node(1).raw.transferLeader(3)
  other.node(1).raw.step({ type: 'MsgHeartbeat', from: 2, to: 1, term: 9, commit: 0, readRound: 0 })
  t.equal(other.node(1).status.transferee, 0)
})
