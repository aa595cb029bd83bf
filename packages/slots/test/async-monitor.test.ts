import fc from 'fast-check'
import t from 'tap'
import {
  ASYNC_CHECK_INTERVAL_MS_MIN,
  ASYNC_SLOT_MS_MAX,
  AsyncMonitor,
  type AsyncVerdict,
  endsAsyncRequest,
  type LocationKind,
  type StatusCheck,
} from '../src/index.ts'

const START_MS = 1_000
const TIMES = { requestTimeoutMs: 60_000, checkIntervalMs: 3_000 }
const ENDED: AsyncVerdict = { kind: 'end', status: 'success' }
const LOST: AsyncVerdict = { kind: 'end', status: 'instance-error' }
const answered = (status: number, location: LocationKind = 'none'): StatusCheck => ({
  kind: 'answered',
  status,
  location,
})
const again = (afterMs: number): AsyncVerdict => ({ kind: 'check', atMs: START_MS + afterMs })

for (const [story, times, wantMs] of [
  ['the default', TIMES, 3_000],
  ['not more than 50 times within the time-out', { requestTimeoutMs: 600_000, checkIntervalMs: 3_000 }, 12_000],
  ['an interval longer than the time-out', { requestTimeoutMs: 500, checkIntervalMs: 2 ** 53 - 1 }, 500],
  ['a wish that would be a flood', { requestTimeoutMs: 1, checkIntervalMs: 1 }, ASYNC_CHECK_INTERVAL_MS_MIN],
] as const)
  t.test(`AS1 the first check: ${story}`, async t => {
    t.equal(new AsyncMonitor(times, START_MS).firstCheckAtMs, START_MS + wantMs)
  })

t.test('AS1 checks become rarer with age', async t => {
  const monitor = new AsyncMonitor(TIMES, START_MS)
  t.same(monitor.onCheck(answered(200), START_MS + 150_000), again(153_000))
  t.same(monitor.onCheck(answered(200), START_MS + 300_000), again(306_000))
  t.same(monitor.onCheck(answered(200), START_MS + 3_600_000), again(3_660_000), 'at least once within the time-out')
})

for (const [rule, story, check, ageMs, want] of [
  ['AS2', 'it works', answered(200), 3_000, again(6_000)],
  ['AS2', 'it says so with 202', answered(202), 3_000, again(6_000)],
  ['AS2', 'it works at the time-out', answered(200), 60_000, again(63_000)],
  ['AS2', 'it works for an hour', answered(200), 3_600_000, again(3_660_000)],
  ['AS2', 'the last check is at four hours', answered(200), ASYNC_SLOT_MS_MAX - 1, again(ASYNC_SLOT_MS_MAX)],
  ['AS2', 'it works after four hours', answered(200), ASYNC_SLOT_MS_MAX, ENDED],
  ['AS3', 'the result is ready', answered(303, 'own'), 3_000, again(6_000)],
  ['AS3', 'the result was not fetched in time', answered(303, 'own'), 60_000, ENDED],
  ['AS3', 'the result is elsewhere', answered(303, 'foreign'), 3_000, ENDED],
  ['AS3', '303 that leads nowhere', answered(303), 3_000, ENDED],
  ['AS3', 'it is gone', answered(410), 3_000, ENDED],
  ['AS3', 'it fails', answered(500), 3_000, ENDED],
  ['AS3', 'no such page', answered(404), 3_000, ENDED],
  ['AS4', 'nobody there', { kind: 'unreachable' }, 3_000, LOST],
  ['AS4', 'nobody there after four hours', { kind: 'unreachable' }, ASYNC_SLOT_MS_MAX, LOST],
  ['AS5', 'no answer in time', { kind: 'unanswered' }, 3_000, again(6_000)],
  ['AS5', 'no answer at the time-out', { kind: 'unanswered' }, 60_000, LOST],
] as const)
  t.test(`${rule} ${story}`, async t => {
    t.same(new AsyncMonitor(TIMES, START_MS).onCheck(check, START_MS + ageMs), want)
  })

for (const [story, about, method, status, location, want] of [
  ['a result', 'result', 'GET', 200, 'none', true],
  ['a result that is not there', 'result', 'GET', 404, 'none', true],
  ['a result asked for by POST', 'result', 'POST', 500, 'none', true],
  ['still working', 'status', 'GET', 200, 'none', false],
  ['still working, 202', 'status', 'GET', 202, 'own', false],
  ['the result is ready', 'status', 'GET', 303, 'own', false],
  ['the result is elsewhere', 'status', 'GET', 303, 'foreign', true],
  ['gone', 'status', 'GET', 410, 'none', true],
  ['the status fails', 'status', 'GET', 500, 'none', false],
  ['cancelled', 'status', 'DELETE', 204, 'none', true],
  ['cancelled, 200', 'status', 'DELETE', 200, 'none', true],
  ['not to be cancelled', 'status', 'DELETE', 405, 'none', false],
  ['cancelled, but gone', 'status', 'DELETE', 410, 'none', false],
] as const)
  t.test(`AS6 ${story}`, async t => {
    t.equal(endsAsyncRequest({ about, method, status, location }), want)
  })

t.test('AS1 AS2 every course of answers ends, in time, after a bounded number of checks', async () => {
  const check = fc.oneof(
    { weight: 50, arbitrary: fc.constantFrom(answered(200), answered(202)) },
    { weight: 3, arbitrary: fc.constantFrom<StatusCheck>(answered(303, 'own'), { kind: 'unanswered' }) },
    { weight: 1, arbitrary: fc.constantFrom<StatusCheck>(answered(410), { kind: 'unreachable' }) },
  )
  const times = fc.record({
    requestTimeoutMs: fc.integer({ min: 1, max: ASYNC_SLOT_MS_MAX }),
    checkIntervalMs: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  })
  fc.assert(
    fc.property(times, fc.infiniteStream(check), (given, checks) => {
      const monitor = new AsyncMonitor(given, START_MS)
      let nowMs = monitor.firstCheckAtMs
      let lastMs = START_MS
      for (let count = 0; ; count++) {
        if (nowMs - lastMs < ASYNC_CHECK_INTERVAL_MS_MIN && nowMs < START_MS + ASYNC_SLOT_MS_MAX) return false
        if (nowMs > START_MS + ASYNC_SLOT_MS_MAX || count > 300_000) return false
        const verdict = monitor.onCheck(checks.next().value as StatusCheck, nowMs)
        if (verdict.kind === 'end') return true
        lastMs = nowMs
        nowMs = verdict.atMs
      }
    }),
    { seed: 20_261_126, numRuns: 200 },
  )
})
