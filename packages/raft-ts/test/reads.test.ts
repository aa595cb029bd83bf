import t from 'tap'
import type { Message } from '../src/index.ts'
import { confOf, entriesOf, TestCluster, TestNode } from './support/cluster.ts'

t.test('R1 a read waits for a quorum of answers', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.propose(1, 'x')
  cluster.isolate(1)
  cluster.node(1).raw.readIndex('a')
  cluster.settle()
  t.same(cluster.node(1).reads, [], 'an isolated leader answers nothing')
  cluster.heal()
  cluster.node(1).raw.beat()
  cluster.settle()
  t.same(cluster.node(1).reads, [{ readId: 'a', index: 2 }], 'the next heartbeat asks again')
})

t.test('R1 a single voter answers at once', async t => {
  const cluster = new TestCluster(1)
  cluster.elect(1)
  cluster.node(1).raw.readIndex('a')
  cluster.settle()
  t.same(cluster.node(1).reads, [{ readId: 'a', index: 1 }])
})

t.test('R1 a joint configuration needs both halves', async t => {
  const conf = confOf([1, 2, 3], { votersOutgoing: [1, 4, 5] })
  const cluster = new TestCluster(0)
  for (const id of [1, 2, 3, 4, 5]) cluster.add(id, { conf })
  cluster.elect(1)
  cluster.isolate(4, 5)
  cluster.node(1).raw.readIndex('a')
  cluster.settle()
  t.same(cluster.node(1).reads, [])
})

t.test('R2 a late answer to an older round does not confirm a newer read', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  const late: Message[] = []
  cluster.filter = message => {
    if (message.type === 'MsgHeartbeatResp') late.push(message)
    return message.type !== 'MsgHeartbeatResp'
  }
  cluster.node(1).raw.readIndex('old')
  cluster.settle()
  const answersToOld = [...late]
  cluster.node(1).raw.readIndex('new')
  cluster.settle()
  for (const message of answersToOld) cluster.node(1).raw.step(message)
  cluster.settle()
  t.same(
    cluster.node(1).reads.map(read => read.readId),
    ['old'],
  )
  for (const message of late) cluster.node(1).raw.step(message)
  cluster.settle()
  t.same(
    cluster.node(1).reads.map(read => read.readId),
    ['old', 'new'],
    'an answer to the newer round confirms it',
  )
})

t.test('R2 an answer to a newer round confirms older reads too, in order', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.filter = message => !(message.type === 'MsgHeartbeatResp' && message.readRound < 3)
  for (const id of ['a', 'b', 'c']) {
    cluster.node(1).raw.readIndex(id)
    cluster.settle()
  }
  t.same(
    cluster.node(1).reads.map(read => read.readId),
    ['a', 'b', 'c'],
  )
})

t.test('R3 a new leader answers only after a commit of its own term', async t => {
  const cluster = new TestCluster(3, {}, { entries: entriesOf(1, 1), hardState: { term: 1, vote: 0, commit: 1 } })
  cluster.filter = message => message.type !== 'MsgApp'
  cluster.elect(1)
  t.equal(cluster.node(1).status.role, 'leader')
  cluster.node(1).raw.readIndex('a')
  cluster.settle()
  t.same(cluster.node(1).reads, [])
  cluster.heal()
  cluster.node(1).raw.beat()
  cluster.settle()
  t.same(cluster.node(1).reads, [{ readId: 'a', index: 3 }])
})

t.test('R4 a follower asks the leader', async t => {
  const cluster = new TestCluster(3)
  t.equal(cluster.node(2).raw.readIndex('none'), 'dropped')
  cluster.elect(1)
  cluster.propose(1, 'x')
  t.equal(cluster.node(2).raw.readIndex('a'), 'pending')
  cluster.settle()
  t.same(cluster.node(2).reads, [{ readId: 'a', index: 2 }])
  t.same(cluster.node(1).reads, [])
})

t.test('R4 a deposed leader reports the reads that it will never answer', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.isolate(1)
  cluster.node(1).raw.readIndex('a')
  cluster.tick(1, 21)
  t.equal(cluster.node(1).status.role, 'follower')
  t.same(cluster.node(1).droppedReads, ['a'])
})

t.test('R4 waiting reads are bounded', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2]) }, { maxPendingReads: 1, preVote: false })
  node.raw.campaign()
  node.drain()
  node.raw.step({ type: 'MsgVoteResp', from: 2, to: 1, term: 1, reject: false })
  node.drain()
  t.equal(node.raw.readIndex('a'), 'pending')
  t.equal(node.raw.readIndex('b'), 'dropped')
})

t.test('R2 reads that come together share a round', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  const beats: Message[] = []
  cluster.filter = message => {
    if (message.type === 'MsgHeartbeat') beats.push(message)
    return true
  }
  for (let at = 0; at < 100; at++) cluster.node(1).raw.readIndex(`read ${at}`)
  cluster.settle()
  t.equal(beats.length, 2, 'one heartbeat for each follower')
  t.equal(cluster.node(1).reads.length, 100)
})
