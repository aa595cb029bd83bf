import t, { type Test } from 'tap'
import { INTEREST_MS } from '../src/leader/followers.ts'
import { LeaderWorld, service } from './support/leader-world.ts'
import type { ModelRouter } from './support/model-router.ts'

const ROUTERS = 20
const HOMES = 3
const MINUTE = 60_000

/** A leader with many routers, and a service that one of them asks for, which is not its home. */
async function crowd(t: Test): Promise<{
  w: LeaderWorld
  definition: ReturnType<typeof service>
  asking: ModelRouter
  knowing: () => readonly string[]
}> {
  const w = new LeaderWorld()
  await w.start()
  t.teardown(() => w.stop())
  for (let index = 0; index < ROUTERS; index++) w.router(`router-${index}`)
  const definition = service('one-of-many', { 'min-instances': 2, 'idle-timeout-mins': 60, 'concurrency-level': 8 })
  w.leader.need(definition, [])
  await w.quiesce()
  const knowing = (): readonly string[] => w.routers.filter(it => it.services.has(definition.id)).map(({ id }) => id)
  t.equal(knowing().length, HOMES, 'nobody asked yet: only its homes know it')
  const asking = w.routers.find(({ id }) => !knowing().includes(id))
  if (asking === undefined) throw new Error('there are more routers than homes')
  return { w, definition, asking, knowing }
}

t.test('with many routers, a service is told to its homes and to those that ask for it', async t => {
  const { w, definition, asking, knowing } = await crowd(t)
  asking.request(definition)
  await w.quiesce()
  t.equal(knowing().length, HOMES + 1)
  t.equal(asking.services.get(definition.id)?.lenders.length, HOMES, 'it hears at once who lends')
  await w.pass(2_000)
  t.equal(asking.waiting, 0, 'and has slots of its own soon')
})

t.test('a router that lost interest is told so, and has let go before', async t => {
  const { w, definition, asking, knowing } = await crowd(t)
  asking.request(definition)
  await w.pass(2_000)
  const [instanceId] = asking.services.get(definition.id)?.inUse.keys() ?? []
  await w.pass(2 * INTEREST_MS, MINUTE)
  t.ok(knowing().includes(asking.id), 'a request runs there')
  asking.finish(definition.id, instanceId ?? '')
  await w.pass(INTEREST_MS - MINUTE, MINUTE)
  t.ok(knowing().includes(asking.id))
  await w.pass(2 * MINUTE, MINUTE)
  t.equal(knowing().length, HOMES)
  t.notOk(knowing().includes(asking.id))
  asking.request(definition)
  await w.pass(2_000)
  t.equal(asking.waiting, 0, 'and is served when it asks again')
  t.equal(w.view(definition.id)?.summary.total, 2)
})

t.test('a request that comes while a router is about to be let go keeps it', async t => {
  const { w, definition, asking, knowing } = await crowd(t)
  asking.request(definition)
  await w.pass(2_000)
  asking.finish(definition.id, [...(asking.services.get(definition.id)?.inUse.keys() ?? [])][0] ?? '')
  await w.quiesce()
  await w.clock.advance(INTEREST_MS)
  t.ok(asking.inbox.length > 0, 'it is being told that it has nothing any more')
  asking.request(definition)
  await w.pass(2_000)
  t.ok(knowing().includes(asking.id))
  t.equal(asking.waiting, 0)
})

t.test('homes move when routers come and go; each service has some', async t => {
  const { w, definition, knowing } = await crowd(t)
  const [home] = knowing()
  w.routers.find(({ id }) => id === home)?.crash()
  await w.pass(11_000, 1_000)
  t.equal(knowing().length, HOMES, 'another one has taken its place')
  t.notOk(knowing().includes(home ?? ''))
  for (const router of w.routers.filter(it => it.isAlive).slice(6)) router.crash()
  await w.pass(11_000, 1_000)
  t.equal(knowing().length, 6, 'of a few routers, all follow everything')
  t.equal(w.view(definition.id)?.summary.healthy, 2)
})

t.test('a new leader tells every router what it used of late', async t => {
  const { w, definition, asking, knowing } = await crowd(t)
  asking.request(definition)
  await w.pass(2_000)
  const before = knowing()
  w.leader.stop()
  await w.start()
  const former = w.routers.splice(0)
  for (const { id, services } of former) {
    const router = w.router(id)
    router.disconnect()
    for (const [serviceId, state] of services) router.services.set(serviceId, state)
    router.attach()
  }
  await w.quiesce()
  t.same([...knowing()].sort(), [...before].sort())
  t.equal(w.scheduler.count('kill'), 0)
})

t.test('a router may follow what nobody asks it for, and hears when there is no such service', async t => {
  const { w, definition, asking, knowing } = await crowd(t)
  if (asking.session === undefined) throw new Error('it is attached')
  w.leader.follow(asking.session, [definition.id, 'no-such-service'])
  await w.clock.settle()
  const assignments = asking.inbox.map(({ message }) => message)
  t.match(assignments, [{ $case: 'assignment', value: { removals: ['no-such-service'] } }])
  await w.quiesce()
  t.ok(knowing().includes(asking.id))
})
