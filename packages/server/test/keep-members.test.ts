import { type ConfState, EMPTY_CONF } from 'raft-ts'
import t from 'tap'
import { nextMembersStep as next, votersAfter, type WantedMember } from '../src/control/keep-members.ts'

const conf = (parts: Partial<ConfState>): ConfState => ({ ...EMPTY_CONF, ...parts })
const status = (matches: Readonly<Record<number, number>>, { commit = 1_000, id = 1 } = {}) => ({
  id,
  commit,
  progress: Object.entries(matches).map(([id, match]) => ({ id: Number(id), match, isRecentlyActive: match > 0 })),
})
/** Of one host; negative ones leave. */
const wantedOf = (ids: readonly number[]): WantedMember[] =>
  ids.map(id => ({ id: Math.abs(id), hostId: 'h', state: id < 0 ? 'leaving' : 'staying' }))
const nextMembersStep = (now: ConfState, ids: readonly number[], known: ReturnType<typeof status>) =>
  next(now, wantedOf(ids), known)

t.test('nothing to do', async t => {
  t.equal(nextMembersStep(conf({ voters: [1, 2, 3] }), [1, 2, 3], status({})), undefined)
})

t.test('newcomers learn first, then become voters together', async t => {
  t.same(nextMembersStep(conf({ voters: [1] }), [1, 2, 3], status({ 1: 1_000 })), {
    kind: 'change',
    changes: [
      { kind: 'addLearner', id: 2 },
      { kind: 'addLearner', id: 3 },
    ],
  })
  const learning = conf({ voters: [1], learners: [2, 3] })
  t.same(nextMembersStep(learning, [1, 2, 3], status({ 1: 1_000, 2: 1_000, 3: 5 })), { kind: 'wait' })
  t.same(nextMembersStep(learning, [1, 2, 3], status({ 1: 1_000, 2: 950, 3: 1_000 })), {
    kind: 'change',
    changes: [
      { kind: 'addVoter', id: 2 },
      { kind: 'addVoter', id: 3 },
    ],
  })
  t.same(
    nextMembersStep(learning, [1, 2, 3], status({ 1: 9, 2: 0, 3: 9 }, { commit: 9 })),
    { kind: 'wait' },
    'never heard of',
  )
})

t.test('a member is replaced in one step, once its successor has everything', async t => {
  t.same(nextMembersStep(conf({ voters: [1, 2, 3] }), [1, -2, 3, 4], status({})), {
    kind: 'change',
    changes: [{ kind: 'addLearner', id: 4 }],
  })
  const replacing = conf({ voters: [1, 2, 3], learners: [4] })
  t.same(nextMembersStep(replacing, [1, -2, 3, 4], status({ 4: 5 })), { kind: 'wait' }, 'three vote until then')
  t.same(nextMembersStep(replacing, [1, -2, 3, 4], status({ 4: 999 })), {
    kind: 'change',
    changes: [
      { kind: 'addVoter', id: 4 },
      { kind: 'remove', id: 2 },
    ],
  })
  const gone = [...wantedOf([1, 3, 4]), { id: 2, hostId: 'h', state: 'gone' as const }]
  t.same(
    next(replacing, gone, status({ 4: 5 })),
    {
      kind: 'change',
      changes: [
        { kind: 'addLearner', id: 3 },
        { kind: 'remove', id: 2 },
      ],
    },
    'unless its host never comes back: two would survive no more than one',
  )
})

t.test('who is to leave leaves; learners at once, a leader when another one leads', async t => {
  t.same(nextMembersStep(conf({ voters: [1, 2, 3] }), [1, -2, -3], status({})), {
    kind: 'change',
    changes: [
      { kind: 'remove', id: 2 },
      { kind: 'remove', id: 3 },
    ],
  })
  const group = conf({ voters: [1, 2, 3], learners: [4, 5] })
  t.same(nextMembersStep(group, [1, -2, 3, 4, -5], status({ 4: 1 })), {
    kind: 'change',
    changes: [{ kind: 'remove', id: 5 }],
  })
  const leader = status({ 1: 1_000, 2: 990, 3: 995, 4: 1_000 })
  t.same(nextMembersStep(conf({ voters: [1, 2, 3], learners: [4] }), [-1, 2, 3, 4], leader), {
    kind: 'transfer',
    to: 3,
  })
  t.same(nextMembersStep(conf({ voters: [1], learners: [2] }), [-1, 2], status({ 1: 1_000, 2: 1_000 })), {
    kind: 'change',
    changes: [
      { kind: 'addVoter', id: 2 },
      { kind: 'remove', id: 1 },
    ],
  })
  t.same(nextMembersStep(conf({ voters: [1] }), [-1], status({ 1: 1_000 })), { kind: 'wait' }, 'never the last one')
})

t.test('a change under way is waited for; a voter that the store does not know stays', async t => {
  const joint = conf({ voters: [1], votersOutgoing: [1, 2, 3], autoLeave: true })
  t.same(nextMembersStep(joint, [1], status({})), { kind: 'wait' })
  t.equal(nextMembersStep(conf({ voters: [1, 2, 3] }), [1], status({})), undefined)
})

t.test('a newcomer that never comes up does not keep another one from voting', async t => {
  const waiting = conf({ voters: [1], learners: [2, 3] })
  t.same(
    nextMembersStep(waiting, [1, 2, 3], status({ 1: 1_000, 2: 1_000, 3: 0 })),
    { kind: 'wait' },
    'two are not enough',
  )
  t.same(
    nextMembersStep(
      conf({ voters: [1], learners: [2, 3, 4] }),
      [1, 2, 3, 4],
      status({ 1: 9, 2: 9, 3: 0, 4: 9 }, { commit: 9 }),
    ),
    {
      kind: 'change',
      changes: [
        { kind: 'addVoter', id: 2 },
        { kind: 'addVoter', id: 4 },
      ],
    },
  )
})

t.test('who would vote after a departure is known before it', async t => {
  const group = conf({ voters: [1, 2, 3] })
  t.same(votersAfter(group, wantedOf([1, 2, -3]), status({ 1: 1_000, 2: 1_000 })), [1])
  t.same(votersAfter(group, wantedOf([-1, -2, -3]), status({})), [])
})
