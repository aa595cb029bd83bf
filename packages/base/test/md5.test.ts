import { createHash } from 'node:crypto'
import { md5 } from '@waiter/base'
import fc from 'fast-check'
import t from 'tap'

const reference = (text: string): string => createHash('md5').update(text, 'utf8').digest('hex')

t.test('the examples of RFC 1321', async t => {
  t.equal(md5(''), 'd41d8cd98f00b204e9800998ecf8427e')
  t.equal(md5('abc'), '900150983cd24fb0d6963f7d28e17f72')
  t.equal(md5('message digest'), 'f96b697d7cb7938d525a2f31aaf161d0')
})

t.test('equals the runtime for every length around the block borders, also with multi-byte characters', async t => {
  for (const unit of ['a', 'é', '€', '😀', '\ud800']) {
    for (let length = 0; length <= 200; length++) {
      const text = unit.repeat(length)
      if (md5(text) !== reference(text)) t.fail(`${JSON.stringify(unit)} × ${length}`)
    }
  }
  t.equal(md5('x'.repeat(100_000)), reference('x'.repeat(100_000)))
})

t.test('equals the runtime for random strings of any code units', async t => {
  const anyText = fc.oneof(fc.string({ unit: 'binary', maxLength: 300 }), fc.string({ maxLength: 300 }))
  const codeUnits = fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 300 })
  t.doesNotThrow(
    () =>
      fc.assert(
        fc.property(
          fc.oneof(
            anyText,
            codeUnits.map(units => String.fromCharCode(...units)),
          ),
          text => {
            return md5(text) === reference(text)
          },
        ),
        { seed: 1321, numRuns: 2000 },
      ),
    '2000 runs agree',
  )
})
