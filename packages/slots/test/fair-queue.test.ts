import { createPrng, type Prng } from '@waiter/base'
import { DEFAULT_EJECTION, flowOf, type QueueFailure, ReservationMachine, type Slot, Waiter } from '@waiter/slots'
import t from 'tap'

const NEVER = Number.POSITIVE_INFINITY
const [FLOOD, LIGHT, THIRD] = [flowOf(['flood']), flowOf(['light']), flowOf(['third'])]

class Request extends Waiter {
  readonly flow: number
  readonly number: number
  readonly served: Request[]
  slot: Slot | undefined
  failure: QueueFailure | undefined
  constructor(flow: number, number: number, served: Request[]) {
    super()
    this.flow = flow
    this.number = number
    this.served = served
  }
  granted(slot: Slot): void {
    this.slot = slot
    this.served.push(this)
  }
  failed(failure: QueueFailure): void {
    this.failure = failure
  }
}

/** One slot, in use; whoever is served gives it back at once when `next` is called. */
class Line {
  readonly served: Request[] = []
  readonly machine: ReservationMachine
  #running: Slot
  #arrived = 0

  constructor(maxQueueLength = 10_000) {
    this.machine = new ReservationMachine({
      ...{ loadBalancing: 'oldest', concurrencyLevel: 1, maxQueueLength, ejection: DEFAULT_EJECTION },
      prng: createPrng(1),
    })
    this.machine.update([{ instanceId: 'i', slots: 1, host: 'h', port: 1, startedAtMs: 0 }], 0)
    this.#running = this.machine.reserve(0)!
  }

  wait(flow: number, priority = 0): Request {
    const request = new Request(flow, ++this.#arrived, this.served)
    request.failure = this.machine.enqueue(request, NEVER, priority, this.#arrived, flow)
    return request
  }

  next(): Request | undefined {
    const before = this.served.length
    this.machine.release(this.#running, 'success', 0)
    const request = this.served[before]
    this.#running = request?.slot ?? this.machine.reserve(0)!
    return request
  }
}

t.test('Q8 one request of another token waits for one of the flood, not for all', async t => {
  const line = new Line()
  for (let count = 0; count < 100; count++) line.wait(FLOOD)
  line.next()
  line.wait(LIGHT)
  t.equal(line.next()?.flow, LIGHT)
  line.wait(LIGHT)
  t.equal(line.next()?.flow, FLOOD, 'it had its turn in this round')
  t.equal(line.next()?.flow, LIGHT)
})

t.test('Q8 who has one request at a time gets half, however long the flood is', async t => {
  const line = new Line()
  for (let count = 0; count < 1_000; count++) line.wait(FLOOD)
  let light = 0
  line.wait(LIGHT)
  for (let count = 0; count < 200; count++) {
    if (line.next()?.flow !== LIGHT) continue
    light += 1
    line.wait(LIGHT)
  }
  t.equal(light, 100)
})

t.test('Q8 requests without a token are a flow as well, and several tokens together are one', async t => {
  t.equal(flowOf([]), 0)
  t.not(flowOf(['a', 'b']), flowOf(['a']))
  const line = new Line()
  for (let count = 0; count < 4; count++) line.wait(flowOf([]))
  for (let count = 0; count < 4; count++) line.wait(FLOOD)
  const flows = Array.from({ length: 8 }, () => line.next()?.flow)
  t.same(flows, [0, FLOOD, 0, FLOOD, 0, FLOOD, 0, FLOOD])
})

t.test('Q8 priorities come before turns', async t => {
  const line = new Line()
  for (let count = 0; count < 3; count++) line.wait(FLOOD, 1)
  line.wait(LIGHT)
  t.same(
    Array.from({ length: 4 }, () => line.next()?.flow),
    [FLOOD, FLOOD, FLOOD, LIGHT],
  )
})

t.test('Q8 more flows than are told apart share one; none is forgotten', async t => {
  const line = new Line()
  const waiting = Array.from({ length: 2_000 }, (_, index) => line.wait(index + 1))
  for (let count = 0; count < 2_000; count++) line.next()
  t.ok(waiting.every(({ slot }) => slot !== undefined))
})

t.test(
  'Q9 a full queue is shared as well: one more of a small flow takes the place of the last of the biggest',
  async t => {
    const line = new Line(4)
    const flood = Array.from({ length: 4 }, () => line.wait(FLOOD))
    t.match(line.wait(FLOOD).failure, { kind: 'queue-full', maxQueueLength: 4 })
    const light = [line.wait(LIGHT), line.wait(LIGHT)]
    t.ok(light.every(({ failure }) => failure === undefined))
    t.same(
      flood.map(({ failure }) => failure?.kind),
      [undefined, undefined, 'queue-full', 'queue-full'],
    )
    t.match(line.wait(LIGHT).failure, { kind: 'queue-full' }, 'both have half now')
    t.equal(line.machine.waiting, 4)
  },
)

t.test('Q9 nobody of a bigger priority makes room', async t => {
  const line = new Line(3)
  const urgent = Array.from({ length: 3 }, () => line.wait(FLOOD, 1))
  t.match(line.wait(LIGHT, 0).failure, { kind: 'queue-full' })
  t.ok(urgent.every(({ failure }) => failure === undefined))
  t.equal(line.wait(LIGHT, 1).failure, undefined)
})

function play(prng: Prng): void {
  const line = new Line()
  const flows = [0, FLOOD, LIGHT, THIRD].slice(0, 1 + prng.below(4))
  const waiting: Request[] = []
  const backlogged = new Map<number, number>()
  for (let step = 0; step < 200; step++) {
    const dice = prng.below(10)
    if (dice < 5) waiting.push(line.wait(flows[prng.below(flows.length)]!))
    else if (dice < 6 && waiting.length > 0) {
      const [gone] = waiting.splice(prng.below(waiting.length), 1)
      line.machine.cancel(gone!)
    } else {
      const announced = line.machine.nextWaiters(8)
      const told = announced.map(waiter => (waiter as Request).number)
      for (const number of told.slice(0, prng.below(4))) {
        const served = line.next()
        if (served?.number !== number) throw new Error(`${number} was announced, ${served?.number} was served`)
        const older = waiting.find(other => other.flow === served.flow && other.number < served.number)
        if (older !== undefined) throw new Error(`${served.number} overtook ${older.number} of its own flow`)
        waiting.splice(waiting.indexOf(served), 1)
        noteTurn(backlogged, waiting, served)
      }
    }
  }
  const left = waiting.length
  for (let count = 0; count < left; count++) line.next()
  if (line.machine.waiting !== 0) throw new Error('somebody was forgotten')
}

/** Counts how often others were served while a flow waited: never more than two turns each. */
function noteTurn(passed: Map<number, number>, waiting: readonly Request[], served: Request): void {
  const others = new Set(waiting.map(({ flow }) => flow))
  passed.delete(served.flow)
  for (const flow of [...passed.keys()]) if (!others.has(flow)) passed.delete(flow)
  for (const flow of others) {
    if (flow === served.flow) continue
    const count = (passed.get(flow) ?? 0) + 1
    passed.set(flow, count)
    if (count > 6) throw new Error(`${count} others were served before flow ${flow}`)
  }
}

t.test(
  'Q1 Q8 whatever comes and goes: order within a flow, turns between flows, and the next ones are announced',
  async t => {
    for (let seed = 1; seed <= 300; seed++) t.doesNotThrow(() => play(createPrng(seed)), `seed ${seed}`)
  },
)
