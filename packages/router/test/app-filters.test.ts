import { createExampleDefinition } from '@waiter/schedulers/contract'
import t from 'tap'
import { parseAppFilters } from '../src/api/app-filters.ts'
import { parseByteRange } from '../src/api/byte-range.ts'
import { visibleDescription } from '../src/api/visible-description.ts'

const definition = createExampleDefinition('waiter-service-hello-1', 'serve', {
  name: 'hello',
  'run-as-user': 'alice',
  env: { COLOUR: 'red', 'A.B': 'dotted' },
  metadata: { team: 'x' },
  'concurrency-level': 3,
})
const sources = [{ token: 'hello', version: 'E-1' }]

function selects(query: string, isManager = true): boolean {
  const values = new Map<string, string[]>()
  for (const [name, value] of new URLSearchParams(query)) values.set(name, [...(values.get(name) ?? []), value])
  return parseAppFilters(values).selects({ definition }, visibleDescription(definition.effective, isManager), sources)
}

for (const [story, query, wanted] of [
  ['no filter selects everything', '', true],
  ['equal text', 'name=hello', true],
  ['other text', 'name=hell', false],
  ['a pattern must match the whole value', 'name=hel.*', true],
  ['a pattern that matches a part does not', 'name=ell', false],
  ['a number', 'concurrency-level=3', true],
  ['a nested value', 'env.COLOUR=red', true],
  ['a variable with a dot in its name', 'env.A.B=dotted', true],
  ['a nested value that is not there', 'env.SIZE=1', false],
  ['any of several values', 'name=other&name=hello', true],
  ['all of several names', 'name=hello&metadata.team=y', false],
  ['anything that is not empty', 'env.COLOUR=*', true],
  ['a star does not match what is not there', 'env.SIZE=*', false],
  ['a literal star', 'name=*&star-mode=literal', false],
  ['a token', 'token=hel.*', true],
  ['another token', 'token=other', false],
  ['a version', 'token-version=E-1', true],
  ['an id', 'service-id=waiter-service-hello-1', true],
  ['what is no filter does not filter', 'include=references&effective-parameters=true', true],
  ['an inherited name is no value', 'env.constructor=.*', false],
] as const)
  t.equal(selects(query), wanted, story)

t.test('what nobody can mean is refused', async t => {
  t.throws(() => selects('colour=red'), { status: 400, message: /Unsupported query parameter: colour/ })
  t.throws(() => selects('__proto__=x'), { status: 400, message: /Unsupported query parameter: __proto__/ })
  t.throws(() => selects('star-mode=some'), { status: 400, message: 'star-mode must be all or literal' })
})

t.test('a filter cannot find out a variable that whoever asks may not see', async t => {
  t.equal(selects('env.COLOUR=red', false), false)
  t.equal(selects('env.COLOUR=r.*', false), false)
  t.same(visibleDescription({ env: { SECRET: 'x' }, name: 'a' }, false), { env: { SECRET: '<hidden>' }, name: 'a' })
})

t.test('parts of a file', async t => {
  for (const [header, wanted] of [
    [undefined, { kind: 'whole' }],
    ['bytes=0-3', { kind: 'part', from: 0, to: 4 }],
    ['bytes=8-', { kind: 'part', from: 8, to: 10 }],
    ['bytes=8-99', { kind: 'part', from: 8, to: 10 }],
    ['bytes=-4', { kind: 'part', from: 6, to: 10 }],
    ['bytes=-99', { kind: 'part', from: 0, to: 10 }],
    ['bytes=10-', { kind: 'unsatisfiable' }],
    ['bytes=-0', { kind: 'unsatisfiable' }],
    ['bytes=5-2', { kind: 'whole' }],
    ['bytes=0-1,3-4', { kind: 'whole' }],
    ['bytes=-', { kind: 'whole' }],
    ['lines=1-2', { kind: 'whole' }],
    ['bytes=99999999999999999999-', { kind: 'whole' }],
  ] as const)
    t.same(parseByteRange(header, 10), wanted, String(header))
  t.same(parseByteRange('bytes=0-', 0), { kind: 'unsatisfiable' }, 'an empty file has no part')
})
