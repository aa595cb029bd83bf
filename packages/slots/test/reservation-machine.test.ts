import { AssertionFailed, createPrng } from '@waiter/base'
import {
  type AssignedInstance,
  DEFAULT_EJECTION,
  type LoadBalancing,
  type QueueFailure,
  ReservationMachine,
  type ReservationMachineOptions,
  type Slot,
  Waiter,
} from '@waiter/slots'
import t from 'tap'

function machineOf(options: Partial<ReservationMachineOptions> = {}): ReservationMachine {
  return new ReservationMachine({
    ...{ loadBalancing: 'oldest', concurrencyLevel: 10, maxQueueLength: 1000, ejection: DEFAULT_EJECTION },
    prng: createPrng(1),
    ...options,
  })
}

/** Instances named by age: the first is the oldest. */
function instances(slotsById: Readonly<Record<string, number>>, expired: readonly string[] = []): AssignedInstance[] {
  return Object.entries(slotsById).map(([instanceId, slots], index) => ({
    ...{ instanceId, slots, host: '127.0.0.1', port: 4000 + index, startedAtMs: index },
    expired: expired.includes(instanceId),
  }))
}

class Recorder extends Waiter {
  readonly name: string
  readonly log: string[]
  slot: Slot | undefined
  constructor(name: string, log: string[]) {
    super()
    this.name = name
    this.log = log
  }
  granted(slot: Slot): void {
    this.slot = slot
    this.log.push(`${this.name} got ${slot.instanceId}`)
  }
  failed(failure: QueueFailure): void {
    this.log.push(`${this.name} ${failure.kind}`)
  }
}

t.test('A1 lowering slots below what is in use stops grants until there is room', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 3 }), 0)
  const slots = [machine.reserve(0)!, machine.reserve(0)!, machine.reserve(0)!]
  machine.update(instances({ a: 1 }), 0)
  t.match(machine.counts(), { slotsAssigned: 1, slotsInUse: 3, slotsAvailable: 0 })
  machine.release(slots[0]!, 'success', 0)
  machine.release(slots[1]!, 'success', 0)
  t.equal(machine.reserve(0), undefined)
  machine.release(slots[2]!, 'success', 0)
  t.equal(machine.reserve(0)?.instanceId, 'a')
})

t.test('A2 a retired instance takes no more requests and tells when the last one is done', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 2, b: 2 }), 0)
  const first = machine.reserve(0)!
  const second = machine.reserve(0)!
  t.same(machine.update([], 0), ['b'], 'b is idle, a is not')
  t.same(machine.update([], 0), [], 'and is named once')
  t.equal(machine.reserve(0), undefined)
  t.same(machine.inUseByInstance(), new Map([['a', 2]]))
  t.equal(machine.release(first, 'success', 0), false)
  t.equal(machine.release(second, 'success', 0), true)
  t.same(machine.instanceStates(), [])
})

t.test('A2 an instance that comes back is granted again, and still ejected', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 1, b: 1 }), 0)
  machine.eject('a', 5000, 0)
  machine.update(instances({ b: 1 }), 0)
  machine.update(instances({ a: 1, b: 1 }), 0)
  t.same(machine.counts().ejectedInstanceIds, ['a'])
  machine.expire(5000)
  t.equal(machine.reserve(5000)?.instanceId, 'a')
})

t.test('A3 no assignment goes beyond the concurrency level', async t => {
  const machine = machineOf({ concurrencyLevel: 2 })
  machine.update(instances({ a: 50 }), 0)
  t.equal(machine.counts().slotsAvailable, 2)
})

t.test('A4 a new instance serves waiters at once, wherever they were queued before', async t => {
  const machine = machineOf()
  const log: string[] = []
  machine.enqueue(new Recorder('first', log), 100, 0)
  machine.enqueue(new Recorder('second', log), 100, 0)
  machine.update(instances({ a: 1 }), 0)
  t.same(log, ['first got a'])
  machine.update(instances({ a: 1, b: 1 }), 0)
  t.same(log, ['first got a', 'second got b'])
})

t.test('R1 grants of one instance hand out one object', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 2 }), 0)
  const slot = machine.reserve(0)!
  t.match(slot, { instanceId: 'a', host: '127.0.0.1', port: 4000, slots: 2, inUse: 1 })
  t.equal(machine.reserve(0), slot)
  t.equal(machine.reserve(0), undefined)
})

t.test('R2 nobody overtakes the queue, not even from within a callback', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 1 }), 0)
  const log: string[] = []
  const slot = machine.reserve(0)!
  class Pushy extends Recorder {
    override granted(granted: Slot): void {
      super.granted(granted)
      machine.release(granted, 'success', 0)
      log.push(`reserve from within: ${machine.reserve(0)?.instanceId}`)
    }
  }
  machine.enqueue(new Pushy('pushy', log), 100)
  machine.enqueue(new Recorder('next', log), 100)
  machine.release(slot, 'success', 0)
  t.same(log, ['pushy got a', 'reserve from within: undefined', 'next got a'])
})

t.test('R3 a released slot goes to the head of the queue before release returns', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 1 }), 0)
  const slot = machine.reserve(0)!
  const log: string[] = []
  machine.enqueue(new Recorder('head', log), 100)
  machine.release(slot, 'success', 0)
  t.same(log, ['head got a'])
})

t.test('R4 an asynchronous request keeps its slot until it is released again', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 1 }), 0)
  const slot = machine.reserve(0)!
  machine.release(slot, 'success-async', 0)
  t.equal(machine.reserve(0), undefined)
  machine.release(slot, 'success', 0)
  t.equal(machine.reserve(0), slot)
})

t.test('R6 a slot of a named instance, if a request could get one there', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 2, b: 1 }), 0)
  t.equal(machine.reserveOn('c'), undefined)
  const slot = machine.reserveOn('b')!
  t.match(slot, { instanceId: 'b', inUse: 1 })
  t.equal(machine.reserveOn('b'), undefined, 'no free one')
  t.match(machine.counts(), { slotsInUse: 1, slotsAvailable: 2 })
  const other = machine.reserve(0)!
  t.equal(other.instanceId, 'a', 'the rest is granted as ever')
  machine.eject('a', 1_000, 0, 'definite')
  t.equal(machine.reserveOn('a'), undefined, 'an ejected one')
  machine.release(slot, 'success-async', 0)
  machine.release(slot, 'success', 0)
  machine.update(instances({ a: 2 }), 0)
  t.equal(machine.reserveOn('b'), undefined, 'a retired one')
})

t.test('R5 releasing too often crashes', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 1 }), 0)
  const slot = machine.reserve(0)!
  machine.release(slot, 'success', 0)
  t.throws(() => machine.release(slot, 'success', 0), AssertionFailed)
})

for (const [sentence, loadBalancing, expected] of [
  ['B1 oldest fills the oldest instance first', 'oldest', 'aabbcc'],
  ['B2 youngest fills the youngest instance first', 'youngest', 'ccbbaa'],
  ['B4 least-loaded spreads, the oldest of equals first', 'least-loaded', 'abcabc'],
] as const) {
  t.test(sentence, async t => {
    const machine = machineOf({ loadBalancing })
    machine.update(instances({ a: 2, b: 2, c: 2 }), 0)
    const picked = Array.from({ length: 6 }, () => machine.reserve(0)!.instanceId)
    t.equal(picked.join(''), expected)
    t.equal(machine.reserve(0), undefined)
  })
}

t.test('B4 least-loaded counts shares of slots, not requests', async t => {
  const machine = machineOf({ loadBalancing: 'least-loaded' })
  machine.update(instances({ small: 1, big: 4 }), 0)
  t.equal(Array.from({ length: 5 }, () => machine.reserve(0)!.instanceId).join(), 'small,big,big,big,big')
})

t.test('B3 random gives every instance its part, and only free ones', async t => {
  const machine = machineOf({ loadBalancing: 'random' })
  machine.update(instances({ a: 1, b: 1, c: 1, d: 1 }), 0)
  const counts: Record<string, number> = {}
  for (let draw = 0; draw < 4000; draw++) {
    const slot = machine.reserve(0)!
    counts[slot.instanceId] = (counts[slot.instanceId] ?? 0) + 1
    machine.release(slot, 'success', 0)
  }
  t.ok(
    Object.values(counts).every(count => Math.abs(count - 1000) < 120),
    JSON.stringify(counts),
  )
  t.same(new Set(Array.from({ length: 4 }, () => machine.reserve(0)!.instanceId)).size, 4)
})

for (const loadBalancing of ['oldest', 'youngest', 'random', 'least-loaded'] as const) {
  t.test(`B5 with ${loadBalancing}, expired instances are the last resort, the youngest first`, async t => {
    const machine = machineOf({ loadBalancing })
    machine.update(instances({ old: 1, fresh: 1, mid: 1 }, ['old', 'mid']), 0)
    const picked = Array.from({ length: 3 }, () => machine.reserve(0)!.instanceId)
    t.equal(picked[0], 'fresh')
    if (loadBalancing === 'random') return
    t.same(picked, ['fresh', 'mid', 'old'])
  })
}

t.test('B6 the oldest free one of 5,000 instances is found after any pattern of use', async t => {
  const machine = machineOf()
  const count = 5000
  machine.update(instances(Object.fromEntries(Array.from({ length: count }, (_, i) => [`i${i}`, 1]))), 0)
  const slots = Array.from({ length: count }, () => machine.reserve(0)!)
  t.equal(machine.reserve(0), undefined)
  for (const index of [4999, 1024, 1023, 32, 31]) {
    machine.release(slots[index]!, 'success', 0)
    t.equal(machine.reserve(0)?.instanceId, `i${index}`)
  }
  for (const index of [4999, 33]) machine.release(slots[index]!, 'success', 0)
  t.equal(machine.reserve(0)?.instanceId, 'i33')
  t.equal(machine.reserve(0)?.instanceId, 'i4999')
})

t.test('B7 load balancing changes while requests run', async t => {
  const machine = machineOf({ loadBalancing: 'random' })
  machine.update(instances({ a: 1, b: 1, c: 1 }), 0)
  const slot = machine.reserve(0)!
  const modes: LoadBalancing[] = ['youngest', 'youngest', 'least-loaded', 'oldest']
  for (const loadBalancing of modes) machine.configure({ loadBalancing })
  t.match(machine.counts(), { slotsInUse: 1, slotsAvailable: 2 })
  machine.release(slot, 'success', 0)
  t.equal(machine.reserve(0)?.instanceId, 'a')
})

t.test('A5 without a leader, what was taken away while in use serves on', async t => {
  const machine = machineOf()
  const log: string[] = []
  machine.update(instances({ gone: 2, shrunk: 3, kept: 1 }), 0)
  const running = Array.from({ length: 6 }, () => machine.reserve(0)!)
  const on = (instanceId: string): Slot => running.find(slot => slot.instanceId === instanceId)!
  machine.update([{ ...instances({ gone: 2, shrunk: 1 })[1]! }, ...instances({ kept: 1 })], 0)
  machine.release(on('gone'), 'success', 0)
  machine.enqueue(new Recorder('first', log), 1e9)
  machine.keepInUse()
  t.same(log, [], 'all of it is in use')
  t.same(
    machine.instanceStates().map(({ instanceId, slots, isRetired }) => ({ instanceId, slots, isRetired })),
    [
      { instanceId: 'gone', slots: 1, isRetired: false },
      { instanceId: 'shrunk', slots: 3, isRetired: false },
      { instanceId: 'kept', slots: 1, isRetired: false },
    ],
    'but not what was given back before',
  )
  machine.release(on('gone'), 'success', 0)
  t.same(log, ['first got gone'])
  machine.update(instances({ kept: 1 }), 0)
  machine.enqueue(new Recorder('second', log), 1e9)
  machine.release(on('shrunk'), 'success', 0)
  t.equal(log.length, 1, 'a leader is back, and wants it')
})

t.test("A5 a request on a slot of another router makes that slot nobody else's", async t => {
  const machine = machineOf()
  const adopted = machine.adopt({ ...instances({ a: 1 })[0]!, extraPorts: [], logDirectory: null })
  machine.keepInUse()
  machine.release(adopted, 'success', 0)
  t.equal(machine.reserve(0), undefined)
})

t.test('Q1 bigger priorities first, then first come, first served', async t => {
  const machine = machineOf()
  const log: string[] = []
  for (const [name, priority] of [
    ['a', 0],
    ['b', 5],
    ['c', 0],
    ['d', 5],
    ['e', -1],
    ['f', 2],
  ] as const) {
    machine.enqueue(new Recorder(name, log), 100, priority)
  }
  machine.update(instances({ x: 6 }), 0)
  t.same(
    log,
    ['b', 'd', 'f', 'a', 'c', 'e'].map(name => `${name} got x`),
  )
})

t.test('Q2 who cancels is not answered, and who was answered cannot cancel', async t => {
  const machine = machineOf()
  const log: string[] = []
  const [a, b] = [new Recorder('a', log), new Recorder('b', log)]
  machine.enqueue(a, 100)
  machine.enqueue(b, 100)
  t.equal(a.isWaiting, true)
  t.equal(machine.cancel(a), true)
  t.equal(machine.cancel(a), false)
  machine.update(instances({ x: 5 }), 0)
  machine.expire(1000)
  t.same(log, ['b got x'])
  t.equal(machine.cancel(b), false)
  t.equal(b.isWaiting, false)
})

t.test('Q2 a waiter that moves to another service is forgotten by the first', async t => {
  const [first, second] = [machineOf(), machineOf()]
  const log: string[] = []
  const waiter = new Recorder('w', log)
  first.enqueue(waiter, 100)
  first.cancel(waiter)
  second.enqueue(waiter, 500)
  first.expire(200)
  t.same(log, [])
  t.throws(() => first.enqueue(waiter, 100), AssertionFailed, 'it cannot wait in two places')
  second.expire(500)
  t.same(log, ['w queue-timeout'])
})

t.test('Q3 a full queue refuses and says how long it is', async t => {
  const machine = machineOf({ maxQueueLength: 1 })
  const log: string[] = []
  t.equal(machine.enqueue(new Recorder('a', log), 100), undefined)
  t.same(machine.enqueue(new Recorder('b', log), 100), { kind: 'queue-full', maxQueueLength: 1 })
  machine.configure({ maxQueueLength: 2 })
  t.equal(machine.enqueue(new Recorder('c', log), 100), undefined)
  t.equal(machine.waiting, 2)
})

t.test('Q3 what waits elsewhere counts', async t => {
  const machine = machineOf({ maxQueueLength: 3 })
  const log: string[] = []
  machine.noteWaitingElsewhere(2)
  t.equal(machine.enqueue(new Recorder('a', log), 100), undefined)
  t.match(machine.enqueue(new Recorder('b', log), 100), { kind: 'queue-full' })
  t.equal(machine.waitingElsewhere, 2)
  machine.noteWaitingElsewhere(0)
  t.equal(machine.enqueue(new Recorder('c', log), 100), undefined)
  machine.noteWaitingElsewhere(9)
  t.equal(machine.waiting, 2, 'nobody is sent away who waits already')
})

t.test('Q4 deadlines are kept, whatever their order; a slot in time wins, one that is late does not', async t => {
  const machine = machineOf()
  const log: string[] = []
  for (const [name, deadlineMs] of [
    ['slow', 300],
    ['fast', 100],
    ['mid', 200],
  ] as const) {
    machine.enqueue(new Recorder(name, log), deadlineMs)
  }
  t.equal(machine.wakeAtMs, 100)
  t.equal(machine.expire(99), 100)
  t.equal(machine.expire(100), 200)
  machine.update(instances({ x: 1 }), 250)
  t.equal(machine.expire(250), Number.POSITIVE_INFINITY)
  t.same(log, ['fast queue-timeout', 'slow got x', 'mid queue-timeout'])
})

t.test('Q4 what nobody waits for any more is not begun, though `expire` is late', async t => {
  const machine = machineOf()
  const log: string[] = []
  machine.update(instances({ x: 1 }), 0)
  const running = machine.reserve(0)!
  machine.enqueue(new Recorder('late', log), 100)
  machine.enqueue(new Recorder('next', log), 101)
  machine.release(running, 'success', 100)
  t.same(log, ['late queue-timeout', 'next got x'])
  machine.enqueue(new Recorder('borrowing', log), 200)
  machine.enqueue(new Recorder('last', log), 201)
  t.equal((machine.takeNextWaiter(200) as Recorder).name, 'last')
  t.same(log.slice(2), ['borrowing queue-timeout'])
})

t.test('Q4 a waiter that waits again from its own time-out is not failed twice', async t => {
  const machine = machineOf()
  const log: string[] = []
  class Stubborn extends Recorder {
    override failed(failure: QueueFailure): void {
      super.failed(failure)
      if (log.length < 2) machine.enqueue(this, 50)
    }
  }
  machine.enqueue(new Stubborn('s', log), 100)
  t.equal(machine.expire(100), 50, 'late already, so the next call is due')
  t.same(log, ['s queue-timeout'])
  machine.expire(100)
  t.same(log, ['s queue-timeout', 's queue-timeout'])
  t.equal(machine.wakeAtMs, Number.POSITIVE_INFINITY)
})

t.test('Q4 a waiter that got another deadline from a neighbour is not failed by the old one', async t => {
  const machine = machineOf()
  const log: string[] = []
  const second = new Recorder('second', log)
  class Helper extends Recorder {
    override failed(failure: QueueFailure): void {
      super.failed(failure)
      machine.cancel(second)
      machine.enqueue(second, 900)
    }
  }
  machine.enqueue(new Helper('first', log), 100)
  machine.enqueue(second, 100)
  t.equal(machine.expire(100), 900)
  t.same(log, ['first queue-timeout'])
})

t.test('Q4 deadlines stay in order after most waiters have left', async t => {
  const machine = machineOf()
  const log: string[] = []
  const prng = createPrng(5)
  const waiters = Array.from({ length: 800 }, (_, index) => {
    const deadlineMs = prng.below(100_000)
    const waiter = new Recorder(`${deadlineMs}`, log)
    machine.enqueue(waiter, deadlineMs)
    return { waiter, isLeaving: index % 8 !== 0 }
  })
  for (const { waiter, isLeaving } of waiters) if (isLeaving) machine.cancel(waiter)
  let calls = 0
  for (let wakeAtMs = machine.expire(0); wakeAtMs !== Number.POSITIVE_INFINITY; calls++)
    wakeAtMs = machine.expire(wakeAtMs)
  const deadlines = log.map(line => Number(line.split(' ')[0]))
  t.equal(deadlines.length, 100)
  t.same(
    deadlines,
    [...deadlines].sort((a, b) => a - b),
  )
  t.ok(calls <= 100)
})

t.test('Q5 the machine sleeps when there is nothing to do, also after a great many waiters', async t => {
  const machine = machineOf()
  t.equal(machine.expire(0), Number.POSITIVE_INFINITY)
  machine.update(instances({ x: 1 }), 0)
  const slot = machine.reserve(0)!
  const keep = new Recorder('keep', [])
  machine.enqueue(keep, 5000)
  for (let round = 0; round < 1000; round++) {
    const waiter = new Recorder('w', [])
    machine.enqueue(waiter, 1000 - (round % 7))
    machine.cancel(waiter)
  }
  t.equal(machine.expire(0), 5000)
  machine.cancel(keep)
  t.equal(machine.wakeAtMs, Number.POSITIVE_INFINITY)
  machine.eject('x', 70, 0)
  t.equal(machine.wakeAtMs, 70)
  machine.release(slot, 'success', 0)
  t.equal(machine.expire(0), Number.POSITIVE_INFINITY, 'success ended the ejection')
})

t.test('Q6 a chain of 100,000 grants that end at once does not grow the stack', async t => {
  const machine = machineOf({ maxQueueLength: 200_000 })
  machine.update(instances({ x: 1 }), 0)
  const slot = machine.reserve(0)!
  let granted = 0
  class Brief extends Waiter {
    granted(own: Slot): void {
      granted++
      machine.release(own, 'success', 0)
    }
    failed(): void {}
  }
  for (let index = 0; index < 100_000; index++) machine.enqueue(new Brief(), 100)
  machine.release(slot, 'success', 0)
  t.equal(granted, 100_000)
})

t.test('Q7 the head of the queue can be taken away, for a borrowed slot', async t => {
  const machine = machineOf()
  const log: string[] = []
  const head = new Recorder('head', log)
  machine.enqueue(head, 100)
  machine.enqueue(new Recorder('next', log), 100)
  t.equal(machine.takeNextWaiter(), head)
  machine.update(instances({ x: 2 }), 0)
  t.same(log, ['next got x'])
  t.equal(machine.takeNextWaiter(), undefined)
})

t.test('E1 ejections double four times and are bounded', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 1, b: 1 }), 0)
  let nowMs = 0
  for (const periodMs of [10_000, 20_000, 40_000, 80_000, 160_000, 160_000]) {
    const slot = machine.reserve(nowMs)!
    t.equal(slot.instanceId, 'a')
    machine.release(slot, nowMs % 20_000 === 0 ? 'instance-error' : 'instance-busy', nowMs)
    t.equal(machine.wakeAtMs, nowMs + periodMs)
    nowMs += periodMs
    machine.expire(nowMs)
  }
})

t.test('E2 a request that ends well clears failures; one that was not sent does not', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 3, b: 3 }), 0)
  const [one, two, three] = [machine.reserve(0)!, machine.reserve(0)!, machine.reserve(0)!]
  machine.release(one, 'instance-error', 0)
  machine.release(two, 'unused', 0)
  t.same(machine.counts().ejectedInstanceIds, ['a'])
  machine.release(three, 'client-error', 0)
  t.match(machine.counts(), { ejectedInstanceIds: [], slotsAvailable: 6 })
  t.equal(machine.instanceStates()[0]?.consecutiveFailures, 0)
})

t.test('E3 suspicion never takes the last instance, but moves on to the one that is back first', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 1, b: 1 }), 0)
  machine.release(machine.reserve(0)!, 'instance-busy', 0)
  t.equal(machine.counts().slotsAvailable, 1)
  const b = machine.reserve(1)!
  t.equal(b.instanceId, 'b')
  machine.release(b, 'instance-busy', 1)
  t.match(machine.counts(), { ejectedInstanceIds: ['a', 'b'], slotsAvailable: 1 })
  const a = machine.reserve(2)!
  t.equal(a.instanceId, 'a', 'its ejection ends first')
  machine.release(a, 'instance-busy', 2)
  t.equal(machine.reserve(3)?.instanceId, 'b', 'now that of b ends first')
  machine.update(instances({ a: 1, b: 1, c: 1 }), 4)
  t.equal(machine.reserve(4)?.instanceId, 'c', 'with a sound instance the others are left alone')
  t.equal(machine.reserve(4), undefined)
})

t.test('E4 a refused connection takes even the last instance away, for a short while', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 2 }), 0)
  const [one, two] = [machine.reserve(0)!, machine.reserve(0)!]
  machine.release(one, 'connect-failed', 0)
  t.equal(machine.reserve(0), undefined)
  const log: string[] = []
  machine.enqueue(new Recorder('w', log), 10_000)
  machine.release(two, 'success', 50)
  t.same(log, [], 'an older request that ended well does not prove that it listens')
  t.equal(machine.expire(99), 100)
  machine.expire(100)
  t.same(log, ['w got a'])
})

t.test('E4 refused connections back off, and a replacement is used at once', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 1 }), 0)
  let nowMs = 0
  for (const periodMs of [100, 200, 400, 800, 1600, 2000, 2000]) {
    const slot = machine.reserve(nowMs)!
    machine.release(slot, 'connect-failed', nowMs)
    t.equal(machine.wakeAtMs, nowMs + periodMs)
    nowMs += periodMs
  }
  machine.release(machine.reserve(nowMs)!, 'connect-failed', nowMs)
  const log: string[] = []
  machine.enqueue(new Recorder('w', log), nowMs + 60_000)
  machine.update(instances({ a: 1, b: 1 }), nowMs)
  t.same(log, ['w got b'])
})

t.test('E5 one incident with many requests is one ejection', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 4, b: 1 }), 0)
  const slots = Array.from({ length: 4 }, () => machine.reserve(0)!)
  for (const slot of slots) machine.release(slot, 'instance-busy', 0)
  t.equal(machine.wakeAtMs, 10_000)
})

t.test('E6 five failures in a row make a suspect, one success clears it', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 6 }), 0)
  const slots = Array.from({ length: 6 }, () => machine.reserve(0)!)
  for (const slot of slots.slice(0, 4)) machine.release(slot, 'instance-error', 0)
  t.same(machine.suspectInstances(), [])
  machine.release(slots[4]!, 'instance-error', 0)
  t.same(machine.suspectInstances(), ['a'])
  machine.release(slots[5]!, 'success', 0)
  t.same(machine.suspectInstances(), [])
})

t.test('E7 an ejection is never shortened, and unknown instances are told', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 1, b: 1 }), 0)
  t.equal(machine.eject('a', 1000, 0), true)
  machine.eject('a', 10, 0)
  t.equal(machine.wakeAtMs, 1000)
  t.equal(machine.eject('nobody', 1000, 0), false)
  machine.eject('b', 500, 0, 'definite')
  t.equal(machine.reserve(0)?.instanceId, 'a', 'the floor is the one that is merely suspected')
})

t.test('E8 reserve readmits by itself when the timer is late', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 1 }), 0)
  machine.eject('a', 100, 0, 'definite')
  t.equal(machine.reserve(99), undefined)
  t.equal(machine.reserve(100)?.instanceId, 'a')
})

t.test('F1 F2 a deployment error answers everybody at once, until an instance comes', async t => {
  const machine = machineOf()
  const log: string[] = []
  machine.enqueue(new Recorder('early', log), 100)
  const failure = { code: 'bad-startup-command', message: 'Invalid startup command' }
  machine.fail(failure)
  t.same(log, ['early service-failure'])
  t.same(machine.enqueue(new Recorder('late', log), 100), { kind: 'service-failure', failure })
  machine.update([], 0)
  t.equal(machine.enqueue(new Recorder('later', log), 100)?.kind, 'service-failure')
  machine.clearFailure()
  t.equal(machine.enqueue(new Recorder('again', log), 100), undefined)
  machine.fail(failure)
  t.equal(machine.reserve(0), undefined)
  machine.update(instances({ a: 1 }), 0)
  t.equal(machine.reserve(0)?.instanceId, 'a')
})

t.test('F1 while a service fails, even free slots are not granted', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 1 }), 0)
  machine.fail({ code: 'x', message: 'x' })
  t.equal(machine.reserve(0), undefined)
})

t.test('C1 states show what people want to know', async t => {
  const machine = machineOf()
  machine.update(instances({ a: 2, b: 1 }, ['b']), 0)
  const slot = machine.reserve(0)!
  machine.release(machine.reserve(0)!, 'instance-error', 0)
  t.match(machine.instanceStates(), [
    { instanceId: 'a', slots: 2, inUse: 1, isUsable: false, consecutiveFailures: 1, ejectedUntilMs: 10_000 },
    { instanceId: 'b', isExpired: true, isUsable: true, ejectedUntilMs: null },
  ])
  t.equal(machine.slotsInUse, 1)
  t.equal(machine.slotsAvailable, 1)
  t.equal(slot.isRetired, false)
})
