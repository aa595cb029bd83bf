import { compilePattern, formatIsoTime, parseIsoTime } from '@waiter/services'
import fc from 'fast-check'
import t from 'tap'
import { canonicalJson, parseLimitedJson } from '../src/json.ts'

const matches = (source: string, text: string): boolean => {
  const pattern = compilePattern(source)
  if (!pattern.ok) throw new Error(`${source} ${pattern.error}`)
  return pattern.value.matches(text)
}

t.test('X1 patterns that people write', async t => {
  const rows: [string, string, boolean][] = [
    ['', '', true],
    ['', 'a', false],
    ['.*', 'anything', true],
    ['.*', 'two\nlines', false],
    ['https?://.*\\.example\\.com(:\\d+)?', 'https://a.example.com:8080', true],
    ['https?://.*\\.example\\.com(:\\d+)?', 'https://a.example.com.evil.org', false],
    ['^web-(?:a|b)+$', 'web-abba', true],
    ['a|b|', '', true],
    ['a{2,3}', 'aaaa', false],
    ['a{2,}', 'aaaa', true],
    ['(a{0,2}b){2}', 'abaab', true],
    ['[^a-c]+', 'xyz', true],
    ['[]]', ']', false],
    ['[\\]\\-x]+', ']-x', true],
    ['[a-]+', 'a-', true],
    ['\\w+\\s\\W', 'a_1 !', true],
    ['a^b', 'ab', false],
    ['(^a|b)$', 'a', true],
    ['(a*)*', 'aaa', true],
    ['a??b', 'b', true],
  ]
  for (const [source, text, expected] of rows) {
    if (source === '[]]') t.notOk(compilePattern(source).ok, 'an empty class is refused')
    else t.equal(matches(source, text), expected, `${source} on ${JSON.stringify(text)}`)
  }
})

const atoms = fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', '\\d', '\\.', '1', '^', '$')
const sources = fc.letrec<{ node: string }>(tie => ({
  node: fc.oneof(
    { maxDepth: 4 },
    atoms,
    fc.tuple(tie('node'), tie('node')).map(([left, right]) => left + right),
    fc.tuple(tie('node'), tie('node')).map(([left, right]) => `(${left}|${right})`),
    fc
      .tuple(tie('node'), fc.constantFrom('*', '+', '?', '{1,2}', '{2}', '*?'))
      .map(([item, suffix]) => `(?:${item})${suffix}`),
  ),
})).node

t.test('X1 patterns agree with the runtime', async t => {
  const texts = fc.string({ unit: fc.constantFrom('a', 'b', '1', '.', '\n'), maxLength: 7 })
  let agreed = 0
  fc.assert(
    fc.property(sources, texts, (source, text) => {
      const pattern = compilePattern(source)
      if (!pattern.ok) return true
      agreed++
      return pattern.value.matches(text) === new RegExp(`^(?:${source})$(?![\\s\\S])`).test(text)
    }),
    { seed: 51, numRuns: 3000 },
  )
  t.ok(agreed > 2500, `${agreed} patterns compared`)
})

t.test('X2 patterns that choke other engines', async t => {
  const text = `${'a'.repeat(2000)}!`
  for (const source of ['(a+)+', '(a|a)*b', '(.*.*.*.*.*.*)x', '(a*)*b', '([a-z]+)*\\d']) {
    const used = process.cpuUsage()
    t.notOk(matches(source, text), source)
    const { user } = process.cpuUsage(used)
    t.ok(user < 2_000_000, `${source}: ${user} µs of CPU`)
  }
  t.notOk(matches('.*', 'a'.repeat(10_000)), 'a text that is too long does not match')
})

t.test('X3 what is not supported is refused', async t => {
  const nested = `${'('.repeat(17)}a${')'.repeat(17)}`
  const rows = [
    '(',
    ')',
    'a)',
    '[',
    '[a',
    '[b-a]',
    '*',
    'a**',
    'a{',
    'a{3,2}',
    'a{101}',
    '(?=a)',
    '(?<n>a)',
    '\\1',
    '\\b',
    '\\u0041',
    '\\',
    nested,
    'a'.repeat(257),
    '(((a{50}){50}){50})',
    '((((((()){100}){100}){100}){100}){100}',
  ]
  for (const source of rows) t.notOk(compilePattern(source).ok, source.slice(0, 30))
  t.ok(compilePattern('(((((){100}){100}){100}){100}){100}').ok, 'nothing, many times, is nothing, at once')
})

t.test('X4 times agree with the runtime', async t => {
  const times = fc.integer({ min: Date.parse('0000-01-01T00:00:00Z'), max: Date.parse('9999-12-31T23:59:59.999Z') })
  fc.assert(
    fc.property(
      times,
      ms => formatIsoTime(ms) === new Date(ms).toISOString() && parseIsoTime(formatIsoTime(ms)) === ms,
    ),
    { seed: 52, numRuns: 3000 },
  )
  for (const text of ['2024-02-29T00:00:00Z', '2026-01-02T03:04:05.6+02:00', '2026-01-02T03:04:05.678901-09:30']) {
    t.equal(parseIsoTime(text), Date.parse(text), text)
  }
  const bad = [
    '',
    '2026',
    '2023-02-29T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-01-01T24:00:00Z',
    '2026-01-01T00:00:00',
    '2026-01-01 00:00:00Z',
    '2026-01-01T00:00:00+25:00',
    '2026-00-01T00:00:00Z',
    '2026-01-00T00:00:00Z',
  ]
  for (const text of bad) t.equal(parseIsoTime(text), undefined, text)
})

t.test('X5 JSON limits', async t => {
  const limits = { charsMax: 20, depthMax: 2, itemsMax: 3 }
  t.same(parseLimitedJson('{"a":[1]}', limits), { ok: true, value: { a: [1] } })
  t.match(parseLimitedJson(' '.repeat(21), limits), { error: 'The JSON is longer than 20 characters.' })
  t.match(parseLimitedJson('[[[1]]]', limits), { error: 'The JSON is nested deeper than 2 levels.' })
  t.match(parseLimitedJson('[1,2,3,4]', limits), { error: 'The JSON has more than 3 keys and items.' })
  t.match(parseLimitedJson('{secret', limits), { error: 'The text is not valid JSON.' })
  t.equal(canonicalJson({ b: [{ z: 1, y: undefined }], a: null }), '{"a":null,"b":[{"z":1}]}')
})
