import { storeUnavailable } from '@waiter/store'
import t, { type Test } from 'tap'
import type { AttachResponse } from '../src/generated/waiter/v1/coordinator.ts'
import { RouterBurials } from '../src/leader/router-burials.ts'
import { RouterSession } from '../src/leader/router-session.ts'
import { LeaderWorld, service } from './support/leader-world.ts'

t.test('a dead router is buried when every survivor has heard of it', async t => {
  const burials = new RouterBurials()
  t.same(burials.begin('d', ['a', 'b']), [])
  t.same(burials.unheardBy('a'), ['d'])
  t.equal(burials.heard('d', 'a'), false)
  t.same(burials.unheardBy('a'), [])
  t.equal(burials.heard('d', 'b'), true)
  t.equal(burials.heard('d', 'b'), false, 'once')
  t.same(burials.begin('e', []), ['e'], 'nobody is left to hear of it')
})

t.test('a survivor that dies itself need not hear of it', async t => {
  const burials = new RouterBurials()
  burials.begin('d', ['a'])
  t.same(burials.begin('a', []), ['d', 'a'])
})

t.test('a burial is pending until it is over', async t => {
  const burials = new RouterBurials()
  burials.begin('d', ['a', 'b'])
  t.equal(burials.isPending('d'), true)
  burials.heard('d', 'a')
  t.equal(burials.isPending('d'), true)
  burials.heard('d', 'b')
  t.equal(burials.isPending('d'), false)
  burials.begin('e', ['f'])
  burials.begin('f', [])
  t.equal(burials.isPending('e'), false, 'the only one who had to hear of it is dead')
})

/** What a router is told, until it acknowledges: the dead. */
const deadIn = (messages: readonly AttachResponse[]): readonly string[] =>
  messages.flatMap(({ message }) => (message?.$case === 'assignment' ? message.value.deadRouterIds : []))

t.test('slots of a dead router are leased anew only when the others have acknowledged its death', async t => {
  const world = new LeaderWorld()
  await world.start({ settleMs: 0 })
  t.teardown(() => world.stop())
  const definition = service('single', { 'max-instances': 1 })
  const [first, second] = [world.router('r1'), world.router('r2')]
  first.request(definition)
  await world.pass(3_000)
  const [instance] = world.scheduler.running(definition.id)
  const instanceId = instance?.instanceId ?? ''
  t.equal(first.slots(definition.id, instanceId), 1)

  first.crash()
  second.request(definition)
  // Time passes for the leader, but what it says to the second router does not arrive.
  await world.clock.advance(20_000)
  while (second.outbox.length > 0) second.send()
  await world.clock.advance(5_000)
  t.same(deadIn(second.inbox), ['r1'], 'it is told')
  t.equal(world.view(definition.id)?.instances.length, 1)
  const offered = (): number =>
    second.inbox
      .flatMap(({ message }) => (message?.$case === 'assignment' ? message.value.upserts : []))
      .flatMap(({ instances }) => instances).length
  t.equal(offered(), 0, 'nothing is leased before it says that it knows')
  await world.pass(2_000)
  t.equal(second.slots(definition.id, instanceId), 1)
})

t.test(
  'a router that was given up comes back when everybody knows of its death, and gets nothing that others have',
  async t => {
    const world = new LeaderWorld()
    await world.start({ settleMs: 0 })
    t.teardown(() => world.stop())
    const definition = service('single', { 'max-instances': 1 })
    const [first, second] = [world.router('r1'), world.router('r2')]
    first.request(definition)
    await world.pass(3_000)
    const instanceId = world.scheduler.running(definition.id)[0]?.instanceId ?? ''
    second.request(definition)
    second.exchangeAll()
    // It is cut off for long, and comes back while its death is on its way to the second router.
    first.disconnect()
    await world.clock.advance(20_000)
    t.same(deadIn(second.inbox), ['r1'])
    t.throws(() => first.attach(), { code: 'WTR_ROUTER_GIVEN_UP', retryable: true })
    await world.pass(2_000)
    t.equal(second.slots(definition.id, instanceId), 1, 'it knows, and has the slot')
    first.attach()
    await world.quiesce()
    t.equal(first.slots(definition.id, instanceId), 0)
    t.equal(second.slots(definition.id, instanceId), 1)
  },
)

t.test('a new leader gives nothing away before it knows whom to wait for', async t => {
  const world = new LeaderWorld()
  await world.start({ settleMs: 0 })
  t.teardown(() => world.stop())
  const definition = service('single', { 'max-instances': 1 })
  const first = world.router('r1')
  first.request(definition)
  await world.pass(3_000)
  const instanceId = world.scheduler.running(definition.id)[0]?.instanceId ?? ''
  world.leader.stop()
  const { list } = world.store
  world.store.list = () => {
    world.store.list = list
    throw new Error('the store has no leader yet')
  }
  const started = world.start({ settleMs: 0 })
  await world.clock.advance(1_000)
  await started
  const second = world.router('r2')
  second.request(definition)
  await world.pass(3_000)
  t.equal(first.inUse(definition.id, instanceId), 1)
  t.equal(second.slots(definition.id, instanceId), 0, 'the first one, which has not attached yet, works with it')
})

/** The first router had the only slot, was given up though it lives, and the second one has it by now. */
async function worldWithHeir(t: Test) {
  const world = new LeaderWorld()
  await world.start({ settleMs: 0 })
  t.teardown(() => world.stop())
  const definition = service('single', { 'max-instances': 1 })
  const [lost, heir] = [world.router('r1'), world.router('r2')]
  lost.request(definition)
  await world.pass(3_000)
  const instanceId = world.scheduler.running(definition.id)[0]?.instanceId ?? ''
  lost.finish(definition.id, instanceId)
  lost.disconnect()
  heir.request(definition)
  return { world, definition, lost, heir, instanceId }
}

t.test('a later leader does not believe a router that was given up, even before it has heard the heir', async t => {
  const { world, definition, lost, heir, instanceId } = await worldWithHeir(t)
  await world.pass(30_000)
  t.equal(heir.slots(definition.id, instanceId), 1)
  t.equal(lost.slots(definition.id, instanceId), 1, 'as far as it knows')
  world.leader.stop()
  heir.disconnect()
  await world.start({ settleMs: 0 })
  lost.attachTo(world.leader)
  await world.quiesce()
  t.equal(lost.slots(definition.id, instanceId), 0, 'it is told at once')
  heir.attachTo(world.leader)
  await world.pass(2_000)
  t.equal(heir.slots(definition.id, instanceId), 1)
  t.equal(lost.slots(definition.id, instanceId), 0)
})

t.test(
  'slots of a router that was given up stay where they are until the store says so, and it may come back',
  async t => {
    const { world, definition, lost, heir, instanceId } = await worldWithHeir(t)
    const { compareAndSet } = world.store
    world.store.compareAndSet = () => Promise.reject(storeUnavailable('nobody leads'))
    await world.pass(30_000)
    t.equal(heir.slots(definition.id, instanceId), 0)
    lost.attach()
    world.store.compareAndSet = compareAndSet
    await world.pass(2_000)
    t.equal(lost.slots(definition.id, instanceId) + heir.slots(definition.id, instanceId), 1)
    t.ok(lost.session, 'it takes part again')
  },
)

t.test('a router is told of nothing before the store knows it', async t => {
  const world = new LeaderWorld()
  await world.start({ settleMs: 0 })
  t.teardown(() => world.stop())
  const { compareAndSet } = world.store
  world.store.compareAndSet = () => Promise.reject(storeUnavailable('nobody leads'))
  const router = world.router('r1')
  router.request(service('single', { 'max-instances': 1 }))
  await world.clock.advance(5_000)
  t.same(
    router.inbox.map(({ message }) => message?.$case),
    ['welcome'],
  )
  world.store.compareAndSet = compareAndSet
  await world.clock.advance(1_000)
  t.same(
    router.inbox.map(({ message }) => message?.$case),
    ['welcome', 'assignment'],
  )
})

t.test('a router that comes back is told who lives, attached or not: who is missing is dead', async t => {
  const world = new LeaderWorld()
  await world.start({ settleMs: 0 })
  t.teardown(() => world.stop())
  const routers = ['r1', 'r2', 'r3', 'r4'].map(id => world.router(id))
  await world.quiesce()
  const [first, second, third] = routers
  third?.disconnect()
  await world.pass(30_000)
  second?.disconnect()
  first?.disconnect()
  first?.attach()
  await world.clock.settle()
  const assignment = first?.inbox.find(({ message }) => message?.$case === 'assignment')?.message
  t.match(assignment, { value: { full: true, namesAllRouters: true, awaitedRouterIds: ['r2'] } }, 'r3 was given up')
})

t.test('a leader that was deposed a moment ago takes nobody', async t => {
  const world = new LeaderWorld()
  await world.start()
  t.teardown(() => world.stop())
  world.leader.stop()
  t.throws(() => world.router('r1'), { code: 'WTR_NOT_LEADER' })
})

t.test('a router whose host saw it end is dead at once', async t => {
  const { world, definition, lost, heir, instanceId } = await worldWithHeir(t)
  lost.attach()
  await world.quiesce()
  const { session } = lost
  lost.isAlive = false
  world.leader.routerEnded('r1')
  t.equal(session?.isClosed, true, 'what is still on its way from it counts no more')
  lost.session = undefined
  await world.pass(1_000)
  t.equal(heir.slots(definition.id, instanceId), 1, 'without waiting for it')
  world.leader.routerEnded('r1')
  world.leader.routerEnded('unknown')
  await world.pass(1_000)
  t.equal(heir.slots(definition.id, instanceId), 1)
})

t.test(
  'whom the store does not know may have been given up: it is told of the others after it has ended all with them',
  async t => {
    const peers = [{ routerId: 'r2', address: 'a:2', gossipAddress: '' }]
    const sent: AttachResponse[] = []
    const tasks: (() => void)[] = []
    const begin = (isStranger: boolean): void => {
      sent.length = 0
      const session = new RouterSession({
        ...{
          routerId: 'r1',
          nodeId: 'n',
          worker: 1,
          httpUrl: 'http://r1',
          peerAddress: '',
          gossipAddress: '',
          term: 1,
        },
        source: { leasesFor: () => undefined, peersOf: () => peers, awaitedRouterIds: ['r3'] },
        stream: { write: message => sent.push(message) > 0, onDrain: () => undefined, end: () => undefined },
        soon: task => tasks.push(task),
      })
      session.allow(isStranger)
      for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) task()
    }
    begin(true)
    t.match(sent, [
      { message: { value: { full: true, namesAllRouters: true, peers: [], awaitedRouterIds: [] } } },
      { message: { value: { full: false, namesAllRouters: false, peers } } },
    ])
    t.equal(sent.length, 2)
    begin(false)
    t.match(sent, [{ message: { value: { full: true, peers, awaitedRouterIds: ['r3'] } } }])
    t.equal(sent.length, 1)
  },
)
