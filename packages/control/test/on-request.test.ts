import { silentLogger } from '@waiter/base'
import { type InstancesChange, onlyControl } from '@waiter/control'
import { createRecorder, eventually } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { RouterAgent } from '../src/agent/router-agent.ts'
import { LeaderWorld, service } from './support/leader-world.ts'
import { clients, FakeHost, startLeader } from './support/rpc-world.ts'

/** What people ask the leader to do to one instance, and what they ask routers through it. */
const hello = service('hello')

async function world(t: Test): Promise<LeaderWorld> {
  const made = new LeaderWorld()
  await made.start({ settleMs: 0 })
  t.teardown(() => made.stop())
  return made
}

/** One instance that serves one request. */
async function serving(t: Test, definition = hello) {
  const w = await world(t)
  const router = w.router('a')
  router.request(definition)
  await w.quiesce()
  const [record] = w.scheduler.running(definition.id)
  if (record === undefined) throw new Error('nothing was started')
  return { w, router, instanceId: record.instanceId }
}

t.test('a soft kill lets the request finish, and a new instance comes', async t => {
  const { w, router, instanceId } = await serving(t)
  const signal = { serviceId: hello.id, instanceId, kind: 'soft-kill', drainTimeoutMs: 0 } as const
  t.equal(w.leader.signal(signal), true)
  await w.pass(5_000)
  t.equal(w.scheduler.count('kill'), 0, 'a request runs there')
  t.equal(router.slots(hello.id, instanceId), 0, 'but no new one goes there')
  router.request(hello)
  await w.pass(2_000)
  t.equal(w.scheduler.count('kill'), 0, 'returning load does not spare it')
  router.finish(hello.id, instanceId)
  await w.pass(2_000)
  t.match(
    w.scheduler.calls.filter(call => call.name === 'kill'),
    [{ instanceId }],
  )
  t.ok(w.scheduler.running(hello.id).length > 0, 'another serves')
  t.equal(w.leader.signal(signal), false, 'it has ended: nothing to signal')
})

t.test('a soft kill with a time-out does not wait longer than that', async t => {
  const { w, instanceId } = await serving(t)
  w.leader.signal({ serviceId: hello.id, instanceId, kind: 'soft-kill', drainTimeoutMs: 1_500 })
  await w.pass(1_400)
  t.equal(w.scheduler.count('kill'), 0)
  await w.pass(200)
  t.equal(w.scheduler.count('kill'), 1)
})

t.test(
  'shortly before an instance is stopped under a request, routers hear of it: WebSockets are to be closed',
  async t => {
    const { w, router, instanceId } = await serving(t)
    w.leader.signal({ serviceId: hello.id, instanceId, kind: 'soft-kill', drainTimeoutMs: 10_000 })
    await w.pass(6_900)
    t.same(router.closing.get(hello.id), [], 'not before its time')
    await w.pass(200)
    t.same(router.closing.get(hello.id), [instanceId])
    t.equal(w.scheduler.count('kill'), 0, 'there is time for it')
    router.finish(hello.id, instanceId)
    await w.pass(1_000)
    t.equal(w.scheduler.count('kill'), 1, 'no longer than it takes')
    await w.pass(5_000)
    router.request(hello)
    await w.pass(1_000)
    t.same(router.closing.get(hello.id), [], 'nothing to close any more')
  },
)

t.test('a forced kill happens at once', async t => {
  const { w, instanceId } = await serving(t)
  w.leader.signal({ serviceId: hello.id, instanceId, kind: 'force-kill', drainTimeoutMs: 0 })
  await w.clock.settle()
  t.equal(w.scheduler.count('kill'), 1)
})

t.test('an expired instance is shown as such and replaced before it goes', async t => {
  const { w, router, instanceId } = await serving(t)
  router.finish(hello.id, instanceId)
  await w.quiesce()
  w.leader.signal({ serviceId: hello.id, instanceId, kind: 'expire', drainTimeoutMs: 0 })
  t.match(w.view(hello.id)?.instances[0]?.flags, ['expired'])
  let running = w.scheduler.running(hello.id).map(record => record.instanceId)
  const seen = new Set<number>()
  for (let step = 0; step < 200 && running.includes(instanceId); step++) {
    await w.pass(100)
    running = w.scheduler.running(hello.id).map(record => record.instanceId)
    seen.add(running.length)
  }
  t.notOk(running.includes(instanceId), 'it is gone')
  t.ok(running.length >= 1, 'a new one is there')
  t.notOk(seen.has(0), 'and there was one all the time')
})

t.test('unknown services and instances have nothing to signal', async t => {
  const { w, instanceId } = await serving(t)
  for (const [serviceId, instance] of [
    ['absent', instanceId],
    [hello.id, 'absent'],
  ] as const)
    t.equal(w.leader.signal({ serviceId, instanceId: instance, kind: 'expire', drainTimeoutMs: 0 }), false)
})

t.test('load that instances of a bypass service report themselves', async t => {
  const bypass = service('bypass', { 'routing-mode': 'headless', 'scale-up-factor': 0.9 })
  const { w, router, instanceId } = await serving(t, bypass)
  router.finish(bypass.id, instanceId)
  await w.quiesce()
  const report = (updatedAtMs: number, activeRequests: number) =>
    w.leader.reportExternalMetrics([
      { serviceId: bypass.id, instanceId, updatedAtMs, activeRequests, lastRequestMs: updatedAtMs },
      { serviceId: 'absent', instanceId, updatedAtMs, activeRequests: 99, lastRequestMs: 0 },
      { serviceId: bypass.id, instanceId: 'absent', updatedAtMs, activeRequests: 99, lastRequestMs: 0 },
    ])
  const nowMs = w.clock.nowMs()
  t.equal(report(nowMs, 5), true)
  t.equal(w.view(bypass.id)?.summary.outstanding, 5)
  t.equal(report(nowMs - 1, 50), false, 'older than what is known')
  t.equal(w.view(bypass.id)?.summary.outstanding, 5)
  await w.pass(3_000)
  t.ok(w.scheduler.running(bypass.id).length > 1, 'it is scaled by what it reports')
  w.scheduler.setState(instanceId, 'failed')
  await w.quiesce()
  t.equal(w.view(bypass.id)?.summary.outstanding, 0, 'an instance that is gone takes its load along')
  t.equal(report(nowMs + 1, 7), false)
})

t.test('changed overrides reach the scheduler as well', async t => {
  const { w } = await serving(t)
  const record = { overrides: { 'grace-period-secs': 77 }, 'last-updated-by': 'alice', time: 1 }
  await w.store.compareAndSet(`overrides/${hello.id}`, 0, JSON.stringify(record))
  await w.pass(100)
  t.match(w.scheduler.updates, [{ id: hello.id, effective: { 'grace-period-secs': 77 } }])
})

async function connected(t: Test, routerIds: readonly string[], answer: RouterAgentAnswer) {
  const running = await startLeader({ term: 1 })
  t.teardown(() => running.stop())
  const agents: RouterAgent[] = []
  for (const routerId of routerIds) {
    const host = new FakeHost()
    const options = { locator: onlyControl(running.server.address), clients, routerId, nodeId: routerId, worker: 1 }
    const agent = new RouterAgent({
      ...options,
      httpUrl: 'http://r',
      host,
      log: silentLogger,
      answer: (topic, argument) => answer(routerId, topic, argument),
    })
    t.teardown(() => agent.close())
    await host.changes.waitFor(() => true)
    agents.push(agent)
  }
  return { ...running, agents }
}

type RouterAgentAnswer = (routerId: string, topic: string, argument: unknown) => Promise<unknown>

t.test('a question reaches every router; who is late, fails or leaves is silent', async t => {
  const asked: string[] = []
  const { agents } = await connected(t, ['a', 'b', 'c'], async (routerId, topic, argument) => {
    asked.push(`${routerId} ${topic} ${JSON.stringify(argument)}`)
    if (topic === 'slow' && routerId === 'b') await new Promise(() => undefined)
    if (topic === 'broken' && routerId === 'c') throw new Error('cannot')
    return { from: routerId }
  })
  const ask = async (topic: string, timeoutMs: number) => {
    const { answers, silentRouterIds } = await agents[0]!.askRouters(topic, { x: 1 }, timeoutMs)
    return [
      answers.map(({ routerId, answer }) => `${routerId}=${(answer as { from: string }).from}`).sort(),
      silentRouterIds,
    ]
  }
  t.same(await ask('all', 5_000), [['a=a', 'b=b', 'c=c'], []])
  t.same(asked.toSorted(), ['a all {"x":1}', 'b all {"x":1}', 'c all {"x":1}'])
  t.same(await ask('slow', 100), [['a=a', 'c=c'], ['b']])
  t.same(await ask('broken', 100), [['a=a', 'b=b'], ['c']])
  const leaving = ask('slow', 60_000)
  await eventually(
    () => asked.filter(line => line.includes('slow')).length === 6 || undefined,
    'the question to arrive',
  )
  agents[1]!.close()
  t.same(await leaving, [['a=a', 'c=c'], ['b']], 'nobody waits for a router that has left')
})

t.test('signals, files and reports over the wire', async t => {
  const { agents, leader, scheduler } = await connected(t, ['a'], async () => null)
  const agent = agents[0]!
  agent.needService(hello, [])
  await eventually(() => scheduler.running(hello.id).length === 1 || undefined, 'an instance')
  const instanceId = scheduler.running(hello.id)[0]!.instanceId
  const piece = await agent.readLog(hello.id, instanceId, 'stdout', { offset: 0, length: 3 })
  t.same([Buffer.from(piece.content).toString(), piece.size], ['abc', 3])
  await t.rejects(agent.readLog(hello.id, 'absent', 'stdout', { offset: 0, length: 3 }), {
    code: 'WTR_NO_SUCH_INSTANCE',
    status: 404,
    message: /no such instance/,
  })
  const signal = { serviceId: hello.id, instanceId, kind: 'force-kill', drainTimeoutMs: 0 } as const
  t.same(await agent.signalInstance({ ...signal, instanceId: 'absent' }), { isFound: false })
  t.same(await agent.reportExternalMetrics([]), { isUsed: false })
  t.same(await agent.signalInstance(signal), { isFound: true })
  await t.rejects(agent.signalInstance({ ...signal, kind: 'maim' as 'expire' }), {
    code: 'WTR_NO_SUCH_SIGNAL',
    status: 400,
  } as never)
  t.equal(leader.view(hello.id).services.length, 1)
})

t.test('a watch of instances tells what is there, then what changes', async t => {
  const { agents, scheduler } = await connected(t, ['a'], async () => null)
  const agent = agents[0]!
  const changes = createRecorder<InstancesChange>()
  const ending = new AbortController()
  const following = (async () => {
    for await (const change of agent.watchInstances(ending.signal)) changes.push(change)
    return 'ended'
  })()
  t.same(await changes.waitFor(() => true), { isFull: true, services: [] })
  agent.needService(hello, [])
  const came = await changes.waitFor(({ services }) => (services[0]?.instances.length ?? 0) === 1)
  t.match(came, { isFull: false, services: [{ serviceId: hello.id, definition: { id: hello.id } }] })
  const instanceId = scheduler.running(hello.id)[0]!.instanceId
  scheduler.setState(instanceId, 'unhealthy')
  await changes.waitFor(({ services }) => services[0]?.serviceId === hello.id && services[0].instances.length === 0)
  await agent.deleteService(hello.id)
  await changes.waitFor(({ services }) => services[0]?.serviceId === hello.id && services[0].definition === undefined)
  ending.abort()
  t.equal(await following, 'ended', 'when told to')
})
