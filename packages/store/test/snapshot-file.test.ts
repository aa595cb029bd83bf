import fc from 'fast-check'
import t from 'tap'
import { encodeSnapshotFile, parseSnapshotFile } from '../src/port.ts'
import { encode } from './support/snapshot-lines.ts'

const header = { cluster: 'waiter', release: '1.2.3', created: '2026-11-26T00:00:00.000Z' }
const entry = fc.record({
  key: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
  value: fc.string({ unit: 'grapheme' }),
})
const contents = fc.uniqueArray(entry, { selector: ({ key }) => key, maxLength: 8 })
const refused = { code: 'WTR_SNAPSHOT_CORRUPT', message: /^The snapshot cannot be used: / }

t.test('what was written is read', async t => {
  fc.assert(
    fc.property(contents, entries => {
      t.same(parseSnapshotFile(encodeSnapshotFile({ header, entries })), { header, entries })
    }),
    { seed: 20_261_126, numRuns: 100 },
  )
})

t.test('no damage goes unnoticed', async t => {
  const damage = fc.record({ at: fc.nat(), flip: fc.integer({ min: 1, max: 255 }), cut: fc.nat() })
  fc.assert(
    fc.property(contents, damage, (entries, { at, flip, cut }) => {
      const whole = encodeSnapshotFile({ header, entries })
      const flipped = Buffer.from(whole)
      flipped[at % whole.length] = (whole[at % whole.length] as number) ^ flip
      t.throws(() => parseSnapshotFile(flipped), refused, 'one byte is another')
      t.throws(() => parseSnapshotFile(whole.subarray(0, cut % whole.length)), refused, 'it is cut off')
      t.throws(() => parseSnapshotFile(Buffer.concat([whole, whole])), refused, 'it is there twice')
    }),
    { seed: 20_261_126, numRuns: 200 },
  )
})

t.test('what has a right checksum and is none all the same', async t => {
  const head = { kind: 'waiter-snapshot', format: 1, ...header, entries: 1 }
  const one = { key: 'tokens/a', value: '{}' }
  t.equal(parseSnapshotFile(encode([head, one])).entries.length, 1)
  const rows: [lines: readonly unknown[], message: RegExp][] = [
    [[], /does not begin like a snapshot/],
    [[{ ...head, kind: 'x' }, one], /does not begin like a snapshot/],
    [[{ ...head, format: 2 }, one], /its format is 2, this Waiter reads 1: use a newer one/],
    [[head], /says that it has 1 entries, but has 0/],
    [[{ ...head, entries: 2 }, one, one], /a key is in it twice/],
    [[head, { key: 'a' }], /an entry has no key or no value/],
    [[head, 'text'], /a line is not a JSON object/],
  ]
  for (const [lines, message] of rows) t.throws(() => parseSnapshotFile(encode(lines)), { ...refused, message })
})
