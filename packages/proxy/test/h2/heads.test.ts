import t from 'tap'
import { readRequestHead } from '../../src/h2/head-rules.ts'
import { HeaderField, Http2RequestHead } from '../../src/h2/index.ts'
import { readyRig } from './support/rig.ts'
import { Flag, FrameType, fieldsOf, frame, GET, headers, newDecoder, pairsOf } from './support/wire.ts'

const RULES = { targetBytesMax: 8192, allowsConnectProtocol: false, isEnd: true }
const M = [':method', 'GET']
const S = [':scheme', 'http']
const P = [':path', '/']
const A = [':authority', 'a.example']

const MALFORMED: readonly (readonly [title: string, fields: readonly string[]])[] = [
  ['no fields at all', []],
  [':method missing', [...S, ...P, ...A]],
  [':scheme missing', [...M, ...P, ...A]],
  [':path missing', [...M, ...S, ...A]],
  [':authority and host missing', [...M, ...S, ...P]],
  [':method twice', [...M, ...M, ...S, ...P, ...A]],
  [':scheme twice', [...M, ...S, ...S, ...P, ...A]],
  [':path twice', [...M, ...S, ...P, ...P, ...A]],
  [':authority twice', [...M, ...S, ...P, ...A, ...A]],
  [':status in a request', [...M, ...S, ...P, ...A, ':status', '200']],
  ['an unknown pseudo-header field', [...M, ...S, ...P, ...A, ':proto', 'x']],
  ['a pseudo-header field behind a regular one', [...M, ...S, ...P, 'x-a', 'b', ...A]],
  [':path empty', [...M, ...S, ':path', '', ...A]],
  [':path without a slash', [...M, ...S, ':path', 'x', ...A]],
  [':path in absolute form', [...M, ...S, ':path', 'http://a.example/', ...A]],
  [':path * with GET', [...M, ...S, ':path', '*', ...A]],
  [':path with a blank', [...M, ...S, ':path', '/a b', ...A]],
  [':path with CR LF', [...M, ...S, ':path', '/a\r\nx: y', ...A]],
  [':path with a fragment', [...M, ...S, ':path', '/a#b', ...A]],
  [':path with raw UTF-8', [...M, ...S, ':path', '/\xc3\xa4', ...A]],
  [':method with a blank', [':method', 'GET /', ...S, ...P, ...A]],
  [':method empty', [':method', '', ...S, ...P, ...A]],
  [':scheme with a newline', [...M, ':scheme', 'http\n', ...P, ...A]],
  [':scheme ftp', [...M, ':scheme', 'ftp', ...P, ...A]],
  [':authority with user information', [...M, ...S, ...P, ':authority', 'u@a.example']],
  [':authority with a slash', [...M, ...S, ...P, ':authority', 'a.example/x']],
  [':authority with a bad port', [...M, ...S, ...P, ':authority', 'a.example:8x']],
  [':authority empty', [...M, ...S, ...P, ':authority', '']],
  ['host other than :authority', [...M, ...S, ...P, ...A, 'host', 'b.example']],
  ['two host fields', [...M, ...S, ...P, 'host', 'a', 'host', 'a']],
  ['an upper-case name', [...M, ...S, ...P, ...A, 'X-A', 'b']],
  ['an empty name', [...M, ...S, ...P, ...A, '', 'b']],
  ['a name with a blank', [...M, ...S, ...P, ...A, 'x a', 'b']],
  ['a name with a colon', [...M, ...S, ...P, ...A, 'x:a', 'b']],
  ['a name with CR LF', [...M, ...S, ...P, ...A, 'x\r\na', 'b']],
  ['a value with CR', [...M, ...S, ...P, ...A, 'x-a', 'b\rc']],
  ['a value with LF', [...M, ...S, ...P, ...A, 'x-a', 'b\nc']],
  ['a value with NUL', [...M, ...S, ...P, ...A, 'x-a', 'b\0c']],
  ['a value that begins with a blank', [...M, ...S, ...P, ...A, 'x-a', ' b']],
  ['a value that ends with a tab', [...M, ...S, ...P, ...A, 'x-a', 'b\t']],
  ['connection', [...M, ...S, ...P, ...A, 'connection', 'close']],
  ['keep-alive', [...M, ...S, ...P, ...A, 'keep-alive', 'timeout=5']],
  ['proxy-connection', [...M, ...S, ...P, ...A, 'proxy-connection', 'x']],
  ['transfer-encoding', [...M, ...S, ...P, ...A, 'transfer-encoding', 'chunked']],
  ['upgrade', [...M, ...S, ...P, ...A, 'upgrade', 'websocket']],
  ['te other than trailers', [...M, ...S, ...P, ...A, 'te', 'trailers, deflate']],
  ['content-length with a sign', [...M, ...S, ...P, ...A, 'content-length', '+0']],
  ['content-length empty', [...M, ...S, ...P, ...A, 'content-length', '']],
  ['content-length as a list', [...M, ...S, ...P, ...A, 'content-length', '0, 0']],
  ['content-length twice', [...M, ...S, ...P, ...A, 'content-length', '0', 'content-length', '0']],
  ['content-length of 16 digits', [...M, ...S, ...P, ...A, 'content-length', '1000000000000000']],
  ['content-length without a body', [...M, ...S, ...P, ...A, 'content-length', '1']],
  ['CONNECT with :path', [':method', 'CONNECT', ...P, ...A]],
  ['CONNECT without :authority', [':method', 'CONNECT']],
  [':protocol with GET', [...M, ':protocol', 'websocket', ...S, ...P, ...A]],
  ['extended CONNECT that was not allowed', [':method', 'CONNECT', ':protocol', 'websocket', ...S, ...P, ...A]],
]

for (const [title, fields] of MALFORMED) {
  t.test(`a request is malformed: ${title}`, async t => {
    const rig = readyRig('server')
    rig.push(headers(1, fields), headers(3, GET))
    const resets = rig.frames().filter(it => it.type === FrameType.RST_STREAM)
    t.same(
      resets.map(it => [it.streamId, it.payload.readUInt32BE(0)]),
      [[1, 1]],
    )
    t.equal(rig.requests.length, 1, 'the next request is served')
    t.match(rig.refusals, [/^0 ./])
  })
}

t.test('requests that are answered by the engine', async t => {
  const rows = [
    ['a plain CONNECT', [':method', 'CONNECT', ':authority', 'a.example:443'], '405'],
    ['a path of more than 8 KiB', [...M, ...S, ':path', `/${'x'.repeat(8192)}`, ...A], '414'],
    ['an expectation other than 100-continue', [...M, ...S, ...P, ...A, 'expect', 'miracles'], '417'],
    ['200 fields', [...GET, ...Array.from({ length: 200 }, (_, i) => [`x-${i}`, 'v']).flat()], '431'],
  ] as const
  for (const [title, fields, status] of rows) {
    const rig = readyRig('server')
    rig.push(headers(1, fields))
    const [answer] = rig.frames()
    const decoded = newDecoder().decode(answer!.payload, 0, answer!.payload.length)!
    t.same(
      pairsOf(decoded),
      [
        [':status', status],
        ['content-length', '0'],
      ],
      title,
    )
    t.equal(answer!.flags, Flag.END_STREAM | Flag.END_HEADERS)
    t.equal(rig.connection.streamCount, 0)
  }
})

t.test('one value larger than the list limit is refused, not cut', async t => {
  const rig = readyRig('server')
  const flat = [...GET, 'x-large', 'v'.repeat(70_000)]
  const bytes = headers(1, flat).subarray(9)
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; at += 16_384) {
    const isLast = at + 16_384 >= bytes.length
    const flags = (at === 0 ? Flag.END_STREAM : 0) | (isLast ? Flag.END_HEADERS : 0)
    pieces.push(frame(at === 0 ? FrameType.HEADERS : FrameType.CONTINUATION, flags, 1, bytes.subarray(at, at + 16_384)))
  }
  rig.push(...pieces)
  t.same(rig.refusals, ['431 the head is too large'])
})

t.test('an answer of the engine ends an upload', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, [':method', 'POST', ...S, ':path', `/${'x'.repeat(8192)}`, ...A], 0))
  t.same(
    rig.frames().map(it => it.type),
    [FrameType.HEADERS, FrameType.RST_STREAM],
  )
  rig.push(frame(FrameType.DATA, 0, 1, Buffer.alloc(100)))
  t.same(rig.frames(), [], 'what was under way is ignored')
})

function headOf(...fields: string[]): Http2RequestHead {
  const head = readRequestHead(fieldsOf(...fields), { ...RULES, isEnd: false, allowsConnectProtocol: true })
  if (!(head instanceof Http2RequestHead)) throw new Error(head.detail)
  return head
}

t.test('a head tells what an exchange asks', async t => {
  const head = headOf(
    ...M,
    ...S,
    ':path',
    '/a?b=c?d',
    ':authority',
    'A.Example:81',
    'cookie',
    'a=1',
    'cookie',
    'b=2',
    'x-y',
    '1',
    'x-y',
    '2',
    'expect',
    '100-Continue',
  )
  t.equal(head.path, '/a')
  t.equal(head.query, 'b=c?d')
  t.equal(head.host, 'a.example')
  t.equal(head.authority, 'A.Example:81')
  t.equal(head.get('cookie'), 'a=1; b=2', 'crumbs are joined as RFC 9113 §8.2.3 says')
  t.equal(head.get('x-y'), '1, 2')
  t.equal(head.get('host'), 'A.Example:81')
  t.equal(head.has(':path'), false, 'pseudo-header fields are no fields')
  t.equal(head.bodyKind, 'chunked')
  t.equal(head.contentLength, -1)
  t.equal(head.expectsContinue, true)
  const seen: string[] = []
  head.forEach((name, value) => void seen.push(`${name}=${value}`))
  t.same(seen, ['host=A.Example:81', 'cookie=a=1', 'cookie=b=2', 'x-y=1', 'x-y=2', 'expect=100-Continue'])
})

t.test('other shapes of valid heads', async t => {
  t.equal(headOf(...M, ...S, ...P, 'host', 'h.example').authority, 'h.example', 'host instead of :authority')
  t.equal(headOf(...M, ...S, ...P, ...A, 'host', 'A.EXAMPLE').host, 'a.example', 'both, in other case')
  t.equal(headOf(':method', 'OPTIONS', ...S, ':path', '*', ...A).target, '*')
  t.equal(headOf(...M, ...S, ...P, ':authority', '[::1]:80').host, '[::1]')
  t.equal(headOf(...M, ...S, ...P, ...A, 'te', 'Trailers').get('te'), 'Trailers')
  t.equal(headOf(...M, ...S, ...P, ...A, 'x-empty', '').get('x-empty'), '')
  t.equal(headOf(...M, ...S, ...P, ...A, 'content-length', '7').contentLength, 7)
  const upgrade = headOf(':method', 'CONNECT', ':protocol', 'websocket', ...S, ':path', '/chat', ...A)
  t.equal(upgrade.isUpgrade, true)
  t.equal(upgrade.protocol, 'websocket')
})

t.test('RFC 8441 is announced only when it is wanted', async t => {
  const extended = [':method', 'CONNECT', ':protocol', 'websocket', ...S, ...P, ...A]
  const rig = readyRig('server', { allowsConnectProtocol: true })
  rig.push(headers(1, extended, 0))
  t.equal(rig.requests[0]?.request?.protocol, 'websocket')
})

t.test('fields that break a rule cannot be sent', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, GET))
  const [stream] = rig.requests
  for (const bad of [
    new HeaderField('x-a', 'b\r\nx: y'),
    new HeaderField('X-A', 'b'),
    new HeaderField('x-a', 'ü€'),
    new HeaderField('connection', 'close'),
  ]) {
    t.throws(() => stream!.sendHead([new HeaderField(':status', '200'), bad], true), { code: 'WTR_BAD_HEADER' })
  }
  t.same(rig.frames(), [], 'nothing was sent')
  stream!.sendHead(fieldsOf(':status', '200'), true)
  t.equal(rig.frames().length, 1, 'and the stream is still good')
})
