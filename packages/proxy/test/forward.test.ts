import t from 'tap'
import { renderHeader } from '../src/index.ts'
import { createHarness, get, ok } from './support/harness.ts'

t.test('a request is forwarded verbatim, less what must go, plus what the owner adds', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(
    get(
      '/a%20b?c=d',
      'X-MiXed:  keeps its case and blanks',
      'X-Waiter-Token: secret',
      'Authorization: Basic x',
      'Cookie: a=1; x-waiter-auth=forged; b=2',
      'Connection: keep-alive, X-Hop',
      'X-Hop: 1',
      'Keep-Alive: timeout=5',
      'Proxy-Connection: keep-alive',
      'Proxy-Authorization: Basic x',
      'TE: trailers',
      'Accept: */*',
    ),
    { extraRequestHead: renderHeader('x-cid', 'c1'), extraResponseHead: renderHeader('via', '1.1 w') },
  )
  t.equal(
    upstream.take(),
    'GET /a%20b?c=d HTTP/1.1\r\nHost: service.example\r\nX-MiXed:  keeps its case and blanks\r\n' +
      'Cookie: a=1; b=2\r\nAccept: */*\r\nx-cid: c1\r\n\r\n',
  )
  upstream.write(
    ok(
      'hello',
      'Server: s',
      'Connection: keep-alive, X-Hop',
      'X-Hop: 1',
      'Keep-Alive: timeout=5',
      'Set-Cookie: x-waiter-auth=forged',
      'Set-Cookie: mine=1',
    ),
  )
  t.equal(
    await client.until('hello'),
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: s\r\nSet-Cookie: mine=1\r\nvia: 1.1 w\r\n\r\nhello',
  )
  t.match(await outcome, { kind: 'completed', status: 200 })
})

t.test('a cookie field that the owner empties is removed', async t => {
  const harness = await createHarness(t)
  const { upstream } = await harness.forwarded(get('/', 'Cookie: x-waiter-auth=1'))
  t.equal(upstream.text, get('/'))
})

t.test('a connection cannot nominate away what the engine needs', async t => {
  const harness = await createHarness(t)
  const { upstream } = await harness.forwarded(
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: host, content-length\r\n\r\nhi',
  )
  t.equal(await upstream.until('hi'), 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi')
})

t.test('keep-alive on both sides: requests share one client and one backend connection', async t => {
  const harness = await createHarness(t)
  const client = await harness.client()
  let upstream: Awaited<ReturnType<typeof harness.backend.next>> | null = null
  for (let i = 0; i < 3; i++) {
    client.write(get(`/${i}`))
    const outcome = harness.forward(await harness.nextExchange())
    upstream ??= await harness.backend.next()
    await upstream.until(`/${i} `)
    upstream.write(ok(`answer ${i}`))
    await client.until(`answer ${i}`)
    t.match(await outcome, { kind: 'completed', status: 200, responseBytes: ok(`answer ${i}`).length })
  }
  t.equal(harness.backend.peers.length, 1)
  t.match(harness.proxy.stats(), { upstreamConnectsTotal: 1, upstreamReusedTotal: 2, upstreamIdle: 1 })
})

t.test('pipelined requests are answered in order, one at a time', async t => {
  const harness = await createHarness(t)
  const client = await harness.client()
  client.write(get('/1') + get('/2') + get('/3'))
  const first = await harness.nextExchange()
  t.equal(first.head.path, '/1')
  t.equal(harness.exchanges.length, 1, 'the second waits for the first')
  first.respond({ status: 200, headers: [], body: 'one' })
  const second = await harness.nextExchange()
  t.equal(second.head.path, '/2')
  t.equal(first.head.get('host'), 'service.example', 'a finished head still answers')
  const outcome = harness.forward(second)
  const upstream = await harness.backend.next()
  await upstream.until('\r\n\r\n')
  upstream.write(ok('two'))
  t.match(await outcome, { kind: 'completed' })
  ;(await harness.nextExchange()).respond({ status: 200, headers: [], body: 'three' })
  t.match(await client.until('three'), /one.*two.*three/s)
})

t.test('an owner that answers synchronously serves a thousand pipelined requests without deep recursion', async t => {
  const harness = await createHarness(t)
  harness.onExchange = exchange => exchange.respond({ status: 200, headers: [], body: `${exchange.head.path}!` })
  const client = await harness.client()
  client.write(Array.from({ length: 1000 }, (_, i) => get(`/${i}`)).join(''))
  await client.until('/999!')
  t.equal(client.text.match(/HTTP\/1\.1 200/g)?.length, 1000)
})

t.test('unread pipelined input is bounded: the socket is paused', async t => {
  const harness = await createHarness(t, { clientInputBytesMax: 16 * 1024 })
  const client = await harness.client()
  client.write(get('/first'))
  const exchange = await harness.nextExchange()
  const flood = Buffer.alloc(8 * 1024 * 1024, get('/flood'))
  client.write(flood)
  await client.when(() => client.socket.writableLength > 0 && client.socket.bytesWritten > 0)
  // The client can write no more than the kernel's buffers hold; wait until our side has stopped reading.
  await new Promise<void>(resolve => {
    const check = (): void => {
      if (harness.proxy.stats().bufferedBytes > 16 * 1024) resolve()
      else setImmediate(check)
    }
    check()
  })
  for (let i = 0; i < 50; i++) await new Promise(resolve => setImmediate(resolve))
  t.ok(harness.proxy.stats().bufferedBytes < 512 * 1024, 'bounded memory')
  exchange.abort()
})

t.test('request bodies of known length and in chunks arrive unchanged', async t => {
  const harness = await createHarness(t)
  const big = 'x'.repeat(200_000)
  const rows: readonly (readonly [name: string, framing: string, body: string])[] = [
    ['empty', 'Content-Length: 0', ''],
    ['small', 'Content-Length: 5', 'hello'],
    ['binary', 'Content-Length: 256', Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString('latin1')],
    ['big', `Content-Length: ${big.length}`, big],
  ]
  for (const [name, framing, body] of rows) {
    const client = await harness.client()
    client.write(`PUT / HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n${body}`)
    const outcome = harness.forward(await harness.nextExchange())
    const upstream = harness.backend.peers[0] ?? (await harness.backend.next())
    await upstream.until(text => text.endsWith(`\r\n\r\n${body}`))
    t.equal(upstream.take(), `PUT / HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n${body}`, name)
    upstream.write(ok('done'))
    await client.until('done')
    t.match(await outcome, { kind: 'completed' })
  }
  const client = await harness.client()
  client.write('POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n5;ext=1\r\nhello\r\n')
  const outcome = harness.forward(await harness.nextExchange())
  const upstream = harness.backend.peers[0]!
  await upstream.until('hello\r\n')
  client.write('0\r\nX-Waiter-Sneaky: 1\r\n\r\n')
  t.equal(
    await upstream.until('0\r\n\r\n'),
    'POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\n\r\n',
    'trailers are not forwarded to an HTTP/1.1 backend',
  )
  upstream.write(ok('done'))
  t.match(await outcome, { kind: 'completed' })
  t.equal(harness.backend.peers.length, 1, 'all on one backend connection')
})

t.test('a content length with zeros in front is understood and rendered plainly', async t => {
  const harness = await createHarness(t)
  const { upstream } = await harness.forwarded('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 002\r\n\r\nhi')
  t.equal(await upstream.until('hi'), 'PUT / HTTP/1.1\r\nHost: a\r\ncontent-length: 2\r\n\r\nhi')
})

t.test('responses without a body end at the head', async t => {
  const rows: readonly (readonly [name: string, method: string, response: string])[] = [
    ['HEAD with length', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n'],
    ['204', 'GET', 'HTTP/1.1 204 No Content\r\n\r\n'],
    ['304 with length', 'GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n'],
  ]
  const harness = await createHarness(t)
  for (const [name, method, response] of rows) {
    const client = await harness.client()
    client.write(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`)
    const outcome = harness.forward(await harness.nextExchange())
    const upstream = harness.backend.peers[0] ?? (await harness.backend.next())
    await upstream.until('\r\n\r\n')
    upstream.take()
    upstream.write(response)
    t.equal(await client.until('\r\n\r\n'), response, name)
    t.match(await outcome, { kind: 'completed' })
  }
  t.equal(harness.proxy.stats().upstreamIdle, 1, 'and the connections live on')
})

t.test('chunked responses and their trailers pass; forbidden trailers do not', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(get('/'))
  upstream.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n')
  await client.until('abc')
  upstream.write('0\r\nX-Sum: 1\r\nContent-Length: 9\r\nSet-Cookie: x-waiter-auth=1\r\n\r\n')
  t.equal(
    await client.until('\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n'),
    'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n',
  )
  t.match(await outcome, { kind: 'completed', status: 200 })
  t.equal(harness.proxy.stats().upstreamIdle, 1)
})

t.test('a response that ends with the connection closes the client’s, too', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(get('/'))
  upstream.write('HTTP/1.0 200 OK\r\n\r\nabc')
  await client.until('abc')
  upstream.socket.end('def')
  await client.ended()
  t.equal(client.text, 'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabcdef')
  t.match(await outcome, { kind: 'completed', status: 200 })
  t.equal(harness.proxy.stats().upstreamConnections, 0)
})

t.test('HTTP/1.0 clients', async t => {
  const harness = await createHarness(t)

  t.test('get a Host made up, plain payload instead of chunks, and the end of the connection', async t => {
    const { client, outcome, upstream } = await harness.forwarded('GET /x HTTP/1.0\r\nAccept: */*\r\n\r\n')
    t.equal(upstream.text, `GET /x HTTP/1.1\r\nAccept: */*\r\nhost: 127.0.0.1:${harness.backend.port}\r\n\r\n`)
    upstream.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n')
    upstream.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nX: y\r\n\r\n')
    await client.ended()
    t.equal(client.text, 'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabcdef')
    t.match(await outcome, { kind: 'completed' })
    t.equal(harness.proxy.stats().upstreamIdle, 1, 'the backend connection lives on')
  })

  t.test('may keep the connection when the length is known', async t => {
    const client = await harness.client()
    harness.onExchange = exchange => exchange.respond({ status: 200, headers: [], body: exchange.head.path })
    client.write('GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
    t.match(await client.until('/1'), /\r\nconnection: keep-alive\r\n/)
    client.take()
    client.write('GET /2 HTTP/1.0\r\n\r\n')
    t.match(await client.until('/2'), /\r\nconnection: close\r\n/)
    await client.ended()
  })
})

t.test('Expect: 100-continue goes to the backend, and its 100 comes back', async t => {
  const harness = await createHarness(t)
  const head = 'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n'
  const { client, outcome, upstream } = await harness.forwarded(head)
  t.equal(upstream.text, head)
  upstream.write('HTTP/1.1 100 Continue\r\n\r\n')
  await client.until('HTTP/1.1 100 Continue\r\n\r\n')
  client.write('body')
  await upstream.until('body')
  upstream.write(ok('fine'))
  await client.until('fine')
  t.match(await outcome, { kind: 'completed', status: 200 })
})

t.test('a final answer instead of 100 closes the client’s connection: the body may or may not come', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(
    'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n',
  )
  upstream.write('HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n')
  t.match(await client.until('\r\n\r\n'), /\r\nconnection: close\r\n/)
  await client.ended()
  t.match(await outcome, { kind: 'completed', status: 417 })
  await upstream.ended()
})

t.test('an owner that drops Expect makes the engine send the 100', async t => {
  const harness = await createHarness(t, {}, { dropRequest: { names: ['expect'], prefixes: [] } })
  const { client, upstream } = await harness.forwarded(
    'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n',
  )
  t.notMatch(upstream.text, /expect/i)
  await client.until('HTTP/1.1 100 Continue\r\n\r\n')
  client.write('body')
  await upstream.until('body')
})

t.test('1xx responses are relayed; fields of theirs obey the same rules', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(get('/'))
  upstream.write(`HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\nConnection: X\r\nX: 1\r\n\r\n${ok('body')}`)
  t.equal(
    await client.until('body'),
    'HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody',
  )
  t.match(await outcome, { kind: 'completed', status: 200 })
})

t.test('an early response goes through while the body is still coming', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345',
  )
  await upstream.until('12345')
  upstream.write(ok('too early'))
  t.notMatch(await client.until('too early'), /connection: close/)
  t.match(await outcome, { kind: 'completed', status: 200 })
  await upstream.ended()
  client.take()
  client.write(`67890${get('/next')}`)
  const next = await harness.nextExchange()
  t.equal(next.head.path, '/next', 'the rest of the body is swallowed and the connection goes on')
})

t.test('both bodies may stream at once', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n',
  )
  upstream.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
  for (let i = 0; i < 5; i++) {
    client.write(`3\r\nup${i}\r\n`)
    await upstream.until(`up${i}`)
    upstream.write(`5\r\ndown${i}\r\n`)
    await client.until(`down${i}`)
  }
  client.write('0\r\n\r\n')
  await upstream.until('0\r\n\r\n')
  upstream.write('0\r\n\r\n')
  t.match(await outcome, { kind: 'completed' })
  t.equal(harness.proxy.stats().upstreamIdle, 1)
})

t.test('the owner sees the response head in time to add to it', async t => {
  const harness = await createHarness(t)
  const seen: unknown[] = []
  const { client, outcome, upstream } = await harness.forwarded(get('/'), {
    onResponseHead: (status, header) => seen.push([status, header('x-a'), header('x-none')]),
    lateResponseHead: () => renderHeader('x-late', '1'),
  })
  upstream.write('HTTP/1.1 503\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n')
  t.match(
    await client.until('\r\n\r\n'),
    /^HTTP\/1\.1 503 \r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\nx-late: 1\r\n\r\n$/,
  )
  t.same(seen, [[503, '1, 2', undefined]])
  t.match(await outcome, { kind: 'completed', status: 503 })
})

t.test('IPv6 backends are reached', async t => {
  const harness = await createHarness(t)
  const { RawBackend } = await import('./support/raw-peer.ts')
  const backend = new RawBackend()
  try {
    await backend.listen('::1')
  } catch {
    t.comment('this machine has no IPv6 loopback')
    return
  }
  t.teardown(() => backend.close())
  const client = await harness.client()
  client.write('GET / HTTP/1.0\r\n\r\n')
  void harness.forward(await harness.nextExchange(), { host: '::1', port: backend.port })
  const upstream = await backend.next()
  t.match(await upstream.until('\r\n\r\n'), `host: [::1]:${backend.port}\r\n`)
})
