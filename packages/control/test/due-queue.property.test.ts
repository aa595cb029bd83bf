import fc from 'fast-check'
import t from 'tap'
import { DueQueue } from '../src/leader/due-queue.ts'

type Step =
  | { readonly kind: 'set'; readonly key: number; readonly at: number }
  | { readonly kind: 'delete'; readonly key: number }
  | { readonly kind: 'take'; readonly now: number }

const key = fc.nat({ max: 12 })
const at = fc.oneof({ weight: 8, arbitrary: fc.nat({ max: 50 }) }, fc.constant(Number.POSITIVE_INFINITY))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('set' as const), key, at }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('take' as const), now: fc.nat({ max: 50 }) }) },
)

t.test('a due queue does what a plain map does', async t => {
  t.doesNotThrow(
    () =>
      fc.assert(
        fc.property(fc.array(step, { maxLength: 300 }), steps => {
          const queue = new DueQueue<number>()
          const map = new Map<number, number>()
          for (const step of steps) {
            if (step.kind === 'set') {
              queue.set(step.key, step.at)
              if (step.at === Number.POSITIVE_INFINITY) map.delete(step.key)
              else map.set(step.key, step.at)
            } else if (step.kind === 'delete') {
              queue.delete(step.key)
              map.delete(step.key)
            } else {
              const due = [...map].filter(([, at]) => at <= step.now).sort((a, b) => a[1] - b[1])
              const taken = queue.takeDue(step.now)
              if (taken.some((key, index) => map.get(key) !== due[index]?.[1])) return false
              if (taken.length !== due.length || new Set(taken).size !== taken.length) return false
              for (const [key] of due) map.delete(key)
            }
            if (queue.nextAt !== Math.min(Number.POSITIVE_INFINITY, ...map.values())) return false
          }
          return true
        }),
        { seed: 20_261_123, numRuns: 2_000 },
      ),
    '2,000 runs',
  )
})

t.test('moving far-off times over and over does not pile up', async t => {
  const queue = new DueQueue<string>()
  queue.set('first', 1)
  for (let at = 2; at < 100_000; at++) queue.set('moved', at)
  // Each entry that is cleared away is looked up.
  const look = Map.prototype.get
  let looks = 0
  Map.prototype.get = function (key) {
    looks += 1
    return look.call(this, key)
  }
  const due = queue.takeDue(1)
  const { nextAt } = queue
  Map.prototype.get = look
  t.same(due, ['first'])
  t.equal(nextAt, 99_999)
  t.ok(looks > 0 && looks < 200, `there is little to clear away: ${looks} looks`)
})
