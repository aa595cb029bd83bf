import fc from 'fast-check'
import t from 'tap'
import { type Candidate, chooseVoters } from '../src/control/choose-voters.ts'

/** `a1 a2* b3+`: ids by host; `*` votes already, `+` could at once. */
function parse(text: string): Candidate[] {
  const ranks: Record<string, Candidate['rank']> = { '*': 'voter', '+': 'ready', '': 'other' }
  return text.split(' ').map(word => {
    const [, hostId = '', id = '', mark = ''] = /^([a-z])(\d+)([*+]?)$/.exec(word) ?? []
    return { id: Number(id), hostId, rank: ranks[mark] ?? 'other' }
  })
}

t.test('who votes', async t => {
  const rows: [story: string, candidates: string, voters: number[]][] = [
    ['a single one', 'a1*', [1]],
    ['two survive no more than one', 'a1* b2', [1]],
    ['three', 'a1* b2 c3', [1, 2, 3]],
    ['four survive no more than three', 'a1 b2 c3 d4', [1, 2, 3]],
    ['five', 'a1 b2 c3 d4 e5', [1, 2, 3, 4, 5]],
    ['never more than five', 'a1 b2 c3 d4 e5 f6 g7', [1, 2, 3, 4, 5]],
    ['one host has as many as it can use', 'a1 a2 a3', [1, 2, 3]],
    ['a second host: the loss of the first cannot be survived anyway', 'a1* a2* a3* b4', [1, 2, 4]],
    ['spread over hosts: five would lose their majority with the first one', 'a1* a2* a3* b4 c5', [1, 4, 5]],
    ['whoever votes stays', 'a1 b2* c3* d4*', [2, 3, 4]],
    ['whoever could at once is preferred', 'a1* b2 c3+ d4+', [1, 3, 4]],
  ]
  for (const [story, candidates, voters] of rows) t.same(chooseVoters(parse(candidates)), voters, story)
  t.same(chooseVoters([]), [])
})

t.test('with voters on three hosts no host has a majority, and asking again changes nothing', async t => {
  const candidate = fc.record({
    hostId: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    rank: fc.constantFrom<Candidate['rank']>('voter', 'ready', 'other'),
  })
  fc.assert(
    fc.property(fc.array(candidate, { minLength: 1, maxLength: 12 }), rows => {
      const candidates = rows.map((row, index) => ({ ...row, id: index + 1 }))
      const voters = chooseVoters(candidates)
      const hostOf = (id: number) => candidates.find(one => one.id === id)?.hostId
      t.ok([1, 3, 5].includes(voters.length))
      if (new Set(candidates.map(({ hostId }) => hostId)).size >= 3) {
        const counts = [...Map.groupBy(voters, hostOf).values()].map(ids => ids.length)
        t.ok(Math.max(...counts) * 2 < voters.length, 'any one host may be lost')
      }
      const settled = candidates.map(one => ({
        ...one,
        rank: voters.includes(one.id) ? ('voter' as const) : ('ready' as const),
      }))
      t.same(chooseVoters(settled), voters)
    }),
    { seed: 20_261_126, numRuns: 300 },
  )
})
