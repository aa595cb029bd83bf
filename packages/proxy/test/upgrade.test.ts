import t from 'tap'
import { createHarness, get, ok } from './support/harness.ts'

const UPGRADE = get('/chat', 'Connection: keep-alive, Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Key: k')
const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'

t.test('after a 101 that was asked for, bytes pass both ways unread', async t => {
  const harness = await createHarness(t)
  const statuses: number[] = []
  const { client, exchange, outcome, upstream } = await harness.forwarded(UPGRADE, {
    extraResponseHead: 'x-cid: 1\r\n',
    onResponseHead: status => statuses.push(status),
  })
  t.ok(exchange.head.isUpgrade)
  t.match(upstream.take(), /\r\nSec-WebSocket-Key: k\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n$/)
  upstream.write(`${SWITCH}Sec-WebSocket-Accept: a\r\n\r\n\x81\x05first`)
  t.equal(
    await client.until('first'),
    'HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\nx-cid: 1\r\n' +
      'connection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x05first',
  )
  t.same(statuses, [101])
  client.write('GET / HTTP/1.1\n\n not http at all \x00\xff')
  await upstream.until('\x00\xff')
  upstream.write('HTTP/1.1 999 whatever\r\n')
  await client.until('whatever')
  client.socket.end()
  await upstream.ended()
  upstream.write('last words')
  await client.until('last words')
  upstream.socket.end()
  t.match(await outcome, { kind: 'completed', status: 101, tunnelEnd: 'client' })
  await client.closed()
  t.match(harness.proxy.stats(), { activeExchanges: 0, upstreamConnections: 0, clientConnections: 0 })
})

t.test('bytes that the client sent with its upgrade wait for the 101', async t => {
  const harness = await createHarness(t)
  const { client, upstream } = await harness.forwarded(`${UPGRADE}eager`)
  t.notMatch(upstream.text, /eager/)
  upstream.write(`${SWITCH}\r\n`)
  await client.until('101')
  await upstream.until('eager')
})

t.test('a refused upgrade is an ordinary response, and the connection goes on', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(UPGRADE)
  upstream.write(ok('no'))
  await client.until('no')
  t.match(await outcome, { kind: 'completed', status: 200 })
  client.write(get('/again'))
  t.equal((await harness.nextExchange()).head.path, '/again')
})

t.test('a 101 nobody asked for is a failure', async t => {
  const harness = await createHarness(t)
  for (const [request, answer] of [
    [get('/'), `${SWITCH}\r\n`],
    [UPGRADE, 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
  ] as const) {
    const { exchange, outcome, client, upstream } = await harness.forwarded(request)
    upstream.write(answer)
    t.match(await outcome, { kind: 'failed-before-response', reason: 'unexpected-upgrade' })
    exchange.respond({ status: 502, headers: [] })
    await client.until('HTTP/1.1 502')
    await upstream.ended()
  }
})

t.test('h2c is not upgraded to: the request is served as it is', async t => {
  const harness = await createHarness(t)
  const { exchange, upstream } = await harness.forwarded(
    get('/', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk'),
  )
  t.notOk(exchange.head.isUpgrade)
  t.equal(upstream.text, get('/'))
})

t.test('the backend ends a tunnel', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(UPGRADE)
  upstream.write(`${SWITCH}\r\n`)
  await client.until('\r\n\r\n')
  upstream.socket.end('bye')
  await client.ended()
  t.match(client.text, /bye$/)
  client.socket.end()
  t.match(await outcome, { kind: 'completed', status: 101, tunnelEnd: 'upstream' })
})

t.test('a backend that dies ends the tunnel', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(UPGRADE)
  upstream.write(`${SWITCH}\r\n`)
  await client.until('\r\n\r\n')
  upstream.socket.resetAndDestroy()
  t.match(await outcome, { kind: 'completed', tunnelEnd: 'upstream' })
  await client.ended()
})

t.test('a client that dies ends the tunnel', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(UPGRADE)
  upstream.write(`${SWITCH}\r\n`)
  await client.until('\r\n\r\n')
  client.socket.resetAndDestroy()
  t.match(await outcome, { kind: 'completed', tunnelEnd: 'client' })
  await upstream.ended()
})

t.test('an idle tunnel ends; traffic in either direction keeps it', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(UPGRADE, { tunnelIdleTimeoutMs: 2_000 })
  upstream.write(`${SWITCH}\r\n`)
  await client.until('\r\n\r\n')
  for (let i = 0; i < 3; i++) {
    harness.clock.advance(1_500)
    client.write(`ping${i}`)
    await upstream.until(`ping${i}`)
    harness.clock.advance(1_500)
    upstream.write(`pong${i}`)
    await client.until(`pong${i}`)
  }
  harness.clock.advance(2_500)
  // What passed were no WebSocket frames: nothing could be said to anybody.
  harness.clock.advance(2_500)
  t.match(await outcome, { kind: 'completed', tunnelEnd: 'idle' })
  await client.ended()
  await upstream.ended()
})

t.test('a tunnel has back-pressure both ways', async t => {
  const harness = await createHarness(t, { writeBufferBytesMax: 64 * 1024 })
  const { client, upstream } = await harness.forwarded(UPGRADE)
  upstream.write(`${SWITCH}\r\n`)
  await client.until('\r\n\r\n')
  const flood = Buffer.alloc(24 * 1024 * 1024, 'x')
  for (const [from, to] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    to.take()
    to.socket.pause()
    let mostBytes = 0
    from.write(flood)
    let stillFor = 0
    let last = -1
    // Until nothing moves any more: the slow reader has stopped the fast writer.
    while (stillFor < 100) {
      await new Promise(resolve => setImmediate(resolve))
      const { bufferedBytes } = harness.proxy.stats()
      mostBytes = Math.max(mostBytes, bufferedBytes)
      stillFor = from.socket.writableLength === last ? stillFor + 1 : 0
      last = from.socket.writableLength
    }
    t.ok(from.socket.writableLength > 0, 'the writer is held back')
    t.ok(mostBytes < 1024 * 1024, `and at most ${mostBytes} bytes were held`)
    to.socket.resume()
    await to.when(() => to.receivedLength === flood.length)
    t.ok(to.received.equals(flood), 'in the end all arrives unchanged')
  }
})
