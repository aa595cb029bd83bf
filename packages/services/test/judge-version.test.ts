import {
  DEFAULT_JUDGE,
  type JudgeInput,
  judgeVersion,
  LATENCY_BUCKETS,
  latencyBucket,
  lingeringAfterMs,
  type TrafficFigures,
} from '@waiter/services'
import fc from 'fast-check'
import t from 'tap'
import { bucketBounds } from '../src/latency-histogram.ts'

/** So many requests, of which some failed, that all took the same time. */
function figures(finished: number, failed = 0, latencyMs = 20): TrafficFigures {
  const latencyCounts = new Array<number>(LATENCY_BUCKETS).fill(0)
  latencyCounts[latencyBucket(latencyMs)] = finished
  return { finished, failed, latencyCounts }
}

const fine = {
  healthyInstances: 2,
  failedInstances: 0,
  problem: null,
  lingering: { begun: 0, unfinished: 0, afterMs: 0 },
}

function judge(candidate: Partial<JudgeInput['candidate']>, predecessor: Partial<JudgeInput['predecessor']> = {}) {
  return judgeVersion({
    candidate: { ...fine, ...figures(0), ...candidate },
    predecessor: { failedInstances: 0, ...figures(10_000), ...predecessor },
    config: DEFAULT_JUDGE,
  })
}
const none = { healthyInstances: 0, failedInstances: 2, problem: 'Exited with code 1' }

for (const [rule, story, candidate, predecessor, want] of [
  ['J1', 'a version that does not come up is withdrawn', none, {}, 'crash-loop'],
  ['J1', 'one that is only starting is not', { ...none, problem: null, failedInstances: 0 }, {}, 'keep'],
  ['J1', 'one that crashes under load is', { failedInstances: 3 }, {}, 'crash-loop'],
  ['J1', 'not if its predecessor crashes as often', { failedInstances: 3 }, { failedInstances: 3 }, 'keep'],
  ['J1', 'nor for two crashes', { failedInstances: 2 }, {}, 'keep'],
  ['J2', 'half of the requests fail', figures(50, 25), {}, 'error-rate'],
  ['J2', 'a few more fail than before', figures(1_000, 60), figures(10_000, 100), 'keep'],
  ['J2', 'three times as many as 10 % fail', figures(1_000, 400), figures(10_000, 1_000), 'error-rate'],
  ['J2', 'of a predecessor that fails half of the time', figures(1_000, 700), figures(1_000, 500), 'keep'],
  ['J2', 'and of such a one, when nearly all fail', figures(1_000, 950), figures(1_000, 500), 'error-rate'],
  ['J3', 'ten times as slow', figures(50, 0, 200), {}, 'latency'],
  ['J3', 'three times as slow', figures(5_000, 0, 60), {}, 'keep'],
  ['J3', 'ten times as slow as nothing is still quick', figures(5_000, 0, 10), figures(5_000, 0, 0.5), 'keep'],
  ['J4', 'requests do not end', { lingering: { begun: 60, unfinished: 40, afterMs: 2_030 } }, {}, 'latency'],
  ['J4', 'half of them do', { lingering: { begun: 60, unfinished: 30, afterMs: 2_030 } }, {}, 'keep'],
  ['J5', '49 samples are too few', figures(49, 49), {}, 'keep'],
  ['J5', 'all fail, and nobody knows what was before', figures(50, 50), figures(0), 'error-rate'],
  ['J5', 'slow, but nobody knows what was before', figures(50, 0, 5_000), figures(49), 'keep'],
  [
    'J5',
    'requests that do not end, but nobody knows what was before',
    { lingering: { begun: 60, unfinished: 60, afterMs: 1 } },
    figures(0),
    'keep',
  ],
] as const) {
  t.test(`${rule} ${story}`, async t => {
    const verdict = judge(candidate, predecessor)
    t.equal(verdict.kind === 'keep' ? 'keep' : verdict.code, want)
  })
}

t.test('J2 chance alone withdraws nothing that is as good as before', async t => {
  // 5 % fail, as before; the worst of many looks at the first samples.
  let worst = 0
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 99 }), { minLength: 50, maxLength: 50 }), samples => {
      const failed = samples.filter(sample => sample < 5).length
      worst = Math.max(worst, failed)
      return failed > 9 || judge(figures(50, failed), figures(10_000, 500)).kind === 'keep'
    }),
    { seed: 20_260_103, numRuns: 2_000 },
  )
  t.ok(worst > 2, 'there were bad samples among them')
})

t.test('J6 a version that does what the one before it did is kept', async t => {
  const traffic = fc
    .record({ finished: fc.integer({ min: 0, max: 5_000 }), share: fc.double({ min: 0, max: 1, noNaN: true }) })
    .chain(({ finished, share }) =>
      fc.record({ latencyMs: fc.double({ min: 0, max: 1e6, noNaN: true }) }).map(({ latencyMs }) => ({
        ...figures(finished, Math.floor(finished * share), latencyMs),
      })),
    )
  fc.assert(
    fc.property(traffic, same => judge(same, same).kind === 'keep'),
    { seed: 20_260_104, numRuns: 2_000 },
  )
  t.end()
})

t.test('J7 the reason says the numbers', async t => {
  t.match(judge(figures(50, 25)), {
    reason: '50.0 % of 50 requests failed; of the version before it, 0.0 %.',
  })
  t.match(judge(none), { reason: 'No instance is healthy, 2 failed: Exited with code 1' })
  t.match(judge(figures(100, 10, 1_000)), {
    reason: /^Half of 100 requests took 7\d\d ms or more; .* less than 2\d ms/,
  })
  t.match(judge(figures(100)), { kind: 'keep', reason: 'Of 100 requests, 0.0 % failed.' })
  t.match(judge({}), { kind: 'keep', reason: 'Of 0 requests, none finished yet.' })
})

t.test('J8 a latency lies within its bucket, and buckets are narrow', async t => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e7, noNaN: true }), latencyMs => {
      const { fromMs, toMs } = bucketBounds(latencyBucket(latencyMs))
      t.ok(fromMs <= latencyMs * 1.0001 && latencyMs < toMs * 1.0001, `${latencyMs} in [${fromMs}, ${toMs})`)
      if (fromMs > 0 && Number.isFinite(toMs)) t.ok(toMs / fromMs < 1.42)
    }),
    { seed: 20_260_105, numRuns: 1_000 },
  )
  t.equal(latencyBucket(Number.NaN), 0)
  t.equal(latencyBucket(-5), 0)
  t.equal(lingeringAfterMs(figures(100, 0, 20), DEFAULT_JUDGE), Math.SQRT2 * 16 + 2_000)
  t.equal(lingeringAfterMs(figures(10), DEFAULT_JUDGE), undefined)
})
