import { createPrng } from '@waiter/base'
import {
  applyLimits,
  type ChooseVictimsInput,
  chooseVictims,
  DEFAULT_SCALE_LIMITS,
  decideExpired,
  LINGERING_REQUEST_MS,
  type VictimCandidate,
} from '@waiter/scaling'
import fc from 'fast-check'
import t from 'tap'

function act(facts: {
  amount: number
  requested: number
  scheduled?: number
  idle?: number
  cpus?: number
  memMb?: number
}) {
  const { amount, requested } = facts
  const label = 'stable' as const
  return applyLimits({
    decision: { target: 0, scaleTo: requested + amount, amount, label, reason: 'Because.' },
    ...{ requested, scheduled: facts.scheduled ?? requested, idle: facts.idle ?? 0 },
    ...{ cpus: facts.cpus ?? 1, memMb: facts.memMb ?? 1024, limits: DEFAULT_SCALE_LIMITS },
  })
}

for (const [sentence, facts, expected] of [
  ['L1 what fits is started', { amount: 10, requested: 5 }, { kind: 'scale-up', to: 15, reason: 'Because.' }],
  [
    'L1 cpus limit what starts at once',
    { amount: 100, requested: 5, cpus: 8 },
    { kind: 'scale-up', to: 13, reason: 'Because. Starting 8 first.' },
  ],
  ['L1 memory limits what starts at once', { amount: 100, requested: 5, memMb: 262_144 }, { kind: 'scale-up', to: 7 }],
  [
    'L1 a giant is started all the same, one at a time',
    { amount: 5, requested: 0, cpus: 500 },
    { kind: 'scale-up', to: 1 },
  ],
  [
    'L2 what is still being scheduled counts',
    { amount: 100, requested: 20, scheduled: 14, cpus: 8 },
    { kind: 'scale-up', to: 22 },
  ],
  [
    'L2 what is still being scheduled may use up the quantum',
    { amount: 100, requested: 20, scheduled: 12, cpus: 8 },
    { kind: 'none', reason: /8 requested instances are not scheduled/ },
  ],
  [
    'L3 half of the idle instances go at once',
    { amount: -20, requested: 30, idle: 11 },
    { kind: 'kill', count: 6, reason: /Stopping 6 first/ },
  ],
  ['L3 one goes even if none is known to be idle', { amount: -20, requested: 30, idle: 0 }, { kind: 'kill', count: 1 }],
  [
    'L3 no more go than run beyond the wish',
    { amount: -5, requested: 10, scheduled: 7, idle: 10 },
    { kind: 'kill', count: 2 },
  ],
  [
    'L3 nothing goes that is wanted',
    { amount: -5, requested: 10, scheduled: 5, idle: 10 },
    { kind: 'none', reason: /already/ },
  ],
  [
    'L4 fewer run than wanted: only the request is lowered',
    { amount: -5, requested: 10, scheduled: 2, idle: 2 },
    { kind: 'lower-request', to: 5 },
  ],
  ['L5 nothing is done for nothing', { amount: 0, requested: 10 }, { kind: 'none', reason: 'Because.' }],
] as const) {
  t.test(sentence, async t => {
    t.match(act(facts), expected)
  })
}

t.test('L3 a thousand idle instances are gone after nine decisions', async t => {
  let [running, decisions] = [1000, 0]
  while (running > 1) {
    const action = act({ amount: 1 - running, requested: running, idle: running })
    running -= action.kind === 'kill' ? action.count : 0
    decisions++
  }
  t.equal(decisions, 9)
})

const NOW = 1_000_000
function candidate(instanceId: string, facts: Partial<VictimCandidate> = {}): VictimCandidate {
  return {
    ...{ instanceId, inUse: 0, newestRequestStartedAtMs: null, startedAtMs: 0, health: 'healthy' },
    ...{ isEjected: false, isExpired: false, isLeaving: false },
    ...facts,
  }
}
function choose(instances: readonly VictimCandidate[], more: Partial<ChooseVictimsInput> = {}): string {
  const defaults = { loadBalancing: 'oldest', nowMs: NOW, lingeringRequestMs: LINGERING_REQUEST_MS } as const
  return chooseVictims({ ...defaults, instances, count: 10, ...more }).join(' ')
}
const LINGERING = { inUse: 1, newestRequestStartedAtMs: NOW - LINGERING_REQUEST_MS - 1 }

for (const [sentence, instances, expected] of [
  ['V1 busy instances stay', [candidate('a', { inUse: 1 }), candidate('b')], 'b'],
  ['V1 busy instances stay, however long their requests run', [candidate('a', LINGERING)], ''],
  ['V1 an expired one with lingering requests may go', [candidate('a', { ...LINGERING, isExpired: true })], 'a'],
  [
    'V1 an expired one with a fresh request stays',
    [candidate('a', { inUse: 2, newestRequestStartedAtMs: NOW - 5, isExpired: true })],
    '',
  ],
  ['V1 an expired one with requests of unknown age stays', [candidate('a', { inUse: 2, isExpired: true })], ''],
  ['V2 while one has expired, healthy ones stay', [candidate('a', { inUse: 1, isExpired: true }), candidate('b')], ''],
  ['V2 ... unless ejected', [candidate('a', { inUse: 1, isExpired: true }), candidate('b', { isEjected: true })], 'b'],
  [
    'V3 while a replacement starts, expired ones stay',
    [candidate('a', { isExpired: true }), candidate('b', { health: 'starting' })],
    '',
  ],
  [
    'V3 ... but unhealthy ones go',
    [
      candidate('a', { isExpired: true }),
      candidate('b', { health: 'starting' }),
      candidate('c', { health: 'unhealthy' }),
    ],
    'c',
  ],
  [
    'V4 idle before lingering',
    [candidate('a', { ...LINGERING, isExpired: true }), candidate('b', { health: 'unhealthy' })],
    'b a',
  ],
  [
    'V4 expired before unhealthy before ejected',
    [candidate('e', { isEjected: true }), candidate('u', { health: 'unhealthy' }), candidate('x', { isExpired: true })],
    'x u e',
  ],
  [
    'V4 the youngest of equals',
    [candidate('a', { startedAtMs: 1 }), candidate('b', { startedAtMs: 3 }), candidate('c', { startedAtMs: 2 })],
    'b c a',
  ],
  [
    'V4 the oldest of the expired',
    [candidate('a', { startedAtMs: 2, isExpired: true }), candidate('b', { startedAtMs: 1, isExpired: true })],
    'b a',
  ],
  ['V4 equal age: by id', [candidate('b'), candidate('a')], 'a b'],
  ['V5 who is leaving is not chosen again', [candidate('a', { isLeaving: true }), candidate('b')], 'b'],
] as const) {
  t.test(sentence, async t => {
    t.equal(choose(instances), expected)
  })
}

t.test('V4 with load balancing youngest, the oldest goes first', async t => {
  const instances = [candidate('a', { startedAtMs: 1 }), candidate('b', { startedAtMs: 2 })]
  t.equal(choose(instances, { loadBalancing: 'youngest' }), 'a b')
})

t.test('V1 V6 whatever runs, nobody busy is stopped and never too many', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.integer(), seed => {
        const prng = createPrng(seed)
        const instances = Array.from({ length: prng.below(12) }, (_, index) =>
          candidate(`i${index}`, {
            ...{ inUse: prng.below(3), startedAtMs: prng.below(4), isEjected: prng.below(3) === 0 },
            ...{ isExpired: prng.below(3) === 0, isLeaving: prng.below(5) === 0 },
            newestRequestStartedAtMs: prng.below(2) === 0 ? NOW - prng.below(200_000) : null,
            health: (['healthy', 'unhealthy', 'starting'] as const)[prng.below(3)]!,
          }),
        )
        const count = prng.below(5)
        const chosen = choose(instances, { count }).split(' ').filter(Boolean)
        if (chosen.length > count || new Set(chosen).size < chosen.length) throw new Error('too many')
        for (const id of chosen) {
          const { inUse, isExpired, isLeaving } = instances.find(({ instanceId }) => instanceId === id)!
          if (isLeaving || (inUse > 0 && !isExpired)) throw new Error(`${id} must stay`)
        }
      }),
      { seed: 34, numRuns: 3000 },
    ),
  )
})

t.test('X1 X2 X3 X4 flagged, failing and old instances are expired; the next one is announced', async t => {
  const minute = 60_000
  const instance = (instanceId: string, startedAtMs: number, flags: string[] = []) => ({
    instanceId,
    startedAtMs,
    flags,
  })
  const instances = [
    instance('flagged', 0, ['expired']),
    instance('bad', 9 * minute),
    instance('old', 0),
    instance('ok', minute),
    instance('young', 5 * minute),
  ]
  const suspects = new Set(['bad'])
  t.same(decideExpired({ instances, suspects, nowMs: 10 * minute, instanceExpiryMins: 10 }), {
    expired: [
      { instanceId: 'flagged', reason: 'flagged' },
      { instanceId: 'bad', reason: 'failing' },
      { instanceId: 'old', reason: 'too-old' },
    ],
    nextExpiryMs: 11 * minute,
  })
  t.match(decideExpired({ instances, suspects: new Set(), nowMs: 1e12, instanceExpiryMins: 0 }), {
    expired: [{ instanceId: 'flagged' }],
    nextExpiryMs: Number.POSITIVE_INFINITY,
  })
})
