import t from 'tap'
import { NO_DATA } from '../../src/index.ts'
import type { RaftNodeError } from '../../src/node/index.ts'
import { put, TestCluster } from './support/test-cluster.ts'

const withLeader = async (options?: ConstructorParameters<typeof TestCluster>[0]): Promise<TestCluster> => {
  const cluster = new TestCluster(options)
  await cluster.startAll()
  await cluster.elect(1)
  return cluster
}

const failure = async (work: Promise<unknown>): Promise<RaftNodeError> => {
  try {
    await work
  } catch (error) {
    return error as RaftNodeError
  }
  throw new Error('it did not fail')
}

t.test('a proposal resolves with its result, and every node applies it', async t => {
  const cluster = await withLeader()
  const committed = await cluster.node(1).propose(put('a', '1'))
  t.match(committed, { index: 3, term: 2, result: { kind: 'written', version: 1 } })
  await cluster.until('all are equal', () => cluster.isEqual)
  t.same(
    [1, 2, 3].map(id => cluster.member(id).machine.get('a')?.value),
    ['1', '1', '1'],
  )
  await cluster.stopAll()
})

t.test('proposals of one turn share one sync', async t => {
  const cluster = await withLeader()
  const before = cluster.node(1).metrics
  await Promise.all(Array.from({ length: 100 }, (_, at) => cluster.node(1).propose(put(`k${at}`))))
  const { writes, entriesWritten } = cluster.node(1).metrics
  t.equal(entriesWritten - before.entriesWritten, 100)
  t.equal(writes - before.writes, 1)
  await cluster.stopAll()
})

t.test('a follower refuses proposals, names the leader and says that nothing happened', async t => {
  const cluster = await withLeader()
  const error = await failure(cluster.node(2).propose(put('a')))
  t.match(error, { code: 'RAFT_NOT_LEADER', leader: 1, outcome: 'notHappened', retryable: true })
  await cluster.stopAll()
})

t.test('D2 nothing is acknowledged and nobody is heard of while the sync is out', async t => {
  const cluster = await withLeader()
  const gates = [2, 3].map(id => {
    const gate = Promise.withResolvers<void>()
    cluster.member(id).disk.syncGate = gate.promise
    return gate
  })
  let isDone = false
  const done = cluster
    .node(1)
    .propose(put('a'))
    .then(() => (isDone = true))
  await cluster.settle()
  t.notOk(isDone, 'the leader alone is no quorum')
  cluster.member(2).disk.syncGate = undefined
  gates[0]!.resolve()
  await cluster.settle()
  await done
  t.ok(isDone, 'one follower is enough')
  for (const gate of gates) gate.resolve()
  await cluster.stopAll()
})

t.test('a read sees everything that was acknowledged before it, on followers too', async t => {
  const cluster = await withLeader()
  const { index } = await cluster.node(1).propose(put('a', '1'))
  const reads = [1, 2, 3].map(id => cluster.node(id).read())
  await cluster.until('the followers learn of the commit', () => cluster.isEqual)
  for (const applied of await Promise.all(reads)) t.ok(applied >= index)
  t.equal(cluster.node(1).metrics.readsServed, 1)
  await cluster.stopAll()
})

t.test('reads of one turn share one round', async t => {
  const cluster = await withLeader()
  await Promise.all(Array.from({ length: 50 }, () => cluster.node(1).read()))
  t.equal(cluster.node(1).metrics.readRounds, 1)
  t.equal(cluster.node(1).metrics.readsServed, 50)
  await cluster.stopAll()
})

t.test('a leader that is cut off serves no read and loses its leadership', async t => {
  const cluster = await withLeader()
  cluster.network.isolate(1, [2, 3])
  const read = failure(cluster.node(1).read({ timeoutMs: 5000 }))
  const write = failure(cluster.node(1).propose(put('lost'), { timeoutMs: 60_000 }))
  await cluster.until('another leads', () => cluster.node(2).role === 'leader' || cluster.node(3).role === 'leader')
  await cluster.until('it knows', () => cluster.node(1).role !== 'leader')
  t.match(await read, { code: 'RAFT_NOT_LEADER' })
  await cluster.leader!.propose(put('kept'))
  cluster.network.heal()
  await cluster.until('all are equal', () => cluster.isEqual)
  t.match(await write, { code: 'RAFT_OVERWRITTEN', outcome: 'notHappened' }, 'the other leader has overwritten it')
  t.equal(cluster.member(1).machine.get('lost'), undefined)
  await cluster.stopAll()
})

t.test('deadlines and signals end the wait and say what may have happened', async t => {
  const cluster = await withLeader()
  cluster.network.isolate(1, [2, 3])
  const aborted = new AbortController()
  aborted.abort()
  t.match(await failure(cluster.node(1).propose(put('never'), { signal: aborted.signal })), { outcome: 'notHappened' })
  const late = failure(cluster.node(1).propose(put('late'), { timeoutMs: 250 }))
  const abort = new AbortController()
  const given = failure(cluster.node(1).propose(put('given up'), { signal: abort.signal }))
  await cluster.settle()
  abort.abort()
  t.match(await given, { code: 'RAFT_TIMEOUT', outcome: 'unknown' })
  await cluster.tick(3)
  t.match(await late, { code: 'RAFT_TIMEOUT', outcome: 'unknown' })
  await cluster.stopAll()
})

t.test('queues are bounded: what does not fit is dropped at once', async t => {
  const cluster = await withLeader({ limits: { maxQueuedProposals: 10 } })
  const outcomes = await Promise.allSettled(
    Array.from({ length: 15 }, (_, at) => cluster.node(1).propose(put(`k${at}`))),
  )
  t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 10)
  const dropped = outcomes.filter(outcome => outcome.status === 'rejected')
  t.equal(dropped.length, 5)
  for (const { reason } of dropped) t.match(reason, { code: 'RAFT_DROPPED', outcome: 'notHappened', retryable: true })
  await cluster.stopAll()
})

t.test('callers that wait are bounded, readers too', async t => {
  const cluster = new TestCluster({ limits: { maxOpenRequests: 2 } })
  await cluster.startAll()
  const leader = await cluster.elect(1)
  cluster.network.isolate(1, [2, 3])
  const waiting: Promise<unknown>[] = [leader.propose(put('a'), { timeoutMs: 500 }), leader.read({ timeoutMs: 500 })]
  const ends = waiting.map(request => t.rejects(request))
  await t.rejects(leader.read(), { code: 'RAFT_DROPPED', message: /has 2 requests open/ })
  await t.rejects(leader.propose(put('b')), { code: 'RAFT_DROPPED', outcome: 'notHappened' })
  await cluster.tick(12)
  await Promise.all(ends)
  await cluster.stopAll()
})

t.test('what nobody could apply or carry never enters the log', async t => {
  const cluster = new TestCluster({ limits: { maxProposalBytes: 1000 } })
  await cluster.startAll()
  const leader = await cluster.elect(1)
  const before = leader.status().lastIndex
  const refused = (data: Uint8Array, message: RegExp) =>
    t.rejects(leader.propose(data), { code: 'RAFT_BAD_PROPOSAL', outcome: 'notHappened', message })
  await refused(new Uint8Array(0), /it is empty/)
  await refused(Buffer.from([99]), /unknown command 99/)
  await refused(put('key').subarray(0, 5), /cut off|fewer are left/)
  await refused(put('key', 'v'.repeat(1000)), /it has \d+ bytes, at most 1000 can be/)
  await cluster.settle()
  t.equal(leader.status().lastIndex, before)
  const written = leader.propose(put('key'))
  await cluster.settle()
  t.equal((await written).result.kind, 'written')
  await cluster.stopAll()
})

t.test('leadership is handed over, and everybody is told', async t => {
  const cluster = await withLeader()
  const transferred = cluster.node(1).transferLeader(3)
  await cluster.settle()
  await transferred
  t.equal(cluster.node(3).role, 'leader')
  t.equal(cluster.node(1).leader, 3)
  const told = cluster.member(2).events.filter(event => event.kind === 'leaderChanged')
  t.match(told.at(-1), { leader: 3, role: 'follower' })
  await cluster.stopAll()
})

t.test('a transfer to a dead node gives up', async t => {
  const cluster = await withLeader()
  cluster.crash(3)
  const transferred = failure(cluster.node(1).transferLeader(3, { timeoutMs: 1500 }))
  await cluster.tick(20, [1, 2])
  t.match(await transferred, { code: 'RAFT_TIMEOUT' })
  await cluster.node(1).propose(put('goes on'))
  await cluster.stopAll()
})

t.test('a leader whose disk hangs loses leadership, and says that its storage stalls', async t => {
  const cluster = await withLeader()
  const gate = Promise.withResolvers<void>()
  cluster.member(1).disk.syncGate = gate.promise
  const stuck = cluster.node(1).propose(put('stuck'), { timeoutMs: 600_000 })
  const queued = failure(cluster.node(1).propose(put('queued behind it'), { timeoutMs: 1000 }))
  await cluster.settle()
  const behind = failure(cluster.node(1).propose(put('came later'), { timeoutMs: 1000 }))
  await cluster.until('another leads', () => cluster.node(2).role === 'leader' || cluster.node(3).role === 'leader')
  await cluster.until('it knows', () => cluster.node(1).role !== 'leader')
  t.ok(cluster.member(1).events.some(event => event.kind === 'storageStalled'))
  t.equal(cluster.node(1).metrics.storageStalls, 1)
  t.match(await behind, { code: 'RAFT_TIMEOUT', outcome: 'notHappened' }, 'it never entered the log')
  t.match(await queued, { code: 'RAFT_TIMEOUT', outcome: 'unknown' })
  await cluster.leader!.propose(put('goes on'))
  cluster.member(1).disk.syncGate = undefined
  gate.resolve()
  await cluster.until('all are equal', () => cluster.isEqual)
  t.ok(cluster.member(1).events.some(event => event.kind === 'storageRecovered'))
  // The followers had it all the while: it is committed by the next leader.
  t.match(await stuck.catch(error => error), { index: 3 })
  t.equal(cluster.member(2).machine.get('stuck')?.value, 'value of stuck')
  await cluster.stopAll()
})

t.test('D8 a failed sync ends the node, tells everybody and acknowledges nothing', async t => {
  const cluster = await withLeader()
  const { disk } = cluster.member(1)
  const node = cluster.node(1)
  disk.failAt = { call: disk.calls + 2, code: 'EIO' }
  const error = await failure(node.propose(put('a')))
  t.match(error, { code: 'RAFT_STOPPED', outcome: 'unknown' })
  const why = await node.ended
  t.match(why, { code: 'RAFT_LOG_FAILED', message: /disk failed \(EIO: injected\).*Mend the disk/ })
  t.match(await failure(node.propose(put('b'))), { code: 'RAFT_STOPPED', outcome: 'notHappened' })
  t.ok(cluster.member(1).events.some(event => event.kind === 'failed'))
  const { calls } = disk
  await cluster.tick(5)
  t.equal(disk.calls, calls, 'the disk is not asked again')
  await cluster.stopAll()
})

t.test('a full disk ends the node; the others go on, and it comes back when there is room', async t => {
  const cluster = await withLeader()
  const { disk } = cluster.member(1)
  disk.failAt = { call: disk.calls + 1, code: 'ENOSPC' }
  t.match(await failure(cluster.node(1).propose(put('a'))), { code: 'RAFT_STOPPED' })
  t.match(await cluster.node(1).ended, { code: 'RAFT_LOG_FAILED', message: /ENOSPC.*is it full/ })
  cluster.crash(1)
  disk.restart('nothing is lost', { next: () => 0, below: () => 0 })
  await cluster.until('another leads', () => cluster.leader !== undefined)
  await cluster.leader!.propose(put('b'))
  await cluster.start(1)
  await cluster.until('all are equal', () => cluster.isEqual)
  t.equal(cluster.member(1).machine.get('b')?.value, 'value of b')
  await cluster.stopAll()
})

t.test('a whole group restarts from its disks with all it had', async t => {
  const cluster = await withLeader()
  for (const key of ['a', 'b', 'c']) await cluster.node(1).propose(put(key))
  for (const id of [1, 2, 3]) {
    cluster.crash(id)
    cluster.member(id).disk.restart('everything unsynced is lost', { next: () => 0, below: () => 0 })
  }
  await cluster.startAll()
  await cluster.until('one leads', () => cluster.leader !== undefined)
  await cluster.until('all are equal', () => cluster.isEqual)
  for (const { machine } of cluster.running)
    t.same(
      machine.map.list('').map(({ key }) => key),
      ['a', 'b', 'c'],
    )
  await cluster.stopAll()
})

t.test('D4 a follower that was away beyond compaction is sent a snapshot, and survives a crash with it', async t => {
  const limits = { snapshotEveryEntries: 10, trailingEntries: 2 }
  const cluster = await withLeader({ limits, segmentBytesMax: 300 })
  cluster.crash(3)
  for (let at = 0; at < 40; at++) await cluster.node(1).propose(put(`k${at}`))
  await cluster.settle()
  t.ok(cluster.node(1).metrics.snapshotsCreated >= 3)
  const files = cluster.member(1).disk.names()
  t.equal(files.filter(name => name.endsWith('.snapshot')).length, 1, 'one snapshot is kept')
  t.ok(files.filter(name => name.endsWith('.wal')).length < 12, 'old segments are gone')
  cluster.member(3).disk.restart('everything unsynced is lost', { next: () => 0, below: () => 0 })
  await cluster.start(3)
  await cluster.until('all are equal', () => cluster.isEqual)
  t.equal(cluster.node(3).metrics.snapshotsReceived, 1)
  t.equal(cluster.network.snapshotsSent, 1)
  cluster.crash(3)
  cluster.member(3).disk.restart('everything unsynced is lost', { next: () => 0, below: () => 0 })
  await cluster.start(3)
  await cluster.until('all are equal', () => cluster.isEqual)
  t.equal(cluster.member(3).machine.get('k0')?.value, 'value of k0')
  await cluster.stopAll()
})

t.test('D8 a disk that fills up while a snapshot is received ends the node', async t => {
  const limits = { snapshotEveryEntries: 10, trailingEntries: 2 }
  const cluster = await withLeader({ limits })
  cluster.crash(3)
  for (let at = 0; at < 40; at++) await cluster.node(1).propose(put(`k${at}`))
  const { disk } = cluster.member(3)
  disk.restart('nothing is lost', { next: () => 0, below: () => 0 })
  const node = await cluster.start(3)
  // Whatever it is asked to write next, which is the snapshot.
  disk.failAt = { call: disk.calls + 2, code: 'ENOSPC' }
  await cluster.until('the snapshot has been tried', () => disk.calls >= disk.failAt!.call)
  t.match(await node.ended, { code: 'RAFT_LOG_FAILED' })
  cluster.crash(3)
  disk.restart('nothing is lost', { next: () => 0, below: () => 0 })
  await cluster.start(3)
  await cluster.until('all are equal', () => cluster.isEqual)
  await cluster.stopAll()
})

t.test('C7 D9 a newcomer starts empty, is sent a snapshot that knows of it, and becomes a voter', async t => {
  const cluster = await withLeader()
  await cluster.node(1).propose(put('before'))
  cluster.add(4)
  await cluster.start(4)
  const change = (kind: 'addLearner' | 'addVoter' | 'remove', id: number) =>
    cluster.node(1).changeMembers({ changes: [{ kind, id }], transition: 'auto', context: NO_DATA })
  t.match((await change('addLearner', 4)).result, { voters: [1, 2, 3], learners: [4] })
  await cluster.until('all are equal', () => cluster.isEqual)
  t.equal(cluster.member(4).machine.get('before')?.value, 'value of before')
  await change('addVoter', 4)
  await change('remove', 3)
  await cluster.tick()
  t.same(cluster.node(4).conf.voters, [1, 2, 4])
  await cluster.stopAll()
})

t.test('stopping tells whoever waits, and a stopped node asks nothing of anybody', async t => {
  const cluster = await withLeader()
  cluster.network.isolate(1, [2, 3])
  const waiting = failure(cluster.node(1).propose(put('a')))
  await cluster.settle()
  await cluster.node(1).stop()
  t.match(await waiting, { code: 'RAFT_STOPPED', outcome: 'unknown' })
  t.equal(await cluster.node(1).ended, undefined)
  t.match(await failure(cluster.node(1).read()), { code: 'RAFT_STOPPED' })
  t.equal(cluster.member(1).events.at(-1)?.kind, 'stopped')
  await cluster.stopAll()
})

t.test('stopping does not wait for ever for a disk that hangs', async t => {
  const cluster = await withLeader()
  cluster.member(1).disk.syncGate = new Promise(() => undefined)
  const waiting = failure(cluster.node(1).propose(put('a')))
  await cluster.settle()
  await cluster.node(1).stop()
  t.match(await waiting, { code: 'RAFT_STOPPED' })
  await cluster.stopAll()
})

t.test('a group may begin in a later term', async t => {
  const cluster = new TestCluster({ bootstrapTerm: 70 })
  await cluster.startAll()
  await cluster.elect(1)
  t.equal(cluster.node(1).status().hardState.term, 71)
  t.match(await cluster.node(1).propose(put('a', '1')), { index: 3, term: 71 })
  await cluster.stopAll()
})

t.test('E10 a leader whose process has ended is replaced while no time passes', async t => {
  const cluster = await withLeader()
  cluster.crash(1)
  cluster.network.tellGone(1)
  await cluster.settle()
  t.equal(cluster.leader?.id, 2)
  t.equal(cluster.node(3).leader, 2)
  t.equal(cluster.node(3).metrics.peersGone, 1)
  t.match(await cluster.node(2).propose(put('a')), { result: { kind: 'written' } })
  await cluster.stopAll()
})
