import { randomBytes } from 'node:crypto'
import { makeCertificate, waitForEvent } from '@waiter/testkit'
import t from 'tap'
import { type ClientOptions, WebSocket, WebSocketServer } from 'ws'
import { loadCertificate, type Outcome, type ProxyLimits } from '../../src/index.ts'
import { createHarness, get, type Harness } from '../support/harness.ts'

type Test = Parameters<typeof createHarness>[0]

interface Pair {
  readonly harness: Harness
  readonly client: WebSocket
  readonly backend: WebSocket
  readonly outcome: Promise<Outcome>
}

interface Wishes {
  readonly limits?: Partial<ProxyLimits>
  readonly protocols?: readonly string[]
  readonly options?: ClientOptions
  readonly isSecure?: boolean
}

/** A client and a backend joined by the engine, both of the `ws` package. */
async function join(t: Test, wishes: Wishes = {}): Promise<Pair> {
  const { limits = {}, protocols = [], options = {}, isSecure = false } = wishes
  const harness = await createHarness(t, limits)
  const server = new WebSocketServer({
    host: '127.0.0.1',
    port: 0,
    perMessageDeflate: true,
    maxPayload: 64 * 1024 * 1024,
  })
  await waitForEvent(server, 'listening')
  t.teardown(() => {
    for (const one of server.clients) one.terminate()
    server.close()
  })
  const { port } = server.address() as { port: number }
  const joined = waitForEvent<WebSocket>(server, 'connection')
  const secure = isSecure ? await listenSecurely(harness) : undefined
  const url = secure === undefined ? `ws://127.0.0.1:${harness.port}/` : `wss://127.0.0.1:${secure}/`
  const client = new WebSocket(url, [...protocols], {
    maxPayload: 64 * 1024 * 1024,
    rejectUnauthorized: false,
    ...options,
  })
  client.on('error', () => undefined)
  t.teardown(() => client.terminate())
  const opened = waitForEvent(client, 'open')
  const outcome = harness.forward(await harness.nextExchange(), { port, tunnelIdleTimeoutMs: 60_000 })
  const [backend] = await Promise.all([joined, opened])
  return { harness, client, backend, outcome }
}

async function listenSecurely(harness: Harness): Promise<number> {
  const certificate = loadCertificate(await makeCertificate({ names: ['localhost'] }))
  const tls = { certificates: [certificate] as const, ticketSecret: Buffer.alloc(32) }
  return (await harness.proxy.listen({ host: '127.0.0.1', port: 0, tls })).port
}

/** Code and reason with which this side learns of the end. */
function closeOf(socket: WebSocket): Promise<string> {
  return new Promise(resolve => socket.once('close', (code, reason) => resolve(`${code} ${reason}`.trim())))
}

async function echo(from: WebSocket, to: WebSocket, data: Buffer | string): Promise<boolean> {
  const arrived = waitForEvent<Buffer>(to, 'message')
  from.send(data)
  return Buffer.from(await arrived).equals(Buffer.from(data as string))
}

t.test('messages of all kinds and sizes pass both ways, compressed or not', async t => {
  for (const perMessageDeflate of [true, false]) {
    const { client, backend } = await join(t, { options: { perMessageDeflate } })
    t.equal(client.extensions !== '', perMessageDeflate)
    const messages = [
      '',
      'hello',
      'ä'.repeat(40_000),
      randomBytes(3 * 1024 * 1024),
      Buffer.alloc(12 * 1024 * 1024, 'ab'),
    ]
    for (const message of messages) {
      t.ok(await echo(client, backend, message))
      t.ok(await echo(backend, client, message))
    }
  }
})

t.test('over TLS as well', async t => {
  const { client, backend, harness } = await join(t, { isSecure: true })
  t.ok(await echo(client, backend, randomBytes(1024 * 1024)))
  t.ok(await echo(backend, client, randomBytes(1024 * 1024)))
  const closes = [closeOf(client), closeOf(backend)]
  harness.proxy.drain()
  t.same(await Promise.all(closes), ['1001 Going away', '1001 Going away'])
})

t.test('pings are answered by the other end', async t => {
  const { client, backend } = await join(t)
  for (const [from, to] of [
    [client, backend],
    [backend, client],
  ] as const) {
    const pinged = waitForEvent<Buffer>(to, 'ping')
    const ponged = waitForEvent<Buffer>(from, 'pong')
    from.ping('are you there?')
    t.equal(String(await pinged), 'are you there?')
    t.equal(String(await ponged), 'are you there?')
  }
})

t.test('of several subprotocols the backend chooses', async t => {
  const { client, backend } = await join(t, { protocols: ['chat.v2', 'chat.v1'] })
  t.equal(client.protocol, 'chat.v2')
  t.equal(backend.protocol, 'chat.v2')
})

t.test('close codes and reasons pass untouched, both ways', async t => {
  for (const [code, reason] of [
    [1000, 'done'],
    [4_001, 'see you'],
    [1011, 'ouch'],
  ] as const) {
    const byClient = await join(t)
    const seen = closeOf(byClient.backend)
    byClient.client.close(code, reason)
    t.equal(await seen, `${code} ${reason}`)
    t.match(await byClient.outcome, { kind: 'completed', status: 101 })
    const byBackend = await join(t)
    const received = closeOf(byBackend.client)
    byBackend.backend.close(code, reason)
    t.equal(await received, `${code} ${reason}`)
    t.match(await byBackend.outcome, { kind: 'completed', status: 101 })
  }
})

t.test('a backend that dies is an abnormal closure', async t => {
  const { client, backend, outcome } = await join(t)
  const seen = closeOf(client)
  backend.terminate()
  t.equal(await seen, '1006')
  t.match(await outcome, { kind: 'completed', tunnelEnd: 'upstream' })
})

t.test('a client that dies is one for the backend', async t => {
  const { client, backend, outcome } = await join(t)
  const seen = closeOf(backend)
  client.terminate()
  t.equal(await seen, '1006')
  t.match(await outcome, { kind: 'completed', tunnelEnd: 'client' })
})

t.test('draining closes both with 1001, after what is under way', async t => {
  const { harness, client, backend, outcome } = await join(t)
  const messages: number[] = []
  client.on('message', (data: Buffer) => messages.push(data.length))
  const closes = [closeOf(client), closeOf(backend)]
  backend.send(randomBytes(8 * 1024 * 1024))
  const closing = harness.proxy.close(10_000)
  t.same(await Promise.all(closes), ['1001 Going away', '1001 Going away'])
  t.ok(messages.length === 0 || messages[0] === 8 * 1024 * 1024, 'a message is whole, or it is not there')
  t.match(await outcome, { kind: 'completed', status: 101, tunnelEnd: 'drain' })
  await closing
})

t.test('a client that does not answer does not keep the backend from hearing of it', async t => {
  const { harness, client, backend, outcome } = await join(t)
  // @ts-expect-error: the way to make it deaf
  client._socket.pause()
  const seen = closeOf(backend)
  harness.proxy.drain()
  harness.clock.advance(2_500)
  t.equal(await seen, '1001 Going away')
  t.match(await outcome, { tunnelEnd: 'drain' })
})

t.test('an upgrade that is under way when draining begins is closed as soon as it is there', async t => {
  const harness = await createHarness(t)
  const { client, upstream, outcome } = await harness.forwarded(
    get('/', 'Connection: Upgrade', 'Upgrade: WebSocket', 'Sec-WebSocket-Key: k'),
  )
  harness.proxy.drain()
  upstream.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n')
  await client.until('\x88\x0c\x03\xe9Going away')
  client.socket.end()
  await upstream.ended()
  t.match(upstream.text, /\r\n\r\n\x88\x8c/, 'the backend is told as a client tells')
  t.match(await outcome, { tunnelEnd: 'drain' })
})

t.test('never in the middle of a frame: the rest of it comes first, or nothing at all', async t => {
  for (const isFinished of [true, false]) {
    const harness = await createHarness(t)
    const { client, upstream, outcome } = await harness.forwarded(
      get('/', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Key: k'),
    )
    upstream.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x0ahello')
    await client.until('hello')
    harness.proxy.drain()
    if (isFinished) {
      upstream.write('world\x81\x04lost')
      await client.until('\x88')
      t.match(client.text, /\r\n\r\n\x81\x0ahelloworld\x88\x0c\x03\xe9Going away$/)
      client.write('\x88\x82\0\0\0\0\x03\xe9')
      await upstream.until('\x88')
      t.match(upstream.text, /\r\n\r\n\x88\x82\0\0\0\0\x03\xe9$/, 'the answer of the client passes')
      upstream.socket.end()
    } else {
      harness.clock.advance(2_500)
    }
    await Promise.all([client.ended(), upstream.ended()])
    if (!isFinished) t.match(client.text, /\x81\x0ahello$/)
    t.match(await outcome, { tunnelEnd: 'drain' })
  }
})

t.test('both are told why they are closed when nothing passes for long', async t => {
  const { harness, client, backend, outcome } = await join(t)
  const closes = [closeOf(client), closeOf(backend)]
  harness.clock.advance(61_000)
  t.same(await Promise.all(closes), ['1011 Idle timeout', '1011 Idle timeout'])
  t.match(await outcome, { tunnelEnd: 'idle' })
})

t.test('and when they have been there for too long, however busy', async t => {
  const { harness, client, backend, outcome } = await join(t, { limits: { webSocketAgeMsMax: 300_000 } })
  const closes = [closeOf(client), closeOf(backend)]
  for (let ms = 0; ms < 290_000; ms += 50_000) {
    t.ok(await echo(client, backend, 'busy'))
    harness.clock.advance(50_000)
  }
  harness.clock.advance(1_000)
  t.same(await Promise.all(closes), ['1001 Maximum age reached', '1001 Maximum age reached'])
  t.match(await outcome, { tunnelEnd: 'age' })
})

t.test('ends that are closing already are not told again', async t => {
  const { harness, client, backend } = await join(t)
  const closes = [closeOf(client), closeOf(backend)]
  client.close(4_002, 'mine')
  await closes[1]
  harness.proxy.drain()
  t.same(await Promise.all(closes), ['4002 mine', '4002 mine'])
})
