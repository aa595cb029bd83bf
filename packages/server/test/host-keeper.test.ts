import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger } from '@waiter/base'
import { createProcessScheduler, type Fence } from '@waiter/schedulers'
import { createExampleDefinition, SchedulerView } from '@waiter/schedulers/contract'
import t, { type Test } from 'tap'
import { HostKeeper } from '../src/control/host-keeper.ts'

/** Control processes of one host. */
function createSeats(test: Test) {
  const dataDir = mkdtempSync(join(tmpdir(), 'waiter-keeper-'))
  const opened: string[] = []
  const seat = (name: string): HostKeeper => {
    const open = (fence?: Fence) => {
      opened.push(name)
      return createProcessScheduler({ dataDir, ...(fence === undefined ? {} : { fence }) })
    }
    const keeper = new HostKeeper({ hostId: 'a', open, drains: () => false, log: silentLogger })
    test.teardown(() => keeper.release())
    return keeper
  }
  test.teardown(() => rmSync(dataDir, { recursive: true, force: true, maxRetries: 3 }))
  return { seat, opened }
}

const SLEEPS = createExampleDefinition('s', 'exec sleep 1000')
const NOT_HERE = { code: 'WTR_NOT_HOST_KEEPER' }

t.test('nothing is opened before a leader comes, and then once', async test => {
  const { seat, opened } = createSeats(test)
  const one = seat('one')
  test.throws(() => one.current(), NOT_HERE)
  test.same(opened, [])
  const [kept, again] = await Promise.all([one.take({ term: 3 }), one.take({ term: 3 })])
  test.equal(kept.scheduler, again.scheduler)
  test.equal((await one.take({ term: 4 })).scheduler, kept.scheduler, 'the next leader finds it open')
  test.same(opened, ['one'])
  test.ok(kept.capacity.cpus >= 1 && kept.capacity.memMb > 0)
})

t.test('the process that the leader goes to takes over; the other one notices and can have it back', async test => {
  const { seat, opened } = createSeats(test)
  const [one, two] = [seat('one'), seat('two')]
  const first = await one.take({ term: 3 })
  await first.scheduler.create(SLEEPS, 1, { term: 3 })
  const second = await two.take({ term: 3 })
  await test.rejects(first.scheduler.scale('s', 2, { term: 3 }), { code: 'WTR_SCHEDULER_STOPPED' })
  await second.scheduler.scale('s', 2, { term: 3 })
  const third = await one.take({ term: 4 })
  test.not(third.scheduler, first.scheduler)
  test.same(opened, ['one', 'two', 'one'])
  await one.stopAll(0)
})

t.test('the leader of an earlier term takes nothing from anybody', async test => {
  const { seat } = createSeats(test)
  const [one, two] = [seat('one'), seat('two')]
  const { scheduler } = await one.take({ term: 5 })
  await test.rejects(two.take({ term: 4 }), { code: 'WTR_FENCED' })
  await test.rejects(one.take({ term: 4 }), { code: 'WTR_FENCED' })
  await scheduler.create(SLEEPS, 0, { term: 5 })
})

t.test('a host that ends is heard to, and takes no orders any more', async test => {
  const { seat } = createSeats(test)
  const one = seat('one')
  const { scheduler } = await one.take({ term: 1 })
  await using view = new SchedulerView(scheduler)
  await scheduler.create(SLEEPS, 1, { term: 1 })
  const [running] = await view.until('it runs', () => view.inState('s', 'starting').length > 0 && view.instances('s'))
  const stopping = one.stopAll(0)
  test.throws(() => one.current(), NOT_HERE)
  await test.rejects(one.take({ term: 2 }), NOT_HERE)
  await stopping
  test.match(view.history.at(-1), { kind: 'service-removed', serviceId: 's' })
  const ends = view.history.filter(event => event.kind === 'instance' && event.instance.state === 'killed')
  test.match(ends, [{ instance: { instanceId: running?.instanceId } }])
})
