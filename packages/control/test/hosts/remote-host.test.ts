import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { silentLogger } from '@waiter/base'
import { createNodeAuth, RemoteHost } from '@waiter/control'
import { EventHub, FleetScheduler, type SchedulerEvent, schedulerError } from '@waiter/schedulers'
import { createExampleDefinition, SchedulerView } from '@waiter/schedulers/contract'
import { within } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { FakeScheduler } from '../support/fake-scheduler.ts'
import { openSeat } from '../support/host-world.ts'
import { auth, SECRET } from '../support/rpc-world.ts'

const SERVICE = createExampleDefinition('s', 'true')
const FENCE = { term: 4 }

/** A host's scheduler that looks at terms. */
class FencedScheduler extends FakeScheduler {
  highest = 0

  admit({ term }: { readonly term: number }): void {
    if (term < this.highest) throw schedulerError('WTR_FENCED', `a leader of term ${this.highest} has acted already`)
    this.highest = term
  }
}

function openHost(test: Test, addresses: readonly string[], term = FENCE.term): RemoteHost {
  const host = new RemoteHost({ hostId: 'a', term, auth, addresses })
  test.teardown(() => host.close())
  return host
}

async function firstEvent(host: RemoteHost): Promise<SchedulerEvent | undefined> {
  const abort = new AbortController()
  try {
    for await (const event of host.watch(abort.signal)) return event
  } finally {
    abort.abort()
  }
  return undefined
}

t.test('the process that keeps the scheduler is found among those of the host, and found again', async test => {
  const seats = [await openSeat('a'), await openSeat('a'), await openSeat('a')] as const
  test.teardown(() => seats.map(seat => seat.close()))
  const fleet = new FleetScheduler()
  test.teardown(() => fleet.stop())
  const host = openHost(
    test,
    seats.map(seat => seat.address),
  )
  const scheduler = new FencedScheduler(Date.now)
  seats[1].kept = scheduler
  fleet.setHosts([host])
  await using view = new SchedulerView(fleet)
  await fleet.create(SERVICE, 1, FENCE)
  await view.until('it is known', () => view.services.has('s'))
  // It dies; another one of the host takes the scheduler over.
  seats[1].close()
  seats[2].kept = scheduler
  await view.until('listed again', () => view.listings >= 2)
  await fleet.scale('s', 2, FENCE)
  test.equal(view.services.get('s')?.requested, 2)
})

t.test('a leader whose successor has been there is refused before it hears anything', async test => {
  const seat = await openSeat('a')
  test.teardown(() => seat.close())
  const scheduler = new FencedScheduler(Date.now)
  seat.kept = scheduler
  test.match(await firstEvent(openHost(test, [seat.address], 7)), { kind: 'listing' })
  await test.rejects(firstEvent(openHost(test, [seat.address], 6)), { code: 'WTR_FENCED' })
  test.equal(scheduler.highest, 7)
})

t.test('a leader that does not know of its successor hears nothing any more once that one watches', async test => {
  const seat = await openSeat('a')
  test.teardown(() => seat.close())
  const scheduler = new FencedScheduler(Date.now)
  seat.kept = scheduler
  await scheduler.create(SERVICE, 1)
  const abort = new AbortController()
  test.teardown(() => abort.abort())
  const [deposed, leading] = [openHost(test, [seat.address], 6), openHost(test, [seat.address], 7)]
  const heardBefore = deposed.watch(abort.signal)[Symbol.asyncIterator]()
  const heard = leading.watch(abort.signal)[Symbol.asyncIterator]()
  const nextHeard = async (): Promise<string> => {
    const { value } = await heard.next()
    return value?.kind === 'instance' ? value.instance.instanceId : nextHeard()
  }
  await heardBefore.next()
  const { value: listing } = await heard.next()
  const before = listing?.kind === 'listing' ? listing.services[0]?.instances[0]?.instanceId : undefined
  await scheduler.scale('s', 2, { term: 7 })
  await test.rejects(heardBefore.next(), { code: 'WTR_HOST_UNREACHABLE' }, 'its watch ends before the start')
  const started = await nextHeard()
  test.notOk(leading.isUnheard({ serviceId: 's', instanceId: before ?? '' }), 'the former leader may know of it')
  test.ok(leading.isUnheard({ serviceId: 's', instanceId: started }))
  test.notOk(openHost(test, []).isUnheard({ serviceId: 's', instanceId: started }), 'without a listing nobody can say')
})

t.test('a host hears what is used, many services at once, and of each only now and then', async test => {
  const seat = await openSeat('a')
  test.teardown(() => seat.close())
  const calls: string[] = []
  const [first, told] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const scheduler = Object.assign(new FencedScheduler(Date.now), {
    noteUse: (id: string) => {
      calls.push(id)
      if (id === 't') first.resolve()
      if (id === 'last') told.resolve()
    },
  })
  seat.kept = scheduler
  const host = openHost(test, [seat.address])
  const abort = new AbortController()
  test.teardown(() => abort.abort())
  const events = host.watch(abort.signal)[Symbol.asyncIterator]()
  await events.next()
  for (let review = 0; review < 100; review++) for (const id of ['r', 's', 't']) host.noteUse(id)
  await within(first.promise, 'the host to hear')
  for (const id of ['r', 's', 'last']) host.noteUse(id)
  await within(told.promise, 'the host to hear again')
  test.same(calls, ['r', 's', 't', 'last'])
})

t.test('what a host could not be told is said again', async test => {
  const seat = await openSeat('a')
  test.teardown(() => seat.close())
  const told = Promise.withResolvers<string>()
  seat.kept = Object.assign(new FencedScheduler(Date.now), { noteUse: (id: string) => told.resolve(id) })
  const failed = Promise.withResolvers<void>()
  const log = { ...silentLogger, debug: () => failed.resolve() }
  const host = new RemoteHost({ hostId: 'a', term: FENCE.term, auth, addresses: [seat.address], log })
  test.teardown(() => host.close())
  host.noteUse('s')
  await within(failed.promise, 'the first attempt to fail')
  const abort = new AbortController()
  test.teardown(() => abort.abort())
  await host.watch(abort.signal)[Symbol.asyncIterator]().next()
  host.noteUse('s')
  test.equal(await within(told.promise, 'the second one'), 's')
})

t.test('a host is not mistaken for another one that has its former address', async test => {
  const seat = await openSeat('b')
  test.teardown(() => seat.close())
  seat.kept = new FencedScheduler(Date.now)
  await test.rejects(firstEvent(openHost(test, [seat.address])), { code: 'WTR_NOT_HOST_KEEPER' })
})

t.test('whoever is not of the cluster hears and orders nothing', async test => {
  const seat = await openSeat('a')
  test.teardown(() => seat.close())
  const scheduler = new FencedScheduler(Date.now)
  seat.kept = scheduler
  const stranger = createNodeAuth({ secrets: [`not ${SECRET}`], nodeId: 'stranger' })
  const host = new RemoteHost({ hostId: 'a', term: 9, auth: stranger, addresses: [seat.address] })
  test.teardown(() => host.close())
  await test.rejects(firstEvent(host), { code: /^WTR_(NODE_REFUSED|HOST_UNREACHABLE)$/ })
  test.equal(scheduler.highest, 0)
})

t.test('a host that accepts connections and says nothing is given up for another process of it', async test => {
  const sockets = new Set<Socket>()
  const mute = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
  }).listen(0, '127.0.0.1')
  await once(mute, 'listening')
  test.teardown(() => {
    for (const socket of sockets) socket.destroy()
    mute.close()
  })
  const { port } = mute.address() as { port: number }
  const host = openHost(test, [`127.0.0.1:${port}`])
  await within(test.rejects(firstEvent(host), { code: 'WTR_HOST_UNREACHABLE' }), 'a silent host is noticed', {
    timeoutMs: 10_000,
  })
})

t.test('without anybody who keeps it, an order is refused at once', async test => {
  const host = openHost(test, [])
  await test.rejects(host.scale('s', 1, FENCE), { code: 'WTR_HOST_UNREACHABLE' })
  await test.rejects(firstEvent(host), { code: 'WTR_HOST_UNREACHABLE' })
})

t.test('a leader that reads slowly gets a listing instead of everything it missed', async test => {
  const seat = await openSeat('a')
  test.teardown(() => seat.close())
  const services = [{ definition: SERVICE, requested: 1, instances: [] }]
  const hub = new EventHub(() => services)
  seat.kept = Object.assign(new FencedScheduler(Date.now), { watch: (signal: AbortSignal) => hub.watch(signal) })
  const host = openHost(test, [seat.address])
  const abort = new AbortController()
  test.teardown(() => abort.abort())
  const events = host.watch(abort.signal)[Symbol.asyncIterator]()
  test.equal((await events.next()).value?.kind, 'listing')
  for (let count = 1; count <= 5_000; count++)
    hub.publish({ kind: 'service', definition: SERVICE, requested: count, startTrouble: null })
  const seen = new Set<string>()
  while (!seen.has('listing')) seen.add((await events.next()).value?.kind ?? 'end')
  test.notOk(seen.has('end'))
})
