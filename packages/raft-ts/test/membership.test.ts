import t from 'tap'
import { describeConf, EMPTY_CONF, NO_DATA } from '../src/index.ts'
import { change, confOf, entriesOf, TestCluster, TestNode } from './support/cluster.ts'

t.test('C1 a change takes effect when it is applied', async t => {
  const cluster = new TestCluster(3)
  const leader = cluster.elect(1)
  cluster.add(4, {})
  cluster.isolate(2, 3)
  leader.raw.proposeConfChange(change([{ kind: 'addVoter', id: 4 }]))
  cluster.settle()
  t.equal(describeConf(leader.conf), 'voters=(1 2 3)')
  cluster.heal()
  cluster.tick(1, 3)
  t.equal(describeConf(leader.conf), 'voters=(1 2 3 4)')
})

t.test('C4 a joint change with auto-leave ends by itself', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.add(4, { conf: EMPTY_CONF })
  cluster.add(5, { conf: EMPTY_CONF })
  // Newcomers need the first configuration, which is not in the log.
  cluster.node(1).compact()
  cluster.node(1).raw.proposeConfChange(
    change([
      { kind: 'addVoter', id: 4 },
      { kind: 'addVoter', id: 5 },
      { kind: 'remove', id: 2 },
    ]),
  )
  cluster.settle()
  t.equal(describeConf(cluster.node(1).conf), 'voters=(1 3 4 5)&&(1 2 3) autoleave', 'nobody has acknowledged the end')
  cluster.node(1).compact()
  cluster.tick(1, 3)
  for (const id of [1, 3, 4, 5]) t.equal(describeConf(cluster.node(id).conf), 'voters=(1 3 4 5)', `node ${id}`)
})

t.test('C4 an explicit joint change is left by request', async t => {
  const cluster = new TestCluster(3)
  const leader = cluster.elect(1)
  leader.raw.proposeConfChange(change([{ kind: 'remove', id: 3 }], 'explicit'))
  cluster.settle()
  t.equal(describeConf(leader.conf), 'voters=(1 2)&&(1 2 3)')
  leader.raw.proposeConfChange(change([]))
  cluster.settle()
  t.equal(describeConf(leader.conf), 'voters=(1 2)')
})

t.test('C5 a second change waits for the first', async t => {
  const cluster = new TestCluster(3)
  const leader = cluster.elect(1)
  cluster.isolate(2, 3)
  t.match(leader.raw.proposeConfChange(change([{ kind: 'remove', id: 3 }])), { kind: 'appended', index: 2 })
  t.match(leader.raw.proposeConfChange(change([{ kind: 'remove', id: 2 }])), {
    kind: 'refused',
    reason: /may not be applied/,
  })
  t.match(
    leader.raw.logEntries().at(-1),
    { kind: 'normal', index: 3, data: { length: 0 } },
    'an empty entry stands in its place',
  )
})

t.test('C5 in a joint configuration only leaving is taken, outside of one it is not', async t => {
  const cluster = new TestCluster(3)
  const leader = cluster.elect(1)
  t.match(leader.raw.proposeConfChange(change([])), { kind: 'refused', reason: /no joint configuration/ })
  cluster.settle()
  leader.raw.proposeConfChange(change([{ kind: 'remove', id: 3 }], 'explicit'))
  cluster.settle()
  t.match(leader.raw.proposeConfChange(change([{ kind: 'addVoter', id: 3 }])), {
    kind: 'refused',
    reason: /left first/,
  })
})

t.test('C5 a new leader waits until it has applied what its log may hold', async t => {
  const cluster = new TestCluster(3)
  cluster.filter = message => message.type !== 'MsgApp'
  const leader = cluster.elect(1)
  t.match(
    leader.raw.proposeConfChange(change([{ kind: 'remove', id: 3 }])),
    { kind: 'appended' },
    'nothing was in its log',
  )
  const second = new TestNode(1, {
    conf: confOf([1]),
    entries: entriesOf(1),
    hardState: { term: 1, vote: 0, commit: 0 },
  })
  second.raw.campaign()
  second.handle()
  second.handle()
  t.equal(second.status.role, 'leader')
  t.match(second.raw.proposeConfChange(change([{ kind: 'addVoter', id: 2 }])), { kind: 'refused' })
})

t.test('C7 a smaller quorum commits at once', async t => {
  const cluster = new TestCluster(2)
  const leader = cluster.elect(1)
  leader.raw.proposeConfChange(change([{ kind: 'remove', id: 2 }]))
  leader.raw.propose(NO_DATA)
  // Only the removal reaches node 2.
  cluster.filter = message => message.type !== 'MsgApp' || message.commit < 2
  cluster.settle()
  t.equal(describeConf(leader.conf), 'voters=(1)')
  t.equal(leader.status.hardState.commit, leader.status.lastIndex)
})

t.test('C7 a newcomer is fed from the log, or by a snapshot', async t => {
  for (const isCompacted of [false, true]) {
    const cluster = new TestCluster(1)
    const leader = cluster.elect(1)
    for (const text of ['a', 'b', 'c']) cluster.propose(1, text)
    if (isCompacted) leader.compact()
    cluster.add(2, { conf: isCompacted ? EMPTY_CONF : confOf([1]) })
    leader.raw.proposeConfChange(change([{ kind: 'addLearner', id: 2 }]))
    cluster.settle()
    if (isCompacted) {
      leader.compact()
      cluster.tick(1, 3)
    }
    t.equal(describeConf(cluster.node(2).conf), 'voters=(1) learners=(2)')
    t.equal(cluster.node(2).status.lastIndex, leader.status.lastIndex)
  }
})

t.test('C8 a leader that is removed commits that without itself and steps down', async t => {
  const cluster = new TestCluster(3)
  const leader = cluster.elect(1)
  leader.raw.proposeConfChange(change([{ kind: 'remove', id: 1 }]))
  cluster.settle()
  t.equal(leader.status.role, 'follower')
  t.equal(describeConf(leader.conf), 'voters=(2 3)')
  cluster.tick(1, 100)
  t.equal(leader.status.role, 'follower', 'and never campaigns again')
  cluster.isolate(1)
  cluster.node(3).raw.forgetLeader()
  cluster.elect(2)
  t.match(cluster.propose(2, 'x'), { kind: 'appended' })
  t.equal(cluster.node(3).status.applied, cluster.node(2).status.lastIndex)
})

t.test('C8 a demoted leader steps down', async t => {
  const cluster = new TestCluster(2)
  const leader = cluster.elect(1)
  leader.raw.proposeConfChange(change([{ kind: 'addLearner', id: 1 }]))
  cluster.settle()
  t.equal(leader.status.role, 'follower')
})

t.test("C8 with etcd's behaviour it leads on", async t => {
  const cluster = new TestCluster(3, { stepDownOnRemoval: false })
  const leader = cluster.elect(1)
  leader.raw.proposeConfChange(change([{ kind: 'remove', id: 1 }]))
  cluster.settle()
  t.equal(leader.status.role, 'leader')
  t.match(leader.raw.propose(NO_DATA), { kind: 'dropped', reason: 'notMember' })
})

t.test('C5 conformance scripts may switch the check off', async t => {
  const cluster = new TestCluster(3, { validateConfChanges: false })
  const leader = cluster.elect(1)
  cluster.isolate(2, 3)
  for (const id of [2, 3]) t.match(leader.raw.proposeConfChange(change([{ kind: 'remove', id }])), { kind: 'appended' })
})

t.test('D9 nodes start from a snapshot that names the first members', async t => {
  const snapshot = { index: 1, term: 1, conf: confOf([1, 2, 3]), data: NO_DATA }
  const cluster = new TestCluster(0)
  for (const id of [1, 2, 3]) cluster.add(id, { snapshot, hardState: { term: 1, vote: 0, commit: 1 } })
  cluster.elect(1)
  cluster.propose(1, 'x')
  cluster.add(4, {})
  cluster.node(1).raw.proposeConfChange(change([{ kind: 'addVoter', id: 4 }]))
  cluster.settle()
  cluster.node(1).compact()
  cluster.tick(1, 3)
  t.equal(describeConf(cluster.node(4).conf), 'voters=(1 2 3 4)')
  t.equal(cluster.node(4).status.applied, cluster.node(1).status.applied)
})

t.test('S6 a newcomer waits for a snapshot that knows of it', async t => {
  const cluster = new TestCluster(1)
  const leader = cluster.elect(1)
  leader.compact()
  cluster.add(2, {})
  leader.raw.proposeConfChange(change([{ kind: 'addLearner', id: 2 }]))
  cluster.settle()
  cluster.tick(1, 3)
  t.equal(cluster.node(2).status.lastIndex, 0, 'the snapshot at hand is older than its membership')
  leader.compact()
  cluster.tick(1, 3)
  t.equal(cluster.node(2).status.lastIndex, leader.status.lastIndex)
})
