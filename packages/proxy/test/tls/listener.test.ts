import { connect, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { eventually, makeCertificate, waitForEvent } from '@waiter/testkit'
import t from 'tap'
import { loadCertificate, type ProxyLimits } from '../../src/index.ts'
import { createHarness, get, type Harness, ok } from '../support/harness.ts'
import { dial, RawPeer } from '../support/raw-peer.ts'

const first = loadCertificate(await makeCertificate({ names: ['first.example'] }))
const second = loadCertificate(await makeCertificate({ names: ['second.example', '*.wild.example'] }))
const renewed = loadCertificate(await makeCertificate({ names: ['first.example', 'second.example'] }))
const TICKET_SECRET = Buffer.alloc(32, 1)

async function createTlsHarness(
  t: Test,
  limits: Partial<ProxyLimits> = {},
): Promise<{ harness: Harness; port: number }> {
  const harness = await createHarness(t, limits)
  const tls = { certificates: [first, second] as const, ticketSecret: TICKET_SECRET }
  const { port } = await harness.proxy.listen({ host: '127.0.0.1', port: 0, tls })
  return { harness, port }
}
type Test = Parameters<typeof createHarness>[0]

async function shakeHands(t: Test, port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options })
  t.teardown(() => {
    socket.destroy()
  })
  await waitForEvent(socket, 'secureConnect')
  return socket
}

/** The last `size` bytes of a message that ends with them. */
async function readBody(socket: Socket, size: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    length += chunk.length
  })
  await waitForEvent<Buffer>(socket, 'data', { where: () => length > size })
  return Buffer.concat(chunks).subarray(-size)
}

function failureOf(port: number, options: ConnectionOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options })
    socket.on('secureConnect', () => reject(new Error('it was let in')))
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  })
}

t.test('a request over TLS is a request, and is known to be secure', async t => {
  const { harness, port } = await createTlsHarness(t)
  const client = new RawPeer(await shakeHands(t, port))
  client.write(get('/a') + get('/b'))
  for (const path of ['/a', '/b']) {
    const exchange = await harness.nextExchange()
    t.equal(exchange.head.path, path)
    t.ok(exchange.isSecure)
    t.equal(exchange.localPort, port)
    t.equal(exchange.remoteAddress, '127.0.0.1')
    exchange.respond({ status: 200, headers: [], body: path })
    await client.until(`\r\n\r\n${path}`)
  }
  const plain = await harness.client()
  plain.write(get('/'))
  t.notOk((await harness.nextExchange()).isSecure, 'the other port is not')
})

t.test('long bodies pass both ways, with back-pressure', async t => {
  const { harness, port } = await createTlsHarness(t, { writeBufferBytesMax: 64 * 1024 })
  const size = 24 * 1024 * 1024
  const body = Buffer.alloc(size, 'abcdefghij')
  const client = await shakeHands(t, port)
  const upload = body.subarray(0, 2 * 1024 * 1024)
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${upload.length}\r\n\r\n`)
  client.write(upload)
  const outcome = harness.forward(await harness.nextExchange())
  const upstream = await harness.backend.next()
  t.ok((await readBody(upstream.socket, upload.length)).equals(upload))
  upstream.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
  upstream.write(body)
  let mostBytes = 0
  // Until nothing moves any more: the slow reader has stopped the backend.
  for (let stillFor = 0, last = -1; stillFor < 100; ) {
    await new Promise(resolve => setImmediate(resolve))
    mostBytes = Math.max(mostBytes, harness.proxy.stats().bufferedBytes)
    stillFor = upstream.socket.writableLength === last ? stillFor + 1 : 0
    last = upstream.socket.writableLength
  }
  t.ok(upstream.socket.writableLength > 0, 'the backend is held back')
  t.ok(mostBytes < 1024 * 1024, `a client that does not read makes us hold ${mostBytes} bytes`)
  t.ok((await readBody(client, size)).equals(body))
  t.match(await outcome, { kind: 'completed', status: 200 })
})

t.test('each gets the certificate of the name it asks for', async t => {
  const { port } = await createTlsHarness(t)
  const rows: [sentence: string, servername: string | undefined, certificate: typeof first][] = [
    ['its name', 'second.example', second],
    ['a wildcard', 'a.wild.example', second],
    ['nobody named: the first', undefined, first],
    ['an unknown name: the first', 'elsewhere.example', first],
    ['beyond the wildcard: the first', 'a.b.wild.example', first],
  ]
  for (const [sentence, servername, certificate] of rows) {
    const socket = await shakeHands(t, port, servername === undefined ? {} : { servername })
    t.equal(socket.getPeerCertificate().fingerprint256, certificate.fingerprint, sentence)
  }
})

t.test('TLS 1.2 and 1.3; HTTP/2, else HTTP/1.1', async t => {
  const { port } = await createTlsHarness(t)
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const socket = await shakeHands(t, port, {
      minVersion: version,
      maxVersion: version,
      ALPNProtocols: ['x', 'http/1.1'],
    })
    t.equal(socket.getProtocol(), version)
    t.equal(socket.alpnProtocol, 'http/1.1')
    const both = await shakeHands(t, port, { maxVersion: version, ALPNProtocols: ['http/1.1', 'h2'] })
    t.equal(both.alpnProtocol, 'h2', 'our choice, if the client can')
  }
  t.equal((await shakeHands(t, port)).alpnProtocol, false, 'who offers nothing is served all the same')
  t.match(await failureOf(port, { ALPNProtocols: ['x'] }), /NO_APPLICATION_PROTOCOL/)
  t.match(
    await failureOf(port, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
    /PROTOCOL_VERSION|NO_PROTOCOLS|UNSUPPORTED_PROTOCOL/,
  )
})

t.test('new certificates count for new connections; those that are there go on', async t => {
  const { harness, port } = await createTlsHarness(t)
  const old = new RawPeer(await shakeHands(t, port, { servername: 'second.example' }))
  harness.proxy.setCertificates([renewed])
  for (const options of [{}, { servername: 'second.example' }]) {
    const socket = await shakeHands(t, port, options)
    t.equal(socket.getPeerCertificate().fingerprint256, renewed.fingerprint)
  }
  old.write(get('/'))
  ;(await harness.nextExchange()).respond({ status: 200, headers: [], body: 'still here' })
  await old.until('still here')
})

t.test('a session is resumed, also by another engine that knows the secret', async t => {
  const ports = await Promise.all([createTlsHarness(t), createTlsHarness(t)].map(async made => (await made).port))
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const one = connectTls({ host: '127.0.0.1', port: ports[0]!, rejectUnauthorized: false, maxVersion: version })
    const session = await waitForEvent<Buffer>(one, 'session')
    one.destroy()
    const again = await shakeHands(t, ports[1]!, { session, maxVersion: version })
    t.ok(again.isSessionReused(), version)
  }
})

t.test('nobody holds a handshake open', async t => {
  const { harness, port } = await createTlsHarness(t, { handshakeTimeoutMs: 150 })
  const clients = await Promise.all([dial(port), dial(port), dial(port)])
  const [silent, dripping, halfClosed] = clients as [RawPeer, RawPeer, RawPeer]
  const drip = setInterval(() => dripping.write('\x16'), 20)
  halfClosed.socket.end()
  await Promise.all([silent.ended(), dripping.ended(), halfClosed.ended()])
  clearInterval(drip)
  await eventually(() => harness.proxy.stats().tlsHandshakes === 0 || undefined, 'nobody to be left')
  t.match(harness.proxy.stats(), { tlsHandshakesFailedTotal: 3, clientConnections: 0 })
})

t.test('with too many handshakes the oldest unfinished one goes, and honest clients get through', async t => {
  const { harness, port } = await createTlsHarness(t, { handshakesMax: 5, handshakeTimeoutMs: 60_000 })
  const crowd: RawPeer[] = []
  for (let index = 0; index < 20; index++) {
    const peer = await dial(port)
    crowd.push(peer)
    await eventually(() => harness.proxy.stats().droppedConnectionsTotal >= crowd.length - 5 || undefined, 'a drop')
  }
  t.teardown(() => {
    for (const peer of crowd) peer.socket.destroy()
  })
  t.equal(harness.proxy.stats().tlsHandshakes, 5)
  const client = new RawPeer(await shakeHands(t, port))
  client.write(get('/'))
  ;(await harness.nextExchange()).respond({ status: 200, headers: [], body: 'hello' })
  await client.until('hello')
  await Promise.all(crowd.slice(0, 16).map(peer => peer.ended()))
  t.equal(harness.proxy.stats().tlsHandshakes, 4, 'the honest client took one place')
})

t.test('garbage is refused, a client that speaks HTTP is told to speak HTTPS', async t => {
  const { harness, port } = await createTlsHarness(t)
  const garbage = await dial(port)
  garbage.write(Buffer.alloc(4_000, 7))
  await garbage.ended()
  const http = await dial(port)
  http.write(get('/'))
  await http.ended()
  t.match(http.text, /^HTTP\/1\.1 400 Bad Request\r\n[\s\S]*\r\n\r\n400: this port speaks HTTPS: use https:\/\/\n$/)
  http.socket.end()
  await http.closed()
  const reset = connect({ port, host: '127.0.0.1' })
  await waitForEvent(reset, 'connect')
  reset.resetAndDestroy()
  await eventually(() => harness.proxy.stats().tlsHandshakes === 0 || undefined, 'nobody to be left')
  t.equal(harness.exchanges.length, 0)
})

t.test('connections that are too many are dropped before they cost a handshake', async t => {
  const { harness, port } = await createTlsHarness(t, { clientConnectionsMax: 2 })
  await shakeHands(t, port)
  await shakeHands(t, port)
  const third = await dial(port)
  await third.ended()
  t.match(harness.proxy.stats(), { clientConnections: 2, droppedConnectionsTotal: 1 })
})

t.test('slow heads and slow bodies are cut on TLS as well', async t => {
  const { harness, port } = await createTlsHarness(t)
  const slowHead = new RawPeer(await shakeHands(t, port))
  slowHead.write('GET / HT')
  await eventually(() => harness.proxy.stats().clientConnections === 1 || undefined, 'the connection')
  const slowBody = new RawPeer(await shakeHands(t, port))
  slowBody.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx')
  const outcome = harness.forward(await harness.nextExchange(), { responseTimeoutMs: 600_000 })
  await harness.backend.next()
  const resting = new RawPeer(await shakeHands(t, port))
  for (let ms = 0; ms < 70_000; ms += 1_000) {
    harness.clock.advance(1_000)
    await new Promise(resolve => setImmediate(resolve))
  }
  await Promise.all([slowHead.ended(), slowBody.ended(), resting.ended()])
  t.match(slowHead.text, /^HTTP\/1\.1 408 /)
  t.match(slowBody.text, /^HTTP\/1\.1 408 /)
  t.match(await outcome, { kind: 'client-stalled', phase: 'request-body' })
})

t.test('a response that breaks off does not look complete', async t => {
  const { harness, port } = await createTlsHarness(t)
  const client = new RawPeer(await shakeHands(t, port))
  client.write('GET / HTTP/1.0\r\n\r\n')
  const outcome = harness.forward(await harness.nextExchange())
  const upstream = await harness.backend.next()
  await upstream.until('\r\n\r\n')
  upstream.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
  await client.until('hello')
  upstream.socket.destroy()
  t.match(await outcome, { kind: 'failed-mid-response' })
  await client.closed()
})

t.test('draining ends handshakes and resting connections, and lets requests finish', async t => {
  const { harness, port } = await createTlsHarness(t)
  const busy = new RawPeer(await shakeHands(t, port))
  busy.write(get('/'))
  const outcome = harness.forward(await harness.nextExchange())
  const upstream = await harness.backend.next()
  await upstream.until('\r\n\r\n')
  const resting = new RawPeer(await shakeHands(t, port))
  const shaking = await dial(port)
  await eventually(() => harness.proxy.stats().tlsHandshakes === 1 || undefined, 'a handshake')
  const closing = harness.proxy.close(5_000)
  await Promise.all([resting.ended(), shaking.ended()])
  upstream.write(ok('done'))
  await busy.until('done')
  t.match(busy.text, /connection: close/)
  busy.socket.end()
  await closing
  t.match(await outcome, { kind: 'completed' })
})
