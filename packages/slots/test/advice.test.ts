import { createPrng } from '@waiter/base'
import { type Accusation, type AssignedInstance, DEFAULT_EJECTION, ReservationMachine, type Slot } from '@waiter/slots'
import t from 'tap'

const SLOTS = 2

/** A machine with so many instances, the first the oldest, and what it says. */
class Router {
  readonly machine = new ReservationMachine({
    ...{ loadBalancing: 'oldest', concurrencyLevel: 10, maxQueueLength: 10, ejection: DEFAULT_EJECTION },
    prng: createPrng(1),
  })
  nowMs = 1000

  constructor(count: number) {
    const assignment = Array.from({ length: count }, (_, index): AssignedInstance => {
      return { instanceId: `i${index}`, slots: SLOTS, host: 'h', port: index, startedAtMs: index }
    })
    this.machine.update(assignment, 0)
  }

  /** Those that get requests as long as any is free, in this order. */
  order(): string {
    const slots: Slot[] = []
    for (let slot = this.machine.reserve(this.nowMs); slot !== undefined; slot = this.machine.reserve(this.nowMs))
      slots.push(slot)
    for (const slot of slots) this.machine.release(slot, 'unused', this.nowMs)
    return [...new Set(slots.map(slot => slot.instanceId))].join(' ')
  }

  end(instanceId: string, status: 'success' | 'instance-error'): void {
    const slot = this.machine.reserveOn(instanceId)
    if (slot === undefined) throw new Error(`${instanceId} has no free slot`)
    this.machine.release(slot, status, this.nowMs)
  }

  advise(...accusations: Accusation[]): void {
    this.machine.advise(accusations, this.nowMs)
  }

  pass(ms: number): void {
    this.nowMs += ms
    this.machine.expire(this.nowMs)
  }
}

const says = (accuser: string, instanceId: string, untilMs = 20_000, heardAtMs = 1000): Accusation => {
  return { accuser, instanceId, untilMs, heardAtMs }
}

t.test('V1 one that another router leaves alone is the last choice, and takes no capacity away', async t => {
  const router = new Router(3)
  router.advise(says('b', 'i0'))
  t.equal(router.order(), 'i1 i2 i0')
  t.equal(router.machine.slotsAvailable, 3 * SLOTS)
  router.pass(19_000)
  t.equal(router.order(), 'i0 i1 i2', 'doubt ends with the accusation')
})

t.test('V1 an expired one that nobody doubts comes before a doubted one', async t => {
  const router = new Router(0)
  const one = { slots: 1, host: 'h', port: 1, startedAtMs: 0 }
  router.machine.update(
    [
      { ...one, instanceId: 'fresh' },
      { ...one, instanceId: 'old', expired: true },
    ],
    0,
  )
  router.advise(says('b', 'fresh'))
  t.equal(router.order(), 'old fresh')
})

t.test('V2 two accusers, or one and a failure of our own, have it left alone until one of them ends', async t => {
  const router = new Router(3)
  router.advise(says('b', 'i0', 20_000), says('c', 'i0', 10_000), says('c', 'i0', 8000))
  t.equal(router.order(), 'i1 i2')
  router.pass(9_000)
  t.equal(router.order(), 'i1 i2 i0', 'c has ended: i0 is doubted only')
  router.end('i0', 'instance-error')
  router.machine.eject('i0', 1, router.nowMs)
  t.equal(router.order(), 'i1 i2')
  router.pass(10_500)
  t.equal(router.order(), 'i0 i1 i2', 'both the own ejection and the advice have ended')
})

t.test('V2 advice goes on when our own ejection is over, if the accusation lasts longer', async t => {
  const router = new Router(3)
  router.advise(says('b', 'i0', 60_000))
  router.end('i0', 'instance-error')
  router.pass(DEFAULT_EJECTION.baseMs + 1)
  t.equal(router.order(), 'i1 i2')
  router.advise()
  t.equal(router.order(), 'i0 i1 i2', 'and ends when it is withdrawn')
})

t.test('V2 one router that says it twice, or of every instance, takes nothing away', async t => {
  const router = new Router(3)
  router.advise(says('b', 'i0'), says('b', 'i0', 30_000), says('b', 'i1'), says('b', 'i2'))
  t.equal(router.machine.slotsAvailable, 3 * SLOTS)
  t.equal(router.order(), 'i0 i1 i2')
})

t.test('V3 advice never takes the last instance, nor more than half of them', async t => {
  const all = (count: number): Accusation[] =>
    ['b', 'c'].flatMap(accuser => Array.from({ length: count }, (_, index) => says(accuser, `i${index}`)))
  for (const [instances, accused, left] of [
    [1, 1, 1],
    [2, 1, 1],
    [2, 2, 2],
    [5, 2, 3],
    [5, 3, 5],
  ] as const) {
    const router = new Router(instances)
    router.advise(...all(accused))
    t.equal(router.machine.slotsAvailable, left * SLOTS, `${accused} of ${instances} accused`)
  }
})

t.test('V3 when ejections of our own leave too few, the accused are used again, before E3', async t => {
  const router = new Router(2)
  router.advise(says('b', 'i0'), says('c', 'i0'))
  t.equal(router.order(), 'i1')
  router.machine.eject('i1', 5000, router.nowMs)
  t.equal(router.order(), 'i0')
  router.pass(5001)
  t.equal(router.order(), 'i1')
})

t.test('V4 a request that goes well dismisses what was said; a later ejection is news', async t => {
  const router = new Router(3)
  router.advise(says('b', 'i0'))
  router.pass(10)
  router.end('i0', 'success')
  t.equal(router.order(), 'i0 i1 i2')
  router.advise(says('b', 'i0'), says('b', 'i1'))
  t.equal(router.order(), 'i0 i2 i1', 'what is said again stays dismissed')
  router.pass(10)
  router.advise(says('b', 'i0', 20_000, router.nowMs))
  t.equal(router.order(), 'i1 i2 i0')
})

t.test('V5 no accusation stands longer than our own longest ejection', async t => {
  const router = new Router(3)
  router.advise(says('b', 'i0', 1e12), says('c', 'i0', 1e12))
  router.pass(DEFAULT_EJECTION.maxMs - 1)
  t.equal(router.order(), 'i1 i2')
  router.advise(says('b', 'i0', 2e12), says('c', 'i0', 2e12))
  router.pass(1)
  t.equal(router.order(), 'i0 i1 i2')
})

t.test('V5 advice about an instance that is not here yet holds when it comes', async t => {
  const router = new Router(1)
  router.advise(says('b', 'new'), says('b', 'i0', 5000))
  router.machine.update(
    [
      { instanceId: 'new', slots: 1, host: 'h', port: 9, startedAtMs: -1 },
      { instanceId: 'i0', slots: 1, host: 'h', port: 0, startedAtMs: 0 },
    ],
    router.nowMs,
  )
  router.pass(4000)
  t.equal(router.order(), 'i0 new')
})

t.test('V6 advice is not passed on: suspicions are our own failures only', async t => {
  const router = new Router(3)
  const before = router.machine.suspicionVersion
  router.advise(says('b', 'i0'), says('c', 'i0'))
  t.same(router.machine.suspicions(), [])
  t.equal(router.machine.suspicionVersion, before)
  router.end('i1', 'instance-error')
  t.same(router.machine.suspicions(), [
    { instanceId: 'i1', untilMs: 1000 + DEFAULT_EJECTION.baseMs, consecutiveFailures: 1 },
  ])
  t.not(router.machine.suspicionVersion, before)
  t.same(router.machine.counts().ejectedInstanceIds, ['i1'])
  const during = router.machine.suspicionVersion
  router.pass(DEFAULT_EJECTION.baseMs)
  t.same(router.machine.suspicions(), [])
  t.not(router.machine.suspicionVersion, during)
})
