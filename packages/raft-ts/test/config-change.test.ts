import type { Result } from '@waiter/base'
import fc from 'fast-check'
import t from 'tap'
import {
  applyConfChange,
  type ConfChangeSingle,
  type ConfState,
  changeSimple,
  confStateFault,
  describeConf,
  enterJoint,
  isJoint,
  isLeaveJoint,
  isSameConf,
  jointTransition,
  leaveJoint,
} from '../src/index.ts'
import { change, confOf } from './support/cluster.ts'

const SEED = { seed: 20_261_123, numRuns: 1000 }
const add = (id: number): ConfChangeSingle => ({ kind: 'addVoter', id })
const learn = (id: number): ConfChangeSingle => ({ kind: 'addLearner', id })
const remove = (id: number): ConfChangeSingle => ({ kind: 'remove', id })
const text = (result: { ok: true; value: ConfState } | { ok: false; error: string }) =>
  result.ok ? describeConf(result.value) : result.error

for (const [rule, story, conf, changes, want] of [
  ['C2', 'adds a voter', confOf([1]), [add(2)], 'voters=(1 2)'],
  ['C2', 'adds a learner', confOf([1]), [learn(2)], 'voters=(1) learners=(2)'],
  ['C2', 'promotes a learner', confOf([1], { learners: [2] }), [add(2)], 'voters=(1 2)'],
  ['C2', 'demotes a voter', confOf([1, 2]), [learn(2)], 'voters=(1) learners=(2)'],
  ['C2', 'removes a voter', confOf([1, 2]), [remove(2)], 'voters=(1)'],
  ['C2', 'removing a stranger changes nothing', confOf([1]), [remove(9)], 'voters=(1)'],
  ['C2', 'adding a member changes nothing', confOf([1, 2]), [add(2)], 'voters=(1 2)'],
  ['C2', 'an update changes nothing', confOf([1]), [{ kind: 'update', id: 1 }], 'voters=(1)'],
  [
    'C2',
    'many learners at once are one change of no voter',
    confOf([1]),
    [learn(2), learn(3)],
    'voters=(1) learners=(2 3)',
  ],
  [
    'C2',
    'two voters are too many',
    confOf([1]),
    [add(2), add(3)],
    'more than one voter changed without a joint configuration',
  ],
  ['C6', 'the last voter stays', confOf([1]), [remove(1)], 'the change removes all voters'],
] as const) {
  t.test(`${rule} simple: ${story}`, async t => {
    t.equal(text(changeSimple(conf, changes)), want)
  })
}

for (const [rule, story, conf, changes, want] of [
  [
    'C3',
    'keeps the old voters as the outgoing half',
    confOf([1, 2, 3]),
    [add(4), remove(1)],
    'voters=(2 3 4)&&(1 2 3)',
  ],
  ['C3', 'a demoted voter waits', confOf([1, 2]), [learn(2)], 'voters=(1)&&(1 2) learners_next=(2)'],
  ['C3', 'a new learner does not wait', confOf([1]), [learn(2)], 'voters=(1)&&(1) learners=(2)'],
  ['C3', 'a promoted learner votes', confOf([1], { learners: [2] }), [add(2)], 'voters=(1 2)&&(1)'],
  ['C3', 'replaces everybody at once', confOf([1, 2]), [add(3), add(4), remove(1), remove(2)], 'voters=(3 4)&&(1 2)'],
  ['C6', 'not without voters', confOf([]), [add(1)], 'cannot make a configuration without voters joint'],
  ['C6', 'not twice', confOf([1], { votersOutgoing: [2] }), [add(3)], 'the configuration is already joint'],
] as const) {
  t.test(`${rule} joint: ${story}`, async t => {
    t.equal(text(enterJoint(conf, changes, false)), want)
  })
}

t.test('C4 leaving drops the outgoing half and lets learners be', async t => {
  const joint = confOf([1], { votersOutgoing: [1, 2], learners: [3], learnersNext: [2], autoLeave: true })
  t.equal(text(leaveJoint(joint)), 'voters=(1) learners=(2 3)')
  t.equal(text(leaveJoint(confOf([1]))), 'cannot leave a configuration that is not joint')
  t.match(text(changeSimple(joint, [add(4)])), /while in a joint configuration/)
})

t.test('C4 which changes pass through a joint configuration', async t => {
  t.equal(jointTransition(change([add(1)])), undefined)
  t.same(jointTransition(change([add(1), add(2)])), { autoLeave: true })
  t.same(jointTransition(change([add(1)], 'implicit')), { autoLeave: true })
  t.same(jointTransition(change([add(1)], 'explicit')), { autoLeave: false })
  t.ok(isLeaveJoint(change([])))
  t.notOk(isLeaveJoint(change([], 'explicit')))
})

t.test('C6 what is wrong with a configuration', async t => {
  t.match(confStateFault(confOf([1], { learners: [1] })), /both learner and voter/)
  t.match(confStateFault(confOf([1], { votersOutgoing: [2], learnersNext: [3] })), /not an outgoing voter/)
  t.match(confStateFault(confOf([1], { learnersNext: [2] })), /waits to be a learner/)
  t.match(confStateFault(confOf([1], { autoLeave: true })), /outside of a joint/)
  t.equal(confStateFault(confOf([1, 2], { learners: [3] })), undefined)
})

const single = fc.record({
  kind: fc.constantFrom('addVoter' as const, 'addLearner' as const, 'remove' as const, 'update' as const),
  id: fc.integer({ min: 1, max: 6 }),
})

t.test('C6 every reachable configuration is sound, and joint changes equal simple ones step by step', async () => {
  fc.assert(
    fc.property(fc.array(fc.array(single, { minLength: 1, maxLength: 4 }), { maxLength: 8 }), steps => {
      let conf = confOf([1])
      for (const changes of steps) {
        // One after another without a joint configuration, as far as that is possible.
        let plain: ConfState | undefined = conf
        for (const one of changes) {
          if (plain === undefined) break
          const next: Result<ConfState, string> = changeSimple(plain, [one])
          plain = next.ok ? next.value : undefined
        }
        const joint = enterJoint(conf, changes, true)
        if (!joint.ok) continue
        if (confStateFault(joint.value) !== undefined || !isJoint(joint.value)) return false
        const left = leaveJoint(joint.value)
        if (!left.ok || confStateFault(left.value) !== undefined) return false
        if (plain !== undefined && !isSameConf(plain, left.value)) return false
        conf = left.value
      }
      return true
    }),
    SEED,
  )
})

t.test('C2 one voter at a time keeps majorities overlapping', async () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { minLength: 1 }), single, (ids, one) => {
      const conf = confOf(ids.sort((a, b) => a - b))
      const next = applyConfChange(conf, change([one]))
      if (!next.ok) return true
      const shared = next.value.voters.filter(id => conf.voters.includes(id)).length
      const [a, b] = [Math.floor(conf.voters.length / 2) + 1, Math.floor(next.value.voters.length / 2) + 1]
      const all = new Set([...conf.voters, ...next.value.voters]).size
      return shared > 0 && a + b > all
    }),
    SEED,
  )
})
