import fc from 'fast-check'
import t from 'tap'
import { HeaderField } from '../../src/h2/header-field.ts'
import { HpackEncoder } from '../../src/h2/hpack/encoder.ts'
import { huffmanDecode, huffmanEncode, huffmanLength } from '../../src/h2/hpack/huffman.ts'
import { HUFFMAN_LENGTHS } from '../../src/h2/hpack/huffman-lengths.ts'
import { IntegerFault, IntegerReader, writeInteger } from '../../src/h2/hpack/integer.ts'
import { encodeBlock, fieldsOf, newDecoder, pairsOf } from './support/wire.ts'

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex')
}

function decodeHex(decoder: ReturnType<typeof newDecoder>, text: string): [string, string][] | null {
  const bytes = hex(text)
  const fields = decoder.decode(bytes, 0, bytes.length)
  return fields === null ? null : pairsOf(fields)
}

t.test('integers of RFC 7541 appendix C.1', async t => {
  const out = Buffer.alloc(8)
  const reader = new IntegerReader()
  const rows = [
    ['10 in 5 bits', 10, 5, '0a'],
    ['1337 in 5 bits', 1337, 5, '1f9a0a'],
    ['42 in 8 bits', 42, 8, '2a'],
  ] as const
  for (const [name, value, bits, encoded] of rows) {
    const end = writeInteger(out, 0, value, bits, 0)
    t.equal(out.toString('hex', 0, end), encoded, `${name} is written`)
    t.equal(reader.read(out, 0, end, bits), value, `${name} is read`)
    t.equal(reader.end, end)
  }
})

t.test('integers survive every prefix', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 28 }), fc.integer({ min: 4, max: 8 }), (value, bits) => {
        const out = Buffer.alloc(8)
        const reader = new IntegerReader()
        const end = writeInteger(out, 1, value, bits, 0)
        return end <= 7 && reader.read(out, 1, end, bits) === value && reader.end === end
      }),
      { seed: 1, numRuns: 2000 },
    ),
  )
})

t.test('integers that are too large or cut are refused', async t => {
  const reader = new IntegerReader()
  const read = (text: string): number => reader.read(hex(text), 0, hex(text).length, 7)
  t.equal(read('7f'), IntegerFault.TRUNCATED)
  t.equal(read(''), IntegerFault.TRUNCATED)
  t.equal(read('7fffffff'), IntegerFault.TRUNCATED)
  t.equal(read('7fffffffff7f'), IntegerFault.TOO_LARGE, 'beyond 2^28')
  t.equal(read('7f808080808000'), IntegerFault.TOO_LARGE, 'zeros without end')
})

t.test('RFC 7541 appendix C.2: single representations', async t => {
  const rows = [
    [
      'literal with indexing',
      '400a637573746f6d2d6b65790d637573746f6d2d686561646572',
      'custom-key',
      'custom-header',
      55,
    ],
    ['literal without indexing', '040c2f73616d706c652f70617468', ':path', '/sample/path', 0],
    ['literal never indexed', '100870617373776f726406736563726574', 'password', 'secret', 0],
    ['indexed', '82', ':method', 'GET', 0],
  ] as const
  for (const [name, encoded, field, value, tableBytes] of rows) {
    const decoder = newDecoder()
    t.same(decodeHex(decoder, encoded), [[field, value]], name)
    t.equal(decoder.tableBytes, tableBytes, `${name}: table`)
  }
  const never = newDecoder().decode(hex('100870617373776f726406736563726574'), 0, 17)
  t.equal(never?.[0]?.isSensitive, true, 'an intermediary must keep "never indexed"')
})

const WWW = 'www.example.com'
const REQUESTS: readonly (readonly [string, string])[][] = [
  [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
    [':authority', WWW],
  ],
  [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
    [':authority', WWW],
    ['cache-control', 'no-cache'],
  ],
  [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':path', '/index.html'],
    [':authority', WWW],
    ['custom-key', 'custom-value'],
  ],
]
const DATE_21 = 'Mon, 21 Oct 2013 20:13:21 GMT'
const DATE_22 = 'Mon, 21 Oct 2013 20:13:22 GMT'
const SITE = 'https://www.example.com'
const COOKIE = 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'
const RESPONSES: readonly (readonly [string, string])[][] = [
  [
    [':status', '302'],
    ['cache-control', 'private'],
    ['date', DATE_21],
    ['location', SITE],
  ],
  [
    [':status', '307'],
    ['cache-control', 'private'],
    ['date', DATE_21],
    ['location', SITE],
  ],
  [
    [':status', '200'],
    ['cache-control', 'private'],
    ['date', DATE_22],
    ['location', SITE],
    ['content-encoding', 'gzip'],
    ['set-cookie', COOKIE],
  ],
]

t.test('RFC 7541 appendix C.3 to C.6: sequences', async t => {
  const rows = [
    [
      'C.3 requests',
      4096,
      REQUESTS,
      [57, 110, 164],
      [
        '828684410f7777772e6578616d706c652e636f6d',
        '828684be58086e6f2d6361636865',
        '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
      ],
    ],
    [
      'C.4 requests, Huffman',
      4096,
      REQUESTS,
      [57, 110, 164],
      [
        '828684418cf1e3c2e5f23a6ba0ab90f4ff',
        '828684be5886a8eb10649cbf',
        '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf',
      ],
    ],
    [
      'C.5 responses, 256 octets',
      256,
      RESPONSES,
      [222, 222, 215],
      [
        '4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d',
        '4803333037c1c0bf',
        '88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31',
      ],
    ],
    [
      'C.6 responses, Huffman, 256 octets',
      256,
      RESPONSES,
      [222, 222, 215],
      [
        '488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3',
        '4883640effc1c0bf',
        '88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
      ],
    ],
  ] as const
  for (const [name, tableBytes, lists, sizes, encoded] of rows) {
    const decoder = newDecoder({ tableBytes })
    for (const [index, list] of lists.entries()) {
      t.same(decodeHex(decoder, encoded[index]!), list, `${name}, ${index + 1}`)
      t.equal(decoder.tableBytes, sizes[index], `${name}, ${index + 1}: table`)
    }
  }
})

t.test('the Huffman code is complete and canonical', async t => {
  const kraft = HUFFMAN_LENGTHS.reduce((sum, bits) => sum + 2 ** (30 - bits), 0)
  t.equal(kraft, 2 ** 30, 'every bit string is a code: one wrong length would break the sum')
  const out = Buffer.alloc(8)
  const rows = [
    ['0', '07'],
    ['a', '1f'],
    ['\\', 'fffe1f'],
    ['\n', 'fffffff3'],
    ['\xff', 'fffffbbf'],
    ['\x00', 'ffc7'],
  ] as const
  for (const [text, encoded] of rows) {
    t.equal(out.toString('hex', 0, huffmanEncode(text, out, 0)), encoded, JSON.stringify(text))
  }
})

t.test('Huffman survives any octets', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), octets => {
        const text = Buffer.from(octets).toString('latin1')
        const out = Buffer.alloc(400)
        const end = huffmanEncode(text, out, 3)
        const decoded = Buffer.alloc(400)
        const length = huffmanDecode(out, 3, end, decoded)
        return end - 3 === huffmanLength(text) && decoded.toString('latin1', 0, length) === text
      }),
      { seed: 2, numRuns: 3000 },
    ),
  )
})

t.test('malformed blocks are refused', async t => {
  const rows = [
    ['index 0', '80', 'index out of range'],
    ['an index beyond the tables', 'be', 'index out of range'],
    ['an index cut short', 'ff', 'malformed index'],
    ['a huge index', 'ffffffffffffff7f', 'malformed index'],
    ['a name index beyond the tables', '7f00', 'index out of range'],
    ['a literal cut before its name', '40', 'truncated string'],
    ['a literal cut inside its name', '400561', 'truncated string'],
    ['a literal cut before its value', '400161', 'truncated string'],
    ['a literal cut inside its value', '4001610262', 'truncated string'],
    ['a string length cut short', '40ff', 'malformed string length'],
    ['Huffman padding of 8 bits', '00016182ffff', 'malformed Huffman code'],
    ['Huffman padding of zeros', '0001618100', 'malformed Huffman code'],
    ['Huffman EOS', '00016184ffffffff', 'malformed Huffman code'],
    ['a size update behind a field', '8220', 'table size update behind a field'],
    ['three size updates', '202020', 'too many table size updates'],
    ['a size update beyond the limit', '3fe21f', 'table size update beyond the limit'],
    ['a size update cut short', '3f', 'malformed table size update'],
  ] as const
  for (const [name, encoded, error] of rows) {
    const decoder = newDecoder()
    t.equal(decodeHex(decoder, encoded), null, name)
    t.equal(decoder.error, error, name)
  }
})

t.test('any bytes either decode or fail, and never throw', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), octets => {
        const decoder = newDecoder()
        const bytes = Buffer.from(octets)
        const fields = decoder.decode(bytes, 0, bytes.length)
        return (fields === null) === (decoder.error !== '') && decoder.tableBytes <= 4096
      }),
      { seed: 3, numRuns: 5000 },
    ),
  )
})

t.test('a bomb is decoded to its end but not collected', async t => {
  const decoder = newDecoder({ listBytesMax: 10_000 })
  const value = 'v'.repeat(3000)
  const first = encodeBlock(new HpackEncoder(4096), fieldsOf('x-big', value))
  t.ok(decoder.decode(first, 0, first.length))
  const references = Buffer.alloc(16_000, 0xbe)
  t.same(decoder.decode(references, 0, references.length), [], '48 MB of fields in 16 kB')
  t.equal(decoder.isOversized, true)
  t.same(decodeHex(decoder, '82'), [[':method', 'GET']], 'the table is intact')
  t.equal(decoder.isOversized, false)
})

t.test('more fields than allowed are no error of HPACK', async t => {
  const decoder = newDecoder({ fieldsMax: 3 })
  t.same(decodeHex(decoder, '82828282'), [])
  t.equal(decoder.isOversized, true)
})

const NAMES = [
  'x-a',
  'x-b',
  'accept',
  'cookie',
  ':path',
  'authorization',
  'user-agent',
  ':status',
  'etag',
  'x-long-name',
]
const fieldArbitrary = fc
  .tuple(
    fc.constantFrom(...NAMES),
    fc.oneof(fc.constantFrom('1', '200', '/', 'x'.repeat(70)), fc.string({ maxLength: 40 })),
    fc.boolean(),
  )
  .map(
    ([name, value, isSensitive]) => new HeaderField(name, Buffer.from(value, 'utf8').toString('latin1'), isSensitive),
  )

t.test('what the encoder says, the decoder understands, whatever happens to the tables', async t => {
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.array(fieldArbitrary, { maxLength: 12 }) },
    { weight: 1, arbitrary: fc.constantFrom(0, 64, 200, 1000, 4096, 100_000) },
  )
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), steps => {
        const encoder = new HpackEncoder(4096)
        const decoder = newDecoder()
        for (const it of steps) {
          if (typeof it === 'number') {
            encoder.resize(it)
            continue
          }
          const bytes = encodeBlock(encoder, it)
          const decoded = decoder.decode(bytes, 0, bytes.length)
          if (decoded === null || JSON.stringify(pairsOf(decoded)) !== JSON.stringify(pairsOf(it))) return false
          if (it.some((field, index) => field.isSensitive !== decoded[index]!.isSensitive)) return false
          if (encoder.tableBytes !== decoder.tableBytes) return false
        }
        return true
      }),
      { seed: 4, numRuns: 1500 },
    ),
  )
})

t.test('what is indexed and what is not', async t => {
  const rows = [
    ['an ordinary field costs one octet the second time', 'x-tenant', 'blue', 1],
    ['a path is written again', ':path', '/orders/17', 12],
    ['a secret is written again', 'authorization', 'Bearer abc', 13],
    ['a cookie is written again', 'cookie', 'a=b', 6],
    ['set-cookie is written again', 'set-cookie', 'a=b', 6],
  ] as const
  for (const [name, field, value, length] of rows) {
    const encoder = new HpackEncoder(4096)
    encodeBlock(encoder, fieldsOf(field, value))
    t.equal(encodeBlock(encoder, fieldsOf(field, value)).length, length, name)
  }
  const secret = encodeBlock(new HpackEncoder(4096), [new HeaderField('x-key', 'k', true)])
  t.equal(secret[0], 0x10, 'never indexed stays never indexed')
})

t.test('a name that differs every time stops being indexed', async t => {
  const encoder = new HpackEncoder(4096)
  for (let i = 0; i < 20; i++) encodeBlock(encoder, fieldsOf('x-nonce', `nonce-${i}`))
  const before = encoder.tableBytes
  const bytes = encodeBlock(encoder, fieldsOf('x-nonce', 'nonce-99'))
  t.equal(encoder.tableBytes, before)
  t.equal(bytes[0]! & 0xf0, 0, 'literal without indexing')
})
