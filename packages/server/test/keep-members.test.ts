import { type ConfState, EMPTY_CONF } from 'raft-ts'
import t from 'tap'
import { nextMembersStep } from '../src/control/keep-members.ts'

const conf = (parts: Partial<ConfState>): ConfState => ({ ...EMPTY_CONF, ...parts })
const status = (matches: Readonly<Record<number, number>>, commit = 1_000) => ({
  commit,
  progress: Object.entries(matches).map(([id, match]) => ({ id: Number(id), match })),
})

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
  t.same(nextMembersStep(learning, [1, 2, 3], status({ 1: 9, 2: 0, 3: 9 }, 9)), { kind: 'wait' }, 'never heard of')
})

t.test('a member is replaced in one step, once its successor has everything', async t => {
  const replacing = conf({ voters: [1, 2, 3], learners: [4] })
  t.same(nextMembersStep(conf({ voters: [1, 2, 3] }), [1, 3, 4], status({})), {
    kind: 'change',
    changes: [{ kind: 'addLearner', id: 4 }],
  })
  t.same(nextMembersStep(replacing, [1, 3, 4], status({ 4: 999 })), {
    kind: 'change',
    changes: [
      { kind: 'addVoter', id: 4 },
      { kind: 'remove', id: 2 },
    ],
  })
})

t.test('who is not wanted leaves; a change under way is waited for', async t => {
  t.same(nextMembersStep(conf({ voters: [1, 2, 3] }), [1], status({})), {
    kind: 'change',
    changes: [
      { kind: 'remove', id: 2 },
      { kind: 'remove', id: 3 },
    ],
  })
  const joint = conf({ voters: [1], votersOutgoing: [1, 2, 3], autoLeave: true })
  t.same(nextMembersStep(joint, [1], status({})), { kind: 'wait' })
})
