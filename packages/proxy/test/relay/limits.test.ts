import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { ErrorCode } from '../../src/h2/index.ts'
import { createPairing, gather, type Pairing } from './support.ts'

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')
const Type = { DATA: 0, HEADERS: 1, RST_STREAM: 3, SETTINGS: 4, PING: 6, GOAWAY: 7, WINDOW_UPDATE: 8, CONTINUATION: 9 }
const END_STREAM = 1
const END_HEADERS = 4
/** GET / with :authority, by HPACK's static table and one literal. */
const GET = Buffer.from([0x82, 0x86, 0x84, 0x41, 0x01, 0x61])

function frame(type: number, flags: number, streamId: number, payload: Uint8Array = new Uint8Array()): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(streamId, 5)
  return Buffer.concat([head, payload])
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** A client that says hello and then sends what it likes; resolves with GOAWAY's code when the connection is closed. */
async function attack(pairing: Pairing, bytes: Iterable<Buffer>): Promise<{ code: number; text: string }> {
  const socket: Socket = connect(pairing.port, '127.0.0.1')
  let received: Buffer = Buffer.alloc(0)
  socket.on('data', chunk => {
    received = Buffer.concat([received, chunk])
  })
  socket.on('error', () => {})
  const closed = once(socket, 'close')
  socket.write(Buffer.concat([PREFACE, frame(Type.SETTINGS, 0, 0), frame(Type.SETTINGS, 1, 0)]))
  for (const piece of bytes) if (!socket.destroyed) socket.write(piece)
  await closed
  for (let at = 0; at + 9 <= received.length; at += 9 + received.readUIntBE(at, 3)) {
    if (received[at + 3] !== Type.GOAWAY) continue
    const length = received.readUIntBE(at, 3)
    return { code: received.readUInt32BE(at + 13), text: received.toString('latin1', at + 17, at + 9 + length) }
  }
  return { code: -1, text: '' }
}

function* repeat(count: number, make: (index: number) => Buffer): Generator<Buffer> {
  for (let i = 0; i < count; i++) yield make(i)
}

/** No backend answers, so that streams stay open until somebody ends them. */
async function start(t: Parameters<typeof createPairing>[0]): Promise<Pairing> {
  const pairing = await createPairing(t, 'h2', 'http', { lingerTimeoutMs: 100 })
  pairing.handler = () => {}
  return pairing
}

t.test(
  'rapid reset: streams opened and cancelled by the hundred end the connection, and every slot comes back',
  async t => {
    const pairing = await start(t)
    const { code, text } = await attack(
      pairing,
      repeat(1000, index =>
        Buffer.concat([
          frame(Type.HEADERS, END_HEADERS | END_STREAM, 2 * index + 1, GET),
          frame(Type.RST_STREAM, 0, 2 * index + 1, uint32(ErrorCode.CANCEL)),
        ]),
      ),
    )
    t.equal(code, ErrorCode.ENHANCE_YOUR_CALM)
    t.match(text, /cancelled/)
    await pairing.when(() => pairing.outcomes.length === pairing.exchanges.length)
    t.ok(pairing.exchanges.length < 500, 'it ended long before the thousandth')
    t.same(new Set(pairing.outcomes.map(({ kind }) => kind)), new Set(['client-gone']))
    t.equal(pairing.proxy.stats().activeExchanges, 0)
  },
)

t.test('CONTINUATION without end', async t => {
  const pairing = await start(t)
  const { code } = await attack(pairing, [
    frame(Type.HEADERS, END_STREAM, 1, GET),
    ...repeat(100, () => frame(Type.CONTINUATION, 0, 1, Buffer.from([0x00, 0x01, 0x61, 0x01, 0x62]))),
  ])
  t.equal(code, ErrorCode.ENHANCE_YOUR_CALM)
  t.equal(pairing.exchanges.length, 0)
})

t.test('a header bomb: one entry of the table, referred to ten thousand times, is answered 431', async t => {
  const pairing = await start(t)
  const value = Buffer.alloc(3000, 'v')
  const insert = Buffer.concat([Buffer.from([0x40, 0x01, 0x78, 0x7f, 0xb9, 0x16]), value])
  const bomb = Buffer.concat([GET, insert, Buffer.alloc(10_000, 0xbe)])
  const socket = connect(pairing.port, '127.0.0.1')
  t.teardown(() => void socket.destroy())
  socket.write(Buffer.concat([PREFACE, frame(Type.SETTINGS, 0, 0), frame(Type.HEADERS, 5, 1, bomb)]))
  let received = Buffer.alloc(0)
  const status = (): string | undefined => /(4[0-9]{2})/.exec(received.toString('latin1'))?.[1]
  while (status() === undefined) {
    const [chunk] = await once(socket, 'data')
    received = Buffer.concat([received, chunk])
  }
  t.equal(status(), '431')
  t.equal(pairing.exchanges.length, 0)
  t.ok(pairing.proxy.stats().refusedTotal > 0)
})

t.test('floods of PING, SETTINGS, empty DATA and WINDOW_UPDATE', async t => {
  const open = frame(Type.HEADERS, END_HEADERS, 1, GET)
  const floods: [name: string, first: Buffer, again: Buffer, count: number][] = [
    ['PING', open, frame(Type.PING, 0, 0, Buffer.alloc(8)), 10_000],
    ['SETTINGS', open, frame(Type.SETTINGS, 0, 0), 1000],
    ['empty DATA', open, frame(Type.DATA, 0, 1), 2000],
    ['WINDOW_UPDATE', open, frame(Type.WINDOW_UPDATE, 0, 0, uint32(1)), 100_000],
  ]
  for (const [name, first, again, count] of floods) {
    const pairing = await start(t)
    const { code } = await attack(pairing, [first, Buffer.concat(Array.from({ length: count }, () => again))])
    t.equal(code, ErrorCode.ENHANCE_YOUR_CALM, name)
    await pairing.when(() => pairing.outcomes.length === 1)
    t.match(pairing.outcomes, [{ kind: 'client-gone' }], `${name}: the request under way has its outcome`)
  }
})

t.test('more streams than allowed are refused, the others served', async t => {
  const pairing = await createPairing(t, 'h2', 'http')
  const gate = Promise.withResolvers<void>()
  pairing.handler = (_request, response) => void gate.promise.then(() => response.end('served'))
  const answers = Array.from({ length: 256 }, () => pairing.ask())
  await pairing.when(() => pairing.exchanges.length === 256)
  gate.resolve()
  t.same(new Set((await Promise.all(answers)).map(({ status }) => status)), new Set([200]))
})

t.test('the preface in any pieces; slow, it is given up; nearly it, it is HTTP/1.1 and refused', async t => {
  const pairing = await createPairing(t, 'h2', 'http', { headTimeoutMs: 300 })
  for (const sizes of [[1], [3, 5, 7], [16, 8], [23, 1]]) {
    const socket = connect({ port: pairing.port, host: '127.0.0.1', noDelay: true })
    t.teardown(() => void socket.destroy())
    const bytes = Buffer.concat([
      PREFACE,
      frame(Type.SETTINGS, 0, 0),
      frame(Type.HEADERS, END_HEADERS | END_STREAM, 1, GET),
    ])
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const end = at + sizes[i % sizes.length]!
      socket.write(bytes.subarray(at, end))
      at = end
      // One write, one segment: the kernel sends at once, and the proxy reads before the next.
      if (at < 30) await new Promise<void>(resolve => setImmediate(resolve))
    }
    const before = pairing.outcomes.length
    await pairing.when(() => pairing.outcomes.length > before)
    t.match(pairing.outcomes.at(-1), { kind: 'completed', status: 200 }, `pieces of ${sizes}`)
  }
  const slow = connect(pairing.port, '127.0.0.1')
  slow.write(PREFACE.subarray(0, 20))
  slow.resume()
  await once(slow, 'close')
  const wrong = connect(pairing.port, '127.0.0.1')
  wrong.write('PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n')
  const [answer] = await once(wrong, 'data')
  t.match(String(answer), /^HTTP\/1\.1 (400|505) /)
})

t.test('a backend that refuses a stream has not seen it; one that goes away keeps what it promised', async t => {
  // Says hello, then refuses the first stream, and answers the next by GOAWAY for all streams.
  let requests = 0
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.write(frame(Type.SETTINGS, 0, 0))
    let input = Buffer.alloc(0)
    let at = PREFACE.length
    socket.on('data', chunk => {
      input = Buffer.concat([input, chunk])
      while (input.length >= at + 9 && input.length >= at + 9 + input.readUIntBE(at, 3)) {
        const type = input[at + 3]
        const streamId = input.readUInt32BE(at + 5)
        at += 9 + input.readUIntBE(at, 3)
        if (type !== Type.HEADERS) continue
        requests += 1
        if (requests === 1) socket.write(frame(Type.RST_STREAM, 0, streamId, uint32(ErrorCode.REFUSED_STREAM)))
        else if (requests === 2) socket.write(frame(Type.GOAWAY, 0, 0, Buffer.concat([uint32(0), uint32(0)])))
        else socket.write(frame(Type.HEADERS, END_HEADERS | END_STREAM, streamId, Buffer.from([0x88])))
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const pairing = await createPairing(t, 'h1', 'h2c')
  pairing.backendPort = (server.address() as AddressInfo).port
  for (const expected of [
    { kind: 'not-sent', reason: 'unprocessed' },
    { kind: 'not-sent', reason: 'stale' },
    { kind: 'completed', status: 200 },
  ]) {
    await pairing.ask({ method: 'POST', body: Buffer.alloc(0) })
    t.match(pairing.outcomes.at(-1), expected)
  }
})

/** An HTTP/2 backend of frames: gives up its first connections unseen once `goneAfterBytes` came on a stream. */
async function startLeaving(t: Test, goneAfterBytes: number, leavingCount: number) {
  const connections: { body: Buffer; hasEnded: boolean }[] = []
  const { promise: isLeft, resolve: onOthers } = Promise.withResolvers<void>()
  const server = createServer(socket => {
    const seen = { body: Buffer.alloc(0), hasEnded: false }
    const isLeaving = connections.push(seen) <= leavingCount
    if (!isLeaving) onOthers()
    let hasLeft = false
    socket.on('error', () => {})
    const settings = Buffer.concat([Buffer.from([0, 4]), uint32(1 << 20)]) // a window of 1 MiB for every stream
    socket.write(frame(Type.SETTINGS, 0, 0, settings))
    socket.write(frame(Type.WINDOW_UPDATE, 0, 0, uint32(1 << 20)))
    let input = Buffer.alloc(0)
    let at = PREFACE.length
    socket.on('data', chunk => {
      input = Buffer.concat([input, chunk])
      while (input.length >= at + 9 && input.length >= at + 9 + input.readUIntBE(at, 3)) {
        const [type, streamId] = [input[at + 3], input.readUInt32BE(at + 5)]
        const end = at + 9 + input.readUIntBE(at, 3)
        if (type === Type.DATA) seen.body = Buffer.concat([seen.body, input.subarray(at + 9, end)])
        if (type === Type.DATA && (input[at + 4]! & END_STREAM) !== 0) seen.hasEnded = true
        at = end
        if (isLeaving && !hasLeft && seen.body.length >= goneAfterBytes) {
          hasLeft = true
          socket.write(frame(Type.GOAWAY, 0, 0, Buffer.concat([uint32(0), uint32(0)])))
        } else if (!isLeaving && seen.hasEnded) {
          socket.write(frame(Type.HEADERS, END_HEADERS | END_STREAM, streamId, Buffer.from([0x88])))
        }
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  return { port: (server.address() as AddressInfo).port, connections, isLeft }
}

t.test('GOAWAY below a stream whose body was partly sent: it is sent again, whole, whatever the method', async t => {
  for (const client of ['h1', 'h2'] as const) {
    const backend = await startLeaving(t, 30_000, 1)
    const pairing = await createPairing(t, client, 'h2c')
    pairing.backendPort = backend.port
    const [start, rest] = [Buffer.alloc(40_000, 'start'), Buffer.alloc(200_000, 'rest')]
    const request = pairing.open({ method: 'POST', headers: { 'content-length': '240000' } })
    const answer = gather(request)
    request.write(start)
    await backend.isLeft
    request.end(rest)
    t.match(await answer, { status: 200, error: null }, client)
    t.match(pairing.outcomes, [{ kind: 'completed', status: 200 }], client)
    t.ok(backend.connections[1]?.body.equals(Buffer.concat([start, rest])), `${client}: every octet, once`)
  }
})

t.test('GOAWAY behind more of a body than is kept: the request fails, and says why', async t => {
  const backend = await startLeaving(t, 70_000, 1)
  const pairing = await createPairing(t, 'h1', 'h2c')
  pairing.backendPort = backend.port
  const answer = await pairing.ask({ method: 'PUT', body: Buffer.alloc(100_000, 'x') })
  t.match(answer, { status: 502, headers: { 'x-outcome': 'failed-before-response' } })
  t.match(pairing.outcomes, [{ kind: 'failed-before-response', reason: 'gone-away', retryable: false }])
  t.equal(backend.connections.length, 1)
})

t.test('GOAWAY twice: a request is not sent a third time', async t => {
  const backend = await startLeaving(t, 10, 2)
  const pairing = await createPairing(t, 'h1', 'h2c')
  pairing.backendPort = backend.port
  await pairing.ask({ method: 'POST', body: Buffer.alloc(100, 'x') })
  t.match(pairing.outcomes, [{ kind: 'failed-before-response', reason: 'gone-away' }])
  t.equal(backend.connections.length, 2)
})

t.test('draining: GOAWAY, what is under way ends, then the connection; new connections are not taken', async t => {
  const pairing = await createPairing(t, 'h2', 'h2c')
  const gate = Promise.withResolvers<void>()
  pairing.handler = (_request, response) => void gate.promise.then(() => response.end('to the end'))
  const answer = pairing.ask()
  await pairing.when(() => pairing.exchanges.length === 1)
  const { session } = pairing
  const goaway = once(session, 'goaway')
  const closed = once(session, 'close')
  const isClosed = pairing.proxy.close(10_000)
  const [code] = await goaway
  t.equal(code, ErrorCode.NO_ERROR)
  gate.resolve()
  t.equal(String((await answer).body), 'to the end')
  await closed
  await isClosed
  t.equal(pairing.proxy.stats().clientConnections, 0)
  t.equal(pairing.proxy.stats().upstreamConnections, 0)
})
