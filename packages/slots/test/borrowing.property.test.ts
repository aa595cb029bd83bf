import { createPrng } from '@waiter/base'
import t from 'tap'
import { percentile, SERVICE, World, type WorldOptions, waitsOfOneQueue } from './borrowing-world.ts'

const MEAN_MS = 30
const FAULT_SEEDS = 150

function exponential(next: number, mean: number): number {
  return -Math.log(1 - next) * mean
}

/**
 * A steady load on a world in which nothing fails. The first second, in which leases settle and each router has its first
 * request, is not judged.
 */
function loaded(options: WorldOptions, requests: number, load: number): World {
  const world = new World(options)
  const prng = createPrng(options.seed + 1)
  for (const router of world.living) world.arrive(router, 1)
  world.runUntil(1_000)
  world.idleMsMax = 0
  world.assigned = 0
  const gapMs = MEAN_MS / world.slots / load
  let atMs = world.nowMs
  for (let count = 0; count < requests; count++) {
    atMs += exponential(prng.next(), gapMs)
    world.runUntil(atMs)
    const router = world.living[prng.below(world.living.length)]
    if (router !== undefined) world.arrive(router, exponential(prng.next(), MEAN_MS))
  }
  world.runUntil(world.nowMs + 10_000)
  return world
}

for (const [routers, instances, slotsPerInstance] of [
  [3, 3, 1],
  [8, 4, 1],
  [8, 2, 2],
] as const) {
  t.test(`P1 ${routers} routers with ${instances * slotsPerInstance} slots are like one queue`, async t => {
    for (const seed of [1, 2, 3]) {
      const options: WorldOptions = { seed, routers, instances, slotsPerInstance, delayMs: [0.1, 0.3] }
      const world = loaded(options, 5_000, 0.85)
      const waits = world.requests.map(({ arrivedAtMs, startedAtMs }) => startedAtMs - arrivedAtMs)
      const central = waitsOfOneQueue(world.requests, world.slots)
      t.same(world.violations, [])
      t.ok(
        world.requests.every(({ answers }) => answers === 1),
        'each request is served once',
      )
      const ratio = percentile(waits, 0.99) / percentile(central, 0.99)
      t.ok(ratio <= 1.15, `seed ${seed}: p99 is ${ratio.toFixed(3)} of one queue's`)
      t.ok(world.idleMsMax < 20, `seed ${seed}: a slot was free for ${world.idleMsMax.toFixed(1)} ms while one waited`)
    }
  })
}

t.test('P1 P13 D4 D5 steady load moves hardly any slot, and no slot waits for a stream that is opened', async t => {
  for (const [routers, instances] of [
    [3, 4],
    [8, 4],
  ] as const) {
    const options: WorldOptions = { seed: 1, routers, instances, slotsPerInstance: 1, delayMs: [0.1, 0.3] }
    const world = loaded({ ...options, connectMs: 50 }, 5_000, 0.85)
    t.ok(world.assigned <= 20, `${routers} routers got ${world.assigned} assignments`)
    t.ok(world.idleMsMax < 5, `a slot was free for ${world.idleMsMax.toFixed(1)} ms while one waited`)
  }
})

t.test('P1 D4 L10 who cannot borrow gets slots of its own; when they move, others have not long to wait', async t => {
  const options: WorldOptions = { seed: 2, routers: 8, instances: 4, slotsPerInstance: 1, delayMs: [0.1, 0.3] }
  const world = loaded({ ...options, connectMs: 50, isolated: ['r2', 'r7'] }, 4_000, 0.5)
  t.ok(
    world.requests.every(({ answers }) => answers === 1),
    'each request is served once',
  )
  const ROUNDS_MS = 35_000
  const longest = Math.max(...world.requests.map(({ arrivedAtMs, startedAtMs }) => startedAtMs - arrivedAtMs))
  t.ok(longest < ROUNDS_MS, `the longest wait was ${longest.toFixed(0)} ms`)
  const others = world.requests.filter(({ router }) => router.id !== 'r2' && router.id !== 'r7')
  const p99 = percentile(
    others.map(({ arrivedAtMs, startedAtMs }) => startedAtMs - arrivedAtMs),
    0.99,
  )
  t.ok(p99 < 1_000, `p99 of those who can borrow is ${p99.toFixed(0)} ms`)
})

t.test('P3 Q8 a flood at one router does not starve another token at another router', async t => {
  const world = new World({ seed: 1, routers: 3, instances: 4, slotsPerInstance: 1, delayMs: [0.1, 0.3] })
  const prng = createPrng(9)
  world.runUntil(1_000)
  const [flooded, other] = world.living
  for (let count = 0; count < 400; count++) world.arrive(flooded!, exponential(prng.next(), MEAN_MS), 1)
  for (let count = 0; count < 50; count++) {
    world.runUntil(world.nowMs + exponential(prng.next(), MEAN_MS))
    world.arrive(other!, exponential(prng.next(), MEAN_MS), 2)
  }
  t.ok(flooded!.machine.waiting > 100, 'the flood still waits')
  world.runUntil(world.nowMs + 20_000)
  const longest = (flow: number): number =>
    Math.max(
      ...world.requests
        .filter(request => request.flow === flow)
        .map(({ arrivedAtMs, startedAtMs }) => startedAtMs - arrivedAtMs),
    )
  t.ok(longest(1) > 2_000, `the flood waits ${longest(1).toFixed(0)} ms`)
  t.ok(longest(2) < 8 * MEAN_MS, `the other token waits ${longest(2).toFixed(0)} ms at most`)
})

t.test('P1 without borrowing, the same load waits far longer', async t => {
  const options: WorldOptions = { seed: 1, routers: 8, instances: 4, slotsPerInstance: 1, delayMs: [0.1, 0.3] }
  const world = loaded({ ...options, isBorrowing: false }, 1_000, 0.85)
  const waits = world.requests.map(({ arrivedAtMs, startedAtMs }) => startedAtMs - arrivedAtMs)
  const ratio = percentile(waits, 0.99) / percentile(waitsOfOneQueue(world.requests, world.slots), 0.99)
  t.ok(ratio > 3, `p99 is ${ratio.toFixed(1)} of one queue's`)
})

/** Everything that can happen: streams break, routers crash, leaders go, instances are retired, messages are slow. */
function troubled(seed: number): World {
  const prng = createPrng(seed * 7 + 1)
  const world = new World({
    seed,
    routers: 2 + prng.below(4),
    instances: 1 + prng.below(3),
    slotsPerInstance: 1 + prng.below(3),
    delayMs: [0.1, [1, 5, 40][prng.below(3)]!],
  })
  for (let step = 0; step < 300; step++) {
    world.runUntil(world.nowMs + prng.below(20))
    const router = world.living[prng.below(world.living.length)]
    const dice = prng.below(100)
    if (router === undefined) continue
    if (dice < 70) world.arrive(router, prng.below(60))
    else if (dice < 85) world.breakStream()
    else if (dice < 88) world.retire()
    else if (dice < 91 && world.living.length > 1) world.crash(router)
    else if (dice < 92) world.loseLeader(1 + prng.below(2_000))
  }
  world.runUntil(world.nowMs + 20_000)
  return world
}

t.test(
  'P2 P8 P10 P11 whatever breaks, slots are never over-subscribed, and in the end all is served and free',
  async t => {
    let lent = 0
    let adopted = 0
    let lost = 0
    for (let seed = 1; seed <= FAULT_SEEDS; seed++) {
      const world = troubled(seed)
      if (world.violations.length > 0) t.same(world.violations.slice(0, 3), [], `seed ${seed}`)
      for (const request of world.requests) {
        lost += Number(request.isLost)
        if (!request.isLost && (request.answers !== 1 || request.endedAtMs < 0))
          t.fail(
            `seed ${seed}: a request of ${request.arrivedAtMs} at ${request.router.id} was answered ${request.answers} times`,
          )
        if (request.isLost && request.answers > 1) t.fail(`seed ${seed}: a lost request was answered twice`)
      }
      for (const router of world.living) {
        lent += router.lender.lent
        adopted += router.adopted
        if (router.machine.slotsInUse > 0 || router.lender.uses().length > 0 || router.borrower.uses().length > 0)
          t.fail(`seed ${seed}: ${router.id} still counts ${router.machine.slotsInUse} slots of ${SERVICE} in use`)
        if (router.machine.waitingForeign > 0) t.fail(`seed ${seed}: others still stand in the line of ${router.id}`)
      }
      if (world.doomed > 0) t.fail(`seed ${seed}: ${world.doomed} retired instances were never released`)
    }
    t.ok(lent > 20 * FAULT_SEEDS, `${lent} slots were lent`)
    t.ok(adopted > FAULT_SEEDS, `${adopted} were adopted`)
    t.ok(lost > 0, `${lost} requests went with their routers`)
  },
)
