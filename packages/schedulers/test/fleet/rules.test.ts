import fc from 'fast-check'
import t from 'tap'
import { chooseHosts, type HostLoad } from '../../src/fleet/choose-hosts.ts'
import { FailedStarts } from '../../src/fleet/failed-starts.ts'
import { judgeContact } from '../../src/fleet/host-contact.ts'

const host = (hostId: string, changes: Partial<HostLoad> = {}): HostLoad => ({
  hostId,
  capacity: { cpus: 4, memMb: 4096 },
  requestedCpus: 0,
  requestedMemMb: 0,
  instances: 0,
  isAvoided: false,
  ...changes,
})
const DEMAND = { cpus: 0.5, memMb: 512 }

const TABLE: readonly [story: string, hosts: readonly HostLoad[], count: number, want: Record<string, number>][] = [
  ['no hosts, no places', [], 3, {}],
  ['equal hosts take turns', [host('a'), host('b'), host('c')], 4, { a: 2, b: 1, c: 1 }],
  [
    'the host with fewest of the service is next',
    [host('a', { instances: 2 }), host('b', { instances: 1 })],
    2,
    { a: 1, b: 1 },
  ],
  ['of equals the emptier one', [host('a', { requestedMemMb: 1024 }), host('b')], 1, { b: 1 }],
  ['the scarcer resource counts', [host('a', { requestedCpus: 3 }), host('b', { requestedMemMb: 2048 })], 1, { b: 1 }],
  ['room counts more than spread', [host('a', { requestedMemMb: 4000 }), host('b', { instances: 3 })], 1, { b: 1 }],
  [
    'all full: the least overloaded',
    [host('a', { requestedMemMb: 9000 }), host('b', { requestedMemMb: 5000 })],
    1,
    { b: 1 },
  ],
  [
    'a large host takes more of many',
    [host('a', { capacity: { cpus: 1, memMb: 1024 } }), host('b', { instances: 1 })],
    4,
    { a: 2, b: 2 },
  ],
  ['where it failed is the last choice', [host('a', { isAvoided: true }), host('b', { instances: 9 })], 1, { b: 1 }],
  ['where it failed is better than nowhere', [host('a', { isAvoided: true })], 1, { a: 1 }],
]
for (const [story, hosts, count, want] of TABLE)
  t.test(story, async test => {
    test.same(Object.fromEntries(chooseHosts(hosts, count, DEMAND)), want)
  })

t.test('any hosts: every instance has a place, and where there is room the spread is even', async test => {
  const load = fc.record({
    requestedCpus: fc.double({ min: 0, max: 4, noNaN: true }),
    requestedMemMb: fc.nat(4096),
    isAvoided: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(load, { minLength: 1, maxLength: 6 }), fc.nat(40), (loads, count) => {
      const chosen = chooseHosts(
        loads.map((changes, index) => host(`h${index}`, changes)),
        count,
        DEMAND,
      )
      test.equal(
        [...chosen.values()].reduce((sum, share) => sum + share, 0),
        count,
      )
      const empty = chooseHosts(
        loads.map((_, index) => host(`h${index}`)),
        Math.min(count, loads.length * 8),
        DEMAND,
      )
      const shares = loads.map((_, index) => empty.get(`h${index}`) ?? 0)
      test.ok(Math.max(...shares) - Math.min(...shares) <= 1)
    }),
    { seed: 7, numRuns: 100 },
  )
})

const LIMITS = { lostAfterMs: 2_000, givenUpAfterMs: 10_000 }
const CONTACTS = [
  [undefined, 99_000, 'up', Number.POSITIVE_INFINITY],
  [1_000, 2_999, 'up', 3_000],
  [1_000, 3_000, 'lost', 11_000],
  [1_000, 10_999, 'lost', 11_000],
  [1_000, 11_000, 'given-up', Number.POSITIVE_INFINITY],
] as const
for (const [silentSinceMs, nowMs, contact, nextMs] of CONTACTS)
  t.test(`silent since ${silentSinceMs}, at ${nowMs}: ${contact}`, async test => {
    test.same(judgeContact(silentSinceMs, nowMs, LIMITS), { contact, nextMs })
  })

t.test('a host where a service failed is avoided for 10 s, then twice as long, until it starts there', async test => {
  const starts = new FailedStarts()
  test.equal(starts.note('s', 'a', 0), 1)
  test.ok(starts.isAvoided('s', 'a', 9_999))
  test.notOk(starts.isAvoided('s', 'a', 10_000))
  test.notOk(starts.isAvoided('t', 'a', 0))
  test.notOk(starts.isAvoided('s', 'b', 0))
  test.equal(starts.note('s', 'a', 10_000), 2)
  test.ok(starts.isAvoided('s', 'a', 29_999))
  for (let failures = 3; failures < 20; failures++) starts.note('s', 'a', 0)
  test.notOk(starts.isAvoided('s', 'a', 300_000), 'never for more than five minutes')
  starts.clear('s', 'a')
  test.notOk(starts.isAvoided('s', 'a', 0))
})
