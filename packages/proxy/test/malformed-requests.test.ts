import t from 'tap'
import { createHarness, get } from './support/harness.ts'

const POST = 'POST / HTTP/1.1\r\nHost: a\r\n'

/** What the sender did, what it sent, and the status it gets. Every one is refused before any owner sees it. */
const REFUSED_HEADS: readonly (readonly [deed: string, bytes: string, status?: number])[] = [
  ['ends the request line with a bare LF', 'GET / HTTP/1.1\nHost: a\r\n\r\n'],
  ['ends a field with a bare LF', 'GET / HTTP/1.1\r\nHost: a\n\r\n'],
  ['ends the head with a bare LF', 'GET / HTTP/1.1\r\nHost: a\r\n\nX'],
  ['puts a bare CR into the request line', 'GET /\r HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['puts a bare CR into a value', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n'],
  ['puts NUL into a value', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n'],
  ['puts DEL into a value', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n'],
  ['puts ESC into a value', 'GET / HTTP/1.1\r\nHost: a\r\nX: \x1b\r\n\r\n'],
  ['separates method and target by two blanks', 'GET  / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['separates target and version by two blanks', 'GET /  HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['separates by a tab', 'GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['leaves a blank behind the version', 'GET / HTTP/1.1 \r\nHost: a\r\n\r\n'],
  ['begins with a blank', ' GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['begins with two empty lines', '\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['sends HTTP/0.9', 'GET /\r\n'],
  ['sends HTTP/2 as text', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n'],
  ['sends nearly the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n'],
  ['sends HTTP/1.2', 'GET / HTTP/1.2\r\nHost: a\r\n\r\n', 505],
  ['writes the version in lower case', 'GET / http/1.1\r\nHost: a\r\n\r\n'],
  ['sends a TLS hello', '\x16\x03\x01\x02\x00\x01\x00'],
  ['uses a method that is no token', 'G(T / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['uses an endless method', `${'A'.repeat(40)} / HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['puts a control character into the target', 'GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['puts raw UTF-8 into the target', 'GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['sends a fragment', 'GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['sends a relative target', 'GET a HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['sends * with GET', 'GET * HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['sends CONNECT', 'CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n', 405],
  ['sends another URL scheme', 'GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['names another host in the target than in Host', 'GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['hides user info in the target', 'GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['sends an endless target', `GET /${'a'.repeat(9000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
  ['sends no Host', 'GET / HTTP/1.1\r\n\r\n'],
  ['sends an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n'],
  ['sends two Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
  ['sends two equal Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n'],
  ['sends a Host with a slash', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n'],
  ['sends a Host with user info', 'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n'],
  ['sends a Host with a blank', 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n'],
  ['sends a Host list', 'GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n'],
  ['sends a Host with a word as port', 'GET / HTTP/1.1\r\nHost: a:http\r\n\r\n'],
  ['sends an unclosed IPv6 Host', 'GET / HTTP/1.1\r\nHost: [::1\r\n\r\n'],
  ['folds a line', 'GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n'],
  ['indents the first field', 'GET / HTTP/1.1\r\n Host: a\r\n\r\n'],
  ['puts a blank before the colon', 'GET / HTTP/1.1\r\nHost : a\r\n\r\n'],
  ['sends an empty field name', 'GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n'],
  ['sends a field without colon', 'GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n'],
  ['sends a field name in brackets', 'GET / HTTP/1.1\r\nHost: a\r\nX(1): x\r\n\r\n'],
  ['sends a field name with Latin-1', 'GET / HTTP/1.1\r\nHost: a\r\nX\xe9: x\r\n\r\n'],
  ['sends too many fields', `GET / HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(100)}\r\n`, 431],
  ['sends too large a head', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'y'.repeat(66_000)}\r\n\r\n`, 431],
  ['expects something unknown', `${get('/', 'Expect: 200-ok')}`, 417],
  ['sends length and chunks', `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['sends chunks and length', `${POST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`],
  ['sends two lengths', `${POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc`],
  ['sends two equal lengths', `${POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`],
  ['sends a list of lengths', `${POST}Content-Length: 3, 3\r\n\r\nabc`],
  ['signs the length', `${POST}Content-Length: +3\r\n\r\nabc`],
  ['sends a negative length', `${POST}Content-Length: -3\r\n\r\nabc`],
  ['sends a hexadecimal length', `${POST}Content-Length: 0x3\r\n\r\nabc`],
  ['sends an empty length', `${POST}Content-Length:\r\n\r\n`],
  ['sends a length with a blank inside', `${POST}Content-Length: 1 1\r\n\r\nabc`],
  ['sends a length of 16 digits', `${POST}Content-Length: 1000000000000000\r\n\r\nabc`],
  ['sends an unknown coding', `${POST}Transfer-Encoding: gzip\r\n\r\n`],
  ['sends gzip and chunked', `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  ['sends chunked twice', `${POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`],
  [
    'sends two codings in two fields',
    `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n`,
  ],
  ['quotes the coding', `${POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`],
  ['hides the coding behind a vertical tab', `${POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`],
  ['sends chunks in HTTP/1.0', 'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
]

t.test('a client that sends a malformed head is refused and cut off', async t => {
  const harness = await createHarness(t)
  for (const [deed, bytes, status] of REFUSED_HEADS) {
    const client = await harness.client()
    client.write(bytes)
    await client.ended()
    t.match(client.text, new RegExp(`^HTTP/1\\.1 ${status ?? 400} `), `one that ${deed}`)
    t.match(client.text, /\r\nconnection: close\r\n/, 'is told that the connection closes')
    t.equal(client.text.match(/HTTP\/1\.1 \d/g)?.length, 1, 'and gets one answer only')
    client.socket.destroy()
  }
  t.equal(harness.exchanges.length, 0, 'no owner ever sees such a request')
  t.equal(harness.proxy.stats().refusedTotal, REFUSED_HEADS.length)
})

const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`

const REFUSED_BODIES: readonly (readonly [deed: string, body: string])[] = [
  ['no size', '\r\nabc\r\n'],
  ['a 0x size', '0x3\r\nabc\r\n0\r\n\r\n'],
  ['a signed size', '+3\r\nabc\r\n0\r\n\r\n'],
  ['a negative size', '-3\r\nabc\r\n0\r\n\r\n'],
  ['a padded size', '03\r\nabc\r\n0\r\n\r\n'],
  ['a padded last chunk', '3\r\nabc\r\n000\r\n\r\n'],
  ['a size of nine digits', '100000000\r\n'],
  ['a blank behind the size', '3 \r\nabc\r\n0\r\n\r\n'],
  ['a blank before the size', ' 3\r\nabc\r\n0\r\n\r\n'],
  ['a bare LF behind the size', '3\nabc\r\n0\r\n\r\n'],
  ['a bare CR behind the size', '3\rabc\r\n0\r\n\r\n'],
  ['a bare LF in an extension', '3;a=b\nabc\r\n0\r\n\r\n'],
  ['a control character in an extension', '3;a=\x01\r\nabc\r\n0\r\n\r\n'],
  ['an endless extension', `3;${'a'.repeat(5000)}\r\nabc\r\n0\r\n\r\n`],
  ['data longer than the size', '3\r\nabcd\r\n0\r\n\r\n'],
  ['data ended by LF', '3\r\nabc\n0\r\n\r\n'],
  ['data ended by two CRs', '3\r\nabc\r\r0\r\n\r\n'],
  ['a trailer without colon', '0\r\nnonsense\r\n\r\n'],
  ['a folded trailer', '0\r\nX: 1\r\n 2\r\n\r\n'],
  ['trailers ended by LF', '0\r\nX: 1\r\n\nX'],
  ['endless trailers', `0\r\n${'X: y\r\n'.repeat(99)}X: ${'y'.repeat(9000)}\r\n\r\n`],
]

t.test('a malformed chunked body is refused in the middle, and its backend connection is cut', async t => {
  const harness = await createHarness(t)
  for (const [what, body] of REFUSED_BODIES) {
    const { client, outcome, upstream } = await harness.forwarded(CHUNKED)
    client.write(body)
    t.match(await outcome, { kind: 'client-malformed' }, `a body with ${what}`)
    await client.ended()
    t.match(client.text, /^HTTP\/1\.1 400 /)
    client.socket.destroy()
    await upstream.ended()
    t.notMatch(upstream.text, /\r\n0\r\n\r\n$/, 'never looks complete to the backend')
  }
  t.equal(harness.proxy.stats().upstreamIdle, 0)
})

t.test('unusual but valid requests are served', async t => {
  const rows: readonly (readonly [deed: string, bytes: string, path: string])[] = [
    ['begins with one empty line', '\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n', '/a'],
    ['sends empty values', 'GET /b HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t \r\n\r\n', '/b'],
    ['sends Latin-1 in a value', 'GET /c HTTP/1.1\r\nHost: a\r\nX: \xe9\r\n\r\n', '/c'],
    ['sends an absolute target', 'GET http://A:80/d?e HTTP/1.1\r\nHost: a:80\r\n\r\n', '/d'],
    ['sends an absolute target without path', 'GET http://a?e HTTP/1.1\r\nHost: a\r\n\r\n', '/'],
    ['asks for the server’s options', 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', '*'],
    ['speaks HTTP/1.0 without Host', 'GET /f HTTP/1.0\r\n\r\n', '/f'],
    ['uses an own method', 'BREW-1 /g HTTP/1.1\r\nHost: [::1]:80\r\n\r\n', '/g'],
    [
      'sends coding names in capitals',
      'POST /h HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n',
      '/h',
    ],
  ]
  const harness = await createHarness(t)
  for (const [deed, bytes, path] of rows) {
    const client = await harness.client()
    client.write(bytes)
    const exchange = await harness.nextExchange()
    t.equal(exchange.head.path, path, `one that ${deed}`)
    exchange.respond({ status: 204, headers: [] })
    await client.until('HTTP/1.1 204')
    client.socket.destroy()
  }
})

t.test('what breaks the framing is not passed on, however it is cut', async t => {
  const harness = await createHarness(t)
  const rows: readonly (readonly [what: string, body: string, passed: string])[] = [
    ['a bare LF behind a size', '3\nabc', '3'],
    ['a forbidden sign in a size', '3\r\nabc\r\n1x\r\n', '3\r\nabc\r\n1'],
    ['a second CR behind data', '3\r\nabc\r\r\n0\r\n\r\n', '3\r\nabc\r'],
    ['a bare LF in an extension', '3;a\n', '3;a'],
  ]
  for (const [what, body, passed] of rows) {
    for (const pieces of [[body], [...body]]) {
      const { client, outcome, upstream } = await harness.forwarded(CHUNKED)
      for (const piece of pieces) {
        client.write(piece)
        await new Promise(resolve => setImmediate(resolve))
      }
      t.match(await outcome, { kind: 'client-malformed' }, what)
      await upstream.ended()
      t.equal(upstream.text.split('\r\n\r\n').slice(1).join('\r\n\r\n'), passed)
      client.socket.destroy()
    }
  }
})

t.test('only blank and tab surround an option of Connection', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(get('/', 'Connection: \xa0close', 'X-Kept: 1'))
  upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  t.match(await outcome, { kind: 'completed' })
  await client.until('\r\n\r\n')
  t.notMatch(client.text, /connection: close/, 'a no-break space is part of another, unknown option')
  client.write(get('/', 'Connection:\t close \t,'))
  const closing = harness.forward(await harness.nextExchange())
  upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  t.match(await closing, { kind: 'completed' })
  await client.ended()
  t.match(client.text, /connection: close/)
})

t.test('names with underscores for hyphens do not pass for the names that are dropped', async t => {
  const harness = await createHarness(t)
  const { upstream } = await harness.forwarded(
    get(
      '/',
      'X_Waiter_Auth_Principal: evil',
      'x_waiter-Token: evil',
      'X-Waiter_Token: evil',
      'Transfer_Encoding: chunked',
      'Content_Length: 5',
      'Keep_Alive: 1',
      'X_Mine: kept',
      '_: kept',
      'Authorization_: kept',
    ),
  )
  t.equal(upstream.text, get('/', 'X_Mine: kept', '_: kept', 'Authorization_: kept'))
})

t.test('a client that sent FIN', async t => {
  const harness = await createHarness(t)
  harness.onExchange = exchange => exchange.respond({ status: 204, headers: [] })

  await t.test('behind half a head gets no more than the answers before it', async t => {
    const client = await harness.client()
    client.write(`${get('/')}GET / HTT`)
    client.socket.end()
    await client.ended()
    t.equal(client.text.match(/ 204 /g)?.length, 1)
  })

  await t.test('behind half a body of a pipelined request is gone', async t => {
    const gone: string[] = []
    harness.onExchange = exchange => {
      exchange.onClientGone = () => gone.push(exchange.head.path)
      if (exchange.head.path === '/first') exchange.respond({ status: 204, headers: [] })
    }
    const client = await harness.client()
    client.write(`${get('/first')}${POST.replace('/', '/second')}Content-Length: 9\r\n\r\nabc`)
    client.socket.end()
    await client.closed()
    t.same(gone, ['/second'])
  })

  await t.test('in the middle of chunks, before there was a backend connection, is gone at the next probe', async t => {
    harness.onExchange = null
    const client = await harness.client()
    client.write(`${CHUNKED}aA\r\nabc`)
    client.socket.end()
    const exchange = await harness.nextExchange()
    await client.until('100 Continue')
    const outcome = harness.forward(exchange)
    await (await harness.backend.next()).until('abc')
    harness.clock.advance(1_000)
    t.match(await outcome, { kind: 'client-gone', phase: 'request-body' })
  })
})
