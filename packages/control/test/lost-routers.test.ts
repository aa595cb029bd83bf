import t from 'tap'
import { LostRouters, OPINION_MS_MAX } from '../src/leader/lost-routers.ts'
import { FakeClock } from './support/fake-clock.ts'

const DEAD_AFTER_MS = 10_000

/** Lost routers of which others say what the test wants. */
function lostRouters(isHeard: (routerId: string) => Promise<boolean>) {
  const clock = new FakeClock()
  const asked: string[] = []
  const dead: string[] = []
  const lost = new LostRouters({
    clock,
    deadAfterMs: DEAD_AFTER_MS,
    isHeard: routerId => {
      asked.push(routerId)
      return isHeard(routerId)
    },
    onDead: routerId => {
      lost.remove(routerId)
      dead.push(routerId)
    },
  })
  return { clock, lost, asked, dead }
}

const SEAT = { nodeId: 'n', worker: 1 }

t.test(
  'who is not heard, or of whom nothing is said in time, is given up when its time is over, not earlier',
  async t => {
    for (const isHeard of [async () => false, () => new Promise<boolean>(() => undefined)]) {
      const { clock, lost, asked, dead } = lostRouters(isHeard)
      lost.add('a', SEAT, true)
      await clock.advance(DEAD_AFTER_MS - 1)
      t.same([asked, dead], [['a'], []])
      await clock.advance(1)
      t.same(dead, ['a'])
      t.equal(clock.pendingTimers, 0)
    }
  },
)

t.test('who is heard stays six times as long, at most', async t => {
  const { clock, lost, asked, dead } = lostRouters(async () => true)
  lost.add('a', SEAT, true)
  await clock.advance(6 * DEAD_AFTER_MS - 1)
  t.same([asked.length, dead], [5, []])
  await clock.advance(1)
  t.same(dead, ['a'])
})

t.test('nobody is asked about a router that a new leader expects: it would hold back everybody', async t => {
  const { clock, lost, asked, dead } = lostRouters(async () => true)
  lost.add('a', SEAT)
  await clock.advance(DEAD_AFTER_MS)
  t.same([asked, dead], [[], ['a']])
})

t.test('who is back meanwhile is not given up, and nothing goes on after the end', async t => {
  const { clock, lost, dead } = lostRouters(async () => false)
  lost.add('a', SEAT, true)
  lost.add('b', SEAT, true)
  await clock.advance(DEAD_AFTER_MS - OPINION_MS_MAX)
  lost.remove('a')
  t.same([...lost.ids], ['b'])
  lost.stop()
  await clock.advance(10 * DEAD_AFTER_MS)
  t.same([dead, clock.pendingTimers], [[], 0])
})
