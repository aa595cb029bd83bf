import fc from 'fast-check'
import t from 'tap'
import {
  ALL_INDEXES,
  jointCommitted,
  jointVote,
  majorityCommitted,
  majorityVote,
  quorumSize,
  voterIds,
} from '../src/index.ts'

const SEED = { seed: 20_261_123, numRuns: 2000 }
const ids = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { maxLength: 7 }).map(list => list.sort((a, b) => a - b))
const acks = fc.dictionary(fc.constantFrom('1', '2', '3', '4', '5', '6', '7', '8', '9'), fc.integer({ min: 0, max: 6 }))
const votes = fc.dictionary(fc.constantFrom('1', '2', '3', '4', '5', '6', '7', '8', '9'), fc.boolean())

// The dumb oracles: try every answer and count.
function dumbCommitted(voters: readonly number[], acked: Record<string, number>): number {
  if (voters.length === 0) return ALL_INDEXES
  for (let index = 6; index > 0; index--) {
    if (voters.filter(id => (acked[id] ?? 0) >= index).length * 2 > voters.length) return index
  }
  return 0
}

function dumbVote(voters: readonly number[], cast: Record<string, boolean>): string {
  const count = (wanted: boolean | undefined) => voters.filter(id => cast[id] === wanted).length
  if (voters.length === 0 || count(true) * 2 > voters.length) return 'won'
  return (count(true) + count(undefined)) * 2 > voters.length ? 'pending' : 'lost'
}

const asMap = (cast: Record<string, boolean>) => new Map(Object.entries(cast).map(([id, vote]) => [Number(id), vote]))

t.test('Q1 sizes of majorities', async t => {
  t.same([1, 2, 3, 4, 5, 6, 7].map(quorumSize), [1, 2, 2, 3, 3, 4, 4])
  t.equal(
    majorityCommitted([], () => 3),
    ALL_INDEXES,
    'no voters hold nothing back',
  )
})

for (const [story, voters, acked, want] of [
  ['one voter decides alone', [1], { 1: 12 }, 12],
  ['nobody has answered', [1, 2, 3], {}, 0],
  ['two of three', [1, 2, 3], { 1: 5, 2: 6 }, 5],
  ['the median of three', [1, 2, 3], { 1: 101, 2: 99, 3: 103 }, 101],
  ['three of four are needed', [1, 2, 3, 4], { 1: 9, 2: 9, 3: 7 }, 7],
  ['who is no voter does not count', [1, 2, 3], { 1: 1, 4: 9, 5: 9 }, 0],
] as const) {
  t.test(`Q1 ${story}`, async t => {
    t.equal(
      majorityCommitted(voters, id => (acked as Record<number, number>)[id]),
      want,
    )
  })
}

t.test('Q1 Q3 committed indexes equal the dumb count', async () => {
  fc.assert(
    fc.property(ids, ids, acks, (voters, votersOutgoing, acked) => {
      const lookUp = (id: number) => acked[id]
      const want = [dumbCommitted(voters, acked), dumbCommitted(votersOutgoing, acked)] as const
      return (
        majorityCommitted(voters, lookUp) === want[0] &&
        jointCommitted({ voters, votersOutgoing }, lookUp) === Math.min(...want)
      )
    }),
    SEED,
  )
})

t.test('Q2 votes equal the dumb count', async () => {
  fc.assert(
    fc.property(ids, votes, (voters, cast) => majorityVote(voters, asMap(cast)) === dumbVote(voters, cast)),
    SEED,
  )
})

t.test('Q3 a joint commit never exceeds either half, and never depends on outsiders', async () => {
  fc.assert(
    fc.property(ids, ids, acks, (voters, votersOutgoing, acked) => {
      const members = [...voters, ...votersOutgoing]
      const within = (id: number) => (members.includes(id) ? acked[id] : undefined)
      return (
        jointCommitted({ voters, votersOutgoing }, id => acked[id]) ===
        jointCommitted({ voters, votersOutgoing }, within)
      )
    }),
    SEED,
  )
})

t.test('Q4 a joint vote needs both halves', async () => {
  fc.assert(
    fc.property(ids, ids, votes, (voters, votersOutgoing, cast) => {
      const halves = [dumbVote(voters, cast), dumbVote(votersOutgoing, cast)]
      const want = halves.includes('lost') ? 'lost' : halves.includes('pending') ? 'pending' : 'won'
      return jointVote({ voters, votersOutgoing }, asMap(cast)) === want
    }),
    SEED,
  )
})

t.test('Q4 two quorums of a joint configuration always overlap', async () => {
  fc.assert(
    fc.property(ids, ids, votes, (voters, votersOutgoing, cast) => {
      const opposite = Object.fromEntries(Object.entries(cast).map(([id, vote]) => [id, !vote]))
      const conf = { voters: voters.length === 0 ? [1] : voters, votersOutgoing }
      return !(jointVote(conf, asMap(cast)) === 'won' && jointVote(conf, asMap(opposite)) === 'won')
    }),
    SEED,
  )
})

t.test('Q4 the voters of both halves, each once', async t => {
  t.same(voterIds({ voters: [2, 3, 5], votersOutgoing: [1, 2, 3] }), [1, 2, 3, 5])
  t.same(voterIds({ voters: [1, 2], votersOutgoing: [] }), [1, 2])
})
