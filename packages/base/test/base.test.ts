import { AssertionFailed, assert, assertNever, createPrng, EventQueue, err, ok, WaiterError } from '@waiter/base'
import t from 'tap'

t.test('assert lets truth pass and crashes on a broken claim', async t => {
  t.doesNotThrow(() => assert(true, 'fine'))
  t.throws(() => assert(false, 'slots are never negative'), new AssertionFailed('slots are never negative'))
  t.throws(() => assertNever('surprise' as never), AssertionFailed)
})

t.test('equal seeds give equal runs, other seeds do not', async t => {
  const draw = (seed: number): number[] => {
    const prng = createPrng(seed)
    return Array.from({ length: 50 }, () => prng.below(1000))
  }
  t.same(draw(7), draw(7))
  t.notSame(draw(7), draw(8))
  t.ok(draw(7).every(value => value >= 0 && value < 1000))
})

t.test('a WaiterError carries what a user may see and keeps its cause apart', async t => {
  const cause = new Error('secret text')
  const error = new WaiterError('no leader', { code: 'WTR_NO_LEADER', status: 503, retryable: true, cause })
  t.match(error, { code: 'WTR_NO_LEADER', status: 503, retryable: true, details: {}, cause })
  t.notMatch(error.message, 'secret')
})

t.test('results are plain data', async t => {
  t.same(ok(1), { ok: true, value: 1 })
  t.same(err('no'), { ok: false, error: 'no' })
})

t.test('events come by time, equal times in order', async t => {
  const queue = new EventQueue()
  const seen: number[] = []
  const times = [5, 3, 9, 3, 1, 7, 3, 0, 9]
  for (const [at, time] of times.entries()) queue.push(time, () => seen.push(time * 100 + at))
  for (let event = queue.pop(); event !== undefined; event = queue.pop()) event.run()
  t.same(
    seen,
    times.map((time, at) => time * 100 + at).sort((a, b) => a - b),
  )
  t.equal(queue.size, 0)
})
