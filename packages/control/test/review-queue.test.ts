import t from 'tap'
import { ReviewQueue } from '../src/leader/review-queue.ts'
import { FakeClock } from './support/fake-clock.ts'

function world(nextInMs = Number.POSITIVE_INFINITY): {
  readonly clock: FakeClock
  readonly queue: ReviewQueue<string>
  readonly reviewed: string[]
} {
  const clock = new FakeClock()
  const startMs = clock.nowMs()
  const reviewed: string[] = []
  const queue = new ReviewQueue<string>(clock, (service, nowMs) => {
    reviewed.push(`${service}@${nowMs - startMs}`)
    return nowMs + nextInMs
  })
  return { clock, queue, reviewed }
}

t.test('who is touched several times in a turn is reviewed once', async t => {
  const { clock, queue, reviewed } = world()
  for (const service of ['a', 'b', 'a']) queue.touch(service)
  await clock.settle()
  t.same(reviewed, ['a@0', 'b@0'])
})

t.test('news that can wait is seen to by then, once, and with whatever comes sooner', async t => {
  const { clock, queue, reviewed } = world()
  const now = clock.nowMs()
  queue.touchBy('a', now + 80)
  queue.touchBy('a', now + 200)
  queue.touchBy('b', now + 80)
  queue.touchBy('c', now)
  queue.touchBy('d', Number.POSITIVE_INFINITY)
  await clock.settle()
  t.same(reviewed, ['c@0'])
  queue.touch('b')
  await clock.advance(500)
  t.same(reviewed, ['c@0', 'b@0', 'a@80'])
  t.equal(clock.pendingTimers, 0)
})

t.test('news brings a later review forward, never puts one off', async t => {
  const { clock, queue, reviewed } = world(300)
  queue.touch('a')
  await clock.settle()
  queue.touchBy('a', clock.nowMs() + 1_000)
  await clock.advance(310)
  queue.touchBy('a', clock.nowMs() + 100)
  await clock.advance(110)
  t.same(reviewed, ['a@0', 'a@300', 'a@410'])
  queue.stop()
})

t.test('of very many, some are left for the next turn; nobody is forgotten', async t => {
  const { clock, queue, reviewed } = world()
  const SERVICES = 1_000
  for (let index = 0; index < SERVICES; index++) queue.touch(`s${index}`)
  let turns = 0
  const soon = clock.soon
  Object.assign(clock, {
    soon: (task: () => void) => {
      turns += 1
      soon(task)
    },
  })
  await clock.settle()
  t.equal(new Set(reviewed).size, SERVICES)
  t.ok(turns >= 5, `${turns} further turns`)
})
