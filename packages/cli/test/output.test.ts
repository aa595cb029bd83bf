import fc from 'fast-check'
import t from 'tap'
import { parse as parseYaml } from 'yaml'
import { type Change, computeChanges, hideValues, renderChange } from '../src/output/changes.ts'
import { countOf, renderAge, renderData } from '../src/output/format.ts'
import { lastLines } from '../src/output/last-lines.ts'
import { printable } from '../src/output/printable.ts'
import { renderFields, renderTable } from '../src/output/table.ts'

t.test('changes are found at any depth', async t => {
  const rows: [string, Record<string, unknown>, Record<string, unknown>, string[]][] = [
    ['nothing', { a: 1, b: { c: [1] } }, { b: { c: [1] }, a: 1 }, []],
    ['a value', { cpus: 0.1 }, { cpus: 0.2 }, ['~ cpus: 0.1 → 0.2']],
    ['a new key', {}, { mem: 5 }, ['+ mem: 5']],
    ['a key that goes', { mem: 5 }, {}, ['- mem: 5']],
    ['deep inside', { metadata: { a: 'x', b: 'y' } }, { metadata: { a: 'z', b: 'y' } }, ['~ metadata.a: "x" → "z"']],
    ['a whole map', { metadata: { a: 'x', b: 'y' } }, {}, ['- metadata.a: "x"', '- metadata.b: "y"']],
    ['an empty map', {}, { metadata: {} }, ['+ metadata: {}']],
    ['a map for a text', { a: 'x' }, { a: { b: 1 } }, ['~ a: "x" → {"b":1}']],
    ['a list as a whole', { 'cors-rules': [1, 2] }, { 'cors-rules': [1] }, ['~ cors-rules: [1,2] → [1]']],
    ['a set in another order', { 'allowed-params': ['A', 'B'] }, { 'allowed-params': ['B', 'A', 'A'] }, []],
    [
      'env without values, which may be secrets',
      { env: { A: 's3cret', B: 'old', C: 'same' } },
      { env: { B: 'n3w', C: 'same', D: 'n3w' } },
      ['- env.A', '~ env.B: (another value)', '+ env.D'],
    ],
    ['text that would steer a terminal', {}, { 'a\u001b[2J': '\u009bx\n' }, ['+ a\\u001b[2J: "\\u009bx\\n"']],
    ['a long value', {}, { cmd: 'x'.repeat(500) }, [`+ cmd: "${'x'.repeat(159)}…`]],
  ]
  for (const [story, from, to, lines] of rows) t.same(computeChanges(from, to).map(renderChange), lines, story)
  t.same(computeChanges({ env: { A: '1' } }, { env: { A: '2' }, mem: 1 }).map(hideValues), [
    { op: 'change', path: ['env', 'A'] },
    { op: 'add', path: ['mem'], to: 1 },
  ])
})

t.test('applied to the old document, changes make the new one', async t => {
  const leaf = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.array(fc.integer()))
  const key = fc.constantFrom('a', 'b', 'c', 'allowed-params', 'constructor')
  const map = (value: fc.Arbitrary<unknown>) => fc.dictionary(key, value, { maxKeys: 4, noNullPrototype: true })
  const document = map(fc.oneof(leaf, map(fc.oneof(leaf, map(leaf)))))
  fc.assert(
    fc.property(document, document, (from, to) => {
      const changes = computeChanges(from, to)
      t.same(normalise(changes.reduce(patch, from)), normalise(to))
      t.same(computeChanges(to, to), [])
    }),
    { seed: 5, numRuns: 300 },
  )
})

t.test('data for programs: whole, and harmless on a terminal', async t => {
  const data = { 'k\u001b': ['\u009b2J', 'plain', '\u202eright\nto left\u007f', '# "quoted"', 1, null] }
  for (const [format, parse] of [
    ['json', (text: string): unknown => JSON.parse(text)],
    ['yaml', (text: string): unknown => parseYaml(text)],
  ] as const) {
    const text = await renderData(data, format)
    t.equal(printable(text), text, format)
    t.same(parse(text), data, format)
  }
})

type Json = Record<string, unknown>

function patch(document: Json, { op, path, to }: Change): Json {
  const copy = structuredClone(document)
  let at = copy
  for (const step of path.slice(0, -1)) {
    if (!Object.hasOwn(at, step)) at[step] = {}
    at = at[step] as Json
  }
  const last = path.at(-1) as string
  if (op === 'remove') delete at[last]
  else at[last] = to
  return copy
}

/** Without maps that are empty (a map is as good as its keys), and sets in order. */
function normalise(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const entries = Object.entries(value)
    .map(([key, item]): [string, unknown] => {
      const isSet = depth === 0 && key === 'allowed-params' && Array.isArray(item)
      return [key, isSet ? [...new Set(item)].sort() : normalise(item, depth + 1)]
    })
    .filter(([, item]) => !isEmptyMap(item))
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
}

function isEmptyMap(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0
}

t.test('tables', async t => {
  t.equal(
    renderTable(
      ['Owner', 'Token'],
      [
        ['al', 'a\u001b[31m'],
        ['ägypten😀', ''],
      ],
    ),
    'Owner     Token\nal        a\\u001b[31m\nägypten😀',
  )
  t.equal(
    renderFields([
      ['a', '1'],
      ['long', 'two\nlines'],
    ]),
    'a     1\nlong  two\\nlines',
  )
  t.equal(renderTable(['Only', 'A head'], []), 'Only  A head')
})

t.test('ages, counts, data', async t => {
  const now = Date.parse('2030-01-02T00:00:00Z')
  const rows: [string, string][] = [
    ['2030-01-02T00:00:00.500Z', '0 s ago'],
    ['2030-01-01T23:59:59Z', '1 s ago'],
    ['2030-01-01T23:58:00Z', '2 min ago'],
    ['2030-01-01T01:00:00Z', '23 h ago'],
    ['2029-12-01T00:00:00Z', '32 d ago'],
    ['2031-01-01T00:00:00Z', '2031-01-01T00:00:00Z'],
    ['', 'never'],
    ['soon', 'soon'],
  ]
  for (const [time, age] of rows) t.equal(renderAge(time, now), age, time)
  t.equal(countOf(1, 'service'), '1 service')
  t.equal(countOf(0, 'service'), '0 services')
  t.equal(await renderData({ a: [1] }, 'json'), '{\n  "a": [\n    1\n  ]\n}')
  t.equal(await renderData({ a: ['1', 'no'] }, 'yaml'), 'a:\n  - "1"\n  - no')
})

t.test('text that cannot steer a terminal', async t => {
  t.equal(
    printable('a\tb\nc\r\u001b]0;x\u0007\u007f\u009b\u202e'),
    'a\tb\nc\\u000d\\u001b]0;x\\u0007\\u007f\\u009b\\u202e',
  )
})

t.test('the last lines', async t => {
  const rows: [string, number, string][] = [
    ['a\nb\nc\n', 2, 'b\nc\n'],
    ['a\nb\nc', 2, 'b\nc'],
    ['a\nb\n', 5, 'a\nb\n'],
    ['a\n\n', 1, '\n'],
    ['', 3, ''],
    ['a\n', 0, ''],
  ]
  for (const [text, count, want] of rows)
    t.equal(Buffer.from(lastLines(Buffer.from(text), count)).toString(), want, JSON.stringify([text, count]))
})
