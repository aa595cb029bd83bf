import type { InstanceId } from '@waiter/base'
import t, { type Test } from 'tap'
import { LeaderWorld, service } from '../support/leader-world.ts'
import type { ModelRouter } from '../support/model-router.ts'

const FOUR = service('four', { 'min-instances': 4, 'max-instances': 4, 'expired-instance-restart-rate': 0.1 })
const SETTLE_MS = 6_000

/** Four instances that serve a request each, two of them on a host that is about to stop. */
async function fourServing(test: Test) {
  const w = new LeaderWorld()
  await w.start()
  test.teardown(() => w.stop())
  const router = w.router('a')
  for (let count = 0; count < 4; count++) router.request(FOUR)
  await w.pass(SETTLE_MS)
  const before = w.scheduler.running(FOUR.id).map(({ instanceId }) => instanceId)
  const left = before.slice(0, 2)
  w.scheduler.isHealthyAtOnce = false
  const starting = (): InstanceId[] =>
    w.scheduler.running(FOUR.id).flatMap(({ instanceId, state }) => (state === 'starting' ? [instanceId] : []))
  return { w, router, left, stayed: before.slice(2), starting }
}

const finish = (router: ModelRouter, id: InstanceId): void => {
  while (router.inUse(FOUR.id, id) > 0) router.finish(FOUR.id, id)
}

t.test(
  'what a host that stops runs is started elsewhere at once, and stopped when its requests have ended',
  async test => {
    const { w, router, left, starting } = await fourServing(test)
    for (const id of left) w.scheduler.setDrains(id, true)
    await w.pass(1_000)
    test.equal(starting().length, 2, 'all of it at once, whatever the rate at which instances expire')
    test.equal(w.scheduler.count('kill'), 0)
    for (const id of left) test.equal(router.slots(FOUR.id, id), 1, 'in use as long as nothing takes its place')
    for (const id of starting()) w.scheduler.setState(id, 'healthy')
    await w.pass(1_000)
    for (const id of left) test.equal(router.slots(FOUR.id, id), 0, 'though requests run there')
    test.equal(w.scheduler.count('kill'), 0, 'they run on')
    const [first = '', second = ''] = left
    finish(router, first)
    await w.pass(1_000)
    test.same(
      w.scheduler.calls.filter(({ name }) => name === 'kill').map(({ instanceId }) => instanceId),
      [first],
    )
    finish(router, second)
    await w.pass(1_000)
    test.equal(w.scheduler.running(FOUR.id).length, 4)
    test.equal(w.scheduler.count('kill'), 2)
  },
)

t.test('a host that stays after all keeps what it runs', async test => {
  const { w, left, stayed, starting } = await fourServing(test)
  for (const id of left) w.scheduler.setDrains(id, true)
  await w.pass(1_000)
  for (const id of left) w.scheduler.setDrains(id, false)
  for (const id of starting()) w.scheduler.setState(id, 'healthy')
  await w.pass(1_000)
  const running = w.scheduler.running(FOUR.id).map(({ instanceId }) => instanceId)
  for (const id of [...left, ...stayed]) test.ok(running.includes(id), `${id} serves a request`)
})
