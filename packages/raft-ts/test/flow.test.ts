import fc from 'fast-check'
import t from 'tap'
import { Inflights, Progress } from '../src/index.ts'

const SEED = { seed: 20_261_123, numRuns: 1000 }
const progress = (match: number, next: number, limits: { messages?: number; bytes?: number } = {}) =>
  new Progress({
    match,
    next,
    isLearner: false,
    isRecentlyActive: true,
    maxInflightMessages: limits.messages ?? 256,
    maxInflightBytes: limits.bytes ?? Number.POSITIVE_INFINITY,
  })

t.test('P4 the window equals a plain list', async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('add' as const), bytes: fc.nat({ max: 20 }) }),
    fc.record({ kind: fc.constant('free' as const), ahead: fc.nat({ max: 5 }) }),
  )
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 1, max: 20 }),
      fc.nat({ max: 60 }),
      (steps, most, maxBytes) => {
        const limit = maxBytes === 0 ? Number.POSITIVE_INFINITY : maxBytes
        const window = new Inflights(most, limit)
        let model: { index: number; bytes: number }[] = []
        let index = 0
        for (const action of steps) {
          const sum = model.reduce((total, { bytes }) => total + bytes, 0)
          if (window.isFull !== (model.length === most || sum >= limit)) return false
          if (action.kind === 'add') {
            if (window.isFull) continue
            index += 1 + (action.bytes % 3)
            window.add(index, action.bytes)
            model.push({ index, bytes: action.bytes })
          } else {
            const upTo = (model[0]?.index ?? 0) + action.ahead
            window.freeUpTo(upTo)
            model = model.filter(message => message.index > upTo)
          }
          if (window.count !== model.length) return false
        }
        return window.bytes === model.reduce((total, { bytes }) => total + bytes, 0)
      },
    ),
    SEED,
  )
})

t.test('P4 more than the window is a bug of the caller', async t => {
  const window = new Inflights(1, 100)
  window.add(1, 1)
  t.throws(() => window.add(2, 1), /more than 1 append messages/)
  window.reset()
  window.add(3, 200)
  t.ok(window.isFull, 'one message may exceed the bytes, then it is full')
})

t.test('P2 probing sends once and waits', async t => {
  const follower = progress(2, 5)
  t.notOk(follower.isPaused)
  follower.sentEntries(3, 30)
  t.ok(follower.isPaused)
  t.equal(follower.next, 5, 'nothing is taken for granted')
  t.ok(follower.maybeUpdate(7))
  t.notOk(follower.isPaused)
  t.same([follower.match, follower.next], [7, 8])
})

t.test('P2 replicating sends on until the window is full', async t => {
  const follower = progress(0, 1, { messages: 2 })
  follower.becomeReplicate()
  follower.sentEntries(2, 10)
  t.equal(follower.next, 3)
  t.notOk(follower.isPaused)
  follower.sentEntries(1, 10)
  t.ok(follower.isPaused)
  follower.inflights.freeUpTo(2)
  follower.maybeUpdate(2)
  t.notOk(follower.isPaused)
})

for (const [rule, story, state, match, next, rejected, hint, isNews, wantNext] of [
  ['P3', 'replicating: a refusal of what is known to agree is old', 'replicate', 5, 10, 5, 5, false, 10],
  ['P3', 'replicating: a refusal goes back to what agrees', 'replicate', 5, 10, 9, 9, true, 6],
  ['P3', 'probing: a refusal of something else is old', 'probe', 0, 10, 4, 4, false, 10],
  ['P3', 'probing: goes to the hint', 'probe', 0, 10, 9, 2, true, 3],
  ['P3', 'probing: goes back at least one', 'probe', 0, 10, 9, 9, true, 9],
  ['P1', 'probing: never to what agrees already', 'probe', 5, 10, 9, 0, true, 6],
] as const) {
  t.test(`${rule} ${story}`, async t => {
    const follower = progress(match, next)
    if (state === 'replicate') follower.becomeReplicate()
    follower.next = next
    t.equal(follower.maybeDecrease(rejected, hint), isNews)
    t.equal(follower.next, wantNext)
  })
}

t.test('P1 whatever happens, match stays below next', async () => {
  const step = fc.tuple(
    fc.constantFrom('update', 'decrease', 'probe', 'replicate', 'snapshot', 'send'),
    fc.nat({ max: 9 }),
    fc.nat({ max: 9 }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), steps => {
      const follower = progress(0, 1)
      for (const [kind, a, b] of steps) {
        if (kind === 'update') follower.maybeUpdate(a)
        else if (kind === 'decrease') follower.maybeDecrease(a, b)
        else if (kind === 'probe') follower.becomeProbe()
        else if (kind === 'replicate') follower.becomeReplicate()
        else if (kind === 'snapshot') follower.becomeSnapshot(Math.max(a, follower.match))
        else if (!follower.isPaused) follower.sentEntries(a, b)
        if (follower.match >= follower.next) return false
      }
      return true
    }),
    SEED,
  )
})

t.test('S5 after a snapshot the follower is probed behind it', async t => {
  const follower = progress(1, 2)
  follower.becomeSnapshot(10)
  t.ok(follower.isPaused)
  t.equal(follower.next, 11)
  follower.becomeProbe()
  t.equal(follower.next, 11)
  t.equal(follower.pendingSnapshot, 0)
})

t.test('S5 after a failed snapshot the follower is probed where it was', async t => {
  const follower = progress(1, 2)
  follower.becomeSnapshot(10)
  follower.pendingSnapshot = 0
  follower.becomeProbe()
  t.equal(follower.next, 2)
})

t.test('P2 a commit index is told when it is news to the follower', async t => {
  const follower = progress(4, 5)
  follower.becomeReplicate()
  t.ok(follower.canBumpCommit(3))
  follower.sentCommit(3)
  t.notOk(follower.canBumpCommit(3))
  t.ok(follower.canBumpCommit(4))
  follower.sentCommit(4)
  t.notOk(follower.canBumpCommit(9), 'it holds no more than 4')
})
