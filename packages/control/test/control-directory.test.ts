import { silentLogger } from '@waiter/base'
import {
  type ClusterNode,
  ClusterServiceService,
  ControlDirectory,
  createClusterCalls,
  createClusterHandlers,
  type LeaderNews,
  notLeader,
  type RpcServer,
  startRpcServer,
} from '@waiter/control'
import { createRecorder, eventually } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { RouterAgent } from '../src/index.ts'
import { auth, clients, FakeHost, startLeader } from './support/rpc-world.ts'

const NO_MEMBERS = { members: [], membersVersion: 0 }

/** A control node that says what the test wants. */
class FakeControl implements ClusterNode {
  readonly listeners = new Set<() => void>()
  readonly commands: { command: Uint8Array; timeoutMs: number }[] = []
  news: LeaderNews = { term: 0, leaderId: '', address: '', ...NO_MEMBERS }

  say(news: Partial<LeaderNews>): void {
    this.news = { ...this.news, ...news }
    for (const listener of this.listeners) listener()
  }

  leaderNews(): LeaderNews {
    return this.news
  }

  onLeaderNews(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  async propose(command: Uint8Array, timeoutMs: number): ReturnType<ClusterNode['propose']> {
    this.commands.push({ command, timeoutMs })
    if (command[0] === 0) return { kind: 'failed', mayHaveHappened: true, leader: 2, why: 'because' }
    return { kind: 'applied', result: { kind: 'written', version: 7 } }
  }

  async members(): ReturnType<ClusterNode['members']> {
    return {
      nodeId: 'node-1',
      term: 3,
      leaderId: 'node-1',
      commitIndex: 9,
      appliedIndex: 8,
      members: [],
      hosts: [],
      routers: [],
    }
  }

  async transferLeader(): Promise<void> {
    throw notLeader('node-2')
  }

  async join(): ReturnType<ClusterNode['join']> {
    throw notLeader('')
  }

  async announce(): ReturnType<ClusterNode['announce']> {
    return { members: [], isRemoved: true }
  }

  async leave(): Promise<void> {
    throw notLeader('node-2')
  }
}

async function serve(t: Test, port = 0): Promise<{ control: FakeControl; server: RpcServer }> {
  const control = new FakeControl()
  const handlers = { ...createClusterHandlers(control, silentLogger) }
  const server = await startRpcServer(
    { host: '127.0.0.1', port },
    [{ definition: ClusterServiceService, handlers }],
    auth,
  )
  t.teardown(() => server.close())
  return { control, server }
}

function open(t: Test, servers: readonly RpcServer[]): ControlDirectory {
  const controls = servers.map(({ address }, index) => ({ nodeId: `node-${index + 1}`, address }))
  const directory = new ControlDirectory({ controls, clients, log: silentLogger })
  t.teardown(() => directory.close())
  return directory
}

t.test('whoever says so first, the leader of the highest term is known', async t => {
  const [one, two] = [await serve(t), await serve(t)]
  const directory = open(t, [one.server, two.server])
  const told = createRecorder<number>()
  directory.onLeader(() => told.push(directory.known?.term ?? 0))
  one.control.say({ term: 3, leaderId: 'node-1', address: one.server.address })
  await eventually(() => directory.leader() === one.server.address || undefined, 'the first leader')
  two.control.say({ term: 5, leaderId: 'node-2', address: two.server.address })
  await eventually(() => directory.leader() === two.server.address || undefined, 'the second leader')
  one.control.say({ term: 4, leaderId: 'node-1', address: one.server.address })
  one.control.say({ term: 6, leaderId: '', address: '' })
  two.control.say({ term: 6, leaderId: 'node-1', address: one.server.address })
  await eventually(() => directory.known?.term === 6 || undefined, 'the third')
  t.same(told.items, [3, 5, 6], 'an old one, and that nobody leads, are no news')
})

t.test('who answers is asked when the leader is gone', async t => {
  const [one, two] = [await serve(t), await serve(t)]
  const directory = open(t, [one.server, two.server])
  one.control.say({ term: 3, leaderId: 'node-1', address: one.server.address })
  await eventually(
    () => (directory.leader() === one.server.address && directory.any() === one.server.address) || undefined,
    'it',
  )
  one.server.close()
  await eventually(() => directory.any() === two.server.address || undefined, 'the other one')
  t.equal(directory.leader(), one.server.address, 'until somebody else leads')
  const { control } = await serve(t, Number(one.server.address.split(':')[1]))
  control.say({ term: 4, leaderId: 'node-1', address: one.server.address })
  await eventually(() => directory.any() === one.server.address || undefined, 'it to be found again')
})

t.test('control nodes say where the others are; the latest list counts, beside what the node was told', async t => {
  const [one, two, three] = [await serve(t), await serve(t), await serve(t)]
  const told = createRecorder<number>()
  const directory = new ControlDirectory({
    controls: [{ nodeId: 'node-1', address: one.server.address }],
    onMembers: (_, version) => told.push(version),
    clients,
    log: silentLogger,
  })
  t.teardown(() => directory.close())
  const member = ({ server }: { server: RpcServer }, id: number) => ({
    ...{ id, nodeId: `node-${id}`, hostId: 'h', grpc: server.address, raft: '', sinceMs: 1 },
  })
  one.control.say({ members: [member(one, 1), member(two, 2)], membersVersion: 7 })
  two.control.say({ term: 3, leaderId: 'node-2', address: two.server.address })
  await eventually(() => directory.leader() === two.server.address || undefined, 'the second to be asked')
  two.control.say({ members: [member(two, 2), member(three, 3)], membersVersion: 9 })
  three.control.say({ term: 4, leaderId: 'node-3', address: three.server.address })
  await eventually(() => directory.leader() === three.server.address || undefined, 'the third to be asked')
  one.control.say({ members: [member(one, 1)], membersVersion: 8, term: 5, leaderId: 'node-1', address: 'x:1' })
  await eventually(() => directory.known?.term === 5 || undefined, 'the old list to have come')
  t.same(told.items, [7, 9])
})

t.test('control nodes may come, go and move', async t => {
  const [one, two] = [await serve(t), await serve(t)]
  const directory = open(t, [one.server])
  await eventually(() => one.control.listeners.size === 1 || undefined, 'the watch')
  t.notOk(directory.hasOthers)
  directory.setControls([{ nodeId: 'node-1', address: two.server.address }])
  await eventually(
    () => (one.control.listeners.size === 0 && two.control.listeners.size === 1) || undefined,
    'the move',
  )
  t.equal(directory.any(), two.server.address)
})

t.test('a router goes to the new leader while the old one only hangs', async t => {
  const [old, next] = [await startLeader({ term: 3 }), await startLeader({ term: 4 })]
  t.teardown(() => Promise.all([old.stop(), next.stop()]))
  const listeners = new Set<() => void>()
  let leader = old.server.address
  const host = new FakeHost()
  const agent = new RouterAgent({
    locator: {
      leader: () => leader,
      any: () => leader,
      hasOthers: true,
      onLeader: listener => {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
    },
    clients,
    routerId: 'router-1',
    nodeId: 'node-1',
    worker: 1,
    httpUrl: 'http://r',
    host,
    log: silentLogger,
  })
  t.teardown(() => agent.close())
  await eventually(() => agent.leader.term === 3 || undefined, 'the old leader')
  leader = next.server.address
  for (const listener of [...listeners]) listener()
  await eventually(() => (agent.leader.isConnected && agent.leader.term === 4) || undefined, 'the new leader')
  t.equal((await agent.viewServices()).term, 4)
  await eventually(() => old.leader.view().routers.length === 0 || undefined, 'the old one to be left')
})

t.test('a command reaches the member, and its outcome comes back; a member that is away may have taken it', async t => {
  const { control, server } = await serve(t)
  const calls = createClusterCalls(auth)
  t.teardown(() => calls.close())
  t.same(await calls.propose(server.address, Uint8Array.of(1, 2), 900.5), {
    kind: 'applied',
    result: { kind: 'written', version: 7 },
  })
  t.same([...(control.commands[0]?.command ?? [])], [1, 2])
  t.equal(control.commands[0]?.timeoutMs, 901)
  t.same(await calls.propose(server.address, Uint8Array.of(0), 900), {
    kind: 'failed',
    mayHaveHappened: true,
    leader: 2,
    why: 'because',
  })
  const directory = open(t, [server])
  t.match(await calls.members(directory), { nodeId: 'node-1', term: 3, members: [] })
  control.say({ term: 3, leaderId: 'node-1', address: server.address })
  await t.rejects(calls.transferLeader(directory, 'node-2'), { code: 'WTR_NOT_LEADER', message: /node-2 leads/ })
  server.close()
  t.match(await calls.propose(server.address, Uint8Array.of(1), 900), { kind: 'failed', mayHaveHappened: true })
})
