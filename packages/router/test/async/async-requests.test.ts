import { ASYNC_SLOT_MS_MAX, BorrowedSlot, type StatusCheck } from '@waiter/slots'
import t from 'tap'
import { exampleTicket } from '../support/async.ts'
import type { FakeExchange } from '../support/fake-exchange.ts'
import { completed, ID, type World, world } from '../support/request-world.ts'

const answered = (status: number, location: 'none' | 'own' | 'foreign' = 'none'): StatusCheck => ({
  kind: 'answered',
  status,
  location,
})

/** The instance answers 202 with this location. */
function accepted(fake: FakeExchange, location: string | undefined, status = 202): string | undefined {
  const target = fake.targets.at(-1)
  target?.onResponseHead?.(status, name => (name === 'location' ? location : undefined), 1)
  return target?.replacedLocation
}

/** A request that goes on behind its answer, on the only slot. */
function working(w: World): FakeExchange {
  w.assign({ a: 1 })
  const fake = w.request({ path: '/async/request?x=y' })
  accepted(fake, 'status?id=1')
  fake.end(completed(202))
  return fake
}

const held = { total: 1, outstanding: 1, async: 1, successful: 0 }
const over = { total: 1, outstanding: 0, async: 0, successful: 1 }

t.test('a request answered 202 with a location of its instance keeps its slot', async t => {
  const w = world(t)
  w.assign({ a: 1 })
  const fake = w.request({ path: '/async/request?x=y' })
  t.match(
    accepted(fake, 'status?id=1'),
    /^location: \/waiter-async\/v2\/status\/r-1\/v1\.[\w.-]+\/async\/status\?id=1\r\n$/,
  )
  t.equal(w.asyncRequests.count, 0, 'not before its answer is over')
  fake.end(completed(202))
  t.match(w.counts, held)
  t.equal(w.runtime.machine.slotsInUse, 1)
  t.match(
    w.runtime.loadRow(),
    { outstanding: 1, instances: [{ instanceId: `${ID}.a`, inUse: 1 }] },
    'the leader hears of it',
  )
  t.match([...w.runtime.metrics.statuses], [[202, 1]])
  const next = w.request()
  t.equal(next.targets.length, 0, 'the next one waits')
  t.ok(w.asyncRequests.complete('r-1'))
  t.match(w.counts, { total: 2, outstanding: 1, async: 0, successful: 1 })
  t.equal(next.targets.length, 1, 'and gets the slot when the work is over')
  t.notOk(w.asyncRequests.complete('r-1'), 'once')
  t.equal(w.timers.size, 0)
})

for (const [story, status, location] of [
  ['202 without a location', 202, undefined],
  ['202 with a location elsewhere', 202, 'http://example.com/status'],
  ['202 with another instance’s location', 202, 'http://127.0.0.1:1/status'],
  ['202 with no location that could be one', 202, '/a b'],
  ['201 with a location', 201, '/status'],
  ['303 with a location', 303, '/status'],
] as const)
  t.test(`${story} is an ordinary answer`, async t => {
    const w = world(t)
    w.assign({ a: 1 })
    const fake = w.request()
    t.equal(accepted(fake, location, status), undefined)
    fake.end(completed(status))
    t.match(w.counts, over)
    t.equal(w.runtime.machine.slotsInUse, 0)
    t.equal(w.asyncRequests.count, 0)
  })

for (const kind of ['client-gone', 'client-stalled', 'aborted', 'failed-mid-response'] as const)
  t.test(`the work goes on when the answer ends as ${kind}`, async t => {
    const w = world(t)
    w.assign({ a: 1 })
    const fake = w.request()
    accepted(fake, '/status')
    fake.end({ kind, phase: 'response', status: 202, detail: '' } as never)
    t.match(w.counts, held)
    w.asyncRequests.complete('r-1')
    t.match(w.counts, over)
  })

t.test('the instance is asked as the service, at the path that it named', async t => {
  const w = world(t)
  working(w)
  await w.fire()
  t.same(w.statusQuestions, [
    {
      protocol: 'http',
      host: '127.0.0.1',
      port: 10_000,
      target: '/async/status?id=1',
      headers: { authorization: 'Basic x', 'x-cid': 'cid-1' },
    },
  ])
  t.equal(w.nowMs, 1_000 + 3_000)
})

t.test('beyond the time-out the slot is kept while the instance works, and free when it is done', async t => {
  const w = world(t)
  working(w)
  while (w.nowMs < 1_000 + 600_000) await w.fire()
  t.match(w.counts, held)
  w.statusByTarget.set('/async/status?id=1', answered(410))
  await w.fire()
  t.match(w.counts, over)
  t.equal(w.timers.size, 0)
})

t.test('four hours are the end of it, whatever the instance says', async t => {
  const w = world(t)
  working(w)
  while (w.asyncRequests.count > 0) await w.fire()
  t.equal(w.nowMs, 1_000 + ASYNC_SLOT_MS_MAX)
  t.match(w.counts, over)
  t.ok(w.statusQuestions.length < 600, `${w.statusQuestions.length} questions in four hours`)
})

t.test('a result that nobody fetches frees the slot at the time-out', async t => {
  const w = world(t)
  working(w)
  w.statusByTarget.set('/async/status?id=1', answered(303, 'own'))
  while (w.asyncRequests.count > 0) await w.fire()
  t.equal(w.nowMs, 1_000 + 60_000)
  t.match(w.counts, over)
})

t.test('an instance that is gone frees the slot, and is blamed', async t => {
  const w = world(t)
  working(w)
  w.statusByTarget.set('/async/status?id=1', { kind: 'unreachable' })
  await w.fire()
  t.match(w.counts, { outstanding: 0, async: 0, successful: 0, 'instance-error': 1 })
  t.match(w.runtime.machine.instanceStates(), [{ inUse: 0, consecutiveFailures: 1 }])
})

t.test('an answer that comes after the end changes nothing', async t => {
  const w = world(t)
  working(w)
  w.statusByTarget.set('/async/status?id=1', { kind: 'unreachable' })
  const checked = w.fire()
  w.asyncRequests.complete('r-1')
  await checked
  t.match(w.counts, { ...over, 'instance-error': 0 })
  t.equal(w.timers.size, 0)
})

t.test('a service that is taken away is remembered until its work is over', async t => {
  const w = world(t)
  working(w)
  w.table.applyAssignment({ isFull: false, upserts: [], removals: [ID] })
  t.equal(w.table.get(ID), w.runtime)
  w.asyncRequests.complete('r-1')
  t.equal(w.table.get(ID), undefined)
})

t.test('a router that stops asks no more', async t => {
  const w = world(t)
  working(w)
  w.asyncRequests.stop()
  t.equal(w.timers.size, 0)
  const late = w.request()
  t.equal(late.targets.length, 0)
})

t.test('work of a lost router', async t => {
  const w = world(t)
  w.assign({ a: 1, b: 1 })
  const instanceId = `${ID}.b`
  const ticket = exampleTicket({ serviceId: ID, instanceId, location: '/status', acceptedAtMs: w.nowMs })
  const request = {
    runtime: w.runtime,
    base: { protocol: 'http', host: '127.0.0.1', port: 10_001, target: '' },
    headers: () => ({}),
  } as const
  t.notOk(w.asyncRequests.adopt({ ...ticket, instanceId: `${ID}.c` }, request), 'of an instance that is not ours')
  const tooOld = w.nowMs - ASYNC_SLOT_MS_MAX
  t.notOk(w.asyncRequests.adopt({ ...ticket, acceptedAtMs: tooOld }, request), 'for more than four hours in all')
  t.match(w.counts, { outstanding: 0, async: 0 })
  t.ok(w.asyncRequests.adopt(ticket, request))
  t.ok(w.asyncRequests.isHeld('r-1'))
  t.match(w.counts, { total: 0, outstanding: 1, async: 1 })
  t.match(Object.fromEntries(w.runtime.machine.inUseByInstance()), { [instanceId]: 1 })
  t.notOk(w.asyncRequests.adopt(ticket, request), 'once')
  t.notOk(w.asyncRequests.adopt({ ...ticket, requestId: 'r-2' }, request), 'not without a free slot')
  w.statusByTarget.set('/status', answered(410))
  await w.fire()
  t.match(w.counts, { outstanding: 0, async: 0, successful: 1 })
  t.equal(w.runtime.machine.slotsInUse, 0)
})

t.test('on a slot that another router lent: it stays with us until the work is over', async t => {
  const w = world(t)
  const released: string[] = []
  w.table.onBorrowedRelease = (slot, status) => void released.push(`${slot.instanceId} ${status}`)
  const slot = new BorrowedSlot(
    'router-2',
    {
      grantId: 1,
      serviceId: ID,
      instance: {
        instanceId: `${ID}.z`,
        host: '127.0.0.1',
        port: 10_009,
        startedAtMs: 0,
        expired: false,
        extraPorts: [],
        logDirectory: null,
      },
      keepAgeMs: 0,
    },
    w.nowMs,
  )
  const fake = w.request()
  w.runtime.machine.takeNextWaiter()?.granted(slot)
  accepted(fake, '/status')
  fake.end(completed(202))
  t.match(w.counts, held)
  t.same(released, [])
  w.asyncRequests.complete('r-1')
  t.same(released, [`${ID}.z success`])
  t.match(w.counts, over)
})
