import t from 'tap'
import { encodeText, type Message, type MsgApp } from '../src/index.ts'
import { confOf, entriesOf, TestCluster, TestNode } from './support/cluster.ts'

const appendFrom = (from: number, term: number, rest: Partial<MsgApp> = {}): Message => ({
  type: 'MsgApp',
  from,
  to: 1,
  term,
  index: 0,
  logTerm: 0,
  entries: [],
  commit: 0,
  ...rest,
})

/** A leader in term 1 of nodes 1–3 whose followers are played by the test. */
function leaderAlone(options: object = {}): TestNode {
  const node = new TestNode(1, { conf: confOf([1, 2, 3]) }, { preVote: false, ...options })
  node.raw.campaign()
  node.drain()
  node.raw.step({ type: 'MsgVoteResp', from: 2, to: 1, term: 1, reject: false })
  return node
}
const ack = (from: number, index: number, term = 1): Message => ({
  type: 'MsgAppResp',
  from,
  to: 1,
  term,
  index,
  reject: false,
  rejectHint: 0,
  logTerm: 0,
})
const refuse = (from: number, index: number, rejectHint: number, logTerm: number): Message => ({
  type: 'MsgAppResp',
  from,
  to: 1,
  term: 1,
  index,
  reject: true,
  rejectHint,
  logTerm,
})

for (const [rule, story, previous, sends, commit, want, ends, committed] of [
  ['L2', 'refuses what it cannot connect', [5, 1], [], 0, { reject: true, index: 5, rejectHint: 2 }, '1/1 1/2', 0],
  [
    'L4',
    'refuses another term and hints below it',
    [2, 3],
    [],
    0,
    { reject: true, index: 2, rejectHint: 2, logTerm: 1 },
    '1/1 1/2',
    0,
  ],
  ['L3', 'takes what follows', [2, 1], [[3, 3]], 0, { reject: false, index: 3 }, '1/1 1/2 3/3', 0],
  ['L3', 'commits no further than what it was sent', [1, 1], [], 9, { reject: false, index: 1 }, '1/1 1/2', 1],
  ['L3', 'commits what the leader has committed', [1, 1], [[1, 2]], 2, { reject: false, index: 2 }, '1/1 1/2', 2],
  ['L3', 'replaces what differs', [1, 1], [[3, 2]], 0, { reject: false, index: 2 }, '1/1 3/2', 0],
] as const) {
  t.test(`${rule} a follower ${story}`, async t => {
    const node = new TestNode(1, {
      conf: confOf([1, 2]),
      entries: entriesOf(1, 1),
      hardState: { term: 3, vote: 0, commit: 0 },
    })
    const entries = sends.map(([term, index]) => ({ kind: 'normal', term, index, data: encodeText('x') }) as const)
    node.raw.step(appendFrom(2, 3, { index: previous[0], logTerm: previous[1], entries, commit }))
    t.match(node.drain(), [{ type: 'MsgAppResp', to: 2, ...want }])
    t.equal(node.log(), ends)
    t.equal(node.status.hardState.commit, committed)
  })
}

t.test('L3 an old append below the commit index changes nothing and is answered with it', async t => {
  const node = new TestNode(1, {
    conf: confOf([1, 2]),
    entries: entriesOf(1, 1, 1),
    hardState: { term: 1, vote: 0, commit: 3 },
  })
  node.raw.step(appendFrom(2, 1, { index: 1, logTerm: 1, entries: entriesOf(1, 1).slice(1) }))
  t.match(node.drain(), [{ type: 'MsgAppResp', index: 3, reject: false }])
  t.equal(node.log(), '1/1 1/2 1/3')
})

t.test('L4 one round trip skips a term: a long uncommitted tail is found at once', async t => {
  const cluster = new TestCluster(0, { preVote: false })
  const conf = confOf([1, 2])
  cluster.add(1, { conf, entries: entriesOf(1, 1, 5), hardState: { term: 5, vote: 0, commit: 0 } })
  cluster.add(2, { conf, entries: entriesOf(1, 1, 2, 2, 2, 3, 3, 3, 3, 4), hardState: { term: 5, vote: 0, commit: 0 } })
  const refusals: Message[] = []
  cluster.filter = message => {
    if (message.type === 'MsgAppResp' && message.reject) refusals.push(message)
    return true
  }
  cluster.elect(1)
  t.equal(cluster.node(2).log(), cluster.node(1).log())
  t.equal(refusals.length, 1)
})

t.test('M1 figure 8: entries of older terms are not committed by counting', async t => {
  const node = new TestNode(
    1,
    { conf: confOf([1, 2, 3]), entries: entriesOf(1, 2), hardState: { term: 2, vote: 0, commit: 1 } },
    { preVote: false },
  )
  node.raw.campaign()
  node.drain()
  node.raw.step({ type: 'MsgVoteResp', from: 2, to: 1, term: 3, reject: false })
  node.drain()
  node.raw.step(ack(2, 2, 3))
  t.equal(node.status.hardState.commit, 1, 'a majority has 2/2, but it is of an older term')
  node.raw.step(ack(2, 3, 3))
  t.equal(node.status.hardState.commit, 3, "the leader's own entry takes it along")
})

t.test('M2 a new leader writes an empty entry, committed with all before', async t => {
  const cluster = new TestCluster(3, {}, { entries: entriesOf(1, 1), hardState: { term: 1, vote: 0, commit: 0 } })
  const leader = cluster.elect(2)
  t.equal(leader.log(), '1/1 1/2 2/3')
  for (const node of cluster.nodes.values()) t.equal(node.status.applied, 3)
})

t.test('M3 a heartbeat commits only what the follower is known to hold', async t => {
  const node = leaderAlone()
  node.drain()
  node.raw.step(ack(2, 1))
  node.drain()
  node.raw.beat()
  t.match(node.drain(), [
    { type: 'MsgHeartbeat', to: 2, commit: 1 },
    { type: 'MsgHeartbeat', to: 3, commit: 0 },
  ])
})

t.test('P2 a follower is probed with one message until it answers', async t => {
  const node = leaderAlone()
  t.equal(node.drain().filter(message => message.type === 'MsgApp').length, 2, 'the first probe of each')
  for (let at = 0; at < 3; at++) node.raw.propose(encodeText('x'))
  t.same(node.drain(), [], 'nothing more while nobody answers')
  node.raw.step({ type: 'MsgHeartbeatResp', from: 2, to: 1, term: 1, readRound: 0 })
  t.match(node.drain(), [{ type: 'MsgApp', to: 2, index: 0, entries: { length: 4 } }], 'a sign of life allows one more')
  node.raw.step(ack(2, 4))
  node.drain()
  for (let at = 0; at < 3; at++) node.raw.propose(encodeText('x'))
  const sent = node.drain().filter(({ to, type }) => to === 2 && type === 'MsgApp')
  t.equal(sent.length, 3, 'replicating needs no answers')
})

t.test('P3 an old refusal moves nothing', async t => {
  const node = leaderAlone()
  node.drain()
  node.raw.step(ack(2, 1))
  node.drain()
  const before = node.status.progress
  node.raw.step(refuse(2, 1, 0, 0))
  t.same(node.status.progress, before)
  t.same(node.drain(), [])
})

t.test('P4 the window bounds messages, and opens by acknowledgement', async t => {
  const node = leaderAlone({ maxInflightMessages: 3 })
  node.drain()
  node.raw.step(ack(2, 1))
  node.drain()
  for (let at = 0; at < 10; at++) node.raw.propose(encodeText('x'))
  const toTwo = () => node.drain().filter((message): message is MsgApp => message.to === 2 && message.type === 'MsgApp')
  t.equal(toTwo().length, 3)
  t.match(node.status.progress[1], { id: 2, isInflightFull: true, isPaused: true })
  node.raw.step(ack(2, 2))
  t.same(
    toTwo().map(message => message.entries.length),
    [7],
    'the rest in one message',
  )
})

t.test('P4 the window bounds bytes', async t => {
  const node = leaderAlone({ maxInflightBytes: 25, maxMessageBytes: 0 })
  node.drain()
  node.raw.step(ack(2, 1))
  node.drain()
  for (let at = 0; at < 10; at++) node.raw.propose(encodeText('0123456789'))
  t.equal(node.drain().filter(({ to, type }) => to === 2 && type === 'MsgApp').length, 3)
})

t.test('P4 a full window lets one empty message through per heartbeat answer', async t => {
  const node = leaderAlone({ maxInflightMessages: 1 })
  node.drain()
  node.raw.step(ack(2, 1))
  node.drain()
  for (let at = 0; at < 3; at++) node.raw.propose(encodeText('x'))
  node.drain()
  for (let at = 0; at < 3; at++) {
    node.raw.step({ type: 'MsgHeartbeatResp', from: 2, to: 1, term: 1, readRound: 0 })
    t.match(node.drain(), [{ type: 'MsgApp', to: 2, entries: [] }])
    t.equal(node.status.progress[1]?.isPaused, true)
  }
})

t.test('P5 an unreachable follower is probed again', async t => {
  const node = leaderAlone()
  node.drain()
  node.raw.step(ack(2, 1))
  node.drain()
  node.raw.reportUnreachable(2)
  t.match(node.status.progress[1], { state: 'probe', next: 2 })
  node.raw.step(ack(2, 1))
  t.match(node.status.progress[1], { state: 'replicate' }, 'even an old acknowledgement is a sign')
})

t.test('F1 followers and candidates drop proposals and say who leads', async t => {
  const cluster = new TestCluster(3)
  t.same(cluster.propose(2, 'x'), { kind: 'dropped', reason: 'noLeader', leader: 0 })
  cluster.elect(1)
  t.same(cluster.propose(2, 'x'), { kind: 'dropped', reason: 'notLeader', leader: 1 })
  t.same(cluster.propose(1, 'x'), { kind: 'appended', index: 2, term: 1 })
  cluster.isolate(3)
  cluster.node(3).raw.campaign()
  t.same(cluster.propose(3, 'x'), { kind: 'dropped', reason: 'noLeader', leader: 0 })
})

t.test('F1 a follower passes proposals on when told to', async t => {
  const cluster = new TestCluster(3, { forwardProposals: true })
  cluster.elect(1)
  t.same(cluster.propose(2, 'x'), { kind: 'forwarded', to: 1 })
  t.equal(cluster.node(3).status.applied, 2)
})

t.test('F2 the uncommitted tail is bounded', async t => {
  const node = leaderAlone({ maxUncommittedBytes: 25 })
  node.drain()
  node.raw.step(ack(2, 1))
  node.drain()
  const big = node.raw.propose(new Uint8Array(100))
  t.equal(big.kind, 'appended', 'the first of any size passes')
  t.match(node.raw.propose(encodeText('x')), { kind: 'dropped', reason: 'uncommittedFull' })
  t.equal(node.raw.propose(new Uint8Array(0)).kind, 'appended', 'empty entries always pass')
  node.drain()
  node.raw.step(ack(2, 3))
  node.drain()
  t.equal(node.status.uncommittedBytes, 0)
  t.equal(node.raw.propose(encodeText('x')).kind, 'appended')
})

t.test('D1 a leader counts its own entries after its own disk', async t => {
  const node = new TestNode(1, { conf: confOf([1]) })
  node.raw.campaign()
  node.drain()
  node.raw.propose(encodeText('x'))
  const ready = node.raw.ready()
  t.equal(ready.entries.length, 1)
  t.equal(ready.committed.length, 0)
  t.equal(node.status.hardState.commit, 1)
  node.persist(ready)
  node.finish(ready)
  t.equal(node.status.hardState.commit, 2)
})

t.test("D1 followers may commit before the leader's disk does", async t => {
  const node = leaderAlone()
  const ready = node.raw.ready()
  node.raw.step(ack(2, 1))
  t.equal(node.status.hardState.commit, 0, 'one of three')
  node.raw.step(ack(3, 1))
  t.equal(node.status.hardState.commit, 1, 'two of three, without itself')
  node.persist(ready)
  node.finish(ready)
})

t.test('D2 promises wait for the disk, appends need not', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2, 3]) })
  node.raw.step({ type: 'MsgVote', from: 2, to: 1, term: 1, index: 0, logTerm: 0, isTransfer: false })
  const vote = node.raw.ready()
  t.same(vote.messages, [])
  t.match(vote.messagesAfterAppend, [{ type: 'MsgVoteResp' }])
  t.ok(vote.mustSync)
  node.persist(vote)
  node.finish(vote)
  const leader = leaderAlone()
  const appends = leader.raw.ready()
  t.match(appends.messages, [{ type: 'MsgApp' }, { type: 'MsgApp' }])
})

t.test('D2 a candidate asks for votes only when its term is durable', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2, 3]) }, { preVote: false })
  node.raw.campaign()
  const ready = node.raw.ready()
  t.same(ready.messages, [])
  t.match(ready.messagesAfterAppend, [
    { type: 'MsgVote', to: 2 },
    { type: 'MsgVote', to: 3 },
  ])
  t.match(ready.hardState, { term: 1, vote: 1 })
})

t.test('D2 a commit index alone needs no sync', async t => {
  const node = new TestNode(1, {
    conf: confOf([1, 2]),
    entries: entriesOf(1),
    hardState: { term: 1, vote: 0, commit: 0 },
  })
  node.raw.step({ type: 'MsgHeartbeat', from: 2, to: 1, term: 1, commit: 1, readRound: 0 })
  const ready = node.raw.ready()
  t.match(ready.hardState, { commit: 1 })
  t.notOk(ready.mustSync)
})

t.test('D5 a finished write does not vouch for what replaced it meanwhile', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2, 3]) })
  node.raw.step(appendFrom(2, 1, { entries: entriesOf(1, 1) }))
  const first = node.raw.ready()
  node.raw.step(appendFrom(3, 2, { entries: entriesOf(2) }))
  node.persist(first)
  node.finish(first)
  const second = node.raw.ready()
  t.match(second.entries, [{ term: 2, index: 1 }], 'the new entry still goes to the disk')
  node.persist(second)
  node.finish(second)
  t.equal(node.storage.term(1), 2)
  t.equal(node.storage.lastIndex(), 1)
})

t.test('D6 the state machine proves more than the commit hint', async t => {
  const conf = confOf([1, 2])
  const node = new TestNode(
    1,
    { conf, entries: entriesOf(1, 1, 1), hardState: { term: 1, vote: 0, commit: 1 } },
    { applied: 2 },
  )
  t.match(node.status, { applied: 2, hardState: { commit: 2 } })
  node.drain()
  t.same(node.applied, [], 'nothing is applied twice')
  const fresh = new TestNode(1, { conf, entries: entriesOf(1, 1, 1), hardState: { term: 1, vote: 0, commit: 2 } })
  fresh.drain()
  t.equal(fresh.applied.length, 2, 'without a durable machine the log is replayed')
  t.throws(
    () => new TestNode(1, { conf, entries: entriesOf(1), hardState: { term: 1, vote: 0, commit: 9 } }),
    /beyond the last entry/,
  )
})

t.test('D2 ready and advance take turns', async t => {
  const node = leaderAlone()
  t.throws(() => node.raw.advance(), /without ready/)
  const ready = node.raw.ready()
  t.throws(() => node.raw.ready(), /before advance/)
  t.notOk(node.raw.hasReady())
  node.persist(ready)
  node.finish(ready)
  node.drain()
  t.notOk(node.raw.hasReady())
})

t.test('F1 strangers and local messages are not taken from the network', async t => {
  const node = leaderAlone()
  node.drain()
  t.same(node.raw.step(ack(9, 1)), { kind: 'ignored', reason: 'unknownPeer' })
  t.same(node.raw.step({ type: 'MsgHup', from: 2, to: 1, term: 0 }), { kind: 'ignored', reason: 'localMessage' })
  t.same(node.raw.step(ack(2, 1)), { kind: 'stepped' })
})

t.test('F1 several proposals at once travel in one message', async t => {
  const node = leaderAlone()
  node.drain()
  node.raw.step(ack(2, 1))
  node.drain()
  const outcome = node.raw.proposeAll([encodeText('a'), encodeText('b'), encodeText('c')])
  t.same(outcome, { kind: 'appended', index: 4, term: 1 })
  t.match(
    node.drain().filter(({ to }) => to === 2),
    [{ type: 'MsgApp', entries: { length: 3 } }],
  )
  t.throws(() => node.raw.proposeAll([]), /no entries/)
})
