import { createServer } from 'node:net'
import t from 'tap'
import type { Outcome } from '../src/index.ts'
import { createHarness, get, ok } from './support/harness.ts'

const POST = 'POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n'

/** Lets the loop run until `condition` holds; for things that announce themselves only in `stats()`. */
async function settled(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}

t.test('a port where nobody listens: not sent, and the same exchange goes elsewhere with its body', async t => {
  const harness = await createHarness(t)
  const probe = createServer()
  await new Promise<void>(resolve => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as { port: number }
  await new Promise(resolve => probe.close(resolve))
  const client = await harness.client()
  client.write(`${POST}0123456789`)
  const exchange = await harness.nextExchange()
  t.same(await harness.forward(exchange, { port }), { kind: 'not-sent', reason: 'refused', code: 'ECONNREFUSED' })
  t.notOk(exchange.isFinished)
  const outcome = harness.forward(exchange)
  const upstream = await harness.backend.next()
  await upstream.until('0123456789')
  upstream.write(ok('second try'))
  await client.until('second try')
  t.match(await outcome, { kind: 'completed', status: 200 })
})

t.test('a name that does not resolve: not sent, and the owner may answer', async t => {
  const harness = await createHarness(t)
  const client = await harness.client()
  client.write(get('/'))
  const exchange = await harness.nextExchange()
  t.match(await harness.forward(exchange, { host: 'no.such.host.invalid' }), {
    kind: 'not-sent',
    reason: 'connect-error',
  })
  exchange.respond({ status: 502, headers: [], body: 'nobody there' })
  await client.until('nobody there')
})

t.test('responses that break the rules: the backend is cut, the client untouched', async t => {
  const rows: readonly (readonly [deed: string, bytes: string])[] = [
    ['sends no HTTP', 'hello there\r\n\r\n'],
    ['sends a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n'],
    ['sends a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['sends a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n'],
    ['sends status 000', 'HTTP/1.1 000 OK\r\n\r\n'],
    ['sends HTTP/2', 'HTTP/2.0 200 OK\r\n\r\n'],
    ['folds a line', 'HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n'],
    ['puts a blank before the colon', 'HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello'],
    ['sends NUL', 'HTTP/1.1 200 OK\r\nX: \0\r\n\r\n'],
    ['sends length and chunks', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['sends two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello'],
    ['sends a padded length', 'HTTP/1.1 200 OK\r\nContent-Length: 05\r\n\r\nhello'],
    ['sends a negative length', 'HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello'],
    ['sends an unknown coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n'],
    ['sends chunks in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['sends an endless head', `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(70_000)}\r\n\r\n`],
    ['sends 1xx for ever', 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(70)],
  ]
  const harness = await createHarness(t)
  for (const [deed, bytes] of rows) {
    const { client, exchange, outcome, upstream } = await harness.forwarded(get('/'))
    upstream.write(bytes)
    t.match(
      await outcome,
      { kind: 'failed-before-response', reason: 'malformed-response', retryable: true },
      `a backend that ${deed}`,
    )
    exchange.respond({ status: 502, headers: [], body: 'sorry' })
    await client.until('sorry')
    await upstream.ended()
    client.socket.destroy()
  }
  t.match(harness.proxy.stats(), { upstreamConnections: 0, activeExchanges: 0 })
})

t.test('a fresh connection closed without a word is no stale one: reported, retryable by method and body', async t => {
  const harness = await createHarness(t)
  const rows: readonly (readonly [request: string, retryable: boolean])[] = [
    [get('/'), true],
    ['DELETE / HTTP/1.1\r\nHost: a\r\n\r\n', true],
    ['POST / HTTP/1.1\r\nHost: a\r\n\r\n', false],
    ['PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi', false],
  ]
  for (const [request, retryable] of rows) {
    const { client, exchange, outcome, upstream } = await harness.forwarded(request)
    upstream.socket.end()
    t.match(await outcome, { kind: 'failed-before-response', reason: 'closed', retryable }, request.slice(0, 10))
    exchange.respond({ status: 502, headers: [] })
    await client.until('502')
  }
})

t.test('half a response head is a failure before the response', async t => {
  const harness = await createHarness(t)
  const { client, exchange, outcome, upstream } = await harness.forwarded(get('/'))
  upstream.write('HTTP/1.1 200 OK\r\nContent-Le')
  upstream.socket.end()
  t.match(await outcome, { kind: 'failed-before-response', reason: 'closed' })
  exchange.respond({ status: 502, headers: [] })
  await client.until('502')
})

t.test('a reset before the response is a failure before the response', async t => {
  const harness = await createHarness(t)
  const { exchange, outcome, upstream } = await harness.forwarded(get('/'))
  upstream.socket.resetAndDestroy()
  t.match(await outcome, { kind: 'failed-before-response', reason: 'reset', detail: 'ECONNRESET', retryable: true })
  exchange.respond({ status: 502, headers: [] })
})

t.test('a stale pooled connection is replaced once, unseen by the owner', async t => {
  const harness = await createHarness(t)
  for (const request of [get('/second'), 'PUT /second HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody']) {
    const first = await harness.forwarded(get('/first'))
    first.upstream.write(ok('1'))
    await first.outcome
    first.upstream.take()
    // The backend closes exactly when the next request is on its way.
    first.client.write(request)
    const outcome = harness.forward(await harness.nextExchange())
    await first.upstream.until('/second')
    first.upstream.socket.resetAndDestroy()
    const fresh = await harness.backend.next()
    await fresh.until(request)
    fresh.write(ok('2', 'Connection: close'))
    await first.client.until(/\r\n\r\n2/)
    t.match(await outcome, { kind: 'completed', status: 200 })
  }
  t.equal(harness.proxy.stats().staleRetriesTotal, 2)
})

t.test('a POST on a stale connection is not repeated: it may have been executed', async t => {
  const harness = await createHarness(t)
  const first = await harness.forwarded(get('/first'))
  first.upstream.write(ok('1'))
  await first.outcome
  first.client.write('POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n')
  const exchange = await harness.nextExchange()
  const outcome = harness.forward(exchange)
  await first.upstream.until('/second')
  first.upstream.socket.resetAndDestroy()
  t.match(await outcome, { kind: 'failed-before-response', retryable: false })
  exchange.respond({ status: 502, headers: [] })
  t.equal(harness.proxy.stats().staleRetriesTotal, 0)
})

t.test('a write that the kernel refuses has sent nothing, so even a POST goes out anew', async t => {
  const harness = await createHarness(t)
  const post = (body: string): string => `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  for (const body of ['', 'body']) {
    const first = await harness.forwarded(get('/first'))
    first.upstream.write(ok('1', 'X: y'))
    await first.outcome
    first.client.write(post(body))
    const exchange = await harness.nextExchange()
    // The RST is here, but the event loop has not looked at that socket yet.
    first.upstream.socket.resetAndDestroy()
    let outcome = harness.forward(exchange)
    if (body === '') {
      t.match(await outcome, { kind: 'not-sent', reason: 'stale' }, 'untouched: the owner chooses again')
      outcome = harness.forward(exchange)
    }
    const fresh = await harness.backend.next()
    await fresh.until(post(body))
    fresh.write(ok('2', 'Connection: close'))
    t.match(await outcome, { kind: 'completed', status: 200 })
  }
  t.equal(harness.proxy.stats().staleRetriesTotal, 1, 'taken: the engine repeats it')
})

t.test('an idle connection that the backend closes leaves the pool', async t => {
  const harness = await createHarness(t)
  const { outcome, upstream } = await harness.forwarded(get('/'))
  upstream.write(ok('1'))
  await outcome
  t.equal(harness.proxy.stats().upstreamIdle, 1)
  upstream.socket.end()
  await settled(() => harness.proxy.stats().upstreamConnections === 0)
  t.equal(harness.proxy.stats().upstreamIdle, 0)
})

t.test('bytes nobody asked for destroy the connection: no response queue is ever poisoned', async t => {
  const harness = await createHarness(t)
  const surplus = await harness.forwarded(get('/a'))
  surplus.upstream.write(`${ok('1')}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison`)
  t.match(await surplus.outcome, { kind: 'completed' })
  await surplus.upstream.ended()
  const idle = await harness.forwarded(get('/b'))
  idle.upstream.write(ok('2'))
  await idle.outcome
  idle.upstream.write(ok('poison'))
  await idle.upstream.ended()
  const next = await harness.forwarded(get('/c'))
  next.upstream.write(ok('3'))
  await next.client.until(/\r\n\r\n3$/)
  for (const { client } of [surplus, idle, next]) t.notMatch(client.text, /poison/)
})

t.test('a response cut short is cut short for the client, never ended cleanly', async t => {
  const rows: readonly (readonly [deed: string, head: string, body: string, isReset: boolean])[] = [
    ['closes before the announced length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n', 'part', false],
    ['closes amid chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '4\r\npart\r\n', false],
    [
      'closes within trailers',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
      '4\r\npart\r\n0\r\nX: y\r\n',
      false,
    ],
    ['sends a malformed chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '4\r\npart\r\nzz\r\n', false],
    ['resets a body that ends with the connection', 'HTTP/1.1 200 OK\r\n\r\n', 'part', true],
  ]
  const harness = await createHarness(t)
  for (const [deed, head, body, isReset] of rows) {
    const { client, exchange, outcome, upstream } = await harness.forwarded(get('/'))
    upstream.write(head)
    await client.until('\r\n\r\n')
    upstream.write(body)
    await client.until('part')
    if (isReset) upstream.socket.resetAndDestroy()
    else upstream.socket.end()
    t.match(await outcome, { kind: 'failed-mid-response', status: 200 }, `a backend that ${deed}`)
    t.ok(exchange.isFinished)
    await client.ended()
    t.notMatch(client.text, /0\r\n\r\n$/)
    if (isReset) t.equal(client.error?.code, 'ECONNRESET', 'a reset, since a clean end would look complete')
    client.socket.destroy()
  }
})

t.test('a client that leaves', async t => {
  const harness = await createHarness(t)

  t.test('while its request is queued is reported once; forwarding it then sends nothing', async t => {
    for (const leave of ['reset', 'close'] as const) {
      const client = await harness.client()
      client.write(get('/'))
      const exchange = await harness.nextExchange()
      let times = 0
      const gone = new Promise<void>(resolve => {
        exchange.onClientGone = () => {
          times += 1
          resolve()
        }
      })
      if (leave === 'reset') client.socket.resetAndDestroy()
      else client.socket.destroy()
      // A plain FIN needs a probe and the time for its echo.
      const pulse = setInterval(() => harness.clock.advance(600), 5)
      await gone
      clearInterval(pulse)
      t.equal(times, 1, leave)
      t.ok(exchange.isFinished)
      t.same(await harness.forward(exchange), { kind: 'client-gone', phase: 'waiting' })
    }
    t.equal(harness.backend.peers.length, 0)
    t.match(harness.proxy.stats(), { activeExchanges: 0, clientConnections: 0 })
  })

  t.test('while the backend works ends the backend connection', async t => {
    const { client, exchange, outcome, upstream } = await harness.forwarded(get('/'))
    const told: string[] = []
    exchange.onClientGone = () => told.push('gone')
    void outcome.then(() => told.push('outcome'))
    client.socket.resetAndDestroy()
    t.same(await outcome, { kind: 'client-gone', phase: 'waiting' })
    await upstream.ended()
    t.same(told.includes('gone'), true)
  })

  t.test('in the middle of its body', async t => {
    for (const leave of ['reset', 'half-close'] as const) {
      const { client, outcome, upstream } = await harness.forwarded(`${POST}01234`)
      await upstream.until('01234')
      if (leave === 'reset') client.socket.resetAndDestroy()
      else client.socket.end()
      t.same(await outcome, { kind: 'client-gone', phase: 'request-body' }, leave)
      await upstream.ended()
    }
  })

  t.test('in the middle of the response', async t => {
    const { client, outcome, upstream } = await harness.forwarded(get('/'))
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart')
    await client.until('part')
    client.socket.resetAndDestroy()
    t.same(await outcome, { kind: 'client-gone', phase: 'response' })
    await upstream.ended()
  })

  t.test('after half a head is forgotten without a trace', async t => {
    const client = await harness.client()
    client.write('GET / HT')
    await settled(() => harness.proxy.stats().bufferedBytes > 0)
    client.socket.end()
    await client.ended()
    await settled(() => harness.proxy.stats().clientConnections === 0)
    t.equal(client.text, '')
  })
})

t.test('a client that only half-closes still gets its answer', async t => {
  const harness = await createHarness(t)
  for (const version of ['1.0', '1.1']) {
    const client = await harness.client()
    client.write(`GET / HTTP/${version}\r\nHost: a\r\n\r\n`)
    client.socket.end()
    const exchange = await harness.nextExchange()
    let isGone = false
    exchange.onClientGone = () => {
      isGone = true
    }
    if (version === '1.1') {
      await client.until('HTTP/1.1 100 Continue\r\n\r\n')
      harness.clock.advance(700)
      await client.until(/(HTTP\/1\.1 100 Continue\r\n\r\n){2}/)
    }
    const outcome = harness.forward(exchange)
    const upstream = harness.backend.peers[0] ?? (await harness.backend.next())
    await upstream.until('\r\n\r\n')
    upstream.take()
    upstream.write(ok('patience'))
    await client.until('patience')
    t.match(await outcome, { kind: 'completed', status: 200 }, `HTTP/${version}`)
    await client.closed()
    t.notOk(isGone)
  }
})

t.test('an owner that throws is answered for and logged', async t => {
  const harness = await createHarness(t)
  harness.onExchange = () => {
    throw new Error('a bug')
  }
  const client = await harness.client()
  client.write(get('/'))
  t.match(await client.until('Internal error'), /^HTTP\/1\.1 500 /)
  t.same(harness.logged, ['onExchange threw'])
})

t.test('an owner that throws in onOutcome is logged, and the connection goes on', async t => {
  const harness = await createHarness(t)
  const client = await harness.client()
  client.write(get('/'))
  const exchange = await harness.nextExchange()
  exchange.forward(
    harness.target(() => {
      throw new Error('a bug')
    }),
  )
  const upstream = await harness.backend.next()
  await upstream.until('\r\n\r\n')
  upstream.write(ok('x'))
  await client.until('x')
  client.write(get('/next'))
  t.equal((await harness.nextExchange()).head.path, '/next')
  t.same(harness.logged, ['onOutcome threw'])
})

t.test('abort cuts the client and the backend and reports it', async t => {
  const harness = await createHarness(t)
  const { client, exchange, outcome, upstream } = await harness.forwarded(get('/'))
  exchange.abort()
  t.same(await outcome, { kind: 'aborted' })
  await client.ended()
  await upstream.ended()
  t.equal(client.text, '')
  t.equal(harness.proxy.stats().activeExchanges, 0)
})

t.test('every forward has exactly one outcome, whatever happens afterwards', async t => {
  const harness = await createHarness(t)
  const client = await harness.client()
  client.write(get('/'))
  const outcomes: Outcome[] = []
  const exchange = await harness.nextExchange()
  exchange.forward(harness.target(outcome => outcomes.push(outcome)))
  const upstream = await harness.backend.next()
  await upstream.until('\r\n\r\n')
  upstream.write(ok('x'))
  await client.until('x')
  await settled(() => outcomes.length > 0)
  upstream.socket.resetAndDestroy()
  client.socket.resetAndDestroy()
  await settled(() => harness.proxy.stats().clientConnections === 0)
  harness.clock.advance(60_000)
  t.equal(outcomes.length, 1)
})
