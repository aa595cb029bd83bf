import { createPrng } from '@waiter/base'
import { decideScale, type ScaleSnapshot, type ScaleSpec, waiterPolicy } from '@waiter/scaling'
import fc from 'fast-check'
import t from 'tap'
import { SPEC, simulate } from './simulate.ts'

function snapshotOf(facts: Partial<ScaleSnapshot>): ScaleSnapshot {
  const requested = facts.requested ?? 1
  return {
    outstanding: 0,
    healthy: requested,
    requested,
    scheduled: requested,
    expiredHealthy: 0,
    expiredUnhealthy: 0,
    ...facts,
  }
}

for (const [sentence, spec, facts, previous, seconds, expected] of [
  ['W1 ten requests pull the target a tenth of the way in a second', {}, { outstanding: 10 }, 1, 1, [1.9, 1]],
  ['W1 after ten seconds it is most of the way', {}, { outstanding: 10 }, 1, 10, [10 - 9 * 0.9 ** 10, 6]],
  ['W1 concurrency divides the need', { concurrencyLevel: 5, scaleUpFactor: 0.5 }, { outstanding: 16 }, 1, 1, [2.5, 2]],
  [
    'W1 a scale factor below one packs tighter',
    { scaleFactor: 0.5, scaleUpFactor: 0.5 },
    { outstanding: 10 },
    1,
    1,
    [3, 2],
  ],
  ['W1 on the way down the slower factor counts', { scaleDownFactor: 0.5 }, { requested: 9 }, 9, 1, [4.5, -4]],
  ['W1 the target stops at max', { maxInstances: 3 }, { outstanding: 500 }, 2, 10, [3, 2]],
  ['W1 the target stops at min', { minInstances: 4, scaleDownFactor: 0.9 }, { requested: 5 }, 5, 10, [4, -1]],
  ['W3 less than the jitter threshold changes nothing', {}, { outstanding: 5 }, 1, 1, [1.4, 0]],
  ['W3 a target above T changes nothing while T would do', {}, { outstanding: 3, requested: 3 }, 6, 1, [5.997, 0]],
  ['W3 below min it is raised although nothing is outstanding', { minInstances: 3 }, { requested: 1 }, 1, 1, [3, 2]],
  [
    'W3 a hair above a whole number asks for no more',
    { scaleUpFactor: 0.5 },
    { outstanding: 2, requested: 1 },
    2.005,
    0,
    [2.005, 1],
  ],
  ['W3 below min the target counts in full', { minInstances: 3 }, { requested: 1 }, 6, 0, [6, 5]],
  [
    'W4 a service at rest that shrinks replaces nothing',
    { expiredInstanceRestartRate: 0.5 },
    { outstanding: 10, requested: 11, expiredHealthy: 5 },
    10,
    1,
    [10, -1],
  ],
  [
    'W4 two expired of ten get one replacement',
    {},
    { outstanding: 10, requested: 10, expiredHealthy: 2 },
    10,
    1,
    [10, 1],
  ],
  [
    'W4 a higher rate replaces more at a time',
    { expiredInstanceRestartRate: 0.5 },
    { outstanding: 10, requested: 10, expiredHealthy: 4 },
    10,
    1,
    [10, 2],
  ],
  [
    'W4 nothing more is started while replacements run already',
    {},
    { outstanding: 10, requested: 10, healthy: 11, expiredHealthy: 1 },
    10,
    1,
    [10, 0],
  ],
  [
    'W4 many unhealthy expired ones count as two',
    { expiredInstanceRestartRate: 1 },
    { outstanding: 9, requested: 9, healthy: 0, expiredUnhealthy: 9 },
    9,
    1,
    [9, 2],
  ],
  [
    'W4 once the replacement is healthy, the surplus goes',
    {},
    { outstanding: 10, requested: 11, expiredHealthy: 1 },
    10,
    1,
    [10, -1],
  ],
] as const satisfies readonly (readonly [
  string,
  Partial<ScaleSpec>,
  Partial<ScaleSnapshot>,
  number,
  number,
  readonly [number, number],
])[]) {
  t.test(sentence, async t => {
    const decision = decideScale({ ...SPEC, ...spec }, snapshotOf(facts), previous, seconds)
    const [target, amount] = expected
    t.ok(Math.abs(decision.target - target) < 1e-9, `target ${decision.target}`)
    t.equal(decision.amount, amount)
    t.equal(decision.scaleTo, snapshotOf(facts).requested + amount)
    t.equal(decision.label, amount === 0 ? 'stable' : amount > 0 ? 'scale-up' : 'scale-down')
  })
}

t.test('W2 cutting a second into pieces gives the same target', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 300 }),
        fc.double({ min: 1, max: 300, noNaN: true }),
        fc.integer({ min: 1, max: 20 }),
        (outstanding, previous, pieces) => {
          const snapshot = snapshotOf({ outstanding })
          const whole = decideScale(SPEC, snapshot, previous, 1).target
          let pieced = previous
          for (let piece = 0; piece < pieces; piece++) pieced = decideScale(SPEC, snapshot, pieced, 1 / pieces).target
          return Math.abs(whole - pieced) < 1e-6
        },
      ),
      { seed: 31, numRuns: 500 },
    ),
  )
})

t.test('W1 a load that fits exactly is not rounded up by arithmetic noise', async t => {
  const spec = { ...SPEC, scaleFactor: 1.1, scaleUpFactor: 0.999 }
  t.equal(100 * 1.1 > 110, true, 'this is the noise')
  t.match(decideScale(spec, snapshotOf({ outstanding: 100 }), 1, 100).target, 110)
})

t.test('W2 no time, no change; a clock that jumps back is no time', async t => {
  t.equal(decideScale(SPEC, snapshotOf({ outstanding: 100 }), 1, 0).target, 1)
  t.equal(decideScale(SPEC, snapshotOf({ outstanding: 100 }), 1, -5).target, 1)
})

t.test('W5 the first decision changes nothing and starts from what is scheduled', async t => {
  const snapshot = snapshotOf({ outstanding: 100, requested: 5, scheduled: 3 })
  const first = waiterPolicy.decide({ spec: SPEC, snapshot, memory: undefined, elapsedSeconds: undefined })
  t.match(first, { decision: { amount: 0, scaleTo: 5, label: 'stable' }, memory: 3 })
  const second = waiterPolicy.decide({ spec: SPEC, snapshot, memory: undefined, elapsedSeconds: 1 })
  t.ok(Math.abs(second.memory - 12.7) < 1e-9, 'a tenth of the way from 3 to 100')
})

function anySituation(seed: number): { spec: ScaleSpec; snapshot: ScaleSnapshot; previous: number; seconds: number } {
  const prng = createPrng(seed)
  const minInstances = 1 + prng.below(10)
  const spec: ScaleSpec = {
    ...{ minInstances, maxInstances: minInstances + prng.below(100), concurrencyLevel: 1 + prng.below(5) },
    ...{ scaleFactor: 0.1 + prng.next() * 1.9, scaleUpFactor: 0.01 + prng.next() * 0.9 },
    ...{ scaleDownFactor: 0.001 + prng.next() * 0.9, jitterThreshold: prng.next() * 0.99 },
    expiredInstanceRestartRate: 0.05 + prng.next() * 0.95,
  }
  const requested = prng.below(120)
  const healthy = prng.below(130)
  const hasExpired = prng.below(2) === 0
  const snapshot = snapshotOf({
    ...{ outstanding: prng.below(300), requested, healthy },
    ...{ expiredHealthy: hasExpired ? prng.below(healthy + 1) : 0, expiredUnhealthy: hasExpired ? prng.below(5) : 0 },
  })
  const previous = prng.next() * 150
  return { spec, snapshot, previous, seconds: prng.next() * 3 }
}

t.test('W6 whatever happens, the result stays within its bounds', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.integer(), seed => {
        const { spec, snapshot, previous, seconds } = anySituation(seed)
        const { target, scaleTo, amount } = decideScale(spec, snapshot, previous, seconds)
        const expired = snapshot.expiredHealthy + Math.min(2, snapshot.expiredUnhealthy)
        const surge = Math.ceil(expired * spec.expiredInstanceRestartRate)
        if (target < spec.minInstances || target > spec.maxInstances) throw new Error(`target ${target}`)
        if (scaleTo < spec.minInstances || scaleTo > spec.maxInstances + surge) throw new Error(`scaleTo ${scaleTo}`)
        if (!Number.isInteger(scaleTo) || scaleTo - snapshot.requested !== amount) throw new Error(`amount ${amount}`)
      }),
      { seed: 32, numRuns: 5000 },
    ),
  )
})

t.test('W7 more outstanding requests never mean fewer instances', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 50 }), (seed, more) => {
        const { spec, snapshot, previous, seconds } = anySituation(seed)
        const less = decideScale(spec, snapshot, previous, seconds)
        const greater = decideScale(spec, { ...snapshot, outstanding: snapshot.outstanding + more }, previous, seconds)
        if (greater.scaleTo < less.scaleTo) throw new Error(`${less.scaleTo}, then ${greater.scaleTo}`)
      }),
      { seed: 33, numRuns: 5000 },
    ),
  )
})

const TEN_MINUTES = 600
for (const [sentence, outstanding, concurrencyLevel] of [
  ['W8 constant load at concurrency 1 changes nothing for ten minutes', 25, 1],
  ['W8 constant load that fills instances partly changes nothing for ten minutes', 33, 4],
  ['W8 no load at all changes nothing for ten minutes', 0, 1],
] as const) {
  t.test(sentence, async t => {
    const prng = createPrng(7)
    const settled = 1200
    const trace = simulate({
      ...{ spec: { ...SPEC, concurrencyLevel }, startupSeconds: 12, seconds: settled + TEN_MINUTES },
      outstandingAt: () => outstanding,
      intervalAt: () => 0.1 + prng.next() * 1.5,
    })
    const sizes = new Set(trace.filter(({ at }) => at >= settled).map(({ requested }) => requested))
    t.same([...sizes], [Math.max(1, Math.ceil(outstanding / concurrencyLevel))])
  })
}

t.test('W8 a step up is followed without overshoot, a step down down to the need', async t => {
  const spec = { ...SPEC, scaleDownFactor: 0.05 }
  const trace = simulate({
    ...{ spec, startupSeconds: 5, seconds: 900, intervalAt: () => 1 },
    outstandingAt: at => (at < 300 ? 40 : 4),
  })
  const sizeAt = (seconds: number): number => trace[seconds]!.requested
  t.ok(sizeAt(10) > 20, `after ten seconds ${sizeAt(10)}`)
  t.equal(sizeAt(299), 40)
  t.equal(Math.max(...trace.map(({ requested }) => requested)), 40)
  t.equal(sizeAt(899), 4)
  for (let at = 1; at < 300; at++) if (sizeAt(at) < sizeAt(at - 1)) t.fail(`shrank at ${at}`)
  for (let at = 301; at < 900; at++) if (sizeAt(at) > sizeAt(at - 1)) t.fail(`grew at ${at}`)
})

t.test('W9 the reason says what was seen and what follows', async t => {
  const { reason } = decideScale(SPEC, snapshotOf({ outstanding: 10, requested: 2, expiredHealthy: 1 }), 2, 1)
  t.equal(
    reason,
    '10 outstanding at concurrency 1 call for 10 instances; ' +
      'the target moved from 2.00 to 2.80 within 1 to 500; 2 requested, 2 healthy, 1 expired: start 2.',
  )
})
