import t from 'tap'
import { WallClock } from '../../src/access-log/wall-clock.ts'

t.test('monotonic moments become wall time', async t => {
  let nowMs = 5_000
  let wallMs = Date.parse('2026-11-23T12:00:00.000Z')
  const clock = new WallClock(
    () => nowMs,
    () => wallMs,
  )
  const iso = (ms: number): string => Buffer.from(clock.iso(ms)).toString('latin1')
  t.equal(iso(5_000), '2026-11-23T12:00:00.000Z')
  t.equal(iso(5_007.9), '2026-11-23T12:00:00.007Z')
  t.equal(iso(5_999), '2026-11-23T12:00:00.999Z')
  t.equal(iso(4_950), '2026-11-23T11:59:59.950Z', 'a request that took long')
  nowMs = 6_500
  wallMs = Date.parse('2026-12-31T23:59:59.999Z')
  t.equal(iso(6_500), '2026-12-31T23:59:59.999Z', 'the wall clock was set')
  t.equal(iso(6_501), '2027-01-01T00:00:00.000Z')
})
