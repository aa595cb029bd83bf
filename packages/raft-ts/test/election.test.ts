import { createPrng } from '@waiter/base'
import t from 'tap'
import { type Entry, MemoryStorage, type Message, RawNode } from '../src/index.ts'
import { RULES } from '../src/rules.ts'
import { change, confOf, entriesOf, TestCluster, TestNode } from './support/cluster.ts'

const voteFrom = (from: number, term: number, rest: object = {}): Message => ({
  type: 'MsgVote',
  from,
  to: 1,
  term,
  index: 0,
  logTerm: 0,
  isTransfer: false,
  ...rest,
})
const answers = (node: TestNode) =>
  node.drain().map(({ type, to, term, ...rest }) => ({ type, to, term, reject: 'reject' in rest && rest.reject }))

t.test('V1 one vote per term, repeated to the same candidate', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2, 3]) })
  node.raw.step(voteFrom(2, 5))
  node.raw.step(voteFrom(3, 5))
  node.raw.step(voteFrom(2, 5))
  t.same(
    answers(node).map(({ to, reject }) => `${to} ${reject}`),
    ['2 false', '3 true', '2 false'],
  )
  t.equal(node.status.hardState.vote, 2)
  node.raw.step(voteFrom(3, 6))
  t.match(answers(node), [{ to: 3, term: 6, reject: false }], 'a new term is a new vote')
})

t.test('V1 the vote survives a restart', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2, 3]), hardState: { term: 5, vote: 2, commit: 0 } })
  node.raw.step(voteFrom(3, 5))
  node.raw.step(voteFrom(2, 5))
  t.same(
    answers(node).map(({ to, reject }) => `${to} ${reject}`),
    ['3 true', '2 false'],
  )
})

t.test('V1 who knows a leader of this term votes for nobody else', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2, 3]) }, { checkQuorum: false })
  node.raw.step({ type: 'MsgHeartbeat', from: 2, to: 1, term: 4, commit: 0, readRound: 0 })
  node.raw.step(voteFrom(3, 4))
  t.match(answers(node), [{ type: 'MsgHeartbeatResp' }, { to: 3, reject: true }])
})

t.test('V2 a learner votes when asked', async t => {
  const node = new TestNode(1, { conf: confOf([2, 3], { learners: [1] }) })
  node.raw.step(voteFrom(2, 1))
  t.match(answers(node), [{ to: 2, reject: false }])
})

for (const role of ['follower', 'preCandidate', 'candidate', 'leader'] as const) {
  t.test(`V3 in any state a vote in a later term needs a log as good: ${role}`, async t => {
    for (const [index, logTerm, isGranted] of [
      [3, 2, true],
      [9, 1, false],
      [2, 3, true],
      [2, 2, false],
    ] as const) {
      const conf = confOf([1, 2, 3])
      const node = new TestNode(
        1,
        { conf, entries: entriesOf(1, 2, 2), hardState: { term: 2, vote: 0, commit: 0 } },
        { checkQuorum: false, preVote: role === 'preCandidate' },
      )
      if (role !== 'follower') node.raw.campaign()
      node.drain()
      if (role === 'leader') {
        node.raw.step({ type: 'MsgVoteResp', from: 2, to: 1, term: 3, reject: false })
        node.drain()
      }
      t.equal(node.status.role, role)
      node.raw.step(
        voteFrom(2, 9, {
          index: role === 'leader' ? index + 1 : index,
          logTerm: role === 'leader' ? logTerm + 1 : logTerm,
        }),
      )
      t.match(answers(node).at(-1), { type: 'MsgVoteResp', term: 9, reject: !isGranted }, `${logTerm}/${index}`)
      t.equal(node.status.hardState.term, 9)
      t.equal(node.status.role, 'follower')
    }
  })
}

t.test('V4 a granted pre-vote carries the asked term, a refused one its own', async t => {
  const node = new TestNode(1, {
    conf: confOf([1, 2, 3]),
    entries: entriesOf(3),
    hardState: { term: 4, vote: 0, commit: 0 },
  })
  node.raw.step({ ...voteFrom(2, 7, { index: 1, logTerm: 3 }), type: 'MsgPreVote' } as Message)
  node.raw.step({ ...voteFrom(3, 7, { index: 1, logTerm: 2 }), type: 'MsgPreVote' } as Message)
  node.raw.step({ ...voteFrom(3, 2, { index: 9, logTerm: 9 }), type: 'MsgPreVote' } as Message)
  t.same(answers(node), [
    { type: 'MsgPreVoteResp', to: 2, term: 7, reject: false },
    { type: 'MsgPreVoteResp', to: 3, term: 4, reject: true },
    { type: 'MsgPreVoteResp', to: 3, term: 4, reject: true },
  ])
  t.equal(node.status.hardState.term, 4)
  t.equal(node.status.hardState.vote, 0)
})

t.test('E1 time-outs lie in [T, 2T) and all of them occur', async t => {
  const random = createPrng(7)
  const seen = new Set<number>()
  for (let at = 0; at < 400; at++) {
    const node = new RawNode(
      { id: 1, random, preVote: false, electionTicks: 10 },
      new MemoryStorage({ conf: confOf([1, 2]) }),
    )
    let ticks = 0
    while (node.status().role === 'follower') {
      node.tick()
      ticks++
    }
    seen.add(ticks)
  }
  t.same(
    [...seen].sort((a, b) => a - b),
    [10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
  )
})

t.test('E2 a learner, an outsider and a node without configuration never campaign', async t => {
  for (const conf of [confOf([2], { learners: [1] }), confOf([2, 3]), confOf([])]) {
    const node = new TestNode(1, { conf })
    for (let at = 0; at < 100; at++) node.raw.tick()
    node.raw.campaign()
    t.equal(node.status.role, 'follower')
    t.same(node.drain(), [])
  }
})

t.test('E3 a committed membership change must be applied before a campaign', async t => {
  const conf = confOf([1, 2, 3])
  const entry = {
    kind: 'confChange',
    index: 1,
    term: 1,
    change: { changes: [], transition: 'explicit', context: new Uint8Array(0) },
  } as const
  const node = new TestNode(1, { conf, entries: [entry], hardState: { term: 1, vote: 0, commit: 1 } })
  node.raw.campaign()
  t.equal(node.status.role, 'follower')
})

t.test('E4 with pre-vote a returning node disturbs nobody', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.isolate(3)
  cluster.tick(3, 100)
  t.equal(cluster.node(3).status.hardState.term, 1, 'its term has not moved')
  cluster.heal()
  cluster.tick(3, 30)
  cluster.tick(1, 1)
  t.same(cluster.leaders, [1])
  t.equal(cluster.node(1).status.hardState.term, 1)
})

t.test('E4 a pre-candidate asks in the next term but stays in its own', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2, 3]) })
  node.raw.campaign()
  t.same(
    answers(node).map(({ type, to, term }) => `${type} ${to} ${term}`),
    ['MsgPreVote 2 1', 'MsgPreVote 3 1'],
  )
  t.same(node.status.hardState, { term: 0, vote: 0, commit: 0 })
  node.raw.step({ type: 'MsgPreVoteResp', from: 2, to: 1, term: 1, reject: false })
  t.same(
    answers(node).map(({ type, to, term }) => `${type} ${to} ${term}`),
    ['MsgVote 2 1', 'MsgVote 3 1'],
  )
  t.same(node.status.hardState, { term: 1, vote: 1, commit: 0 })
})

t.test('E5 a leader that hears nobody steps down, one that hears a quorum stays', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.tick(1, 50)
  t.same(cluster.leaders, [1])
  cluster.isolate(2)
  cluster.tick(1, 50)
  t.same(cluster.leaders, [1])
  cluster.isolate(1)
  cluster.tick(1, 21)
  t.same(cluster.leaders, [])
})

t.test('E5 learners do not keep a leader in office', async t => {
  const conf = confOf([1, 2, 3], { learners: [4] })
  const cluster = new TestCluster(0)
  for (const id of [1, 2, 3, 4]) cluster.add(id, { conf })
  cluster.elect(1)
  cluster.isolate(2, 3)
  cluster.tick(1, 21)
  t.same(cluster.leaders, [])
})

t.test('E6 who hears a leader refuses votes, and keeps its term', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2, 3]) })
  node.raw.step({ type: 'MsgHeartbeat', from: 2, to: 1, term: 4, commit: 0, readRound: 0 })
  node.drain()
  node.raw.step(voteFrom(3, 9, { index: 9, logTerm: 9 }))
  t.same(node.drain(), [])
  t.equal(node.status.hardState.term, 4)
  for (let at = 0; at < 10; at++) node.raw.tick()
  node.raw.step(voteFrom(3, 9, { index: 9, logTerm: 9 }))
  t.match(node.drain().at(-1), { type: 'MsgVoteResp', to: 3, reject: false }, 'after T ticks of silence it votes')
})

t.test('E6 one broken link unseats nobody', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.filter = ({ from, to }) => !(from + to === 4 && from * to === 3)
  for (let at = 0; at < 100; at++) for (const id of [1, 2, 3]) cluster.tick(id)
  t.same(cluster.leaders, [1])
  t.equal(cluster.node(1).status.hardState.term, 1)
})

t.test('E7 a leader of an older term is told', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2, 3]), hardState: { term: 7, vote: 0, commit: 0 } })
  node.raw.step({ type: 'MsgHeartbeat', from: 2, to: 1, term: 3, commit: 0, readRound: 0 })
  t.match(node.drain(), [{ type: 'MsgAppResp', to: 2, term: 7 }])
  const silent = new TestNode(
    1,
    { conf: confOf([1, 2]), hardState: { term: 7, vote: 0, commit: 0 } },
    { checkQuorum: false, preVote: false },
  )
  silent.raw.step({ type: 'MsgHeartbeat', from: 2, to: 1, term: 3, commit: 0, readRound: 0 })
  t.same(silent.drain(), [], 'without these options its next vote request tells')
})

t.test('E8 a candidate follows a leader of its term', async t => {
  for (const type of ['MsgHeartbeat', 'MsgApp'] as const) {
    const node = new TestNode(1, { conf: confOf([1, 2, 3]) }, { preVote: false })
    node.raw.campaign()
    node.drain()
    const common = { from: 2, to: 1, term: 1, commit: 0 }
    node.raw.step(
      type === 'MsgApp' ? { ...common, type, index: 0, logTerm: 0, entries: [] } : { ...common, type, readRound: 0 },
    )
    t.match(node.status, { role: 'follower', leader: 2 })
  }
})

t.test('E8 a lost vote makes a follower, a split one waits', async t => {
  const node = new TestNode(1, { conf: confOf([1, 2, 3, 4, 5]) }, { preVote: false })
  node.raw.campaign()
  node.drain()
  node.raw.step({ type: 'MsgVoteResp', from: 2, to: 1, term: 1, reject: true })
  node.raw.step({ type: 'MsgVoteResp', from: 2, to: 1, term: 1, reject: true })
  node.raw.step({ type: 'MsgVoteResp', from: 3, to: 1, term: 1, reject: true })
  t.equal(node.status.role, 'candidate', 'an answer counts once')
  node.raw.step({ type: 'MsgVoteResp', from: 4, to: 1, term: 1, reject: true })
  t.match(node.status, { role: 'follower', hardState: { term: 1, vote: 1 } })
})

t.test('E8 an answer of an older term does not count', async t => {
  const node = new TestNode(
    1,
    { conf: confOf([1, 2, 3]), hardState: { term: 5, vote: 0, commit: 0 } },
    { preVote: false },
  )
  node.raw.campaign()
  node.drain()
  node.raw.step({ type: 'MsgVoteResp', from: 2, to: 1, term: 5, reject: false })
  t.equal(node.status.role, 'candidate')
})

t.test('E8 duelling candidates: the better log wins, the other gives in', async t => {
  const cluster = new TestCluster(3, { preVote: false, checkQuorum: false })
  cluster.filter = ({ from, to }) => !(from * to === 3)
  cluster.elect(1)
  cluster.elect(3)
  t.equal(cluster.node(1).status.role, 'leader')
  t.equal(cluster.node(3).status.role, 'candidate')
  cluster.heal()
  cluster.elect(3)
  t.match(
    cluster.node(3).status,
    { role: 'follower', hardState: { term: 2 } },
    "its log lacks the first leader's entry",
  )
  t.equal(cluster.node(1).status.role, 'follower', 'but its term has unseated the leader')
})

t.test('E8 a single voter elects itself once its disk has its vote', async t => {
  const node = new TestNode(1, { conf: confOf([1]) })
  node.raw.campaign()
  const first = node.raw.ready()
  t.equal(node.status.role, 'preCandidate')
  node.persist(first)
  node.finish(first)
  node.drain()
  t.equal(node.status.role, 'leader')
  t.equal(node.log(), '1/1')
})

/** Voters 1–3 were replaced by 3–5; node 1 knows it, has the longest log and is out; node 3 is dead. */
function abandonedJointCluster(): TestCluster {
  const leave = { kind: 'confChange', change: { changes: [], transition: 'auto', context: new Uint8Array(0) } } as const
  const joint = confOf([3, 4, 5], { votersOutgoing: [1, 2, 3] })
  const log = (last: number) => [
    ...entriesOf(1, 1),
    { ...leave, index: 3, term: 1 },
    ...entriesOf(1, 1, 1, 1, 1).slice(3, last),
  ]
  const cluster = new TestCluster(0)
  cluster.add(
    1,
    { conf: confOf([3, 4, 5]), entries: log(5), hardState: { term: 1, vote: 0, commit: 3 } },
    { applied: 3 },
  )
  for (const id of [2, 4, 5]) {
    cluster.add(id, { conf: joint, entries: log(4), hardState: { term: 1, vote: 0, commit: 2 } }, { applied: 2 })
  }
  return cluster
}

t.test('E9 a group is not left to a joint configuration that only outsiders know to be over', async t => {
  const cluster = abandonedJointCluster()
  cluster.elect(5)
  t.equal(cluster.node(5).status.role, 'follower', 'nobody campaigns while a committed change is unapplied')
  t.same(cluster.node(5).conf.votersOutgoing, [], 'the answer of node 1 told')
  cluster.elect(5)
  t.same(cluster.leaders, [5])
  t.equal(cluster.node(4).status.hardState.commit, cluster.node(5).status.lastIndex)
})

t.test('E9 a commit index is believed only for an entry that is here, and only for a membership change', async t => {
  const answer = (index: number, logTerm: number): Message => ({
    type: 'MsgPreVoteResp',
    from: 1,
    to: 5,
    term: 1,
    reject: true,
    knownCommit: { index, term: logTerm },
  })
  for (const [index, term, want] of [
    [3, 2, 2],
    [9, 1, 2],
    [3, 1, 3],
    [4, 1, 4],
    [1, 1, 2],
  ] as const) {
    const node = abandonedJointCluster().node(5)
    node.raw.step(answer(index, term))
    t.equal(node.status.hardState.commit, want, `${term}/${index}`)
  }
  const plain = new TestNode(5, {
    conf: confOf([1, 5]),
    entries: entriesOf(1, 1, 1),
    hardState: { term: 1, vote: 0, commit: 1 },
  })
  plain.raw.step(answer(3, 1))
  t.equal(plain.status.hardState.commit, 1, 'otherwise the next leader tells')
})

const restartedAlone = (rules = RULES): TestNode => {
  const changes = [2, 3].map(id => ({ kind: 'addVoter', id }) as const)
  const entries: Entry[] = [
    { kind: 'confChange', index: 1, term: 1, change: change(changes) },
    { kind: 'confChange', index: 2, term: 1, change: change([]) },
  ]
  // Both were applied before the crash; the hint on the disk is older (rule D6).
  return new TestNode(
    1,
    {
      conf: confOf([1], { learners: [2, 3] }),
      entries,
      hardState: { term: 1, vote: 0, commit: 0 },
    },
    { rules },
  )
}
const vote = (type: 'MsgPreVoteResp' | 'MsgVoteResp', from: number, term: number, reject: boolean): Message => ({
  ...{ type, from, to: 1, term, reject },
})

t.test('E11 who was alone before its log goes on to others is not elected without them', async t => {
  const refused = restartedAlone()
  refused.raw.campaign()
  const asked = refused.drain().filter(({ type }) => type === 'MsgPreVote' || type === 'MsgVote')
  t.same(
    asked.map(({ to }) => to),
    [2, 3],
  )
  t.equal(refused.status.role, 'preCandidate')
  for (const from of [2, 3]) refused.raw.step(vote('MsgPreVoteResp', from, 1, true))
  t.equal(refused.status.role, 'follower')

  const elected = restartedAlone()
  elected.raw.campaign()
  elected.drain()
  elected.raw.step(vote('MsgPreVoteResp', 3, 2, false))
  elected.drain()
  t.equal(elected.status.role, 'candidate')
  elected.raw.step(vote('MsgVoteResp', 3, 2, false))
  elected.drain()
  t.equal(elected.status.role, 'leader')
  t.same(elected.conf.voters, [1, 2, 3])

  const careless = restartedAlone({ ...RULES, electorates: conf => [conf] })
  careless.raw.campaign()
  careless.drain()
  t.equal(careless.status.role, 'leader', 'without the rule it leads, whoever else does')
})

t.test('E11 the configurations on the way are counted one by one', async t => {
  const joint = confOf([1, 2, 3], { votersOutgoing: [1], autoLeave: true })
  const changes = [change([2, 3].map(id => ({ kind: 'addVoter', id }) as const)), change([])]
  t.same(RULES.electorates(confOf([1]), changes), [confOf([1]), joint, confOf([1, 2, 3])])
  t.same(RULES.electorates(confOf([1]), [change([])]), [confOf([1])], 'one that cannot be applied counts for nothing')
})

const tellGone = (cluster: TestCluster, leader: number, told: readonly number[]): void => {
  for (const id of told) cluster.node(id).raw.reportGone(leader)
  cluster.settle()
}
const leads = (cluster: TestCluster, id: number): boolean => cluster.node(id).status.role === 'leader'

for (const [size, first] of [
  [3, 2],
  [5, 2],
] as const) {
  t.test(`E10 a leader that is gone is followed by another without a tick: ${size} voters`, async t => {
    const cluster = new TestCluster(size)
    cluster.elect(1)
    cluster.isolate(1)
    const others = [...cluster.nodes.keys()].filter(id => id !== 1)
    tellGone(cluster, 1, others.reverse())
    t.ok(leads(cluster, first), 'the first of them')
    t.equal(cluster.node(first).status.hardState.term, 2)
  })
}

t.test('E10 it does not matter who hears of it first', async t => {
  const cluster = new TestCluster(5)
  cluster.elect(1)
  cluster.isolate(1)
  tellGone(cluster, 1, [2])
  t.equal(cluster.node(2).status.role, 'preCandidate', 'the others still hear it')
  tellGone(cluster, 1, [4])
  t.equal(cluster.node(2).status.role, 'preCandidate', 'two of five')
  tellGone(cluster, 1, [3])
  t.ok(leads(cluster, 2))
})

t.test('E10 a question that came before the leader was heard again is not answered later', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  tellGone(cluster, 1, [2])
  cluster.tick(1)
  t.equal(cluster.node(2).status.leader, 1)
  cluster.node(3).raw.reportGone(1)
  t.same(
    cluster
      .node(3)
      .drain()
      .map(({ type }) => type),
    [],
  )
})

t.test('E10 the next in turn campaigns when the first cannot lead', async t => {
  const cluster = new TestCluster(5)
  cluster.elect(1)
  // The second lacks what a majority has.
  cluster.isolate(2)
  cluster.propose(1, 'a')
  cluster.isolate(1)
  tellGone(cluster, 1, [2, 3, 4, 5])
  t.notOk(leads(cluster, 2))
  for (let tick = 0; tick < 2; tick++) for (const id of [2, 3, 4, 5]) cluster.tick(id)
  t.ok(leads(cluster, 3))
})

t.test('E10 one that is told wrongly is refused, and follows again what it hears', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  for (let time = 0; time < 50; time++) {
    tellGone(cluster, 1, [2])
    t.equal(cluster.node(2).status.leader, 0)
    for (const id of [1, 2, 3]) cluster.tick(id)
    t.equal(cluster.node(2).status.leader, 1)
  }
  t.ok(leads(cluster, 1))
  t.equal(cluster.node(1).status.hardState.term, 1)
})

t.test('E10 a haste that has passed is forgotten: who hears a leader again waits as long as ever', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  cluster.node(3).raw.reportGone(1)
  cluster.tick(1)
  t.equal(cluster.node(3).status.leader, 1)
  cluster.isolate(3)
  cluster.tick(3, 9)
  t.equal(cluster.node(3).status.role, 'follower')
})

t.test('E10 news of anybody but the leader says nothing', async t => {
  const cluster = new TestCluster(3)
  cluster.elect(1)
  tellGone(cluster, 2, [1, 3])
  t.equal(cluster.node(3).status.leader, 1)
  t.ok(leads(cluster, 1))
})

for (const [story, options] of [
  ['without pre-vote, where one rumour would unseat it', { preVote: false }],
  ['where reads rely on its lease', { readOnly: 'leaseBased' }],
] as const) {
  t.test(`E10 the leader is waited for ${story}`, async t => {
    const cluster = new TestCluster(3, options)
    cluster.elect(1)
    tellGone(cluster, 1, [2, 3])
    t.equal(cluster.node(2).status.leader, 1)
    t.ok(leads(cluster, 1))
  })
}

t.test('E10 a learner forgets it and does not campaign', async t => {
  const cluster = new TestCluster(3)
  cluster.add(4, { conf: confOf([1, 2, 3], { learners: [4] }) })
  cluster.node(4).raw.step({ type: 'MsgHeartbeat', from: 1, to: 4, term: 1, commit: 0, readRound: 0 })
  cluster.settle()
  tellGone(cluster, 1, [4])
  t.match(cluster.node(4).status, { leader: 0, role: 'follower' })
  cluster.tick(4, 40)
  t.equal(cluster.node(4).status.role, 'follower')
})
