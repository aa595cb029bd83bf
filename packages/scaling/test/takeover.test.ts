import { computeSuccessorSize, DEFAULT_TAKEOVER, decideTakeover, type ScaleSpec } from '@waiter/scaling'
import fc from 'fast-check'
import t from 'tap'

const spec = (changes: Partial<ScaleSpec> = {}): ScaleSpec => ({
  minInstances: 1,
  maxInstances: 500,
  concurrencyLevel: 1,
  scaleFactor: 1,
  scaleUpFactor: 0.1,
  scaleDownFactor: 0.001,
  jitterThreshold: 0.5,
  expiredInstanceRestartRate: 0.1,
  ...changes,
})

for (const [rule, story, old, successor, share, want] of [
  ['N1', 'as many instances as before', { target: 7.2, outstanding: 3 }, {}, 1, 8],
  ['N1', 'as many as are outstanding, if that is more', { target: 2, outstanding: 9 }, {}, 1, 9],
  ['N1', 'fewer, when each takes more', { target: 8, outstanding: 0 }, { concurrencyLevel: 4 }, 1, 2],
  ['N1', 'more, when it wants to be scaled more generously', { target: 8, outstanding: 0 }, { scaleFactor: 2 }, 1, 16],
  ['N2', 'a tenth of the load', { target: 50, outstanding: 0 }, {}, 0.1, 5],
  ['N3', 'never fewer than its minimum', { target: 1, outstanding: 0 }, { minInstances: 3 }, 1, 3],
  ['N3', 'never more than its maximum', { target: 90, outstanding: 0 }, { maxInstances: 10 }, 1, 10],
] as const) {
  t.test(`${rule} ${story}`, async t => {
    t.equal(computeSuccessorSize({ predecessor: { ...old, spec: spec() }, successor: spec(successor), share }), want)
  })
}

t.test('N1 what it is given carries the load, and one instance less would not', async t => {
  const input = fc.record({
    target: fc.double({ min: 0, max: 300, noNaN: true }),
    outstanding: fc.integer({ min: 0, max: 3_000 }),
    oldLevel: fc.integer({ min: 1, max: 50 }),
    newLevel: fc.integer({ min: 1, max: 50 }),
  })
  fc.assert(
    fc.property(input, ({ target, outstanding, oldLevel, newLevel }) => {
      const load = Math.max(outstanding, target * oldLevel)
      const size = computeSuccessorSize({
        predecessor: { target, outstanding, spec: spec({ concurrencyLevel: oldLevel }) },
        successor: spec({ concurrencyLevel: newLevel, maxInstances: 1e6 }),
        share: 1,
      })
      return size * newLevel >= load - 1e-6 && (size === 1 || (size - 1) * newLevel < load)
    }),
    { seed: 20_260_108, numRuns: 1_000 },
  )
  t.end()
})

for (const [rule, story, input, want] of [
  ['N4', 'nine of ten are enough', { healthy: 9, wanted: 10 }, { kind: 'take-over' }],
  ['N4', 'eight of ten are not', { healthy: 8, wanted: 10 }, { kind: 'wait', untilMs: 61_000 }],
  ['N4', 'one of one', { healthy: 1, wanted: 1 }, { kind: 'take-over' }],
  ['N5', 'what does not grow takes over in the end', { healthy: 1, wanted: 10, nowMs: 61_000 }, { kind: 'take-over' }],
  ['N5', 'what is not healthy does not', { healthy: 0, wanted: 1, nowMs: 1e9, healthySinceMs: null }, { kind: 'wait' }],
  [
    'N5',
    'nor what was once',
    { healthy: 0, wanted: 1, nowMs: 1e9 },
    { kind: 'wait', untilMs: Number.POSITIVE_INFINITY },
  ],
  [
    'N6',
    'the numbers are in the reason',
    { healthy: 2, wanted: 10 },
    { reason: '2 of 10 instances are healthy; 9 are needed.' },
  ],
] as const) {
  t.test(`${rule} ${story}`, async t => {
    t.match(decideTakeover({ healthySinceMs: 1_000, nowMs: 2_000, config: DEFAULT_TAKEOVER, ...input }), want)
  })
}
