import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { silentLogger } from '@waiter/base'
import { makeCertificate } from '@waiter/testkit'
import t from 'tap'
import { createProxyServer, loadCertificate, systemClock, type TlsTerms } from '../src/index.ts'
import { createHarness, get, ok, TEST_POLICY } from './support/harness.ts'
import { dial } from './support/raw-peer.ts'

async function settled(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}

t.test('drain closes what rests, finishes what runs with connection: close, and accepts nobody', async t => {
  const harness = await createHarness(t)
  const resting = await harness.client()
  const { client, outcome, upstream } = await harness.forwarded(get('/'))
  harness.proxy.drain()
  await resting.ended()
  await t.rejects(dial(harness.port), { code: 'ECONNREFUSED' })
  upstream.write(ok('last'))
  t.match(await client.until('last'), /connection: close\r\n/)
  await client.ended()
  t.match(await outcome, { kind: 'completed', status: 200 })
  client.socket.end()
  await harness.proxy.close(1_000)
  t.match(harness.proxy.stats(), { clientConnections: 0, upstreamConnections: 0, activeExchanges: 0 })
})

t.test('a slow client gets the rest of its answer, in drain and beyond the idle timeout', async t => {
  for (const deed of ['drain', 'idle'] as const) {
    const harness = await createHarness(t, { lingerTimeoutMs: 1_000, clientIdleTimeoutMs: 1_000 })
    const client = await harness.client()
    client.socket.pause()
    client.write(get('/'))
    const body = 'x'.repeat(16 * 1024 * 1024)
    ;(await harness.nextExchange()).respond({ status: 200, headers: [], body })
    t.ok(harness.proxy.stats().bufferedBytes > 0, 'some of it waits in user space')
    if (deed === 'drain') harness.proxy.drain()
    else harness.clock.advance(1_300)
    client.socket.resume()
    await client.when(() => client.receivedLength > body.length + 50)
    await client.until(text => text.endsWith(`\r\n\r\n${body}`))
    await settled(() => harness.proxy.stats().bufferedBytes === 0)
    harness.clock.advance(3_000)
    await client.ended()
    t.equal(harness.proxy.stats().bufferedBytes, 0, deed)
  }
})

t.test('a client that takes nothing is cut after the idle timeout', async t => {
  const harness = await createHarness(t, { clientIdleTimeoutMs: 1_000 })
  const client = await harness.client()
  client.socket.pause()
  client.write(get('/'))
  ;(await harness.nextExchange()).respond({ status: 200, headers: [], body: 'x'.repeat(16 * 1024 * 1024) })
  harness.clock.advance(1_300)
  harness.clock.advance(1_300)
  await settled(() => harness.proxy.stats().clientConnections === 0)
  t.equal(harness.proxy.stats().bufferedBytes, 0)
})

t.test('close cuts at its deadline what has not ended', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(get('/'))
  await harness.proxy.close(10)
  t.same(await outcome, { kind: 'client-gone', phase: 'waiting' })
  await client.ended()
  await upstream.ended()
})

t.test('close without connections resolves at once', async t => {
  const proxy = createProxyServer({ headerPolicy: TEST_POLICY, log: silentLogger, onExchange: () => undefined })
  await proxy.listen({ host: '127.0.0.1', port: 0 })
  await proxy.close(60_000)
  t.match(proxy.stats(), { clientConnections: 0 })
})

t.test('closeUpstream drops resting connections and keeps busy ones out of the pool', async t => {
  const harness = await createHarness(t)
  const first = await harness.forwarded(get('/1'))
  const second = await harness.forwarded(get('/2'))
  first.upstream.write(ok('1'))
  await first.outcome
  t.equal(harness.proxy.stats().upstreamIdle, 1)
  harness.proxy.closeUpstream('127.0.0.1', harness.backend.port)
  await first.upstream.ended()
  t.match(harness.proxy.stats(), { upstreamIdle: 0, upstreamConnections: 1 })
  second.upstream.write(ok('2'))
  t.match(await second.outcome, { kind: 'completed' })
  await second.upstream.ended()
  t.match(harness.proxy.stats(), { upstreamIdle: 0, upstreamConnections: 0 })
})

t.test('the pool is bounded and hands out the last one used', async t => {
  const harness = await createHarness(t, { upstreamIdlePerTargetMax: 2 })
  const all = await Promise.all([1, 2, 3].map(i => harness.forwarded(get(`/${i}`))))
  for (const { upstream, client, outcome } of all) {
    upstream.take()
    upstream.write(ok('x'))
    await client.until('x')
    await outcome
  }
  t.match(harness.proxy.stats(), { upstreamIdle: 2, upstreamConnections: 2 })
  await settled(() => all.some(({ upstream }) => upstream.hasEnded))
  all[0]!.client.write(get('/again'))
  void harness.forward(await harness.nextExchange())
  await all[1]!.upstream.until('/again')
})

t.test('a backend that says close, or an incomplete request, never returns to the pool', async t => {
  const harness = await createHarness(t)
  for (const [request, response] of [
    [get('/'), ok('x', 'Connection: close')],
    [get('/'), 'HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx'],
    ['POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n', ok('x')],
  ] as const) {
    const { upstream, outcome } = await harness.forwarded(request)
    upstream.write(response)
    t.match(await outcome, { kind: 'completed' })
    await upstream.ended()
    t.equal(harness.proxy.stats().upstreamConnections, 0)
  }
})

t.test('connections beyond the limit are dropped and counted', async t => {
  const harness = await createHarness(t, { clientConnectionsMax: 1 })
  const first = await harness.client()
  await settled(() => harness.proxy.stats().clientConnections === 1)
  const second = await harness.client()
  await second.ended()
  t.match(harness.proxy.stats(), { clientConnections: 1, droppedConnectionsTotal: 1 })
  first.socket.destroy()
})

t.test('a shared port is accepted from by several sockets, so that a busy process takes new clients, too', async t => {
  const COUNT = 96
  const certificate = loadCertificate(await makeCertificate({ names: ['a.example'] }))
  const tls: TlsTerms = { certificates: [certificate], ticketSecret: Buffer.alloc(32, 1) }
  /** Turns of the event loop until so many clients are in, or (with TLS) have been asked for their handshake. */
  const turnsToAccept = async (reusePort: boolean, terms: { tls?: TlsTerms } = {}): Promise<number> => {
    const proxy = createProxyServer({ headerPolicy: TEST_POLICY, log: silentLogger, onExchange: () => undefined })
    const { port } = await proxy.listen({ host: '127.0.0.1', port: 0, reusePort, ...terms })
    const clients = Array.from({ length: COUNT }, () => connect({ host: '127.0.0.1', port }))
    let turns = 0
    const accepted = (): number => proxy.stats().clientConnections + proxy.stats().tlsHandshakes
    for (; accepted() < COUNT; turns++) await new Promise(resolve => setImmediate(resolve))
    for (const client of clients) client.destroy()
    await proxy.close(0)
    return turns
  }
  const [alone, shared] = [await turnsToAccept(false), await turnsToAccept(true)]
  t.ok(shared < COUNT / 2, `${shared} turns for ${COUNT} clients, ${alone} with one socket`)
  const [aloneInTls, sharedInTls] = [await turnsToAccept(false, { tls }), await turnsToAccept(true, { tls })]
  t.ok(sharedInTls < COUNT / 2, `TLS: ${sharedInTls} turns for ${COUNT} clients, ${aloneInTls} with one socket`)
})

t.test('listening on a taken port rejects', async t => {
  const harness = await createHarness(t)
  await t.rejects(harness.proxy.listen({ host: '127.0.0.1', port: harness.port }), { code: 'EADDRINUSE' })
})

t.test('an exchange tells where it came from', async t => {
  const harness = await createHarness(t)
  const client = await harness.client()
  client.write(
    'GET /a/b?c HTTP/1.1\r\nHOST: Svc.Example:8080\r\nX-A: 1\r\nx-a:  2 \r\nCookie: a=1\r\nCookie: b=2\r\n\r\n',
  )
  const { head, remoteAddress, localPort, arrivedAtMs } = await harness.nextExchange()
  t.equal(remoteAddress, '127.0.0.1')
  t.equal(localPort, harness.port)
  t.equal(arrivedAtMs, harness.clock.nowMs())
  t.match(head, {
    method: 'GET',
    target: '/a/b?c',
    path: '/a/b',
    query: 'c',
    httpVersion: '1.1',
    host: 'svc.example',
    authority: 'Svc.Example:8080',
    bodyKind: 'none',
    contentLength: 0,
    isUpgrade: false,
    expectsContinue: false,
  })
  t.equal(head.get('x-a'), '1, 2')
  t.equal(head.get('cookie'), 'a=1; b=2')
  t.equal(head.get('x-none'), undefined)
  t.ok(head.has('host'))
  const fields: string[] = []
  head.forEach((name, value) => {
    fields.push(`${name}=${value}`)
  })
  t.same(fields, ['HOST=Svc.Example:8080', 'X-A=1', 'x-a=2', 'Cookie=a=1', 'Cookie=b=2'])
})

t.test('the process’s own clock ticks until it is told to stop', async t => {
  const before = systemClock.nowMs()
  await new Promise<void>(resolve => {
    // Keeps the process alive, as the clock must not.
    const anchor = setInterval(() => undefined, 1_000)
    const stop = systemClock.every(1, () => {
      stop()
      clearInterval(anchor)
      resolve()
    })
  })
  t.ok(systemClock.nowMs() > before)
})

t.test('every source file loads', async t => {
  for (const folder of ['', 'h1/']) {
    const files = readdirSync(new URL(`../src/${folder}`, import.meta.url)).filter(name => name.endsWith('.ts'))
    for (const name of files) t.ok(await import(`../src/${folder}${name}`), name)
  }
})
