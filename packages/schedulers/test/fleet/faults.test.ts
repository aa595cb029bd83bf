import t, { type Test } from 'tap'
import { createExampleDefinition, SchedulerView } from '../../src/contract.ts'
import { FleetScheduler, type InstanceRecord } from '../../src/index.ts'
import { MemoryHost } from '../support/memory-host.ts'
import { WarpTimers } from '../support/warp-timers.ts'

const FENCE = { term: 3 }
const SERVICE = createExampleDefinition('s', 'true')
const LIMITS = { lostAfterMs: 2_000, givenUpAfterMs: 10_000 }

interface Rig {
  readonly fleet: FleetScheduler
  readonly view: SchedulerView
  readonly timers: WarpTimers
  readonly hosts: readonly [MemoryHost, MemoryHost, MemoryHost]
}

function rig(test: Test, timers: WarpTimers = new WarpTimers()): Rig {
  const hosts = [new MemoryHost('a'), new MemoryHost('b'), new MemoryHost('c')] as const
  const fleet = new FleetScheduler({ timers, limits: LIMITS })
  fleet.setHosts(hosts)
  const view = new SchedulerView(fleet)
  test.teardown(async () => {
    fleet.stop()
    await view[Symbol.asyncDispose]()
  })
  return { fleet, view, timers, hosts }
}

const hostsOf = (records: readonly InstanceRecord[]): string[] => records.map(record => record.host).sort()

t.test('instances of one service are spread, and each says where it is', async test => {
  const { fleet, view, hosts } = rig(test)
  await fleet.create(SERVICE, 2, FENCE)
  await fleet.scale('s', 4, FENCE)
  const healthy = await view.untilHealthy('s', 4)
  test.same(hosts.map(host => host.requested('s')).sort(), [1, 1, 2])
  for (const record of healthy) test.equal(record.extra['fleet/host-id'], record.host)
  test.equal(view.services.get('s')?.requested, 4)
})

t.test('the hosts that run a service hear that it is used; one that is cut off is not asked', async test => {
  const { fleet, view, timers, hosts } = rig(test)
  const [a, b, c] = hosts
  await fleet.create(SERVICE, 2, FENCE)
  await view.untilHealthy('s', 2)
  fleet.noteUse('s')
  fleet.noteUse('unknown')
  const heard = (): number => hosts.filter(({ used }) => used.length === 1 && used[0] === 's').length
  test.equal(heard(), 2)
  const holder = [a, b, c].find(host => host.has('s')) ?? a
  await holder.cutOff()
  timers.advance(LIMITS.lostAfterMs)
  await view.until('the instance is lost', () => view.instances('s').some(record => record.hostContact === 'lost'))
  fleet.noteUse('s')
  test.equal(holder.used.length, 1)
})

t.test('a host that is cut off: its instances stay, are not stopped, and count until it is given up', async test => {
  const { fleet, view, timers, hosts } = rig(test)
  const [a] = hosts
  await fleet.create(SERVICE, 3, FENCE)
  const before = await view.untilHealthy('s', 3)
  await a.cutOff()
  timers.advance(LIMITS.lostAfterMs)
  const lost = await view.until('the instance is lost', () =>
    view.inState('s', 'healthy').find(record => record.hostContact === 'lost'),
  )
  test.equal(lost.host, 'a')
  test.equal(view.services.get('s')?.requested, 3, 'it counts')
  await test.rejects(fleet.kill({ ...lost, graceMs: 0, reason: 'no' }, FENCE), { code: 'WTR_HOST_UNREACHABLE' })
  await test.rejects(fleet.logs(lost, ''), { code: 'WTR_HOST_UNREACHABLE' })
  timers.advance(LIMITS.givenUpAfterMs)
  await view.until('two count', () => view.services.get('s')?.requested === 2)
  test.equal(view.inState('s', 'healthy').length, 3, 'whoever reaches it may use it')
  await fleet.scale('s', 3, FENCE)
  await view.untilHealthy('s', 4)
  test.equal(view.services.get('s')?.requested, 3, 'another one runs instead')

  a.restore()
  timers.advance(1_000)
  await view.until('all count again', () => view.services.get('s')?.requested === 4)
  const healthy = view.inState('s', 'healthy')
  test.equal(healthy.length, 4, 'one more than wanted: whoever leads chooses who goes')
  test.ok(healthy.every(record => record.hostContact === undefined))
  for (const { instanceId } of before) test.ok(healthy.some(record => record.instanceId === instanceId))
  test.notOk(
    a.orders.some(order => /kill|delete/.test(order)),
    'it was told to stop nothing',
  )
  test.same(await fleet.kill({ ...lost, graceMs: 0, reason: 'surplus' }, FENCE), { kind: 'killed' })
})

t.test('a service all of whose hosts are given up can be started elsewhere', async test => {
  const { fleet, view, timers, hosts } = rig(test)
  await fleet.create(SERVICE, 1, FENCE)
  const [only] = await view.untilHealthy('s', 1)
  await hosts.find(host => host.hostId === only?.host)?.cutOff()
  timers.advance(LIMITS.givenUpAfterMs)
  await view.until('nothing counts', () => view.services.get('s')?.requested === 0)
  await fleet.scale('s', 1, FENCE)
  await view.untilHealthy('s', 2)
  test.not(hostsOf(view.inState('s', 'healthy'))[0], hostsOf(view.inState('s', 'healthy'))[1])
})

t.test('what was deleted or changed while a host was away holds there when it is back', async test => {
  const { fleet, view, timers, hosts } = rig(test)
  const [a] = hosts
  const other = createExampleDefinition('t', 'true')
  await fleet.create(SERVICE, 3, FENCE)
  await fleet.create(other, 3, FENCE)
  await view.untilHealthy('t', 3)
  await a.cutOff()
  timers.advance(LIMITS.lostAfterMs)
  await view.until('it is lost', () => view.inState('s', 'healthy').some(record => record.hostContact === 'lost'))
  await test.rejects(fleet.delete('s', FENCE), { code: 'WTR_HOST_UNREACHABLE' }, 'not gone yet')
  timers.advance(LIMITS.givenUpAfterMs)
  await view.until('it is given up', () => view.inState('s', 'healthy').some(it => it.hostContact === 'given-up'))
  await fleet.delete('s', FENCE)
  await view.until('the service is gone', () => !view.services.has('s'))
  const changed = { ...other, effective: { ...other.effective, 'concurrency-level': 7 } }
  await fleet.update(changed, FENCE)
  a.restore()
  timers.advance(1_000)
  await view.until('it is heard', () => view.inState('t', 'healthy').every(it => it.hostContact === undefined))
  await view.until('the change has come', () => a.definition('t')?.effective['concurrency-level'] === 7)
  test.notOk(a.has('s'))
  test.notOk(view.services.has('s'))
})

t.test('a host that leaves for good takes its instances with it; the service stays to be decided about', async test => {
  const { fleet, view, hosts } = rig(test)
  await fleet.create(SERVICE, 1, FENCE)
  const [only] = await view.untilHealthy('s', 1)
  fleet.setHosts(hosts.filter(host => host.hostId !== only?.host))
  const ended = await view.untilEnded('s', only?.instanceId ?? '')
  test.equal(ended.state, 'killed')
  test.match(ended.message, /left the cluster/)
  await view.until('nothing is requested', () => view.services.get('s')?.requested === 0)
  await fleet.scale('s', 1, FENCE)
  const [next] = await view.untilHealthy('s', 1)
  test.not(next?.host, only?.host)
  await fleet.delete('s', FENCE)
  await view.until('the service is gone', () => !view.services.has('s'))
})

t.test('a host that joins is listed with what it runs', async test => {
  const { fleet, view, hosts } = rig(test)
  const newcomer = new MemoryHost('d')
  await newcomer.create(SERVICE, 2, FENCE)
  await view.until('a listing', () => view.listings === 1)
  fleet.setHosts([...hosts, newcomer])
  await view.untilHealthy('s', 2)
  test.equal(view.listings, 2)
})

t.test('a host that cannot start anything is passed over, and then avoided', async test => {
  const { fleet, view, hosts } = rig(test)
  const [a] = hosts
  a.refusal = 'WTR_NO_FREE_PORT'
  await fleet.create(SERVICE, 3, FENCE)
  await view.untilHealthy('s', 3)
  test.equal(a.requested('s'), 0)
  for (const host of hosts) host.refusal = 'WTR_NO_FREE_PORT'
  await test.rejects(fleet.scale('s', 4, FENCE), { code: 'WTR_NO_FREE_PORT' }, 'what the last one said')
})

t.test('what no host would do otherwise is not asked of the others', async test => {
  const { fleet, hosts } = rig(test)
  for (const host of hosts) host.refusal = 'WTR_UNSUPPORTED_SERVICE'
  await test.rejects(fleet.create(SERVICE, 1, FENCE), { code: 'WTR_UNSUPPORTED_SERVICE' })
  test.equal(hosts.flatMap(host => host.orders).length, 1)
})

t.test(
  'a service that does not come up on a host is moved to another; its count does not change meanwhile',
  async test => {
    const { fleet, view, hosts } = rig(test)
    const [a] = hosts
    a.failsStarts = true
    await fleet.create(SERVICE, 1, FENCE)
    const [healthy] = await view.untilHealthy('s', 1)
    test.not(healthy?.host, 'a')
    test.notOk(a.has('s'))
    const counts = view.history.flatMap(event => (event.kind === 'service' ? [event.requested] : []))
    test.same([...new Set(counts)], [1])
  },
)

t.test('without any host that answers, nothing can be started, and the reason is said', async test => {
  const { fleet, view, timers, hosts } = rig(test)
  await view.until('a listing', () => view.listings === 1)
  for (const host of hosts) await host.cutOff()
  timers.advance(LIMITS.lostAfterMs)
  await fleet
    .create(SERVICE, 1, FENCE)
    .then(() => test.fail('nobody can have started it'))
    .catch(error => test.match(error.code, /^WTR_(NO_HOST|HOST_UNREACHABLE)$/))
})

t.test('a new leader waits a moment for hosts that do not answer, and begins without them', async test => {
  const timers = new WarpTimers()
  const hosts = [new MemoryHost('a'), new MemoryHost('b')] as const
  await hosts[0].create(SERVICE, 1, FENCE)
  await hosts[1].cutOff()
  const fleet = new FleetScheduler({ timers, limits: LIMITS })
  test.teardown(() => fleet.stop())
  fleet.setHosts(hosts)
  await using view = new SchedulerView(fleet)
  test.equal(view.listings, 0)
  timers.advance(1_000)
  await view.untilHealthy('s', 1)
  await fleet.scale('s', 2, FENCE)
  await view.untilHealthy('s', 2)
  test.equal(hosts[0].requested('s'), 2)
})

t.test('orders of a deposed leader are refused by every host that its successor has told', async test => {
  const { fleet, view, hosts } = rig(test)
  await fleet.create(SERVICE, 3, FENCE)
  await view.untilHealthy('s', 3)
  const successor = new FleetScheduler({ limits: LIMITS })
  test.teardown(() => successor.stop())
  successor.setHosts(hosts)
  await using after = new SchedulerView(successor)
  await after.untilHealthy('s', 3)
  await successor.scale('s', 6, { term: FENCE.term + 1 })
  await test.rejects(fleet.scale('s', 9, FENCE), { code: 'WTR_FENCED' })
  await test.rejects(fleet.delete('s', FENCE), { code: 'WTR_FENCED' })
  test.same(
    hosts.map(host => host.requested('s')),
    [2, 2, 2],
  )
})

t.test('a stopped fleet orders nothing', async test => {
  const { fleet } = rig(test)
  fleet.stop()
  await test.rejects(fleet.create(SERVICE, 1, FENCE), { code: 'WTR_SCHEDULER_STOPPED' })
})
