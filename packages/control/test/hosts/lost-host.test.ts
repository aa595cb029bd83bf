import type { InstanceId } from '@waiter/base'
import t, { type Test } from 'tap'
import { LeaderWorld, service } from '../support/leader-world.ts'
import type { ModelRouter } from '../support/model-router.ts'

const PAIR = service('pair', { 'min-instances': 2 })
const SETTLE_MS = 6_000

/** Two instances that serve a request each; the second is on a host that falls silent. */
async function twoServing(test: Test): Promise<{ w: LeaderWorld; router: ModelRouter; away: InstanceId }> {
  const w = new LeaderWorld()
  await w.start()
  test.teardown(() => w.stop())
  const router = w.router('a')
  router.request(PAIR)
  router.request(PAIR)
  await w.quiesce()
  const away = w.scheduler.running(PAIR.id)[1]?.instanceId ?? ''
  test.equal(router.inUse(PAIR.id, away), 1)
  return { w, router, away }
}

t.test('what runs on a host that does not answer goes on being used, and is not stopped', async test => {
  const { w, router, away } = await twoServing(test)
  w.scheduler.setContact(away, 'lost', 2)
  await w.quiesce()
  w.leader.signal({ serviceId: PAIR.id, instanceId: away, kind: 'expire', drainTimeoutMs: 0 })
  await w.pass(SETTLE_MS)
  test.equal(router.slots(PAIR.id, away), 1)
  w.leader.signal({ serviceId: PAIR.id, instanceId: away, kind: 'force-kill', drainTimeoutMs: 0 })
  await w.pass(SETTLE_MS)
  test.equal(w.scheduler.count('kill'), 0, 'nobody can be told to')
  w.scheduler.setContact(away, undefined, 2)
  await w.pass(SETTLE_MS)
  test.match(
    w.scheduler.calls.find(call => call.name === 'kill'),
    { instanceId: away },
    'now it is',
  )
})

t.test('nobody is sent to an instance that neither its host nor itself answers for', async test => {
  const { w, router, away } = await twoServing(test)
  router.failing.add(away)
  router.request(PAIR)
  await w.quiesce()
  test.equal(router.slots(PAIR.id, away), 1, 'its host answers: a failure is between the router and the instance')
  w.scheduler.setContact(away, 'lost', 2)
  await w.quiesce()
  test.equal(router.slots(PAIR.id, away), 0)
  router.finish(PAIR.id, away)
  await w.quiesce()
  test.equal(router.slots(PAIR.id, away), 0, 'also when nobody reports anything of it any more')
  w.scheduler.setContact(away, undefined, 2)
  await w.quiesce()
  test.equal(router.slots(PAIR.id, away), 1, 'until the host is back')
})

t.test('another one runs instead of one that is given up; back again, the surplus goes', async test => {
  const { w, router, away } = await twoServing(test)
  w.scheduler.setContact(away, 'given-up', 1)
  await w.pass(1_000)
  test.match(w.scheduler.calls.at(-1), { name: 'scale', serviceId: PAIR.id, count: 2 })
  test.equal(router.slots(PAIR.id, away), 1, 'while it answers it is of use')
  w.scheduler.setContact(away, undefined, w.scheduler.running(PAIR.id).length)
  const running = w.scheduler.running(PAIR.id)
  for (const { instanceId } of running) while (router.inUse(PAIR.id, instanceId) > 0) router.finish(PAIR.id, instanceId)
  await w.pass(2 * SETTLE_MS)
  test.equal(w.scheduler.running(PAIR.id).length, 2)
})
