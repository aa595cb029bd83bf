import t, { type Test } from 'tap'
import { createExampleDefinition, SchedulerView } from '../../src/contract.ts'
import { FleetScheduler } from '../../src/index.ts'
import { MemoryHost } from '../support/memory-host.ts'
import { WarpTimers } from '../support/warp-timers.ts'

const FENCE = { term: 3 }
const SERVICE = createExampleDefinition('s', 'true')
const LIMITS = { lostAfterMs: 2_000, givenUpAfterMs: 10_000 }

async function rig(test: Test) {
  const hosts = [new MemoryHost('a'), new MemoryHost('b'), new MemoryHost('c')] as const
  const timers = new WarpTimers()
  const fleet = new FleetScheduler({ timers, limits: LIMITS })
  fleet.setHosts(hosts)
  const view = new SchedulerView(fleet)
  test.teardown(async () => {
    fleet.stop()
    await view[Symbol.asyncDispose]()
  })
  await fleet.create(SERVICE, 3, FENCE)
  await view.untilHealthy('s', 3)
  const leaving = (): string[] =>
    view
      .instances('s')
      .filter(record => record.hostDrains && record.endedAtMs === null)
      .map(({ host }) => host)
      .sort()
  const untilLeaving = (...want: readonly string[]) =>
    view.until(`${want} to be left`, () => JSON.stringify(leaving()) === JSON.stringify(want))
  return { fleet, view, hosts, leaving, untilLeaving }
}

t.test('nothing is started on a host that drains, and what it runs is to be replaced', async test => {
  const { fleet, view, hosts, untilLeaving } = await rig(test)
  fleet.setDraining(new Set(['a']))
  await untilLeaving('a')
  await fleet.scale('s', 7, FENCE)
  await view.untilHealthy('s', 7)
  test.same(
    hosts.map(host => host.requested('s')),
    [1, 3, 3],
  )
  test.match(fleet.describeHosts(), [
    { hostId: 'a', contact: 'up', drains: true, isLeft: true, instances: 1 },
    { hostId: 'b', drains: false, isLeft: false, instances: 3 },
    { hostId: 'c', drains: false, isLeft: false, instances: 3 },
  ])
  fleet.setDraining(new Set())
  await untilLeaving()
})

t.test('hosts that all drain keep what they run, and start what is asked for', async test => {
  const { fleet, view, leaving, untilLeaving } = await rig(test)
  fleet.setDraining(new Set(['a', 'b']))
  await untilLeaving('a', 'b')
  fleet.setDraining(new Set(['a', 'b', 'c']))
  await untilLeaving()
  await fleet.scale('s', 4, FENCE)
  await view.untilHealthy('s', 4)
  test.same(leaving(), [])
})

t.test('a host is left as long as another one is heard that can take what it runs', async test => {
  const { fleet, hosts, untilLeaving } = await rig(test)
  const [, b, c] = hosts
  fleet.setDraining(new Set(['a', 'b']))
  await untilLeaving('a', 'b')
  await c.cutOff()
  await untilLeaving()
  fleet.setHosts([...hosts, new MemoryHost('d')])
  await untilLeaving('a', 'b')
  test.equal(b.requested('s'), 1)
})
