import { silentLogger } from '@waiter/base'
import { createMemoryStore } from '@waiter/store'
import t from 'tap'
import { ROUTER_PREFIX, RouterRegistry } from '../src/leader/router-registry.ts'

t.test(
  'a leader expects routers of other hosts, and those of its own host that belong to the same start of it',
  async t => {
    const store = createMemoryStore()
    const on = (hostId: string, startId: string) => new RouterRegistry(store, { hostId, startId }, silentLogger)
    const first = on('east', 'start-1')
    first.save({ routerId: 'r1', nodeId: 'east-1', worker: 1, hostId: 'east', startId: 'start-1' })
    first.save({ routerId: 'r2', nodeId: 'west-1', worker: 1, hostId: 'west', startId: 'start-7' })
    let saved = 0
    for await (const { kind } of store.watch(ROUTER_PREFIX, AbortSignal.timeout(5_000)))
      if (kind === 'put' && ++saved === 2) break
    const idsOn = async (hostId: string, startId: string) =>
      (await on(hostId, startId).read()).map(({ routerId }) => routerId).sort()
    t.same(await idsOn('east', 'start-1'), ['r1', 'r2'])
    t.same(await idsOn('east', 'start-2'), ['r2'], 'its own ended with the former start')
    t.same(await idsOn('west', 'start-8'), ['r1'])
    t.same(await idsOn('north', 'start-1'), ['r1', 'r2'])
  },
)
