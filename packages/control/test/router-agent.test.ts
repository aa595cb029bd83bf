import { type ClientDuplexStream, credentials } from '@grpc/grpc-js'
import { silentLogger } from '@waiter/base'
import { onlyControl, RouterAgent } from '@waiter/control'
import { createTestLogger, eventually } from '@waiter/testkit'
import t, { type Test } from 'tap'
import {
  type AttachRequest,
  type AttachResponse,
  CoordinatorServiceClient,
} from '../src/generated/waiter/v1/coordinator.ts'
import { service } from './support/leader-world.ts'
import { auth, clients, FakeHost, portOf, type RunningLeader, startLeader } from './support/rpc-world.ts'

const hello = service('hello')

function attach(t: Test, address: string, host: FakeHost, routerId = 'router-1', log = silentLogger): RouterAgent {
  const agent = new RouterAgent({
    locator: onlyControl(address),
    clients,
    routerId,
    nodeId: routerId,
    worker: 1,
    httpUrl: 'http://r',
    host,
    log,
  })
  t.teardown(() => agent.close())
  return agent
}

async function lead(t: Test, options: Parameters<typeof startLeader>[0]): Promise<RunningLeader> {
  const running = await startLeader(options)
  t.teardown(() => running.stop())
  return running
}

const row = (outstanding: number, total: number) => ({
  serviceId: hello.id,
  outstanding,
  waiting: outstanding,
  total,
  lastRequestMs: 1_700_000_000_000,
  instances: [],
  finished: 0,
  failed: 0,
  latencyCounts: [],
})

t.test('a need starts a service; leases, summary and definition arrive whole', async t => {
  const { scheduler, server, leader } = await lead(t, { term: 3 })
  const host = new FakeHost()
  const agent = attach(t, server.address, host)
  const first = await host.changes.waitFor(() => true)
  t.same(first, { isFull: true, upserts: [], removals: [], peers: { isFull: true, peers: [], dead: [], awaited: [] } })
  t.same(agent.leader, { isConnected: true, leaderId: 'leader-3', term: 3 })

  host.rows = [row(2, 5)]
  agent.needService(hello, [{ token: 'hello', version: 'E-1' }])
  agent.noteLoadChange()
  const change = await host.changes.waitFor(({ upserts }) => (upserts[0]?.leases.length ?? 0) > 0)
  t.match(change, {
    isFull: false,
    upserts: [
      {
        definition: hello,
        leases: [{ instanceId: `${hello.id}.1`, host: '127.0.0.1', port: 10_000, slots: 1, logDirectory: null }],
        summary: { status: 'Running', sourceTokens: [[{ token: 'hello', version: 'E-1' }]], problem: null },
      },
    ],
  })
  t.equal(scheduler.count('create'), 1)
  await eventually(() => leader.view().services[0]?.summary.total === 5 || undefined, 'the report')

  const view = await agent.viewServices()
  t.match(view, {
    term: 3,
    leaderId: 'leader-3',
    routers: [{ routerId: 'router-1', httpUrl: 'http://r' }],
    services: [
      { definition: hello, summary: { outstanding: 2 }, instances: [{ state: 'healthy', healthyAtMs: Number }] },
    ],
  })
  t.same((await agent.viewServices('no-such-service')).services, [])
  t.match(await agent.listLogs(hello.id, `${hello.id}.1`, ''), [{ name: 'stdout' }])
  await t.rejects(agent.listLogs(hello.id, 'nobody', ''), { code: 'WTR_NO_SUCH_INSTANCE', retryable: false })

  host.rows = [row(0, 5)]
  agent.noteLoadChange()
  t.same(await agent.deleteService(hello.id), { isDeleted: true })
  t.same(await agent.deleteService(hello.id), { isDeleted: false })
  await host.changes.waitFor(({ removals }) => removals.includes(hello.id))
})

t.test('many changes are few reports', async t => {
  const { server } = await lead(t, { term: 1 })
  const host = new FakeHost()
  const agent = attach(t, server.address, host)
  await host.changes.waitFor(() => true)
  const before = host.collectedAll.items.length
  for (let count = 0; count < 1_000; count++) agent.noteLoadChange()
  await host.collectedAll.waitForCount(before + 1)
  for (let count = 0; count < 1_000; count++) agent.noteLoadChange()
  await host.collectedAll.waitForCount(before + 2)
  t.equal(host.collectedAll.items.length, before + 2)
})

t.test('after the leader came back, needs and all loads are told anew, needs first', async t => {
  const first = await startLeader({ term: 1 })
  const host = new FakeHost()
  const agent = attach(t, first.server.address, host)
  await host.changes.waitForCount(1)
  const port = portOf(first.server)
  await first.stop()
  await eventually(() => !agent.leader.isConnected || undefined, 'the agent to notice')
  t.equal(agent.leader.leaderId, 'leader-1', 'who led is still known')
  await t.rejects(agent.viewServices(), { code: 'WTR_CONTROL_UNREACHABLE', status: 503 })
  agent.needService(hello, [])
  host.needs = [{ definition: hello, sourceTokens: [] }]
  host.rows = [row(4, 9)]
  const second = await lead(t, { term: 2, port })
  const change = await host.changes.waitFor(({ upserts }) => (upserts[0]?.leases.length ?? 0) > 0)
  t.equal(change.upserts[0]?.definition.id, hello.id)
  t.same(agent.leader, { isConnected: true, leaderId: 'leader-2', term: 2 })
  t.equal(host.collectedAll.items.filter(all => all).length, 2, 'a full report for each leader')
  t.equal(second.leader.view().services[0]?.summary.outstanding, 4, 'the load of a service that was only needed')
  t.equal(second.scheduler.count('create'), 1)
})

t.test('a leader of an older term is refused', async t => {
  const log = createTestLogger()
  const newer = await startLeader({ term: 7 })
  const host = new FakeHost()
  const agent = attach(t, newer.server.address, host, 'router-1', log)
  await host.changes.waitForCount(1)
  const port = portOf(newer.server)
  await newer.stop()
  const older = await startLeader({ term: 6, port })
  older.leader.need(hello, [])
  await log.records.waitFor(({ message }) => message === 'refused a leader of an older term')
  t.equal(host.changes.items.length, 1, 'nothing of it was applied')
  t.equal(agent.leader.isConnected, false)
  await older.stop()
  await lead(t, { term: 8, port })
  await host.changes.waitForCount(2)
  t.equal(agent.leader.term, 8)
})

t.test('a router that attaches again replaces its earlier stream', async t => {
  const { server, leader } = await lead(t, { term: 1 })
  const hosts = [new FakeHost(), new FakeHost()]
  attach(t, server.address, hosts[0] as FakeHost)
  await hosts[0]?.changes.waitForCount(1)
  const second = attach(t, server.address, hosts[1] as FakeHost, 'router-1')
  await hosts[1]?.changes.waitForCount(1)
  t.equal(leader.view().routers.length, 1)
  second.close()
})

/** A router that does not keep to the protocol. */
function openStream(t: Test, address: string): ClientDuplexStream<AttachRequest, AttachResponse> {
  const client = new CoordinatorServiceClient(address, credentials.createInsecure(), {
    interceptors: [auth.clientInterceptor],
  })
  t.teardown(() => client.close())
  const stream = client.attach()
  stream.on('error', () => undefined)
  return stream
}

t.test('a router that talks nonsense loses its stream, and the leader goes on', async t => {
  const log = createTestLogger()
  const { server, leader } = await lead(t, { term: 1, log })
  const silent = openStream(t, server.address)
  silent.on('data', () => undefined)
  const silentEnded = new Promise(resolve => silent.once('end', resolve))
  silent.write({ message: { $case: 'report', value: { services: [] } } })
  await silentEnded

  const stream = openStream(t, server.address)
  stream.on('data', () => undefined)
  const ended = new Promise(resolve => stream.once('end', resolve))
  stream.write({
    message: {
      $case: 'hello',
      value: {
        ...{ routerId: 'x', nodeId: 'x', worker: 1, httpUrl: '', beliefs: [] },
        ...{ peerAddress: '', gossipAddress: '', hostId: '', startId: '', relatedRouterIds: [] },
      },
    },
  })
  stream.write({ message: { $case: 'needed', value: { serviceId: 'x', definitionJson: '{', sourceTokensJson: '[]' } } })
  await ended
  await log.records.waitFor(({ message }) => message.startsWith('a message of a router could not be read'))

  const host = new FakeHost()
  attach(t, server.address, host, 'router-2')
  await host.changes.waitForCount(1)
  t.same(
    leader.view().routers.map(({ routerId }) => routerId),
    ['router-2'],
  )
})
