import { createPrng } from '@waiter/base'
import { DEFAULT_EJECTION, ReservationMachine, type Slot } from '@waiter/slots'
import t from 'tap'

interface Behaviour {
  readonly serviceMs: number
  readonly isFailing?: boolean
}

interface Played {
  /** By instance: requests that went there. */
  readonly counts: Record<string, number>
  readonly meanMs: number
}

class World {
  readonly machine: ReservationMachine
  readonly behaviours: Record<string, Behaviour>
  readonly #prng = createPrng(3)
  #nowMs = 0
  #running: { readonly slot: Slot; readonly endMs: number; readonly serviceMs: number; readonly isFailing: boolean }[] =
    []

  constructor(slots: number, behaviours: Record<string, Behaviour>) {
    this.behaviours = behaviours
    this.machine = new ReservationMachine({
      ...{ loadBalancing: 'least-loaded', concurrencyLevel: slots, maxQueueLength: 10, ejection: DEFAULT_EJECTION },
      prng: createPrng(1),
    })
    const ids = Object.keys(behaviours)
    this.machine.update(
      ids.map((instanceId, index) => ({ instanceId, slots, host: 'h', port: 1, startedAtMs: index })),
      0,
    )
  }

  /** Requests at random times, on average so many at once if each took 10 ms. */
  play(requests: number, atOnce: number): Played {
    const counts: Record<string, number> = {}
    let totalMs = 0
    for (let count = 0; count < requests; count++) {
      this.#nowMs += (-Math.log(1 - this.#prng.next()) * 10) / atOnce
      this.#endDue()
      const slot = this.machine.reserve(this.#nowMs)
      if (slot === undefined) continue
      const { serviceMs, isFailing = false } = this.behaviours[slot.instanceId]!
      const tookMs = serviceMs * (0.5 + this.#prng.next())
      counts[slot.instanceId] = (counts[slot.instanceId] ?? 0) + 1
      totalMs += tookMs
      this.#running.push({ slot, endMs: this.#nowMs + tookMs, serviceMs: tookMs, isFailing })
    }
    return { counts, meanMs: totalMs / requests }
  }

  #endDue(): void {
    for (const { slot, endMs, serviceMs, isFailing } of this.#running)
      if (endMs <= this.#nowMs)
        this.machine.release(slot, 'success', endMs, isFailing ? Number.POSITIVE_INFINITY : serviceMs)
    this.#running = this.#running.filter(({ endMs }) => endMs > this.#nowMs)
  }
}

t.test('B4 a slow instance gets little while others have room', async t => {
  const world = new World(10, { a: { serviceMs: 10 }, b: { serviceMs: 10 }, slow: { serviceMs: 80 } })
  world.play(500, 3)
  const { counts, meanMs } = world.play(5_000, 3)
  t.ok(counts['slow']! < 500, `the slow one got ${counts['slow']} of 5000`)
  t.ok(meanMs < 15, `mean ${meanMs.toFixed(1)} ms`)
  const [a, b] = [counts['a']!, counts['b']!]
  t.ok(Math.abs(a - b) < 0.4 * (a + b), `equally fast ones share: ${a} and ${b}`)
})

t.test('B4 instances that differ by less than a class are balanced by load', async t => {
  const { counts } = new World(10, { a: { serviceMs: 10 }, b: { serviceMs: 10 }, c: { serviceMs: 10 } }).play(9_000, 9)
  for (const count of Object.values(counts)) t.ok(count > 2_000, `${count} of 9000`)
})

t.test('B8 the fastest is not filled to the brim while others are empty', async t => {
  const world = new World(16, { fast: { serviceMs: 5 }, b: { serviceMs: 20 }, c: { serviceMs: 20 } })
  world.play(500, 3)
  const { counts } = world.play(5_000, 3)
  t.ok(counts['fast']! > 4_000, `at low load it got ${counts['fast']} of 5000`)
  const machine = new World(16, { fast: { serviceMs: 5 }, b: { serviceMs: 20 }, c: { serviceMs: 20 } }).machine
  for (const slot of [1, 2, 3].map(() => machine.reserve(0)!))
    machine.release(slot, 'success', 0, slot.instanceId === 'fast' ? 5 : 20)
  const first = Array.from({ length: 8 }, () => machine.reserve(0)!.instanceId)
  t.same(first, ['fast', 'fast', 'fast', 'b', 'fast', 'c', 'fast', 'b'])
  while (machine.slotsAvailable > 3) machine.reserve(0)
  t.ok(
    machine.instanceStates().every(({ inUse }) => inUse >= 13),
    'in the end all are equally full',
  )
})

t.test('B9 an instance that fails at once does not draw requests', async t => {
  const world = new World(10, {
    a: { serviceMs: 20 },
    b: { serviceMs: 20 },
    broken: { serviceMs: 0.1, isFailing: true },
  })
  world.play(200, 3)
  const { counts } = world.play(5_000, 3)
  t.ok(counts['broken']! < 400, `the broken one got ${counts['broken']} of 5000`)
})

t.test('B9 one that got fast is found again', async t => {
  const world = new World(10, { a: { serviceMs: 10 }, b: { serviceMs: 10 }, healed: { serviceMs: 200 } })
  world.play(2_000, 3)
  world.behaviours['healed'] = { serviceMs: 10 }
  world.play(5_000, 3)
  const { counts } = world.play(3_000, 3)
  t.ok(counts['healed']! > 600, `it got ${counts['healed']} of 3000`)
})

t.test('B9 errors of the connection count as failures, too', async t => {
  const world = new World(10, { a: { serviceMs: 10 }, b: { serviceMs: 10 } })
  world.play(200, 1)
  const taken = [world.machine.reserve(10_000)!, world.machine.reserve(10_000)!]
  const bad = taken.find(({ instanceId }) => instanceId === 'a') ?? taken[0]!
  for (const slot of taken) world.machine.release(slot, slot === bad ? 'instance-error' : 'success', 10_000, 10)
  world.machine.expire(1e9)
  const next = world.machine.reserve(1e9)!
  t.not(next.instanceId, bad.instanceId)
})

t.test('B9 only least-loaded asks how long an instance took', async t => {
  const { machine } = new World(1, { i: { serviceMs: 1 } })
  t.equal(machine.wantsLatency, true)
  for (const loadBalancing of ['oldest', 'youngest', 'random'] as const) {
    machine.configure({ loadBalancing })
    t.equal(machine.wantsLatency, false)
  }
  machine.configure({ loadBalancing: 'least-loaded' })
  t.equal(machine.wantsLatency, true)
})
