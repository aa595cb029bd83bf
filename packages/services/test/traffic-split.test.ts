import {
  bucketOf,
  bucketOfCount,
  isForNewest,
  readSplitCookie,
  SPLIT_BUCKETS,
  SPLIT_COOKIE_PREFIX,
  splitCookieName,
} from '@waiter/services'
import fc from 'fast-check'
import t from 'tap'
import { complete, posted, postRefused } from './fixtures.ts'

t.test('K1 what traffic-split may say', async t => {
  for (const split of [
    { percent: 0 },
    { percent: 100, sticky: 'cookie' },
    { percent: 12.34, sticky: 'header:x-user-id' },
    { percent: 0.07 },
  ])
    t.same(posted({ body: { ...complete, 'traffic-split': split } }).record['traffic-split'], split)
  for (const [split, message] of [
    [50, /must be a map with percent/],
    [{ percent: 50, more: 1 }, /must be a map with percent/],
    [{}, /percent must be a number/],
    [{ percent: '50' }, /percent must be a number/],
    [{ percent: -1 }, /percent must be a number/],
    [{ percent: 100.5 }, /percent must be a number/],
    [{ percent: 0.001 }, /two decimals/],
    [{ percent: 1, sticky: 'ip' }, /sticky must be cookie/],
    [{ percent: 1, sticky: 'header:X-User' }, /lower case/],
    [{ percent: 1, sticky: 'header:x-waiter-token' }, /sticky must be/],
    [{ percent: 1, sticky: ['cookie'] }, /sticky must be/],
  ] as const)
    t.match(
      postRefused({ body: { ...complete, 'traffic-split': split } }),
      { status: 400, message },
      JSON.stringify(split),
    )
  t.match(postRefused({ body: { ...complete, 'withdraw-bad-versions': 'no' } }), {
    message: /withdraw-bad-versions must be true or false/,
  })
})

t.test('K2 keys fall evenly: chi-squared over 100 parts', async t => {
  const PARTS = 100
  const KEYS = 100_000
  // 99 degrees of freedom: larger than this once in 10,000 times.
  const CHI_SQUARED_MAX = 161.3
  for (const token of ['app', 'service.example.com']) {
    const counts = new Array<number>(PARTS).fill(0)
    for (let key = 0; key < KEYS; key++)
      counts[Math.floor((bucketOf(token, `user-${key}`) / SPLIT_BUCKETS) * PARTS)]! += 1
    const expected = KEYS / PARTS
    const chiSquared = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
    t.ok(chiSquared < CHI_SQUARED_MAX, `${token}: ${chiSquared}`)
  }
})

t.test('K2 of any stretch of requests that nobody is recognised by, the share is met to within a few', async t => {
  const input = fc.record({
    percent: fc.integer({ min: 0, max: 100 }),
    from: fc.integer({ min: 0, max: 2 ** 32 }),
    count: fc.integer({ min: 1, max: 2_000 }),
  })
  fc.assert(
    fc.property(input, ({ percent, from, count }) => {
      let newest = 0
      for (let index = 0; index < count; index++) if (isForNewest(bucketOfCount(from + index), { percent })) newest += 1
      const isMet = Math.abs(newest - (count * percent) / 100) <= 4
      if (!isMet) t.fail(`${newest} of ${count} from ${from} at ${percent} %`)
      return isMet
    }),
    { seed: 20_260_106, numRuns: 500 },
  )
  t.end()
})

t.test('K3 the same key falls on the same side, and raising the percentage moves nobody back', async t => {
  const input = fc.record({
    token: fc.string(),
    key: fc.string(),
    low: fc.integer({ min: 0, max: 10_000 }),
    more: fc.integer({ min: 0, max: 10_000 }),
  })
  fc.assert(
    fc.property(input, ({ token, key, low, more }) => {
      const bucket = bucketOf(token, key)
      t.equal(bucketOf(token, key), bucket)
      t.ok(bucket >= 0 && bucket < SPLIT_BUCKETS && Number.isInteger(bucket))
      const high = Math.min(10_000, low + more)
      if (isForNewest(bucket, { percent: low / 100 })) t.ok(isForNewest(bucket, { percent: high / 100 }))
    }),
    { seed: 20_260_107, numRuns: 1_000 },
  )
  t.notOk(isForNewest(0, { percent: 0 }))
  t.ok(isForNewest(SPLIT_BUCKETS - 1, { percent: 100 }))
})

t.test('K4 the cookie', async t => {
  const name = splitCookieName('app')
  t.ok(name.startsWith(SPLIT_COOKIE_PREFIX))
  t.not(name, splitCookieName('app2'))
  for (const [cookies, want] of [
    [undefined, undefined],
    ['', undefined],
    [`${name}=17`, 17],
    [`a=b; ${name}=9999; c=d`, 9999],
    [`${name}=10000`, undefined],
    [`${name}=-1`, undefined],
    [`${name}=1x`, undefined],
    [`${name}=`, undefined],
    [`${name}x=1`, undefined],
    [`x${name}=1`, undefined],
    [`${name}=bad; ${name}=3`, 3],
  ] as const)
    t.equal(readSplitCookie(cookies, name), want, String(cookies))
})
