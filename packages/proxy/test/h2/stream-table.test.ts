import fc from 'fast-check'
import t from 'tap'
import type { Http2Stream } from '../../src/h2/index.ts'
import { StreamTable } from '../../src/h2/stream-table.ts'

t.test('a stream table does what a Map does, whatever comes and goes', async t => {
  const step = fc.tuple(fc.boolean(), fc.oneof(fc.nat(40), fc.nat(5000)))
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), steps => {
        const table = new StreamTable()
        const model = new Map<number, Http2Stream>()
        for (const [adds, number] of steps) {
          const id = number * 2 + 1
          if (!adds) {
            if (table.delete(id) !== model.delete(id)) return false
          } else if (!model.has(id)) {
            const stream = { id } as Http2Stream
            table.add(stream)
            model.set(id, stream)
          }
          if (table.size !== model.size || table.get(id) !== model.get(id)) return false
        }
        const ids = table.snapshot().map(stream => stream.id)
        return [...model.keys()].every(id => table.get(id) === model.get(id)) && ids.length === model.size
      }),
      { seed: 31, numRuns: 1000 },
    ),
  )
})

t.test('ids that fall into the same slot find each other behind a gap', async t => {
  const table = new StreamTable()
  const [first, second, third] = [1, 33, 65].map(id => ({ id }) as Http2Stream)
  for (const stream of [first!, second!, third!]) table.add(stream)
  t.equal(table.delete(33), true)
  t.equal(table.get(65), third)
  t.equal(table.delete(1), true)
  t.equal(table.get(65), third)
  t.equal(table.get(33), undefined)
  t.equal(table.size, 1)
})
