import type { Prng } from '../../packages/base/src/index.ts'
import {
  chunk,
  type Draft,
  dropField,
  field,
  HOST,
  type Oddity,
  setField,
  smuggled,
  withChunks,
  withLength,
} from './odd-request.ts'

export const pick = <T>(prng: Prng, values: readonly T[]): T => values[prng.below(values.length)] as T

/** An oddity that takes one of several values at random. */
function oneOf<T>(name: string, values: readonly T[], spoil: (one: Draft, value: T) => void): Oddity {
  return { name, spoil: (one, prng) => spoil(one, pick(prng, values)) }
}

const START_LINE: readonly Oddity[] = [
  oneOf('method', ['get', 'G(T', '', 'A'.repeat(40), 'CONNECT', 'TRACE', 'G\xc9T', 'BREW-1', 'G\tT'], (one, method) => {
    one.method = method
  }),
  oneOf(
    'target',
    [
      '*',
      'relative',
      `http://${HOST}/ABS`,
      'http://other.example/ABS',
      `http://u@${HOST}/ABS`,
      'ftp://a/ABS',
      '',
      '//ABS',
    ],
    (one, target) => {
      one.target = target.replace('ABS', one.id)
    },
  ),
  oneOf(
    'target-characters',
    [
      '#x',
      ' x',
      '\tx',
      '\x01',
      '\x7f',
      '\x80',
      '\xe9',
      '%00',
      '%',
      '/../..',
      '\\x',
      '"<>',
      '|^`{}',
      '?a=b?c',
      '%0d%0a',
      '\0',
    ],
    (one, text) => {
      one.target += text
    },
  ),
  oneOf(
    'version',
    [
      'HTTP/1.0',
      'HTTP/0.9',
      'HTTP/2.0',
      'HTTP/1.2',
      'http/1.1',
      'HTTP/1.1 ',
      '',
      'HTTP/01.1',
      'HTTP/1.10',
      'HTTP/11',
      'ICAP/1.1',
    ],
    (one, version) => {
      one.version = version
    },
  ),
  oneOf('gaps', ['  ', '\t', '', ' \t', '\x0b', '\r'], (one, gap) => {
    one.gaps[one.id.length % 2] = gap
  }),
  oneOf('before-request', ['\r\n', '\n', '\r\n\r\n', ' ', '\r', '\0'], (one, text) => {
    one.before = text
  }),
  oneOf('target-length', [4000, 9000, 20_000], (one, length) => {
    one.target += `?${'q'.repeat(length)}`
  }),
]

const LINES: readonly Oddity[] = [
  oneOf('line-end-of-start', ['\n', '\r', '\r\r\n', '\n\r', '\r\n '], (one, end) => {
    one.lineEnd = end
  }),
  {
    name: 'line-end-of-field',
    spoil: (one, prng) => {
      pick(prng, one.fields).end = pick(prng, ['\n', '\r', '\r\r\n', '\n\r\n', ''])
    },
  },
  oneOf('line-end-of-head', ['\n', '\r\r\n', '\r'], (one, end) => {
    one.blankLine = end
  }),
  oneOf(
    'fold',
    ['X: 1\r\n 2', 'X: 1\r\n\t2', 'X:\r\n 1', 'Content-Length:\r\n 0', 'Transfer-Encoding:\r\n chunked'],
    (one, text) => {
      const [name, value] = text.split(/:(.*)/s) as [string, string]
      one.fields.push({ name, colon: ':', value, end: '\r\n' })
    },
  ),
  oneOf('indented-first-field', [' ', '\t'], (one, blank) => {
    ;(one.fields[0] as { name: string }).name = `${blank}Host`
  }),
  oneOf(
    'field-name',
    [
      'X(1)',
      'X Y',
      'X-Blank ',
      'X-Tab\t',
      '',
      'X\xe9',
      'X_Under',
      'X.Dot',
      'X@',
      'X\0',
      '"X"',
      'X-Waiter-Auth-Principal',
      'X_Waiter_Auth_Principal',
    ],
    (one, name) => {
      one.fields.push(field(name, '1'))
    },
  ),
  oneOf('line-without-colon', ['nonsense', 'two words', '\xff'], (one, name) => {
    one.fields.push({ name, colon: '', value: '', end: '\r\n' })
  }),
  oneOf(
    'field-value',
    [
      'a\0b',
      'a\x7fb',
      'a\x01b',
      'a\x0bb',
      '\xe9\xff',
      'a\rb',
      'a\tb',
      '  padded \t ',
      '',
      '\t',
      'a\x1bb',
      'a\x0cb',
      '"q\\"',
    ],
    (one, value) => {
      one.fields.push(field('X-Odd', value))
    },
  ),
  oneOf('many-fields', [40, 95, 99, 110, 200], (one, count) => {
    for (let i = 0; i < count; i++) one.fields.push(field(`X-${i}`, 'y'))
  }),
  oneOf('long-field', [4000, 12_000, 20_000, 70_000], (one, length) => {
    one.fields.push(field('X-Long', 'v'.repeat(length)))
  }),
]

const HOSTS: readonly Oddity[] = [
  {
    name: 'no-host',
    spoil: one => dropField(one, 'Host'),
  },
  oneOf('host-twice', [HOST, 'other.example', ''], (one, host) => {
    one.fields.push(field('host', host))
  }),
  oneOf(
    'host-value',
    [
      '',
      'a b',
      'a/b',
      'u@a',
      'a:1:2',
      'a:http',
      'a:99999',
      'a:',
      '[::1]',
      '[::1',
      'A.Example',
      'a.example.',
      'a, b',
      'a\\b',
      'a?b',
      'a#b',
      '%41',
      'a\tb',
      '\xe9',
      'a:80',
      '-',
      '{}',
    ],
    (one, host) => setField(one, 'Host', host),
  ),
]

const LENGTHS: readonly Oddity[] = [
  oneOf(
    'length-value',
    [
      '+N',
      '-N',
      '0xN',
      ' N ',
      'N N',
      '0N',
      '00000N',
      'N, N',
      'N,',
      ',N',
      '',
      'N;a',
      '"N"',
      'N.0',
      'NeN',
      '\x0bN',
      'N\x0c',
      '1000000000000000N',
      '18446744073709551616',
      '99999999999999999999N',
      'N, 0',
      '0, N',
    ],
    (one, value) => {
      const body = smuggled(one.id)
      withLength(one, body, value.replaceAll('N', String(body.length)))
    },
  ),
  oneOf('length-twice', ['same', 'zero', 'shorter'], (one, second) => {
    const body = smuggled(one.id)
    withLength(one, body)
    one.fields.push(field('content-length', second === 'same' ? String(body.length) : second === 'zero' ? '0' : '5'))
  }),
  {
    name: 'length-too-long',
    spoil: (one, prng) => withLength(one, 'abc', String(4 + prng.below(500))),
  },
  { name: 'length-too-short', spoil: one => withLength(one, `abc${smuggled(one.id)}`, '3') },
  {
    name: 'length-of-get',
    spoil: (one, prng) => {
      withLength(one, smuggled(one.id))
      one.method = pick(prng, ['GET', 'HEAD', 'DELETE', 'OPTIONS'])
    },
  },
  { name: 'length-zero', spoil: one => withLength(one, '') },
  { name: 'length-hides-request', spoil: one => withLength(one, smuggled(one.id)) },
  oneOf(
    'length-by-underscore',
    ['Content_Length', 'Content-Length\x0b', 'Content\xadLength', 'CONTENT-LENGTH'],
    (one, name) => {
      one.method = 'POST'
      one.fields.push(field(name, '5'))
    },
  ),
]

const last = '0\r\n\r\n'

const CODINGS: readonly Oddity[] = [
  oneOf(
    'coding-value',
    [
      'gzip',
      'gzip, chunked',
      'chunked, chunked',
      'chunked, gzip',
      'identity',
      'Chunked',
      'CHUNKED',
      '\x0bchunked',
      '"chunked"',
      'xchunked',
      'chunked;q=1',
      'chunked,',
      ',chunked',
      ' chunked ',
      'chunked\t',
      'chun ked',
      '',
      'identity, chunked',
      'chunked\x0c',
      '\xa0chunked',
    ],
    (one, coding) => withChunks(one, chunk('abc') + last, coding),
  ),
  oneOf('coding-twice', ['identity', 'chunked', 'gzip', ''], (one, second) => {
    withChunks(one, chunk('abc') + last)
    one.fields.push(field('transfer-encoding', second))
  }),
  oneOf(
    'coding-spelled',
    [
      'Transfer_Encoding',
      'Transfer-Encoding ',
      'transfer-encoding',
      'Transfer-Encoding\t',
      'TRANSFER-ENCODING',
      'X\rTransfer-Encoding',
      'X:1\nTransfer-Encoding',
    ],
    (one, name) => {
      withChunks(one, chunk('abc') + last)
      ;(one.fields.at(-1) as { name: string }).name = name
    },
  ),
  {
    name: 'length-and-chunks',
    spoil: (one, prng) => {
      withChunks(one, `${chunk('abc')}${last}`)
      const length = field('Content-Length', String(pick(prng, [0, 3, 5, one.body.length, 500])))
      if (prng.below(2) === 0) one.fields.push(length)
      else one.fields.splice(1, 0, length)
      if (prng.below(2) === 0) one.body += smuggled(one.id)
    },
  },
  {
    name: 'chunks-in-http-1.0',
    spoil: one => {
      withChunks(one, chunk('abc') + last)
      one.version = 'HTTP/1.0'
    },
  },
  { name: 'chunks-hide-request', spoil: one => withChunks(one, chunk(smuggled(one.id)) + last) },
  oneOf('chunks-of-get', ['GET', 'HEAD', 'DELETE'], (one, method) => {
    withChunks(one, chunk(smuggled(one.id)) + last)
    one.method = method
  }),
]

const CHUNKS: readonly Oddity[] = [
  oneOf(
    'chunk-size',
    [
      '0003',
      '00000003',
      '000000003',
      '0x3',
      '3 ',
      ' 3',
      '+3',
      '-3',
      '3\t',
      '',
      'g',
      '3;',
      '3 ;a',
      '3,',
      '3\x0b',
      '100000003',
      'FFFFFFFFFFFFFFFF3',
      '3\r',
      '3\0',
      '３',
    ],
    (one, size) => withChunks(one, `${size}\r\nabc\r\n${last}`),
  ),
  oneOf('chunk-capitals', ['A', 'a', 'aA'], (one, size) =>
    withChunks(one, `${size}\r\n${'x'.repeat(Number.parseInt(size, 16))}\r\n${last}`),
  ),
  oneOf(
    'chunk-extension',
    [
      ';a=b',
      ';a="b;c"',
      ';a="b\r\nc"',
      ';',
      '; a = b',
      ';a\nb',
      ';\x01',
      `;${'e'.repeat(300)}`,
      `;${'e'.repeat(6000)}`,
      ';\xe9',
      ' ;a',
      ';a\x7f',
    ],
    (one, extension) => withChunks(one, chunk('abc', extension) + last),
  ),
  oneOf(
    'chunk-line-ends',
    [
      '3\nabc\r\n0\r\n\r\n',
      '3\r\nabc\n0\r\n\r\n',
      '3\r\nabc\r\n0\n\n',
      '3\r\nabc\r\n0\r\n\n',
      '3\rabc\r\n0\r\n\r\n',
      '3\r\nabc\r\r\n0\r\n\r\n',
      '3\r\nabc0\r\n\r\n',
      '3\n\rabc\r\n0\r\n\r\n',
      '3\r\nabc\r\n0\r\n\rX\n',
    ],
    (one, body) => withChunks(one, body),
  ),
  oneOf('chunk-longer-than-size', ['abcd', 'abcde', `abc${'\r\n'}X`], (one, data) =>
    withChunks(one, `3\r\n${data}\r\n${last}`),
  ),
  oneOf(
    'last-chunk',
    ['00\r\n\r\n', '0;a=b\r\n\r\n', '0000\r\n\r\n', '0 \r\n\r\n', '\r\n0\r\n\r\n', '0\r\n'],
    (one, end) => withChunks(one, chunk('abc') + end),
  ),
  oneOf(
    'trailers',
    [
      'X-Sum: 1\r\n',
      'Content-Length: 5\r\n',
      'Host: evil.example\r\n',
      'Transfer-Encoding: chunked\r\n',
      'nonsense\r\n',
      'X: 1\r\n 2\r\n',
      'X : 1\r\n',
      'X: a\0b\r\n',
      'X: 1\n',
      `X: ${'t'.repeat(9000)}\r\n`,
      'X-Waiter-Auth-Principal: evil\r\n',
      'X: 1\r\nY: 2\r\n',
    ],
    (one, trailers) => withChunks(one, `${chunk('abc')}0\r\n${trailers}\r\n`),
  ),
]

const CONNECTION: readonly Oddity[] = [
  oneOf(
    'connection',
    [
      'close',
      'keep-alive',
      'x-hop',
      'close, keep-alive',
      'host',
      'content-length',
      'transfer-encoding',
      'x-odd, close',
      'CLOSE',
      ',',
      '\xa0close',
      'upgrade',
      'te',
      'keep-alive, x-waiter-token',
      'authorization',
    ],
    (one, value) => {
      one.fields.push(
        field('Connection', value),
        field('X-Hop', '1'),
        field('TE', 'trailers'),
        field('Keep-Alive', 'timeout=5'),
      )
    },
  ),
  oneOf('connection-with-body', ['content-length', 'transfer-encoding', 'close'], (one, value) => {
    if (value === 'transfer-encoding') withChunks(one, chunk(smuggled(one.id)) + last)
    else withLength(one, smuggled(one.id))
    one.fields.push(field('Connection', value))
  }),
  oneOf('upgrade', ['websocket', 'h2c', 'TLS/1.0', 'websocket, h2c', 'foo', ''], (one, protocol) => {
    one.fields.push(
      field('Connection', 'Upgrade, HTTP2-Settings'),
      field('Upgrade', protocol),
      field('HTTP2-Settings', 'AAMAAABkAAQ'),
    )
  }),
  oneOf('expect', ['100-continue', '100-Continue', '200-ok', '', '100-continue, x'], (one, value) => {
    withLength(one, smuggled(one.id))
    one.fields.push(field('Expect', value))
  }),
  oneOf('expect-without-body', ['100-continue', '200-ok'], (one, value) => {
    one.fields.push(field('Expect', value))
  }),
  oneOf('http-1.0', ['keep-alive', 'close', 'none', 'no-host'], (one, kind) => {
    one.version = 'HTTP/1.0'
    if (kind === 'no-host') dropField(one, 'Host')
    else if (kind !== 'none') one.fields.push(field('Connection', kind))
  }),
]

const ORDINARY: readonly Oddity[] = [
  { name: 'ordinary', spoil: () => undefined },
  { name: 'ordinary-length', spoil: (one, prng) => withLength(one, 'b'.repeat(prng.below(3000))) },
  {
    name: 'ordinary-chunks',
    spoil: (one, prng) => {
      const pieces = Array.from({ length: prng.below(5) }, () => chunk('d'.repeat(1 + prng.below(800))))
      withChunks(one, pieces.join('') + last)
    },
  },
  oneOf('ordinary-method', ['HEAD', 'OPTIONS', 'DELETE', 'PATCH', 'PROPFIND'], (one, method) => {
    one.method = method
  }),
  {
    name: 'ordinary-cookies',
    spoil: one => {
      one.fields.push(
        field('Cookie', 'a=1; x-waiter-auth=2; b=3'),
        field('Cookie', 'c=4'),
        field('Authorization', 'Basic eDp5'),
      )
    },
  },
]

/** Every way to be odd, in groups of equal weight. */
export const ODDITY_GROUPS: readonly (readonly Oddity[])[] = [
  START_LINE,
  LINES,
  HOSTS,
  LENGTHS,
  CODINGS,
  CHUNKS,
  CONNECTION,
  ORDINARY,
]
