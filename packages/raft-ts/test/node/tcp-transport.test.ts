import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type Logger, silentLogger } from '@waiter/base'
import fc from 'fast-check'
import t from 'tap'
import { ByteWriter, type Message } from '../../src/index.ts'
import { encodeMessages, TcpTransport, type TcpTransportOptions, type TransportSecurity } from '../../src/node/index.ts'
import { createAuthority } from './support/certificates.ts'
import { createTransportContract, Inbox } from './support/transport-contract.ts'

const HOST = '127.0.0.1'
const LIMITS = { maxQueuedBytes: 8 * 1024 * 1024, reconnectMs: 5 }
const TRUSTED: TransportSecurity = { kind: 'trustedNetwork' }
const SHARED: TransportSecurity = { kind: 'sharedKey', key: Buffer.alloc(32, 7) }

const authority = createAuthority()
t.teardown(() => authority.remove())
const nameOf = (id: number): string => `node-${id}.raft.test`
const tlsOf = (id: number, whose = authority): TransportSecurity => {
  const { ca } = authority
  return { kind: 'tls', ...whose.issue(nameOf(id)), ca, nameOf }
}

const make = (id: number, security: TransportSecurity, rest: Partial<TcpTransportOptions> = {}): TcpTransport =>
  new TcpTransport({ id, group: 'test', security, listen: { host: HOST, port: 0 }, limits: LIMITS, ...rest })

for (const [kind, securityOf] of [
  ['trusted network', () => TRUSTED],
  ['shared key', () => SHARED],
  ['mutual TLS', (id: number) => tlsOf(id)],
] as const) {
  createTransportContract(t, `tcp, ${kind}`, async () => {
    const [first, second] = [make(1, securityOf(1)), make(2, securityOf(2))]
    await Promise.all([first.listen(), second.listen()])
    const { port } = second
    first.setPeer(2, { host: HOST, port })
    second.setPeer(1, { host: HOST, port: first.port })
    return {
      first,
      second,
      restartSecond: async () => {
        const again = make(2, securityOf(2), { listen: { host: HOST, port } })
        await again.listen()
        return again
      },
    }
  })
}

async function started(
  test: Pick<typeof t, 'teardown'>,
  id: number,
  security: TransportSecurity,
  rest: Partial<TcpTransportOptions> = {},
) {
  const transport = make(id, security, rest)
  const inbox = new Inbox()
  await transport.start(inbox)
  test.teardown(() => transport.stop())
  return { transport, inbox, address: { host: HOST, port: transport.port } }
}

const beat = (from: number, to = 1, commit = 1): Message => {
  return { type: 'MsgHeartbeat', from, to, term: 9, commit, readRound: 0 }
}

t.test('there is no security by default, and no weak key', async t => {
  const options = { id: 1, group: 'test', listen: { host: HOST, port: 0 } } as TcpTransportOptions
  t.throws(() => new TcpTransport(options), { code: 'RAFT_BAD_OPTIONS', message: /`security` is missing/ })
  const weak: TransportSecurity = { kind: 'sharedKey', key: Buffer.from('swordfish') }
  t.throws(() => make(1, weak), { code: 'RAFT_BAD_OPTIONS', message: /has 9 bytes, at least 32/ })
})

for (const [story, serverSecurity, stranger] of [
  ['of another group', TRUSTED, { security: TRUSTED, group: 'theirs' }],
  ['who wants another node', TRUSTED, { security: TRUSTED, to: 3 }],
  ['without TLS', SHARED, { security: TRUSTED }],
  ['with another key', SHARED, { security: { kind: 'sharedKey', key: Buffer.alloc(32, 8) } }],
  ['with the key but of another group', SHARED, { security: SHARED, group: 'theirs' }],
  ['with a key where certificates are asked for', tlsOf(1), { security: SHARED }],
  ['with a certificate of another authority', tlsOf(1), { security: tlsOf(2, otherAuthority()) }],
  ["with another member's certificate", tlsOf(1), { security: tlsOf(3) }],
] as const) {
  t.test(`a stranger is heard by nobody: one ${story}`, async t => {
    const { inbox, address } = await started(t, 1, serverSecurity)
    const {
      group = 'test',
      to = 1,
      security,
    } = stranger as { security: TransportSecurity; group?: string; to?: number }
    const other = await started(t, 2, security, { group, peers: new Map([[to, address]]) })
    for (let attempt = 1; attempt <= 2; attempt++) {
      other.transport.send([beat(2, to)])
      await other.inbox.until(() => other.inbox.unreachable.length >= attempt)
    }
    t.same(inbox.messages, [])
  })
}

function otherAuthority() {
  const other = createAuthority()
  t.teardown(() => other.remove())
  return other
}

t.test('it is said why somebody was refused, once a second', async t => {
  const lines: string[] = []
  const log: Logger = { ...silentLogger, warn: (fields, text) => lines.push(`${text} ${JSON.stringify(fields)}`) }
  const { address } = await started(t, 1, tlsOf(1), { log })
  const other = await started(t, 2, tlsOf(3), { log, peers: new Map([[1, address]]) })
  for (let attempt = 1; attempt <= 3; attempt++) {
    other.transport.send([beat(2)])
    await other.inbox.until(() => other.inbox.unreachable.length >= attempt)
  }
  const [line] = lines.filter(text => text.includes('refused'))
  t.match(line, /raft transport: a connection was refused .*"reason":"A peer says it is node 2, but .*node-3/)
  t.ok(lines.length <= 3, lines.join('\n'))
})

t.test('nothing is told to an imposter: who answers must be the node that was wanted', async t => {
  for (const [own, imposter] of [
    [tlsOf(1), tlsOf(3)],
    [tlsOf(1), TRUSTED],
    [SHARED, { kind: 'sharedKey', key: Buffer.alloc(32, 9) }],
    [SHARED, TRUSTED],
  ] as const) {
    const { inbox, address } = await started(t, 2, imposter)
    const { transport, inbox: told } = await started(t, 1, own, { peers: new Map([[2, address]]) })
    transport.send([beat(1, 2)])
    await told.until(() => told.unreachable.includes(2))
    t.same(inbox.messages, [])
  }
})

/** A hello as a member would say it, and frames. */
const frame = (type: number, payload: Uint8Array): Buffer => {
  const head = Buffer.alloc(5)
  head.writeUInt32LE(payload.length)
  head[4] = type
  return Buffer.concat([head, payload])
}
const hello = (from = 2, carries = 0): Buffer =>
  frame(1, new ByteWriter().text('raft-ts').varint(1).text('test').varint(from).varint(1).varint(carries).finish())
const messages = (...all: readonly Message[]): Buffer => frame(2, encodeMessages(all))

const closed = (socket: Socket): Promise<unknown> => once(socket.resume(), 'close')

t.test('a member speaks in its own name only, but may pass on requests', async t => {
  const { inbox, address } = await started(t, 1, TRUSTED)
  const socket = connect(address)
  const forged = [beat(3), beat(2, 7), { ...beat(3), type: 'MsgVoteResp', reject: false } as Message]
  const passedOn: Message = { type: 'MsgReadIndex', from: 3, to: 1, term: 0, readId: 'r' }
  socket.write(Buffer.concat([hello(), messages(...forged, passedOn, beat(2))]))
  await inbox.until(() => inbox.messages.length >= 2)
  t.same(inbox.messages, [passedOn, beat(2)])
  socket.destroy()
})

t.test('a newer connection of a peer takes the place of the older', async t => {
  const { inbox, address } = await started(t, 1, TRUSTED)
  const [older, newer] = [connect(address), connect(address)]
  older.write(Buffer.concat([hello(), messages(beat(2, 1, 1))]))
  await inbox.until(() => inbox.messages.length === 1)
  newer.write(Buffer.concat([hello(), messages(beat(2, 1, 2))]))
  await closed(older)
  await inbox.until(() => inbox.messages.length === 2)
  newer.destroy()
})

for (const [story, bytes] of [
  ['another protocol', Buffer.from('GET / HTTP/1.1\r\nhost: here\r\n\r\n')],
  ['a first frame that is no hello', messages(beat(2))],
  ['a hello longer than any', frame(1, Buffer.alloc(4097))],
  ['a frame announced with 4 GiB', Buffer.from([255, 255, 255, 255, 1])],
  ['a long frame announced after the hello', Buffer.concat([hello(), Buffer.from([255, 255, 255, 255, 2])])],
  ['messages that are cut off', Buffer.concat([hello(), frame(2, encodeMessages([beat(2)]).subarray(0, 3))])],
  [
    'a count that cannot be',
    Buffer.concat([hello(), frame(2, Buffer.from([2, 2, 1, 9, 0, 0, 0, 255, 255, 255, 127]))]),
  ],
  ['a message of no known type', Buffer.concat([hello(), frame(2, Buffer.from([99, 2, 1, 0]))])],
  ['a snapshot without a head', Buffer.concat([hello(2, 1), frame(5, Buffer.alloc(3))])],
  ['a snapshot that is another message', Buffer.concat([hello(2, 1), frame(4, encodeMessages([beat(2)]))])],
] as const) {
  t.test(`it ends the connection: ${story}`, async t => {
    const { inbox, address } = await started(t, 1, TRUSTED, { limits: { maxFrameBytes: 1024 } })
    const socket = connect(address)
    socket.write(bytes)
    await closed(socket)
    t.same(inbox.messages, [])
  })
}

t.test('no bytes whatsoever bring it down', async t => {
  const { transport, inbox, address } = await started(t, 1, TRUSTED)
  const junk = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .record({ type: fc.nat(9), payload: fc.uint8Array({ maxLength: 60 }) })
        .map(one => frame(one.type, one.payload)),
    ),
    { maxLength: 6 },
  )
  await fc.assert(
    fc.asyncProperty(junk, fc.boolean(), async (pieces, saysHello) => {
      const socket = connect(address)
      const end = closed(socket)
      socket.on('error', () => undefined)
      socket.end(Buffer.concat([...(saysHello ? [hello()] : []), ...pieces]))
      await end
    }),
    { numRuns: 150 },
  )
  const member = await started(t, 2, TRUSTED, { peers: new Map([[1, { host: HOST, port: transport.port }]]) })
  const before = inbox.messages.length
  member.transport.send([beat(2, 1, 77)])
  await inbox.until(() => inbox.messages.length > before)
})

t.test('connections that say nothing are closed, and do not keep members out', async t => {
  for (const security of [TRUSTED, SHARED]) {
    const limits = { ...LIMITS, maxPendingConnections: 4, connectTimeoutMs: 300 }
    const { inbox, address } = await started(t, 1, security, { limits })
    const idle = Array.from({ length: 20 }, () => connect(address))
    const ends = idle.map(async socket => {
      socket.on('error', () => undefined)
      await closed(socket)
    })
    const member = await started(t, 2, security, { peers: new Map([[1, address]]) })
    member.transport.send([beat(2)])
    await inbox.until(() => inbox.messages.length > 0)
    await Promise.all(ends)
    t.ok(
      idle.every(({ destroyed }) => destroyed),
      'all were closed',
    )
  }
})

for (const [kind, security] of [
  ['trusted network', TRUSTED],
  ['shared key', SHARED],
] as const) {
  const pair = async (test: Parameters<typeof started>[0]) => {
    const here = await started(test, 1, security)
    const there = await started(test, 2, security, { peers: new Map([[1, here.address]]) })
    here.transport.setPeer(2, there.address)
    there.transport.send([beat(2)])
    here.transport.send([beat(1, 2)])
    await here.inbox.until(() => here.inbox.messages.length > 0)
    await there.inbox.until(() => there.inbox.messages.length > 0)
    return { here, there }
  }

  t.test(`who loses its connections and listens no more is gone: ${kind}`, async t => {
    const { here, there } = await pair(t)
    await there.transport.stop()
    await here.inbox.until(() => here.inbox.gone.length > 0)
    t.equal(here.inbox.gone[0], 2)
    t.same(there.inbox.gone, [])
  })

  t.test(`whose connections break, and who listens, is not gone: ${kind}`, async t => {
    const { here, there } = await pair(t)
    // At its address somebody answers, only to break every connection; those from it break, too.
    const proxy = createServer(socket => socket.resetAndDestroy())
    proxy.listen(0, HOST)
    await once(proxy, 'listening')
    t.teardown(() => proxy.close())
    here.transport.setPeer(2, { host: HOST, port: (proxy.address() as AddressInfo).port })
    const knocked = once(proxy, 'connection')
    await there.transport.stop()
    await knocked
    const again = here.inbox.unreachable.length
    while (here.inbox.unreachable.length < again + 2) {
      here.transport.send([beat(1, 2)])
      await new Promise<void>(resolve => setImmediate(resolve))
    }
    t.same(here.inbox.gone, [])
  })

  t.test(`who cannot be called but calls is not gone: ${kind}`, async t => {
    const here = await started(t, 1, security)
    const free = createServer()
    free.listen(0, HOST)
    await once(free, 'listening')
    const { port } = free.address() as AddressInfo
    const there = await started(t, 2, security, { peers: new Map([[1, here.address]]) })
    // To it stands a connection that breaks, and then nobody listens at that address; from it one that stands.
    const held = new Promise<Socket>(resolve => free.once('connection', resolve))
    here.transport.setPeer(2, { host: HOST, port })
    here.transport.send([beat(1, 2)])
    there.transport.send([beat(2)])
    await here.inbox.until(() => here.inbox.messages.length > 0)
    const socket = await held
    free.close()
    socket.resetAndDestroy()
    await here.inbox.until(() => here.inbox.unreachable.length > 0)
    const again = here.inbox.unreachable.length
    while (here.inbox.unreachable.length < again + 2) {
      here.transport.send([beat(1, 2)])
      await new Promise<void>(resolve => setImmediate(resolve))
    }
    t.same(here.inbox.gone, [])
  })
}
