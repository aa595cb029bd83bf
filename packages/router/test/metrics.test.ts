import fc from 'fast-check'
import t from 'tap'
import { aggregateMetrics } from '../src/metrics/aggregate.ts'
import { keepMatching } from '../src/metrics/keep-matching.ts'
import { LogHistogram, QUANTILES } from '../src/metrics/log-histogram.ts'
import { Meter } from '../src/metrics/meter.ts'

t.test('quantiles of a histogram are at most an eighth above the real ones, and never below', async t => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 2 ** 31 - 1 }), { minLength: 1, maxLength: 200 }), values => {
      const histogram = new LogHistogram()
      for (const value of values) histogram.record(value)
      const sorted = values.toSorted((a, b) => a - b)
      const quantiles = histogram.quantiles()
      for (const name of QUANTILES) {
        const real = sorted[Math.max(1, Math.ceil(Number(name) * sorted.length)) - 1] ?? 0
        const found = quantiles?.[name] ?? -1
        if (found < real || found > real + real / 8) return false
      }
      return histogram.count === values.length && histogram.sum === values.reduce((sum, value) => sum + value, 0)
    }),
    { seed: 20_261_125 },
  )
  const empty = new LogHistogram()
  t.equal(empty.quantiles(), undefined)
  t.equal(empty.countBelowPowerOfTwo(10), 0)
})

t.test('a histogram counts what is below a power of two exactly', async t => {
  fc.assert(
    fc.property(fc.array(fc.nat(1_000_000)), fc.integer({ min: 0, max: 30 }), (values, exponent) => {
      const histogram = new LogHistogram()
      for (const value of values) histogram.record(value)
      return histogram.countBelowPowerOfTwo(exponent) === values.filter(value => value < 2 ** exponent).length
    }),
    { seed: 7 },
  )
  const clamped = new LogHistogram()
  clamped.record(-5)
  clamped.record(1e18)
  t.same([clamped.quantiles()?.['0.0'], clamped.quantiles()?.['1.0']], [0, 2 ** 31 - 1], 'what no bucket holds')
})

t.test('a meter follows the rate over about a minute', async t => {
  const meter = new Meter(0)
  t.equal(meter.rate(4_999), 0, 'the first five seconds are not over')
  for (let nowMs = 0; nowMs < 600_000; nowMs += 100) meter.mark(nowMs)
  t.ok(Math.abs(meter.rate(600_000) - 10) < 0.01, 'ten a second')
  t.equal(meter.count, 6_000)
  const later = meter.rate(660_000)
  t.ok(later > 3 && later < 5, `a minute of silence leaves about a third: ${later}`)
  t.ok(meter.rate(10_000_000) < 0.001, 'after hours nothing is left')
  meter.mark(10_000_000)
  t.equal(meter.count, 6_001)
})

t.test('metrics of several routers', async t => {
  const one = {
    counters: { total: 1, 'instance-counts': { healthy: 2 }, 'response-status': { 200: 1 } },
    timers: { process: { count: 1, value: { '0.0': 2, '0.5': 2, '1.0': 2 } } },
    meters: { 'request-rate': { count: 1, value: 0.5 } },
  }
  const other = {
    counters: { total: 4, 'instance-counts': { healthy: 2 }, 'response-status': { 503: 2 } },
    timers: { process: { count: 3, value: { '0.0': 1, '0.5': 6, '1.0': 9 } } },
    meters: { 'request-rate': { count: 4, value: 1.5 } },
  }
  t.same(aggregateMetrics([one, other]), {
    counters: { total: 5, 'instance-counts': { healthy: 2 }, 'response-status': { 200: 1, 503: 2 } },
    timers: { process: { count: 4, value: { '0.0': 1, '0.5': 5, '1.0': 9 } } },
    meters: { 'request-rate': { count: 5, value: 2 } },
  })
  t.same(aggregateMetrics([]), {})
  t.same(aggregateMetrics([{ timers: { process: { count: 0, value: {} } } }, one]).timers, one.timers)
})

t.test('metrics by a part of their name', async t => {
  const tree = { services: { a: { counters: { total: 1 } }, b: {} }, waiter: { core: { total: 2, other: 3 } } }
  t.same(keepMatching(tree, 'total'), { services: { a: { counters: { total: 1 } } }, waiter: { core: { total: 2 } } })
  t.same(keepMatching(tree, 'waiter.core'), { waiter: { core: { total: 2, other: 3 } } })
  t.same(keepMatching(tree, 'nothing'), {})
})
