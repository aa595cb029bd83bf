import fc from 'fast-check'
import t from 'tap'
import type { Json } from '../src/http/waiter-api.ts'
import { type Copy, decideSync, type Reading, type SyncStep } from '../src/syncer/decide-sync.ts'

const SEED = 20_261_128
const OPT_OUT = 'waiter-token-sync-opt-out'
const OPTED_OUT = { metadata: { [OPT_OUT]: 'true' } }

/** A token that was written by `alice` in cluster `a` at second `time`. */
function copy(time: number, changes: Record<string, unknown> = {}): Reading {
  const body: Json = {
    ...{ cmd: 'x', owner: 'alice', cluster: 'a', root: 'a', 'last-update-user': 'alice', previous: {} },
    'last-update-time': new Date(time * 1_000).toISOString(),
    ...changes,
  }
  return { kind: 'copy', copy: { etag: `E-${JSON.stringify(body)}`, body } }
}

const ABSENT: Reading = { kind: 'absent' }
const FAILED: Reading = { kind: 'failed', message: 'no' }

function codes(readings: Record<string, Reading>): Record<string, string> {
  const steps = decideSync(new Map(Object.entries(readings)), OPT_OUT)
  return Object.fromEntries([...steps].map(([cluster, step]) => [cluster, `${step.kind} ${step.code}`]))
}

t.test('what becomes of a token', async t => {
  const write = 'write success/sync-update'
  const rows: readonly (readonly [story: string, readings: Record<string, Reading>, steps: Record<string, string>])[] =
    [
      ['one has it', { a: copy(1), b: ABSENT, c: ABSENT }, { b: write, c: write }],
      ['the latest wins', { a: copy(1), b: copy(2, { cmd: 'y' }), c: copy(1) }, { a: write, c: write }],
      ['the same', { a: copy(1), b: copy(1) }, { b: 'none success/token-match' }],
      ['a deletion', { a: copy(1), b: copy(2, { deleted: true }) }, { a: 'write success/soft-delete' }],
      ['a deletion that was taken back', { a: copy(3), b: copy(2, { deleted: true }) }, { b: write }],
      [
        'deleted everywhere',
        { a: copy(1, { deleted: true }), b: copy(2, { deleted: true }), c: ABSENT },
        { a: 'hard-delete success/hard-delete', b: 'hard-delete success/hard-delete' },
      ],
      ['perhaps deleted everywhere', { a: copy(1, { deleted: true }), b: FAILED }, { b: 'none error/token-read' }],
      ['one that cannot be read', { a: copy(1), b: FAILED, c: ABSENT }, { b: 'none error/token-read', c: write }],
      ['none that can be read', { a: FAILED, b: ABSENT }, { a: 'none error/token-read' }],
      [
        'kept out',
        { a: copy(2, OPTED_OUT), b: copy(1), c: ABSENT },
        { b: 'none success/skip-opt-out', c: 'none success/skip-opt-out' },
      ],
      ['kept out by an older copy', { a: copy(2), b: copy(1, OPTED_OUT) }, { b: 'none success/skip-opt-out' }],
      [
        'kept out, and deleted there',
        { a: copy(2), b: copy(1, { ...OPTED_OUT, deleted: true }) },
        { b: 'hard-delete success/hard-delete' },
      ],
      ['not kept out by other values', { a: copy(2, { metadata: { [OPT_OUT]: 'false' } }), b: ABSENT }, { b: write }],
      [
        'two tokens of one name',
        { a: copy(2), b: copy(1, { root: 'b', 'last-update-user': 'bob', cmd: 'y' }) },
        { b: 'none error/root-mismatch' },
      ],
      ['of one name and content', { a: copy(2), b: copy(1, { root: 'b', 'last-update-user': 'bob' }) }, { b: write }],
      ['of one name and person', { a: copy(2), b: copy(1, { root: 'b', cmd: 'y' }) }, { b: write }],
    ]
  for (const [story, readings, steps] of rows) t.same(codes(readings), steps, story)
})

t.test('a write replaces what was read, and nothing else', async t => {
  const before = copy(1) as { copy: Copy }
  const steps = decideSync(
    new Map([
      ['a', copy(2, { cmd: 'y' })],
      ['b', before as Reading],
      ['c', ABSENT],
    ]),
    OPT_OUT,
  )
  t.match(steps.get('b'), { etag: before.copy.etag, body: { cmd: 'y' } })
  t.match(steps.get('c'), { etag: '', body: { cmd: 'y' } })
})

t.test('once done there is nothing left to do', async () => {
  const reading = fc.oneof(
    {
      weight: 4,
      arbitrary: fc
        .tuple(fc.integer({ min: 1, max: 4 }), fc.constantFrom('x', 'y'), fc.boolean(), fc.constantFrom('a', 'b'))
        .map(([time, cmd, deleted, root]) =>
          copy(time, { cmd, root, 'last-update-user': root, ...(deleted ? { deleted } : {}) }),
        ),
    },
    { weight: 1, arbitrary: fc.constant(ABSENT) },
  )
  const apply = (step: SyncStep | undefined, now: Reading): Reading => {
    if (step?.kind === 'hard-delete') return ABSENT
    return step?.kind === 'write' ? { kind: 'copy', copy: { etag: 'E-new', body: step.body } } : now
  }
  fc.assert(
    fc.property(fc.array(reading, { minLength: 2, maxLength: 4 }), readings => {
      let state = new Map(readings.map((one, index) => [`cluster-${index}`, one]))
      // A deletion that all have heard of is forgotten in the next round.
      for (let round = 0; round < 2; round += 1) {
        const steps = decideSync(state, OPT_OUT)
        state = new Map([...state].map(([cluster, now]) => [cluster, apply(steps.get(cluster), now)]))
      }
      return [...decideSync(state, OPT_OUT).values()].every(({ kind }) => kind === 'none')
    }),
    { seed: SEED, numRuns: 1_000 },
  )
})
