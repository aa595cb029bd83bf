import fc from 'fast-check'
import t from 'tap'
import { supersedes } from '../src/member.ts'
import { claim, Driven } from './support/member.ts'

t.test('M1 the later incarnation is news, then the higher rank', async t => {
  const ranks = ['alive', 'suspect', 'dead', 'left'] as const
  for (const [low, state] of ranks.entries()) {
    for (const [high, other] of ranks.entries()) {
      t.equal(
        supersedes({ state: other, incarnation: 5 }, { state, incarnation: 5 }),
        high > low,
        `${other} after ${state}`,
      )
      t.ok(supersedes({ state: other, incarnation: 6 }, { state, incarnation: 5 }))
      t.notOk(supersedes({ state: other, incarnation: 4 }, { state, incarnation: 5 }))
    }
  }
})

t.test('M2 the order and repetition of claims do not matter', async () => {
  const claims = fc.array(
    fc.record({
      id: fc.constantFrom('b', 'c'),
      state: fc.constantFrom('alive', 'suspect', 'dead', 'left'),
      incarnation: fc.integer({ min: 1, max: 3 }),
    }),
    { minLength: 1, maxLength: 12 },
  )
  const viewAfter = (list: readonly { id: string; state: string; incarnation: number }[]): string => {
    const driven = new Driven()
    // Known from the start: whoever is unknown cannot be dead (M6).
    driven.hear(claim('b', 'alive', { incarnation: 1 }), claim('c', 'alive', { incarnation: 1 }))
    for (const { id, state, incarnation } of list) driven.hear(claim(id, state as 'alive', { incarnation }))
    const members = driven.gossip.members().map(({ id, state, incarnation }) => `${id} ${state} ${incarnation}`)
    return members.sort().join()
  }
  fc.assert(
    fc.property(claims, fc.func(fc.integer()), (list, order) => {
      const others = [...list, ...list].sort((x, y) => order(x) - order(y))
      return viewAfter(list) === viewAfter(others)
    }),
    { seed: 4, numRuns: 300 },
  )
})

t.test('M3 a member refutes what is wrongly said of it, above what was said', async t => {
  const driven = new Driven()
  driven.hear(claim('a', 'suspect', { incarnation: 9 }))
  t.equal(driven.gossip.status().incarnation, 10, 'what is said of an earlier life is no matter')
  driven.hear(claim('b'), claim('a', 'dead', { incarnation: 12 }))
  t.equal(driven.gossip.status().incarnation, 13)
  driven.pass(150)
  const told = driven.packets('gossip').flatMap(({ packet }) => packet.claims)
  t.match(
    told.find(({ id }) => id === 'a'),
    { state: 'alive', incarnation: 13 },
  )
})

t.test('M4 only the subject raises an incarnation; a taken name is reported', async t => {
  const driven = new Driven()
  driven.hear(claim('b'))
  driven.pass(3_000)
  t.equal(driven.gossip.members()[0]?.incarnation, 10, 'a suspect keeps its own')
  driven.hear(claim('a', 'alive', { address: 'elsewhere:1' }))
  t.equal(driven.gossip.status().incarnation, 11)
  t.match(driven.effects.at(-1), { kind: 'nameTaken', address: 'elsewhere:1' })
})

t.test('M5 M6 a death heard in a full exchange is a suspicion; of a stranger it is nothing', async t => {
  const driven = new Driven()
  driven.hear(claim('b'), claim('c'))
  const claims = [claim('c', 'dead'), claim('x', 'dead'), claim('y', 'left')]
  driven.stream({ kind: 'sync', from: 'b', isReply: false, claims, digest: new Map() })
  t.equal(driven.stateOf('c'), 'suspect')
  t.equal(driven.stateOf('x'), undefined)
  t.equal(driven.stateOf('y'), undefined)
  driven.hear(claim('x', 'dead'))
  t.equal(driven.stateOf('x'), undefined, 'nor by packet')
})

t.test('M6 no more members than the limit are taken', async t => {
  const driven = new Driven({ membersMax: 2 })
  driven.hear(claim('b'), claim('c'), claim('d'))
  t.equal(driven.gossip.members().length, 2)
})

t.test('M7 the dead are forgotten after a while, with their rows', async t => {
  const driven = new Driven({ reapAfterMs: 20_000 })
  driven.hear(claim('b'), claim('c', 'alive'), claim('c', 'dead'))
  driven.pass(15_000, driven.answerAll)
  t.equal(driven.stateOf('c'), 'dead')
  driven.pass(15_000, driven.answerAll)
  t.equal(driven.stateOf('c'), undefined)
  t.match(
    driven.effects.find(effect => effect.kind === 'member' && effect.state === 'reaped'),
    { id: 'c' },
  )
  t.equal(driven.stateOf('b'), 'alive')
})

t.test('M8 a leaver says so, and is done after some rounds', async t => {
  const driven = new Driven()
  driven.hear(claim('b'), claim('c'))
  driven.pass(2_000, driven.answerAll)
  driven.gossip.leave(driven.nowMs)
  driven.pass(1_000)
  const told = driven.packets('gossip').flatMap(({ packet }) => packet.claims)
  t.match(told.at(-1), { id: 'a', state: 'left', incarnation: 10 })
  t.ok(driven.effects.some(({ kind }) => kind === 'hasLeft'))
  driven.hear(claim('a', 'suspect'))
  t.equal(driven.gossip.status().incarnation, 10, 'it objects to nothing any more')
})

t.test('M8 who is alone has nobody to tell', async t => {
  const driven = new Driven()
  driven.gossip.leave(driven.nowMs)
  driven.pass(1_000)
  t.ok(driven.effects.some(({ kind }) => kind === 'hasLeft'))
})
