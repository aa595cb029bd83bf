import { WaiterError } from '@waiter/base'
import t from 'tap'
import type { Exchange } from '../src/index.ts'
import { isValidHeaderName, isValidHeaderValue, renderHeader } from '../src/index.ts'
import { createHarness, get, type Harness } from './support/harness.ts'
import type { RawPeer } from './support/raw-peer.ts'

async function request(harness: Harness, text: string): Promise<{ client: RawPeer; exchange: Exchange }> {
  const client = await harness.client()
  client.write(text)
  return { client, exchange: await harness.nextExchange() }
}

function code(error: unknown): string {
  return error instanceof WaiterError ? error.code : String(error)
}

t.test('an answer of our own has a date, a length and its fields', async t => {
  const harness = await createHarness(t)
  const { client, exchange } = await request(harness, get('/'))
  exchange.respond({ status: 201, headers: [['Content-Type', 'text/plain; charset=utf-8']], body: 'grüß' })
  const [head, body] = (await client.until(text => /\r\n\r\n.{6}$/s.test(text))).split('\r\n\r\n')
  t.match(head, /^HTTP\/1\.1 201 Created\r\ndate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n/)
  t.match(head, /\r\nContent-Type: text\/plain; charset=utf-8\r\ncontent-length: 6$/)
  t.equal(Buffer.from(body!, 'latin1').toString('utf8'), 'grüß')
})

t.test('big and binary bodies, HEAD, 204 and 304', async t => {
  const harness = await createHarness(t)
  const big = Buffer.alloc(100_000, 'b')
  const rows = [
    ['a big body', get('/'), 200, big, 100_000],
    ['bytes', get('/'), 200, Uint8Array.from([0, 255, 10]), 3],
    ['HEAD', get('/').replace('GET', 'HEAD'), 200, 'body', 0],
    ['204', get('/'), 204, 'body', 0],
    ['304', get('/'), 304, 'body', 0],
    ['nothing', get('/'), 200, undefined, 0],
  ] as const
  for (const [name, text, status, body, expected] of rows) {
    const { client, exchange } = await request(harness, text)
    exchange.respond({ status, headers: [], ...(body === undefined ? {} : { body }) })
    await client.until(received => {
      const end = received.indexOf('\r\n\r\n')
      return end >= 0 && received.length >= end + 4 + expected
    })
    t.equal(client.text.length - client.text.indexOf('\r\n\r\n') - 4, expected, name)
    if (name === 'HEAD') t.match(client.text, /content-length: 4\r\n/)
    if (status === 204) t.notMatch(client.text, /content-length/)
    client.take()
    client.write(get('/next'))
    t.equal((await harness.nextExchange()).head.path, '/next', 'and the connection goes on')
  }
})

t.test('fields that would break out of their line, or belong to the engine, are refused', async t => {
  const harness = await createHarness(t)
  const rows: readonly (readonly [string, string])[] = [
    ['x', 'a\r\nset-cookie: b'],
    ['x', 'a\nb'],
    ['x', 'a\0'],
    ['x', '\u010d\u010a'],
    ['x', ' padded'],
    ['x y', 'a'],
    ['x:', 'a'],
    ['', 'a'],
    ['content-length', '3'],
    ['Transfer-Encoding', 'chunked'],
    ['Connection', 'close'],
  ]
  const { client, exchange } = await request(harness, get('/'))
  for (const header of rows) {
    try {
      exchange.respond({ status: 200, headers: [header] })
      t.fail(`${JSON.stringify(header)} must be refused`)
    } catch (error) {
      t.equal(code(error), 'WTR_BAD_HEADER', JSON.stringify(header))
    }
  }
  t.throws(() => exchange.respond({ status: 101, headers: [] }))
  exchange.respond({ status: 200, headers: [['x', 'fine']] })
  await client.until('x: fine\r\n')
})

t.test('renderHeader', async t => {
  t.equal(renderHeader('x-a', 'b\tc é'), 'x-a: b\tc é\r\n')
  t.equal(renderHeader('x-a', ''), 'x-a: \r\n')
  t.throws(() => renderHeader('x-a', 'a\rb'), { code: 'WTR_BAD_HEADER' })
  t.throws(() => renderHeader('x a', 'b'), { code: 'WTR_BAD_HEADER' })
  t.notOk(isValidHeaderValue('\u0100'), 'code units beyond Latin-1 would be cut to something else')
  t.notOk(isValidHeaderValue('\x7f'))
  t.ok(isValidHeaderName("!#$%&'*+-.^_`|~az09AZ"))
})

t.test('an unread body', async t => {
  const harness = await createHarness(t)
  t.test('that is small is swallowed, and the connection goes on', async t => {
    const { client, exchange } = await request(harness, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc')
    exchange.respond({ status: 403, headers: [] })
    t.notMatch(await client.until('\r\n\r\n'), /connection: close/)
    client.write(`def${get('/next')}`)
    t.equal((await harness.nextExchange()).head.path, '/next')
  })
  t.test('that is chunked is swallowed, too', async t => {
    const { client, exchange } = await request(
      harness,
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab',
    )
    exchange.respond({ status: 403, headers: [] })
    await client.until('\r\n\r\n')
    client.write(`c\r\n0\r\nX: y\r\n\r\n${get('/next')}`)
    t.equal((await harness.nextExchange()).head.path, '/next')
  })
  t.test('that is big closes the connection, and the client can still read the answer', async t => {
    const { client, exchange } = await request(
      harness,
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\nabc',
    )
    exchange.respond({ status: 413, headers: [], body: 'too big' })
    client.write(Buffer.alloc(1_000_000, 'x'))
    t.match(await client.until('too big'), /connection: close/)
    await client.ended()
  })
  t.test('that never ends closes the connection', async () => {
    const { client, exchange } = await request(
      harness,
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n',
    )
    exchange.respond({ status: 403, headers: [] })
    await client.until('403')
    const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
    for (let i = 0; i < 6; i++) client.write(chunk)
    await client.ended()
  })
  t.test('that was expected with 100-continue closes the connection', async t => {
    const { client, exchange } = await request(
      harness,
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n',
    )
    exchange.respond({ status: 403, headers: [] })
    t.match(await client.until('403'), /connection: close/)
    await client.ended()
  })
})

t.test('readBody', async t => {
  const harness = await createHarness(t, { bodyRateWindowMs: 10_000 })
  const post = (fields: string, body: string): string => `POST / HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`

  t.test('gives the payload of a body of known length and of chunks', async t => {
    const rows = [
      ['Content-Length: 5', 'hello', 'hello'],
      ['Content-Length: 0', '', ''],
      ['Transfer-Encoding: chunked', '3\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n', 'hello'],
    ] as const
    for (const [fields, body, expected] of rows) {
      const { client, exchange } = await request(harness, post(fields, body.slice(0, 4)))
      const promise = exchange.readBody(100)
      client.write(body.slice(4))
      t.equal(Buffer.from(await promise).toString(), expected)
      exchange.respond({ status: 200, headers: [], body: 'thanks' })
      await client.until('thanks')
    }
    const { exchange } = await request(harness, get('/'))
    t.equal((await exchange.readBody(1)).length, 0, 'no body is an empty one')
  })

  t.test('tells a waiting client to go on', async t => {
    const { client, exchange } = await request(harness, post('Content-Length: 2\r\nExpect: 100-continue', ''))
    const body = exchange.readBody(100)
    await client.until('HTTP/1.1 100 Continue\r\n\r\n')
    client.write('hi')
    t.equal(Buffer.from(await body).toString(), 'hi')
    exchange.respond({ status: 200, headers: [] })
    t.notMatch(await client.until('HTTP/1.1 200'), /close/)
  })

  t.test('refuses what is too large, announced or not; the owner answers', async t => {
    for (const text of [post('Content-Length: 11', ''), post('Transfer-Encoding: chunked', 'b\r\nhello world\r\n')]) {
      const { client, exchange } = await request(harness, text)
      await t.rejects(exchange.readBody(10), { code: 'WTR_BODY_TOO_LARGE', status: 413 })
      exchange.respond({ status: 413, headers: [], body: 'too large' })
      await client.until('too large')
    }
  })

  t.test('rejects when the client leaves, stalls or breaks the framing', async t => {
    const gone = await request(harness, post('Content-Length: 10', 'abc'))
    const goneBody = gone.exchange.readBody(100)
    gone.client.socket.resetAndDestroy()
    await t.rejects(goneBody, { code: 'WTR_CLIENT_GONE' })
    await t.rejects(gone.exchange.readBody(100), { code: 'WTR_CLIENT_GONE' }, 'also when asked later')

    const slow = await request(harness, post('Content-Length: 10', 'abc'))
    const slowBody = slow.exchange.readBody(100)
    harness.clock.advance(10_500)
    await t.rejects(slowBody, { code: 'WTR_BODY_TIMEOUT', status: 408 })
    slow.exchange.respond({ status: 408, headers: [] })
    await slow.client.until('408')

    const broken = await request(harness, post('Transfer-Encoding: chunked', 'zz\r\n'))
    await t.rejects(broken.exchange.readBody(100), { code: 'WTR_BODY_MALFORMED', status: 400 })
    await broken.client.until('HTTP/1.1 400')
    await broken.client.ended()
  })
})

t.test('respondStream', async t => {
  const harness = await createHarness(t, { streamBufferBytesMax: 1024 * 1024 })

  t.test('sends chunks and ends cleanly', async t => {
    const { client, exchange } = await request(harness, get('/'))
    const writer = exchange.respondStream({ status: 200, headers: [['content-type', 'text/plain']] })
    await client.until('transfer-encoding: chunked\r\n\r\n')
    t.ok(writer.write('é'))
    await client.until('2\r\n')
    t.ok(writer.write(Uint8Array.from([65, 66])))
    await client.until('AB\r\n')
    writer.end()
    t.match(await client.until('0\r\n\r\n'), '\r\n\r\n2\r\n\xc3\xa9\r\n2\r\nAB\r\n0\r\n\r\n')
    t.notOk(writer.write('late'))
    client.write(get('/next'))
    t.equal((await harness.nextExchange()).head.path, '/next')
  })

  t.test('sends plain bytes until close to HTTP/1.0', async t => {
    const { client, exchange } = await request(harness, 'GET / HTTP/1.0\r\n\r\n')
    const writer = exchange.respondStream({ status: 200, headers: [] })
    writer.write('abc')
    writer.end()
    await client.ended()
    t.match(client.text, /connection: close\r\n\r\nabc$/)
  })

  t.test('tells when the client leaves', async t => {
    const { client, exchange } = await request(harness, get('/'))
    const writer = exchange.respondStream({ status: 200, headers: [] })
    await client.until('\r\n\r\n')
    const closed = new Promise<void>(resolve => {
      writer.onClosed = resolve
    })
    client.socket.resetAndDestroy()
    await closed
    t.notOk(writer.write('x'))
    t.ok(exchange.isFinished)
    const late = new Promise<void>(resolve => {
      exchange.respondStream({ status: 200, headers: [] }).onClosed = resolve
    })
    await late
  })

  t.test('has back-pressure, and cuts a client when the owner ignores it', async t => {
    const { client, exchange } = await request(harness, get('/'))
    const writer = exchange.respondStream({ status: 200, headers: [] })
    await client.until('\r\n\r\n')
    client.take()
    client.socket.pause()
    const piece = Buffer.alloc(64 * 1024, 'x')
    let pieces = 1
    while (writer.write(piece)) pieces += 1
    t.ok(harness.proxy.stats().bufferedBytes > 0)
    const drained = new Promise<void>(resolve => {
      writer.onDrain = resolve
    })
    client.socket.resume()
    await drained
    client.socket.pause()
    const closed = new Promise<void>(resolve => {
      writer.onClosed = resolve
    })
    for (let i = 0; i < 1000; i++) writer.write(piece)
    await closed
    t.ok(harness.proxy.stats().bufferedBytes < 2 * 1024 * 1024)
    t.ok(pieces > 1)
    client.socket.resume()
    await client.ended()
  })

  t.test('sends no body for HEAD', async t => {
    const { client, exchange } = await request(harness, get('/').replace('GET', 'HEAD'))
    const writer = exchange.respondStream({ status: 200, headers: [] })
    t.ok(writer.write('abc'))
    writer.end()
    t.match(await client.until('\r\n\r\n'), /\r\n\r\n$/)
    client.write(get('/next'))
    t.equal((await harness.nextExchange()).head.path, '/next')
  })
})

t.test('respond while a backend has not answered cancels the forward', async t => {
  const harness = await createHarness(t)
  const { client, exchange, outcome, upstream } = await harness.forwarded(get('/'))
  exchange.respond({ status: 503, headers: [], body: 'enough' })
  t.same(await outcome, { kind: 'aborted' })
  await client.until('enough')
  await upstream.ended()
})

t.test('an answer to a finished exchange is ignored', async t => {
  const harness = await createHarness(t)
  const { client, exchange } = await request(harness, get('/'))
  exchange.respond({ status: 200, headers: [], body: 'first' })
  await client.until('first')
  exchange.respond({ status: 200, headers: [], body: 'second' })
  exchange.abort()
  client.write(get('/next'))
  await harness.nextExchange()
  t.match(client.text, /first$/)
})

t.test('forwarding twice at once, or after the body was read, is the owner’s mistake', async t => {
  const harness = await createHarness(t)
  const { exchange, client } = await harness.forwarded(get('/'))
  t.throws(() => exchange.forward(harness.target(() => undefined)))
  t.throws(() => exchange.readBody(1))
  client.socket.destroy()
  const second = await request(harness, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi')
  await second.exchange.readBody(10)
  t.throws(() => second.exchange.forward(harness.target(() => undefined)))
})
