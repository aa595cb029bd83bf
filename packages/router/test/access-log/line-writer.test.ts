import fc from 'fast-check'
import t from 'tap'
import { LineWriter, ready } from '../../src/access-log/line-writer.ts'

const ASCII_LINE = /^[\x20-\x7e]*\n$/

/** A line with one value in it. */
function lineOf(write: (line: LineWriter) => void): string {
  const line = new LineWriter()
  line.begin()
  line.raw(ready('{"v":'))
  write(line)
  line.raw(ready('}'))
  line.end()
  return line.bytes.toString('latin1', 0, line.length)
}

const readBack = (line: string): unknown => (JSON.parse(line) as { v: unknown }).v
/** One character for each byte, as heads are read. */
const wireText = fc.uint8Array({ maxLength: 300 }).map(bytes => Buffer.from(bytes).toString('latin1'))

t.test('any bytes from the wire come back as the UTF-8 they are, on one ASCII line', async t => {
  fc.assert(
    fc.property(wireText, value => {
      const line = lineOf(writer => writer.wire(value))
      return ASCII_LINE.test(line) && readBack(line) === Buffer.from(value, 'latin1').toString('utf8')
    }),
  )
  t.equal(readBack(lineOf(writer => writer.wire(Buffer.from('Grüße\r\n"\\').toString('latin1')))), 'Grüße\r\n"\\')
})

t.test('any text of ours comes back as it was', async t => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), value => {
      const line = lineOf(writer => writer.text(value))
      return ASCII_LINE.test(line) && readBack(line) === value.toWellFormed()
    }),
  )
  t.equal(readBack(lineOf(writer => writer.text('日本"\u2028'))), '日本"\u2028')
})

t.test('whole numbers of any size', async t => {
  fc.assert(
    fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), value => readBack(lineOf(line => line.int(value))) === value),
  )
  for (const value of [0, 1, 9, 10, 99, 100, 2 ** 30 - 1, 2 ** 30, 2 ** 31, 2 ** 53 - 1])
    t.equal(readBack(lineOf(line => line.int(value))), value)
})

t.test('a long value is cut, and many of them cannot outgrow a line', async t => {
  const long = 'x'.repeat(60_000)
  t.equal(readBack(lineOf(line => line.wire(long))), `${'x'.repeat(2048)}...`)
  t.equal(readBack(lineOf(line => line.text(long))), `${'x'.repeat(2048)}...`)
  const worst = lineOf(line => {
    line.raw(ready('[0'))
    for (let i = 0; i < 300; i++) {
      line.raw(ready(','))
      line.wire('\xff'.repeat(60_000))
      line.raw(ready(','))
      line.wire('y'.repeat(2_000))
    }
    line.raw(ready(']'))
  })
  const values = readBack(worst) as string[]
  t.equal(values.length, 601)
  t.equal(values.at(-2), '...', 'told that something is missing')
  t.match(worst, ASCII_LINE)
})
