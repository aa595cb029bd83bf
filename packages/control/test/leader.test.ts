import { WaiterError } from '@waiter/base'
import t, { type Test } from 'tap'
import { LeaderWorld, service } from './support/leader-world.ts'
import { TOKEN_VERSION } from './support/model-router.ts'

const MINUTE = 60_000
const hello = service('hello')

async function world(t: Test, settings: Parameters<LeaderWorld['start']>[0] = {}): Promise<LeaderWorld> {
  const made = new LeaderWorld()
  await made.start(settings)
  t.teardown(() => made.stop())
  return made
}

t.test('many needs start a service once, with min-instances', async t => {
  const w = await world(t)
  const threeAtLeast = service('three', { 'min-instances': 3 })
  const [a, b] = [w.router('a'), w.router('b')]
  for (let count = 0; count < 50; count++) {
    a.request(threeAtLeast)
    b.request(threeAtLeast)
  }
  await w.quiesce()
  t.equal(w.scheduler.count('create'), 1)
  t.match(w.scheduler.calls[0], { name: 'create', serviceId: threeAtLeast.id, count: 3 })
  t.equal(a.waiting + b.waiting + a.inUse(threeAtLeast.id, `${threeAtLeast.id}.1`) > 0, true)
  t.match(w.view(threeAtLeast.id)?.summary.sourceTokens, [[{ token: 'a-token', version: TOKEN_VERSION }]])
  t.match(await w.store.get(`services/${threeAtLeast.id}`), { value: /source-tokens/ }, 'the definition is archived')
})

t.test('needs that come before the scheduler has said what runs wait for it', async t => {
  const w = new LeaderWorld()
  const starting = w.start()
  w.leader.need(hello, [])
  t.equal(w.scheduler.calls.length, 0)
  await starting
  await w.clock.settle()
  t.equal(w.scheduler.count('create'), 1)
  await w.stop()
})

t.test('a scale-up is decided at once after a report, and then not more often than the floor', async t => {
  const w = await world(t)
  const eager = service('eager', { 'scale-up-factor': 0.9 })
  const router = w.router('a')
  router.request(eager)
  await w.quiesce()
  await w.pass(1_000)
  const before = w.scheduler.count('scale')
  for (let count = 0; count < 20; count++) router.request(eager)
  await w.quiesce()
  t.equal(w.scheduler.count('scale'), before + 1, 'no time has passed')
  for (let count = 0; count < 20; count++) router.request(eager)
  await w.quiesce()
  t.equal(w.scheduler.count('scale'), before + 1, 'not again in the same moment')
  await w.clock.advance(99)
  t.equal(w.scheduler.count('scale'), before + 1)
  await w.clock.advance(1)
  t.equal(w.scheduler.count('scale'), before + 2, 'the floor has passed: no new report is needed')
  const times = w.scheduler.calls.filter(call => call.name === 'scale').map(call => call.atMs)
  for (const [index, atMs] of times.entries()) t.ok(index === 0 || atMs - (times[index - 1] ?? 0) >= 100)
})

t.test('the scheduler hears of use that lasts, and of none when it is over', async t => {
  const w = await world(t)
  const router = w.router('a')
  const sinceUseMs = (): number => w.clock.nowMs() - (w.scheduler.usedAtMs.get(hello.id) ?? 0)
  router.request(hello)
  await w.quiesce()
  for (let count = 0; count < 30; count++) {
    await w.pass(5_000)
    t.ok(sinceUseMs() <= 15_000, 'a request that takes minutes is use, though nothing changes meanwhile')
  }
  router.finish(hello.id, w.scheduler.running(hello.id)[0]?.instanceId ?? '')
  await w.quiesce()
  await w.pass(MINUTE)
  t.ok(sinceUseMs() > 45_000, 'unused')
  router.request(hello)
  await w.quiesce()
  t.equal(sinceUseMs(), 0, 'at once when it is asked for again')
})

/** Two instances with a request each, on two routers; then both requests end. */
async function twoIdleInstances(t: Test): Promise<{ w: LeaderWorld; id: string }> {
  const w = await world(t)
  const pair = service('pair', { 'min-instances': 1, 'scale-down-factor': 0.9, 'scale-up-factor': 0.9 })
  const [a, b] = [w.router('a'), w.router('b')]
  a.request(pair)
  b.request(pair)
  for (let seconds = 0; seconds < 8; seconds++) await w.pass(1_000)
  t.equal(w.scheduler.running(pair.id).length, 2, 'both are needed')
  for (const router of [a, b])
    for (const { instanceId } of w.scheduler.running(pair.id)) router.finish(pair.id, instanceId)
  while (a.outbox.length + b.outbox.length > 0) {
    a.send()
    b.send()
  }
  await w.clock.settle()
  return { w, id: pair.id }
}

t.test('an instance is stopped only when every router has acknowledged that it is gone', async t => {
  const { w, id } = await twoIdleInstances(t)
  const [a, b] = w.routers
  if (a === undefined || b === undefined) throw new Error('two routers')
  await w.clock.advance(5_000)
  const removed = Object.keys((w.view(id)?.scaling.removals as object | undefined) ?? {})[0] ?? ''
  t.equal(removed.startsWith(id), true, 'one instance is on its way out')
  t.equal(w.scheduler.count('kill'), 0, 'no router has heard of it')
  const holder = w.routers.find(router => router.slots(id, removed) > 0)
  t.ok(holder, 'a router still may send there')
  for (const other of w.routers.filter(router => router !== holder)) other.exchangeAll()
  await w.clock.settle()
  t.equal(w.scheduler.count('kill'), 0, 'the one that may send has not')
  while ((holder?.inbox.length ?? 0) > 0) holder?.receive()
  await w.clock.settle()
  t.equal(holder?.slots(id, removed), 0)
  t.equal(w.scheduler.count('kill'), 0, 'it has applied it, but the acknowledgement is under way')
  holder?.exchangeAll()
  await w.clock.settle()
  t.match(w.scheduler.calls.at(-1), { name: 'kill', instanceId: removed })
  await w.pass(3_000)
  t.equal(w.scheduler.running(id).length, 1)
  t.equal(w.scheduler.count('kill'), 1)
})

t.test('an instance that is about to go is taken back when load returns', async t => {
  const { w, id } = await twoIdleInstances(t)
  await w.clock.advance(5_000)
  t.equal(Object.keys(w.view(id)?.scaling.removals as object).length, 1)
  const scales = w.scheduler.count('scale')
  const definition = w.view(id)?.definition
  if (definition === undefined) throw new Error('it is there')
  for (const router of w.routers) for (let count = 0; count < 2; count++) router.request(definition)
  for (const router of w.routers) while (router.outbox.length > 0) router.send()
  await w.clock.advance(200)
  t.equal(Object.keys(w.view(id)?.scaling.removals as object).length, 0, 'it stays')
  await w.pass(1_000)
  t.equal(w.scheduler.count('kill'), 0)
  t.ok((w.scheduler.calls.filter(call => call.name === 'scale')[scales]?.count ?? 3) > 2, 'it is not started twice')
  t.equal(w.routers.reduce((sum, router) => sum + router.waiting, 0) < 4, true)
})

t.test('a service without requests is collected at the exact time', async t => {
  const w = await world(t)
  const shortLived = service('short', { 'idle-timeout-mins': 2 })
  const router = w.router('a')
  router.request(shortLived)
  await w.quiesce()
  await w.pass(10_000)
  router.finish(shortLived.id, `${shortLived.id}.1`)
  await w.quiesce()
  const idleSinceMs = w.clock.nowMs()
  await w.clock.advance(2 * MINUTE - 1)
  await w.quiesce()
  t.equal(w.scheduler.count('delete'), 0)
  await w.clock.advance(1)
  await w.quiesce()
  t.match(w.scheduler.calls.at(-1), { name: 'delete', serviceId: shortLived.id, atMs: idleSinceMs + 2 * MINUTE })
  t.equal(w.view(shortLived.id), undefined)
  await w.quiesce()
  t.equal(router.services.size, 0, 'routers forget it')
  await w.quiesce()
  t.equal(await w.store.get(`services/${shortLived.id}`), undefined, 'the store holds only what lives')
})

t.test('a request that comes in time keeps the service; routers get their slots back', async t => {
  const w = await world(t)
  const shortLived = service('short', { 'idle-timeout-mins': 2 })
  const router = w.router('a')
  router.request(shortLived)
  await w.quiesce()
  router.finish(shortLived.id, `${shortLived.id}.1`)
  await w.quiesce()
  await w.clock.advance(2 * MINUTE)
  while (router.inbox.length > 0) router.receive()
  t.equal(router.slots(shortLived.id, `${shortLived.id}.1`), 0, 'taken away')
  router.request(shortLived)
  t.equal(router.waiting, 1)
  await w.quiesce()
  t.equal(w.scheduler.count('delete'), 0, 'the need overtook the deletion')
  t.equal(router.waiting, 0, 'served by the same instance')
  t.equal(w.scheduler.count('create'), 1)
})

t.test('deletion on request', async t => {
  const start = async (t: Test): Promise<{ w: LeaderWorld; isGone: () => boolean }> => {
    const w = await world(t)
    w.router('a').request(hello)
    await w.quiesce()
    let isGone = false
    w.leader.delete(hello.id).then(
      () => {
        isGone = true
      },
      () => undefined,
    )
    await w.quiesce()
    return { w, isGone: () => isGone }
  }
  await t.test('lets the running request finish', async t => {
    const { w, isGone } = await start(t)
    t.equal(w.scheduler.count('delete'), 0)
    w.routers[0]?.finish(hello.id, `${hello.id}.1`)
    await w.quiesce()
    t.equal(w.scheduler.count('delete'), 1)
    t.equal(isGone(), true)
    t.equal(await w.leader.delete(hello.id), false, 'there is nothing to delete any more')
  })
  await t.test('but not for ever', async t => {
    const { w, isGone } = await start(t)
    await w.clock.advance(1_999)
    t.same(w.routers[0]?.closing.get(hello.id), [])
    await w.clock.advance(1)
    await w.quiesce()
    t.same(w.routers[0]?.closing.get(hello.id), [`${hello.id}.1`], 'WebSockets are closed in time')
    await w.clock.advance(2_999)
    t.equal(w.scheduler.count('delete'), 0)
    await w.clock.advance(1)
    await w.quiesce()
    t.equal(w.scheduler.count('delete'), 1)
    t.equal(isGone(), true)
  })
  await t.test(
    'a request that comes meanwhile starts the service anew, once it is gone, with its load known',
    async t => {
      const { w, isGone } = await start(t)
      const router = w.routers[0]
      for (let count = 0; count < 7; count++) router?.request(hello)
      w.scheduler.isHolding = true
      router?.finish(hello.id, `${hello.id}.1`)
      await w.quiesce()
      t.equal(w.scheduler.count('create'), 1, 'the old one is still being stopped')
      w.scheduler.isHolding = false
      w.scheduler.letGo()
      await w.quiesce()
      t.equal(isGone(), true)
      t.equal(w.scheduler.count('create'), 2)
      t.equal(w.view(hello.id)?.summary.outstanding, 7, 'nobody reported again')
      t.equal(router?.waiting, 6, 'one is served by the new instance')
    },
  )
  await t.test('replaces a collection under way, which a request would revoke', async t => {
    const w = await world(t)
    const shortLived = service('short', { 'idle-timeout-mins': 1 })
    const router = w.router('a')
    router.request(shortLived)
    await w.quiesce()
    router.finish(shortLived.id, `${shortLived.id}.1`)
    await w.quiesce()
    await w.clock.advance(MINUTE)
    t.equal(w.scheduler.count('delete'), 0, 'the router has not let go')
    while (router.inbox.length > 0) router.receive()
    const gone = w.leader.delete(shortLived.id)
    router.request(shortLived)
    await w.quiesce()
    await w.pass(6_000)
    t.equal(w.scheduler.count('delete'), 1)
    t.equal(await gone, true)
    t.equal(w.scheduler.count('create'), 2, 'and the request gets a new one')
  })
})

const unavailable = () => new WaiterError('not now', { code: 'WTR_UNAVAILABLE', retryable: true })

t.test('routers hear why no further instance can be started, and that it is over', async t => {
  const w = await world(t)
  const router = w.router('a')
  w.scheduler.isHealthyAtOnce = false
  router.request(hello)
  await w.quiesce()
  const trouble = () => w.view(hello.id)?.summary.startTrouble
  t.equal(trouble(), null)
  w.scheduler.setTrouble(hello.id, 'no port is free')
  await w.quiesce()
  t.equal(trouble(), 'no port is free')
  t.equal(router.startTroubles.get(hello.id), 'no port is free')
  w.scheduler.setTrouble(hello.id, null)
  await w.quiesce()
  t.equal(trouble(), null)
  t.equal(router.startTroubles.get(hello.id), '')
})

t.test('scheduler failures are retried', async t => {
  await t.test('create', async t => {
    const w = await world(t)
    w.scheduler.failNext('create', unavailable())
    w.scheduler.failNext('create', unavailable())
    const router = w.router('a')
    router.request(hello)
    await w.quiesce()
    t.equal(router.waiting, 1)
    await w.pass(3_000)
    t.equal(w.scheduler.count('create'), 3)
    t.equal(w.scheduler.count('scale'), 0, 'what does not exist cannot be scaled')
    t.equal(router.waiting, 0)
  })
  await t.test('scale', async t => {
    const w = await world(t)
    const eager = service('eager', { 'scale-up-factor': 0.9 })
    const router = w.router('a')
    router.request(eager)
    await w.quiesce()
    w.scheduler.failNext('scale', unavailable())
    for (let count = 0; count < 5; count++) router.request(eager)
    await w.quiesce()
    await w.pass(5_000)
    t.equal(router.waiting, 0)
  })
  await t.test('kill', async t => {
    const { w, id } = await twoIdleInstances(t)
    w.scheduler.failNext('kill', unavailable())
    await w.pass(8_000)
    t.equal(w.scheduler.count('kill'), 2)
    t.equal(w.scheduler.running(id).length, 1)
    t.equal(w.view(id)?.summary.requested, 1)
  })
  await t.test('kill of an instance that has just ended by itself', async t => {
    const { w, id } = await twoIdleInstances(t)
    w.scheduler.isHolding = true
    await w.pass(6_000)
    t.equal(w.scheduler.heldCalls, 1)
    const victim = w.scheduler.calls.at(-1)?.instanceId ?? ''
    w.scheduler.setState(victim, 'failed')
    w.scheduler.isHolding = false
    w.scheduler.letGo()
    await w.pass(15_000)
    t.equal(w.scheduler.services.get(id)?.requested, 1, 'the replacement has been stopped in its place')
    t.equal(w.view(id)?.summary.requested, 1)
  })
  await t.test('delete', async t => {
    const w = await world(t)
    w.router('a').request(hello)
    await w.quiesce()
    w.scheduler.failNext('delete', unavailable())
    const gone = w.leader.delete(hello.id)
    await w.pass(7_000)
    t.equal(await gone, true)
    t.equal(w.scheduler.count('delete'), 2)
  })
})

t.test('a refusal becomes the problem of the service, and is tried again when somebody asks again', async t => {
  const w = await world(t)
  const refusal = () => new WaiterError('images need Kubernetes', { code: 'WTR_NO_IMAGES', details: { image: 'x' } })
  w.scheduler.failNext('create', refusal())
  const router = w.router('a')
  router.request(hello)
  await w.quiesce()
  t.match(w.view(hello.id)?.summary, {
    status: 'Failing',
    problem: { key: 'WTR_NO_IMAGES', message: 'images need Kubernetes', details: { image: 'x' } },
  })
  const assigned = router.services.get(hello.id)
  t.ok(assigned, 'routers were told')
  // The router answers what waits with the problem.
  if (assigned) assigned.waiting = 0
  w.leader.report(router.session ?? fail(), [idleRow(hello.id, w.clock.nowMs())])
  await w.pass(10 * MINUTE, MINUTE)
  t.equal(w.scheduler.count('create'), 2, 'the last answer was news, after that nobody asked')
  t.equal(w.view(hello.id)?.summary.problem, null, 'and the second attempt went well')
  t.equal(w.scheduler.running(hello.id).length, 1)

  const other = service('other')
  w.scheduler.failNext('create', refusal())
  router.request(other)
  await w.quiesce()
  await w.clock.advance(4_999)
  await w.quiesce()
  t.equal(w.scheduler.count('create'), 3, 'a request waits, but it is too early')
  await w.clock.advance(1)
  await w.quiesce()
  t.equal(w.scheduler.count('create'), 4)
})

function idleRow(serviceId: string, lastRequestMs: number) {
  return {
    serviceId,
    outstanding: 0,
    waiting: 0,
    total: 1,
    lastRequestMs,
    instances: [],
    finished: 0,
    failed: 0,
    latencyCounts: [],
  }
}

function fail(): never {
  throw new Error('there must be a session')
}

t.test('a lost router keeps its slots until it counts as dead; then others get them', async t => {
  const w = await world(t)
  const wide = service('wide', { 'concurrency-level': 4, 'max-instances': 1 })
  const [a, b] = [w.router('a'), w.router('b')]
  const instance = `${wide.id}.1`
  for (let count = 0; count < 4; count++) a.request(wide)
  await w.quiesce()
  for (let count = 0; count < 6; count++) b.request(wide)
  await w.quiesce()
  const held = a.slots(wide.id, instance)
  t.ok(held > 0)
  a.crash()
  await w.pass(9_999, 3_333)
  t.ok(b.slots(wide.id, instance) <= 4 - held, 'they may still be in use')
  await w.pass(100)
  t.equal(b.slots(wide.id, instance), 4)
  t.equal(w.view(wide.id)?.summary.outstanding, 6, 'the load of the dead router is gone')
})

t.test('a lost router that another one hears keeps its slots longer, but not for ever', async t => {
  const w = await world(t)
  const wide = service('wide', { 'concurrency-level': 4, 'max-instances': 1 })
  const [a, b, c] = [w.router('a'), w.router('b'), w.router('c')]
  const instance = `${wide.id}.1`
  for (const router of [a, b]) for (let count = 0; count < 4; count++) router.request(wide)
  await w.quiesce()
  const held = a.slots(wide.id, instance)
  t.ok(held > 0)
  c.hears.add('a')
  a.disconnect()
  await w.pass(59_900)
  t.ok(b.slots(wide.id, instance) <= 4 - held, 'two signals are needed')
  await w.pass(200)
  t.equal(b.slots(wide.id, instance), 4)
})

t.test('a lost router that nobody hears any more goes at the time at which it would have without gossip', async t => {
  const w = await world(t)
  const wide = service('wide', { 'concurrency-level': 4, 'max-instances': 1 })
  const [a, b, c] = [w.router('a'), w.router('b'), w.router('c')]
  const instance = `${wide.id}.1`
  for (const router of [a, b]) for (let count = 0; count < 4; count++) router.request(wide)
  await w.quiesce()
  c.hears.add('a')
  a.crash()
  await w.pass(12_000)
  t.not(b.slots(wide.id, instance), 4)
  c.hears.delete('a')
  await w.pass(8_100)
  t.equal(b.slots(wide.id, instance), 4)
})

t.test('a lost router does not hold up a service that starts meanwhile', async t => {
  const w = await world(t)
  const [a, b] = [w.router('a'), w.router('b')]
  a.request(hello)
  await w.quiesce()
  a.crash()
  const fresh = service('fresh')
  b.request(fresh)
  await w.quiesce()
  t.equal(b.waiting, 0)
})

t.test('a router that comes back is not given an assignment from before', async t => {
  const w = await world(t)
  const wide = service('wide', { 'concurrency-level': 8, 'max-instances': 1 })
  const [a, b] = [w.router('a'), w.router('b')]
  const instance = `${wide.id}.1`
  a.request(wide)
  b.request(wide)
  await w.quiesce()
  for (let count = 0; count < 12; count++) a.request(wide)
  while (a.outbox.length > 0) a.send()
  await w.clock.advance(1_200)
  b.exchangeAll()
  await w.clock.settle() // `b` has given slots away; that `a` may have them gets lost
  t.equal(a.inbox.length, 1)
  a.disconnect()
  a.attach()
  for (let count = 0; count < 12; count++) b.request(wide)
  while (b.outbox.length > 0) b.send()
  for (let step = 0; step < 30; step++) {
    await w.clock.settle()
    if (step % 2 === 0) b.exchangeAll()
    if (a.inbox.length > 0) a.receive()
    else a.send()
    t.ok(a.slots(wide.id, instance) + b.slots(wide.id, instance) <= 8, `step ${step}`)
  }
})

t.test('a router that dies with the leader does not delay the use of what the next leader starts', async t => {
  const w = await world(t)
  const narrow = service('narrow', { 'concurrency-level': 1, 'scale-up-factor': 0.9, 'max-instances': 3 })
  const b = w.router('b')
  b.request(narrow)
  await w.quiesce()
  const inherited = w.scheduler.running(narrow.id)[0]?.instanceId ?? ''
  t.equal(b.slots(narrow.id, inherited), 1)
  w.leader.stop()
  await w.start()
  w.routers.length = 0
  const survivor = w.router('a')
  for (let count = 0; count < 3; count++) survivor.request(narrow)
  await w.pass(3_000)
  const fresh = w.scheduler.running(narrow.id).filter(({ instanceId }) => instanceId !== inherited)
  t.ok(fresh.length > 0, 'more is started')
  t.ok(
    fresh.some(({ instanceId }) => survivor.slots(narrow.id, instanceId) === 1),
    'and is used before the dead router is given up',
  )
  t.notOk(survivor.slots(narrow.id, inherited), 'the dead one may still use its slot')
  await w.pass(12_000)
  t.equal(survivor.slots(narrow.id, inherited), 1, 'until it is given up')
})

t.test('a new leader with beliefs does not give what others may have', async t => {
  const w = await world(t)
  const wide = service('wide', { 'concurrency-level': 6, 'max-instances': 1 })
  const [a, b] = [w.router('a'), w.router('b')]
  const instance = `${wide.id}.1`
  for (let count = 0; count < 9; count++) a.request(wide)
  b.request(wide)
  await w.quiesce()
  w.leader.stop()
  await w.start()
  w.routers.length = 0
  const reborn = [a, b].map(old => {
    const router = w.router(old.id)
    router.disconnect()
    for (const [id, state] of old.services) router.services.set(id, state)
    return router
  })
  for (const router of reborn) router.attach()
  for (let step = 0; step < 40; step++) {
    await w.clock.settle()
    const router = reborn[step % 2]
    if (step % 3 === 0) router?.send()
    else if ((router?.inbox.length ?? 0) > 0) router?.receive()
    const sum = reborn.reduce(
      (slots, { slots: of }, index) => slots + (of.call(reborn[index], wide.id, instance) ?? 0),
      0,
    )
    t.ok(sum <= 6, `step ${step}: ${sum} of 6`)
  }
  await w.quiesce()
  t.equal(w.scheduler.count('create'), 1, 'what runs is taken over')
  t.equal(w.scheduler.count('kill') + w.scheduler.count('delete'), 0)
})

t.test(
  'a new leader gives no slot away before it has heard every router of its predecessor, or given it up',
  async t => {
    const w = new LeaderWorld()
    await w.start()
    const only = service('only', { 'concurrency-level': 4, 'max-instances': 1 })
    const [here, silent] = [w.router('here'), w.router('silent')]
    here.request(only)
    await w.pass(1_000)
    const instance = `${only.id}.1`
    const keptBySilent = silent.slots(only.id, instance)
    w.routers.length = 0

    await w.start()
    t.teardown(() => w.stop())
    const again = w.router('here-again')
    for (let count = 0; count < 5; count++) again.request(only)
    await w.pass(5_000)
    t.equal(again.slots(only.id, instance), 0, `the other router may still use its ${keptBySilent}`)
    await w.pass(6_000)
    t.equal(again.slots(only.id, instance), 4, 'but not for ever')
  },
)

t.test('nothing is stopped during the settle time', async t => {
  const w = new LeaderWorld()
  const lazy = service('lazy', { 'min-instances': 1, 'scale-down-factor': 0.99 })
  w.scheduler.add(lazy, 5)
  await w.start({ settleMs: 20_000 })
  t.teardown(() => w.stop())
  w.router('a')
  await w.pass(19_000, 500)
  t.equal(w.scheduler.count('kill'), 0)
  await w.pass(11_000, 500)
  t.ok(w.scheduler.count('kill') > 0, 'but afterwards')
})

t.test('when traffic stops, the service shrinks without any further news', async t => {
  const w = await world(t)
  const busy = service('busy', { 'scale-up-factor': 0.9, 'scale-down-factor': 0.005, 'idle-timeout-mins': 600 })
  const router = w.router('a')
  for (let count = 0; count < 6; count++) router.request(busy)
  await w.pass(20_000, 1_000)
  t.equal(w.scheduler.running(busy.id).length, 6)
  for (const { instanceId } of w.scheduler.running(busy.id)) {
    router.finish(busy.id, instanceId)
    await w.quiesce()
    await w.clock.advance(100)
  }
  await w.pass(20 * MINUTE, 5_000)
  t.equal(w.scheduler.running(busy.id).length, 1)
})

t.test('1,000 idle services need no wake-ups', async t => {
  const w = new LeaderWorld()
  for (let index = 0; index < 1_000; index++) w.scheduler.add(service(`idle-${index}`, { 'idle-timeout-mins': 600 }), 1)
  await w.start()
  t.teardown(() => w.stop())
  w.router('a')
  await w.pass(10_000, 1_000)
  const before = w.clock.scheduled
  await w.pass(60 * MINUTE, MINUTE)
  t.ok(w.clock.scheduled - before <= 1, `${w.clock.scheduled - before} timers in an hour`)
  t.ok(w.clock.pendingTimers <= 2)
})

t.test('a scheduler call that hangs costs no wake-ups either', async t => {
  const w = await world(t)
  const router = w.router('a')
  w.scheduler.isHolding = true
  router.request(hello)
  await w.quiesce()
  w.leader.delete(hello.id).catch(() => undefined)
  await w.clock.settle()
  const before = w.clock.scheduled
  await w.clock.advance(60_000)
  t.ok(w.clock.scheduled - before <= 2, `${w.clock.scheduled - before} timers in a minute`)
  w.scheduler.isHolding = false
  w.scheduler.letGo()
  await w.pass(6_000)
  t.equal(w.scheduler.count('delete'), 1)
})

t.test('a service whose only instance crashed after a long quiet time is not given up', async t => {
  const w = await world(t)
  const kept = service('kept', { 'idle-timeout-mins': 0 })
  const router = w.router('a')
  router.request(kept)
  await w.quiesce()
  router.finish(kept.id, `${kept.id}.1`)
  await w.quiesce()
  await w.pass(120 * MINUTE, 10 * MINUTE)
  w.scheduler.isHealthyAtOnce = false
  w.scheduler.setState(`${kept.id}.1`, 'failed')
  await w.quiesce()
  await w.clock.advance(1_000)
  await w.quiesce()
  t.equal(w.scheduler.count('delete'), 0)
  await w.pass(31 * MINUTE, MINUTE)
  t.equal(w.scheduler.count('delete'), 1, 'half an hour without success is enough')
})

t.test('routers hear whether a service starts, fails or runs', async t => {
  const w = await world(t)
  w.scheduler.isHealthyAtOnce = false
  const router = w.router('a')
  const heard: string[] = []
  const listen = (): void => {
    for (const { message } of router.inbox)
      if (message?.$case === 'assignment')
        for (const { summary } of message.value.upserts)
          heard.push(`${summary?.status} ${summary?.healthy}+${summary?.unhealthy}/${summary?.requested}`)
  }
  const rounds = async (): Promise<void> => {
    for (let round = 0; round < 6; round++) {
      await w.clock.settle()
      listen()
      router.exchangeAll()
    }
  }
  router.request(hello)
  router.exchangeAll()
  await rounds()
  t.equal(heard.at(-1), 'Starting 0+1/1')
  w.scheduler.setState(`${hello.id}.1`, 'healthy')
  await rounds()
  t.equal(heard.at(-1), 'Running 1+0/1')
})

t.test('logs of an instance that the service does not have', async t => {
  const w = await world(t)
  await t.rejects(w.leader.logs(hello.id, 'nobody', ''), { code: 'WTR_NO_SUCH_INSTANCE', status: 404 })
  w.router('a').request(hello)
  await w.quiesce()
  t.match(await w.leader.logs(hello.id, `${hello.id}.1`, ''), [{ name: 'stdout' }])
})

t.test('overrides apply to a service that runs, and end with it being as described', async t => {
  const w = await world(t)
  const router = w.router('a')
  router.request(hello)
  await w.quiesce()
  await w.store.compareAndSet(
    `overrides/${hello.id}`,
    0,
    JSON.stringify({ overrides: { 'min-instances': 4 }, 'last-updated-by': 'alice', time: 1 }),
  )
  await w.pass(2_000)
  t.equal(w.view(hello.id)?.definition.effective['min-instances'], 4)
  t.equal(w.view(hello.id)?.summary.requested, 4)
  const stored = await w.store.get(`overrides/${hello.id}`)
  await w.store.compareAndSet(`overrides/${hello.id}`, stored?.version ?? 0, undefined)
  await w.pass(200)
  t.equal(w.view(hello.id)?.definition.effective['min-instances'], 1)
})

t.test('workers of one node are routers of their own; a new one replaces only the one in its seat', async t => {
  const w = await world(t)
  const one = w.router('one')
  const two = w.router('two')
  one.attach('node', 1)
  two.attach('node', 2)
  t.same(new Set(w.leader.view().routers.map(({ routerId }) => routerId)), new Set(['one', 'two']))
  const next = w.router('next')
  next.attach('node', 2)
  t.same(new Set(w.leader.view().routers.map(({ routerId }) => routerId)), new Set(['one', 'next']))
  two.disconnect()
  t.equal(w.leader.view().routers.length, 2, 'the dead stream of the one replaced changes nothing')
})

t.test('routers hear how much waits elsewhere while the queues together are half full', async t => {
  const w = await world(t)
  w.scheduler.isHealthyAtOnce = false
  const short = service('short', { 'max-queue-length': 4 })
  const [a, b] = [w.router('a'), w.router('b')]
  a.request(short)
  await w.quiesce()
  t.equal(b.waitingElsewhere.get(short.id) ?? 0, 0, 'one of four does not matter')
  a.request(short)
  a.request(short)
  await w.quiesce()
  t.equal(b.waitingElsewhere.get(short.id), 3)
  b.request(short)
  await w.quiesce()
  t.equal(a.waitingElsewhere.get(short.id), 1, 'its own are not counted twice')
  a.crash()
  await w.pass(60_000)
  t.equal(b.waitingElsewhere.get(short.id), 0, 'what waited at a router that is gone does not')

  const long = service('long')
  b.request(long)
  const c = w.router('c')
  for (let count = 0; count < 50; count++) b.request(long)
  await w.quiesce()
  t.equal(c.waitingElsewhere.get(long.id) ?? 0, 0, 'far from its limit')
})
