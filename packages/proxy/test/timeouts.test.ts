import t from 'tap'
import type { Outcome } from '../src/index.ts'
import { createHarness, get, type Harness, ok } from './support/harness.ts'

async function settled(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}

/** Lets time pass until the outcome is known. */
async function passTime(harness: Harness, outcome: Promise<Outcome>): Promise<Outcome> {
  let isOver = false
  void outcome.then(() => {
    isOver = true
  })
  while (!isOver) {
    harness.clock.advance(1_000)
    await new Promise(resolve => setImmediate(resolve))
  }
  return outcome
}

t.test('a head that takes too long is answered 408, even when its bytes keep dripping', async t => {
  const harness = await createHarness(t)
  const client = await harness.client()
  client.write('GET / HTTP/1.1\r\n')
  await settled(() => harness.proxy.stats().bufferedBytes === 16)
  harness.clock.advance(9_000)
  client.write('X')
  await settled(() => harness.proxy.stats().bufferedBytes === 17)
  harness.clock.advance(1_500)
  t.match(await client.until('\r\n\r\n'), /^HTTP\/1\.1 408 /)
  await client.ended()
})

t.test('a connection at rest is closed silently, a new one as well as a used one', async t => {
  const harness = await createHarness(t)
  harness.onExchange = exchange => exchange.respond({ status: 200, headers: [], body: 'hi' })
  const fresh = await harness.client()
  const used = await harness.client()
  used.write(get('/'))
  await used.until('hi')
  harness.clock.advance(59_000)
  t.equal(harness.proxy.stats().clientConnections, 2)
  harness.clock.advance(1_500)
  await fresh.ended()
  await used.ended()
  t.equal(fresh.text, '')
})

t.test('a backend that never answers: response-timeout, and the owner answers', async t => {
  const harness = await createHarness(t)
  const { client, exchange, outcome, upstream } = await harness.forwarded(get('/'), { responseTimeoutMs: 2_000 })
  harness.clock.advance(1_900)
  t.notOk(exchange.isFinished)
  harness.clock.advance(500)
  t.same(await outcome, { kind: 'response-timeout' })
  exchange.respond({ status: 504, headers: [], body: 'too late' })
  await client.until('too late')
  await upstream.ended()
})

t.test('an interim response is no answer', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(get('/'), { responseTimeoutMs: 2_000 })
  upstream.write('HTTP/1.1 102 Processing\r\n\r\n')
  await client.until('102')
  harness.clock.advance(2_500)
  t.same(await outcome, { kind: 'response-timeout' })
})

t.test('a backend that cannot be connected to: connect-timeout', async t => {
  const harness = await createHarness(t)
  const client = await harness.client()
  client.write(get('/'))
  const exchange = await harness.nextExchange()
  const outcome = harness.forward(exchange, { connectTimeoutMs: 1_000 })
  // Before the event loop has run once no connection can be established.
  harness.clock.advance(1_500)
  t.same(await outcome, { kind: 'not-sent', reason: 'connect-timeout', code: 'ETIMEDOUT' })
  exchange.respond({ status: 502, headers: [] })
  await client.until('502')
})

t.test('a backend that falls silent in the middle of its body breaks the client’s connection', async t => {
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(get('/'), { streamIdleTimeoutMs: 3_000 })
  upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n')
  await client.until('\r\n\r\n')
  for (let i = 0; i < 3; i++) {
    harness.clock.advance(2_500)
    upstream.write(`${i}`)
    await client.until(new RegExp(`${i}$`))
  }
  harness.clock.advance(3_500)
  t.match(await outcome, { kind: 'failed-mid-response', status: 200 })
  await client.ended()
})

t.test('a client that sends its body too slowly is answered 408', async t => {
  const harness = await createHarness(t, { bodyRateWindowMs: 10_000, bodyBytesPerSecondMin: 10 })
  const { client, outcome, upstream } = await harness.forwarded(
    `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n${'x'.repeat(200)}`,
    { responseTimeoutMs: 60_000 },
  )
  await upstream.until('xxx')
  harness.clock.advance(10_500)
  t.equal(harness.proxy.stats().activeExchanges, 1, 'the first window was fast enough')
  client.write('yy')
  await upstream.until('yy')
  harness.clock.advance(10_500)
  t.same(await outcome, { kind: 'client-stalled', phase: 'request-body' })
  t.match(await client.until('\r\n\r\n'), /^HTTP\/1\.1 408 /)
  await upstream.ended()
})

t.test('the backend’s time does not run while the client is still sending', async t => {
  const harness = await createHarness(t)
  const { client, exchange, outcome, upstream } = await harness.forwarded(
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi',
    { responseTimeoutMs: 2_000 },
  )
  await upstream.until('hi')
  harness.clock.advance(7_000)
  t.notOk(exchange.isFinished)
  client.write('ho')
  await upstream.until('hiho')
  harness.clock.advance(1_900)
  upstream.write(ok('in time'))
  await client.until('in time')
  t.match(await outcome, { kind: 'completed', status: 200 })
})

t.test('a backend that neither agrees nor refuses to an expectation times out', async t => {
  const harness = await createHarness(t)
  const { exchange, client, outcome } = await harness.forwarded(
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n',
    { responseTimeoutMs: 2_000 },
  )
  harness.clock.advance(2_500)
  t.same(await outcome, { kind: 'response-timeout' })
  exchange.respond({ status: 504, headers: [] })
  t.match(await client.until('504'), /connection: close/)
})

t.test('a client that does not read: memory stays bounded, and in the end it is cut', async t => {
  const harness = await createHarness(t, { writeBufferBytesMax: 64 * 1024 })
  const { client, outcome, upstream } = await harness.forwarded(get('/'), { streamIdleTimeoutMs: 3_000 })
  client.socket.pause()
  const total = 24 * 1024 * 1024
  upstream.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`)
  upstream.write(Buffer.alloc(total, 'x'))
  let mostBytes = 0
  let stillFor = 0
  let last = -1
  while (stillFor < 100) {
    await new Promise(resolve => setImmediate(resolve))
    mostBytes = Math.max(mostBytes, harness.proxy.stats().bufferedBytes)
    stillFor = upstream.socket.writableLength === last ? stillFor + 1 : 0
    last = upstream.socket.writableLength
  }
  t.ok(mostBytes > 0 && mostBytes < 1024 * 1024, `held ${mostBytes} bytes of ${total}`)
  t.same(await passTime(harness, outcome), { kind: 'client-stalled', phase: 'response' })
  await upstream.ended()
})

t.test('a slow reader gets every byte unchanged', async t => {
  // The default bound lets several read buffers wait at once: none of them may be read into meanwhile.
  const harness = await createHarness(t)
  const { client, outcome, upstream } = await harness.forwarded(get('/'))
  const body = Buffer.alloc(12 * 1024 * 1024)
  for (let i = 0; i < body.length; i += 4) body.writeUInt32LE((i * 2654435761) >>> 0, i)
  upstream.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`)
  upstream.write(body)
  const pieces: Buffer[] = [client.received]
  client.socket.removeAllListeners('data')
  await new Promise<void>(resolve => {
    client.socket.on('data', (chunk: Buffer) => {
      pieces.push(chunk)
      // One chunk per turn of the loop: slower than the backend in any case.
      client.socket.pause()
      setImmediate(() => client.socket.resume())
      if (pieces.reduce((sum, piece) => sum + piece.length, 0) > body.length) resolve()
    })
  })
  t.match(await outcome, { kind: 'completed' })
  const all = Buffer.concat(pieces)
  t.ok(all.subarray(all.indexOf('\r\n\r\n') + 4).equals(body))
})

t.test('a backend that stops reading the request body: failed, not retryable', async t => {
  const harness = await createHarness(t, { writeBufferBytesMax: 64 * 1024 })
  const total = 24 * 1024 * 1024
  const { client, exchange, outcome, upstream } = await harness.forwarded(
    `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${total}\r\n\r\n`,
    { responseTimeoutMs: 900_000, streamIdleTimeoutMs: 3_000 },
  )
  upstream.socket.pause()
  client.write(Buffer.alloc(total, 'x'))
  let mostBytes = 0
  let stillFor = 0
  let last = -1
  while (stillFor < 100) {
    await new Promise(resolve => setImmediate(resolve))
    mostBytes = Math.max(mostBytes, harness.proxy.stats().bufferedBytes)
    stillFor = client.socket.writableLength === last ? stillFor + 1 : 0
    last = client.socket.writableLength
  }
  t.ok(mostBytes > 0 && mostBytes < 1024 * 1024, `held ${mostBytes} bytes of ${total}`)
  const stalledAtMs = harness.clock.nowMs()
  t.match(await passTime(harness, outcome), {
    kind: 'failed-before-response',
    reason: 'request-stalled',
    retryable: false,
  })
  t.ok(harness.clock.nowMs() - stalledAtMs < 10_000, 'after the time for streaming, not that for an answer')
  exchange.respond({ status: 503, headers: [], body: 'unable to stream request bytes' })
  await client.until('unable to stream request bytes')
  await client.ended()
})

t.test('a backend that took long to read the body has its whole time for an answer', async t => {
  const harness = await createHarness(t)
  const total = 8 * 1024 * 1024
  const { client, outcome, upstream } = await harness.forwarded(
    `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${total}\r\n\r\n`,
    { responseTimeoutMs: 60_000, streamIdleTimeoutMs: 3_000 },
  )
  upstream.socket.pause()
  upstream.socket.removeAllListeners('data')
  client.write(Buffer.alloc(total, 'x'))
  while (harness.proxy.stats().bufferedBytes === 0) await new Promise(resolve => setImmediate(resolve))
  harness.clock.advance(2_000)
  let received = 0
  await new Promise<void>(resolve => {
    upstream.socket.on('data', piece => {
      received += piece.length
      if (received >= total) resolve()
    })
    upstream.socket.resume()
  })
  for (let second = 0; second < 30; second++) {
    harness.clock.advance(1_000)
    await new Promise(resolve => setImmediate(resolve))
  }
  upstream.write(ok('late'))
  t.match(await outcome, { kind: 'completed', status: 200 })
  await client.until('late')
})

t.test('idle backend connections age out', async t => {
  const harness = await createHarness(t)
  const { outcome, upstream } = await harness.forwarded(get('/'))
  upstream.write(ok('1'))
  await outcome
  harness.clock.advance(3_900)
  t.equal(harness.proxy.stats().upstreamIdle, 1)
  harness.clock.advance(500)
  await upstream.ended()
  t.match(harness.proxy.stats(), { upstreamIdle: 0, upstreamConnections: 0 })
})
