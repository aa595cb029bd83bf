import fc from 'fast-check'
import t from 'tap'
import { RetryBudget } from '../src/services/retry-budget.ts'

const FLOOR = 20
const SAVED_MAX = 500

/** Takes what there is. */
function drain(budget: RetryBudget, nowMs: number): number {
  let taken = 0
  while (budget.take(nowMs)) taken += 1
  return taken
}

t.test('a quiet service has a few retries, which come back with time', async t => {
  const budget = new RetryBudget(0)
  t.equal(drain(budget, 0), FLOOR)
  t.equal(drain(budget, 500), 1, 'two a second')
  t.equal(drain(budget, 3_600_000), FLOOR, 'but never more than the floor')
  t.strictSame(budget.counts(3_600_000), { available: 0, granted: 2 * FLOOR + 1, denied: 3 })
})

t.test('a busy one saves up a quarter of its requests, and so many at most', async t => {
  const budget = new RetryBudget(0)
  drain(budget, 0)
  for (let i = 0; i < 100; i++) budget.deposit()
  t.equal(drain(budget, 0), 25)
  for (let i = 0; i < 1_000_000; i++) budget.deposit()
  t.equal(drain(budget, 0), SAVED_MAX)
})

t.test('whatever the order of events, retries stay within what requests, time and the start give', async t => {
  const event = fc.oneof(fc.constant('request'), fc.constant('retry'), fc.nat({ max: 5_000 }))
  const isBounded = (events: readonly (string | number)[]): boolean => {
    const budget = new RetryBudget(0)
    let [nowMs, requests, retries] = [0, 0, 0]
    for (const what of events) {
      if (typeof what === 'number') nowMs += what
      else if (what === 'request') {
        budget.deposit()
        requests += 1
      } else if (budget.take(nowMs)) retries += 1
    }
    return retries <= FLOOR + requests / 4 + (nowMs / 1_000) * 2 + 1e-6
  }
  t.doesNotThrow(() => fc.assert(fc.property(fc.array(event, { maxLength: 400 }), isBounded)))
})
