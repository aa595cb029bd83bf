import t from 'tap'
import { encodeCommand, KeyValueMachine, type WriteCommand } from '../../src/index.ts'
import type { ClientOperation } from '../../src/node/chaos/client.ts'
import { type Dump, type Evidence, judge } from '../../src/node/chaos/judge.ts'
import type { LedgerLine } from '../../src/node/chaos/ledger.ts'

/* A run that went well, made by hand; each test spoils one thing. Index 1 is the common beginning. */

const SESSION = 2
const write = (sequence: number, key: string, value: string, expected?: number): WriteCommand => {
  return { kind: 'write', session: SESSION, sequence, firstPending: sequence, key, expected, value }
}
const first = write(1, 'k', 'one')
const second = write(2, 'k', 'two', 1)
const third = write(3, 'l', 'three')

function applied(): LedgerLine[] {
  const machine = new KeyValueMachine()
  machine.skip(1)
  const entries = [{ kind: 'openSession' }, first, second, third] as const
  return entries.map((command, at) => {
    const data = encodeCommand(command)
    const result = machine.apply(at + 2, data)!
    const text = Buffer.from(data).toString('base64')
    return { kind: 'applied', index: at + 2, data: text, applied: result, digest: machine.digest }
  })
}

const at = (invokeMs: number, returnMs: number) => ({ client: invokeMs, invokeMs, returnMs })
const read = (version: number, value: string | undefined, index: number) =>
  ({ kind: 'read', version, value, index }) as const

const operations: readonly ClientOperation[] = [
  { ...at(10, 20), key: 'k', action: { kind: 'write', command: first, version: 1 } },
  { ...at(30, 40), key: 'k', action: read(1, 'one', 3) },
  { ...at(50, 60), key: 'k', action: { kind: 'write', command: second, version: 2 } },
  { ...at(70, 80), key: 'k', action: read(2, 'two', 5) },
  { ...at(55, 90), key: 'l', action: { kind: 'write', command: third, version: 3 } },
]
const dump: Dump = {
  member: 1,
  applied: 5,
  digest: 0,
  entries: [
    ['k', 2, 'two'],
    ['l', 3, 'three'],
  ],
}
const good: Evidence = {
  ledgers: [
    { member: 1, lines: [{ kind: 'led', term: 2 }, ...applied()] },
    { member: 2, lines: applied().slice(0, 3) },
    { member: 2, lines: [{ kind: 'led', term: 3 }, ...applied().slice(2)] },
  ],
  operations,
  dumps: [dump, { ...dump, member: 2 }],
}

/** The same run with one operation told otherwise. */
const told = (which: number, change: Partial<ClientOperation>): Evidence => ({
  ...good,
  operations: operations.map((operation, index) => (index === which ? { ...operation, ...change } : operation)),
})
const ledgersWith = (lines: readonly LedgerLine[]): Evidence => ({
  ...good,
  ledgers: [...good.ledgers, { member: 3, lines }],
})

t.test('a run that went well is accepted', async t => {
  t.match(judge(good), { violations: [], entries: 4, terms: 2, acknowledged: 3, lost: 0, keys: 2, longestHistory: 4 })
})

const [, , secondLine] = applied()

for (const [story, evidence, violation] of [
  ['two leaders of one term', ledgersWith([{ kind: 'led', term: 2 }]), /members 1 and 3 both led in term 2/],
  [
    'an index that was applied differently',
    ledgersWith([{ ...(secondLine as Extract<LedgerLine, { kind: 'applied' }>), digest: 7 }]),
    /members 1 and 3 differ at 4/,
  ],
  ['a member that goes back', ledgersWith(applied().reverse()), /member 3 applied 4 after 5/],
  [
    'a hole in what was applied',
    { ...good, ledgers: [{ member: 1, lines: applied().filter((_, index) => index !== 1) }] },
    /nobody wrote down that 3 was applied/,
  ],
  [
    'an acknowledged write that nobody applied',
    told(0, { action: { kind: 'write', command: write(9, 'k', 'nine'), version: 1 } }),
    /write 2:9 was acknowledged with version 1 but never took effect/,
  ],
  [
    'a write that took effect twice',
    ledgersWith([
      {
        kind: 'applied',
        index: 6,
        data: Buffer.from(encodeCommand(third)).toString('base64'),
        applied: { result: { kind: 'written', version: 4 }, change: { kind: 'put', key: 'l', value: 'x', version: 4 } },
        digest: 1,
      },
    ]),
    /write 2:3 took effect at 5 and again at 6/,
  ],
  ['a stale read', told(3, { action: read(1, 'one', 3) }), /a read of k stands at 3, but 4 was over when it began/],
  ['a stale read, by its answers alone', told(3, { action: read(1, 'one', 5) }), /the history of k .* no explaining/],
  ['a value that nobody wrote', told(1, { action: read(1, 'won', 3) }), /read version 1 \(won\) of k at 3/],
  [
    'a write that stands before what was over when it began',
    told(4, { invokeMs: 85, key: 'l', action: { kind: 'write', command: first, version: 1 } }),
    /a write of l stands at 3, but 5 was over/,
  ],
  [
    'a member that lacks a write at the end',
    { ...good, dumps: [{ ...dump, entries: dump.entries.slice(1) }] },
    /member 1 has lost k of version 2/,
  ],
  ['a member that is behind at the end', { ...good, dumps: [{ ...dump, applied: 4 }] }, /member 1 ends at 4/],
  [
    'a member that ends with another value',
    { ...good, dumps: [{ ...dump, entries: [dump.entries[0]!, ['l', 3, 'four']] }] },
    /member 1 ends with l at version 3 \(four\)/,
  ],
] as const) {
  t.test(`it is noticed: ${story}`, async t => {
    t.match(judge(evidence as Evidence).violations.join('\n'), violation)
  })
}

t.test('what nobody told the client is explained by what took effect, and by nothing else', async t => {
  const unknown = told(2, { returnMs: undefined, action: { kind: 'unknown', command: second } })
  t.same(judge(unknown).violations, [])
  const never = told(2, { returnMs: undefined, action: { kind: 'unknown', command: write(9, 'k', 'nine') } })
  t.match(judge(never).violations.join(), /the history of k/, 'a read of version 2 cannot come from it')
})
