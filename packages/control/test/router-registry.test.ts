import { silentLogger } from '@waiter/base'
import { createMemoryStore, type KeyValueStore, storeUnavailable } from '@waiter/store'
import t from 'tap'
import { ROUTER_PREFIX, RouterRegistry } from '../src/leader/router-registry.ts'
import { FakeClock } from './support/fake-clock.ts'

const signal = new AbortController().signal

class World {
  readonly store: KeyValueStore = createMemoryStore()
  readonly clock = new FakeClock()
  #term = 0

  leader(own = { hostId: 'east', startId: 'start-1' }): RouterRegistry {
    return new RouterRegistry({ ...this, own, term: ++this.#term, log: silentLogger })
  }

  /** What happened, after everything under way is done. */
  async settled(happened: readonly string[]): Promise<readonly string[]> {
    await this.clock.settle()
    return happened
  }
}

const router = (routerId: string, nodeId = 'east-1') => ({ routerId, nodeId, worker: 1 })
const idsOf = (routers: readonly { readonly routerId: string }[]) => routers.map(({ routerId }) => routerId).sort()

t.test(
  'a leader expects routers of other hosts, and those of its own host that belong to the same start of it',
  async t => {
    const world = new World()
    const first = world.leader()
    const happened: string[] = []
    const note = (what: string) => () => void happened.push(what)
    first.register({ ...router('r1'), hostId: 'east', startId: 'start-1' }, note('r1'))
    first.register({ ...router('r2', 'west-1'), hostId: 'west', startId: 'start-7' }, note('r2'))
    t.same(await world.settled(happened), ['r1', 'r2'])
    const on = async (hostId: string, startId: string) =>
      idsOf(await world.leader({ hostId, startId }).takeOver(signal))
    t.same(await on('east', 'start-1'), ['r1', 'r2'])
    t.same(await on('east', 'start-2'), ['r2'], 'its own ended with the former start')
    t.same(await on('west', 'start-8'), ['r1'])
    t.same(await on('north', 'start-1'), ['r1', 'r2'])
  },
)

t.test('a router that is given up is struck off last; until then, a later leader waits for it', async t => {
  const world = new World()
  const registry = world.leader()
  const happened: string[] = []
  const note = (what: string) => () => void happened.push(what)
  registry.register(router('r1'), note('registered'))
  await world.clock.settle()
  registry.register(router('r1'), note('again'))
  t.same(happened, ['registered', 'again'], 'what is written down already is so at once')
  registry.giveUp('r1', note('marked'))
  t.same(await world.settled(happened), ['registered', 'again', 'marked'])
  const records = async () => {
    const found: string[] = []
    for await (const { value } of world.store.list(ROUTER_PREFIX)) found.push(value)
    return found
  }
  t.match(await records(), [/"given-up":true/])
  registry.remove('r1', note('removed'))
  t.same(await world.settled(happened), ['registered', 'again', 'marked', 'removed'])
  t.same(await records(), [])
  registry.remove('r1', note('removed again'))
  registry.giveUp('r2', note('unknown'))
  t.same(happened.slice(4), ['removed again', 'unknown'], 'there is nothing to be written')
})

t.test('who comes back before it is struck off is not; another one at its seat strikes it off', async t => {
  const world = new World()
  const registry = world.leader()
  const happened: string[] = []
  const note = (what: string) => () => void happened.push(what)
  registry.register(router('r1'), note('r1'))
  await world.clock.settle()
  registry.remove('r1', note('r1 removed'))
  registry.register(router('r1'), note('r1 back'))
  t.same(await world.settled(happened), ['r1', 'r1 back'])
  registry.remove('r1', note('r1 removed'))
  registry.register(router('r2'), note('r2'))
  t.same(await world.settled(happened), ['r1', 'r1 back', 'r2', 'r1 removed'])
  t.same(idsOf(await world.leader().takeOver(signal)), ['r2'])
})

t.test('a later leader takes it over: what a former one still writes comes too late', async t => {
  const world = new World()
  const former = world.leader()
  const happened: string[] = []
  const note = (what: string) => () => void happened.push(what)
  former.register(router('r1'), note('r1'))
  await world.clock.settle()
  t.same(idsOf(await world.leader().takeOver(signal)), ['r1'])
  former.giveUp('r1', note('r1 given up'))
  former.register(router('r2', 'east-2'), note('r2'))
  t.same((await world.settled(happened)).includes('r1 given up'), false, 'it does not lead, and gives nobody up')
  former.remove('r1', note('r1 removed'))
  t.same(await world.settled(happened), ['r1'])
  t.ok(idsOf(await world.leader().takeOver(signal)).includes('r1'))
})

t.test('a store that does not answer is asked until it does, and nothing counts before', async t => {
  const world = new World()
  const { compareAndSet } = world.store
  let isAway = true
  world.store.compareAndSet = async (...write) => {
    if (isAway) throw storeUnavailable('nobody leads')
    return await compareAndSet.apply(world.store, write)
  }
  const registry = world.leader()
  const happened: string[] = []
  registry.register(router('r1'), () => void happened.push('r1'))
  await world.clock.advance(5_000)
  t.same(happened, [])
  isAway = false
  await world.clock.advance(1_000)
  t.same(await world.settled(happened), ['r1'])
})
