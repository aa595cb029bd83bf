import fc from 'fast-check'
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

/** Members of hosts `a1` is of: their letter. Silent ones by how long they are. */
function world(parts: {
  voters: string[]
  learners?: string[]
  silentMs?: Readonly<Record<string, number>>
  after?: number
}) {
  const names = [...parts.voters, ...(parts.learners ?? [])]
  const idOf = (name: string): number => names.indexOf(name) + 1
  const nameOf = (id: number): string => names[id - 1] ?? ''
  const silentMs = (id: number): number => parts.silentMs?.[nameOf(id)] ?? 0
  const wanted = names.map((name): WantedMember => ({ id: idOf(name), hostId: name.slice(0, 1), state: 'staying' }))
  const progress = wanted.map(({ id }) => ({ id, match: 1_000, isRecentlyActive: silentMs(id) === 0 }))
  const silence = { ofMember: silentMs, replaceAfterMs: parts.after ?? 300_000 }
  const now = conf({ voters: parts.voters.map(idOf), learners: (parts.learners ?? []).map(idOf) })
  const step = next(now, wanted, { id: 1, commit: 1_000, progress, silence })
  if (step?.kind !== 'change') return step?.kind ?? 'nothing'
  return step.changes.map(({ kind, id }) => `${kind} ${nameOf(id)}`).join(', ')
}

for (const [story, parts, want] of [
  [
    'a dead voter, and one that can vote instead',
    { voters: ['a', 'b', 'c'], learners: ['d'], silentMs: { c: 300_000 } },
    'addVoter d, addLearner c',
  ],
  ['not long enough', { voters: ['a', 'b', 'c'], learners: ['d'], silentMs: { c: 299_999 } }, 'nothing'],
  ['switched off', { voters: ['a', 'b', 'c'], learners: ['d'], silentMs: { c: 1e9 }, after: 0 }, 'nothing'],
  ['nobody to replace it', { voters: ['a', 'b', 'c'], silentMs: { c: 1e9 } }, 'nothing'],
  [
    'who could vote is silent itself, for a moment',
    { voters: ['a', 'b', 'c'], learners: ['d'], silentMs: { c: 1e9, d: 700 } },
    'nothing',
  ],
  ['or dead', { voters: ['a', 'b', 'c'], learners: ['d'], silentMs: { c: 1e9, d: 1e9 } }, 'nothing'],
  [
    'on a host that has a voter: better than none',
    { voters: ['a1', 'b', 'c'], learners: ['a2'], silentMs: { c: 1e9 } },
    'addVoter a2, addLearner c',
  ],
  [
    'it is back: the spread over hosts counts again',
    { voters: ['a1', 'a2', 'b'], learners: ['c'] },
    'addVoter c, addLearner a2',
  ],
  [
    'it is still away: nobody waits for it',
    { voters: ['a1', 'a2', 'b'], learners: ['c'], silentMs: { c: 1e9 } },
    'nothing',
  ],
  [
    'two of five: the one that was heard least, first',
    { voters: ['a', 'b', 'c', 'd', 'e'], learners: ['f', 'g'], silentMs: { d: 4e5, e: 5e5 } },
    'addVoter f, addLearner e',
  ],
  [
    'one replacement for two',
    { voters: ['a', 'b', 'c', 'd', 'e'], learners: ['f'], silentMs: { d: 4e5, e: 5e5 } },
    'addVoter f, addLearner e',
  ],
] as const satisfies readonly (readonly [string, Parameters<typeof world>[0], string])[])
  t.test(`a voter that is not heard: ${story}`, async t => t.equal(world(structuredClone(parts) as never), want))

t.test(
  'whoever dies and comes back, one voter at a time is replaced, and always by a majority that is heard',
  async () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 8 }),
        fc.array(fc.tuple(fc.integer({ min: 2, max: 8 }), fc.boolean(), fc.integer({ min: 0, max: 400_000 })), {
          maxLength: 30,
        }),
        (size, events) => {
          const ids = Array.from({ length: size }, (_, index) => index + 1)
          let now = conf({ voters: ids.slice(0, 3), learners: ids.slice(3) })
          const silentSince = new Map<number, number>()
          let nowMs = 0
          for (const [id, dies, passMs] of events) {
            if (dies && id <= size && !silentSince.has(id)) silentSince.set(id, nowMs)
            else if (!dies) silentSince.delete(id)
            nowMs += passMs
            // A leader needs a majority that it hears; without one it ends, and nothing is changed.
            const heard = (voters: readonly number[]): boolean =>
              voters.filter(one => !silentSince.has(one)).length * 2 > voters.length
            if (!heard(now.voters)) continue
            const ofMember = (one: number): number => nowMs - (silentSince.get(one) ?? nowMs)
            const progress = ids.map(one => ({ id: one, match: 1_000, isRecentlyActive: !silentSince.has(one) }))
            const wanted = ids.map((one): WantedMember => ({ id: one, hostId: `h${one}`, state: 'staying' }))
            const step = next(now, wanted, {
              id: 1,
              commit: 1_000,
              progress,
              silence: { ofMember, replaceAfterMs: 300_000 },
            })
            if (step?.kind !== 'change') continue
            const promoted = step.changes.filter(change => change.kind === 'addVoter').map(change => change.id)
            const demoted = step.changes.filter(change => change.kind === 'addLearner').map(change => change.id)
            const after = [...now.voters.filter(one => !demoted.includes(one)), ...promoted].sort((a, b) => a - b)
            const lost = demoted.filter(one => silentSince.has(one))
            if (lost.length > 1) throw new Error(`${lost} at once`)
            for (const one of lost) if (ofMember(one) < 300_000) throw new Error(`${one} too early`)
            for (const one of promoted) if (silentSince.has(one)) throw new Error(`${one} does not answer`)
            if (!heard(after)) throw new Error(`no majority of ${after}`)
            if (after.length < now.voters.length) throw new Error('fewer vote')
            now = conf({ voters: after, learners: ids.filter(one => !after.includes(one)) })
          }
          return true
        },
      ),
      { seed: 20261126, numRuns: 500 },
    )
  },
)
