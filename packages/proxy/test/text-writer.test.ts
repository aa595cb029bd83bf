import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { findDirectWrites, handleOf, type WriteRequestConstructor, writeError } from '../src/direct-writes.ts'
import { TextWriter } from '../src/text-writer.ts'

/** Both ends of a connection; the peer reads when told. */
async function pair(t: Test): Promise<{ readonly socket: Socket; readonly peer: Socket }> {
  const server: Server = createServer({ pauseOnConnect: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect({ host: '127.0.0.1', port: (server.address() as { port: number }).port, allowHalfOpen: true })
  const [[peer]] = (await Promise.all([once(server, 'connection'), once(socket, 'connect')])) as [[Socket], unknown]
  for (const end of [socket, peer]) end.on('error', () => undefined)
  t.teardown(() => {
    for (const end of [socket, peer]) end.destroy()
    server.close()
  })
  return { socket, peer }
}

/** `once` would take the error before it for a failure. */
const closeOf = (socket: Socket): Promise<void> => new Promise(resolve => socket.once('close', () => resolve()))

async function readAll(peer: Socket): Promise<string> {
  let text = ''
  peer.on('data', chunk => {
    text += chunk.toString('latin1')
  })
  peer.resume()
  await once(peer, 'end')
  return text
}

const ways: readonly (readonly [string, WriteRequestConstructor | null])[] = [
  ['straight', await findDirectWrites()],
  ['through the stream', null],
]

t.test('this Node can be written to past its streams', async t => {
  t.ok(await findDirectWrites())
  t.equal(await findDirectWrites(), await findDirectWrites(), 'asked once')
})

for (const [way, WriteRequest] of ways) {
  t.test(`${way}: everything arrives in order, whoever waits for whom`, async t => {
    const { socket, peer } = await pair(t)
    let onDrain = (): void => undefined
    const writer = new TextWriter(socket, WriteRequest, () => onDrain())
    let expected = ''
    const write = (text: string): void => {
      expected += text
      writer.writeText(text)
    }
    write('first é ')
    t.equal(writer.length, 0, 'the kernel took it')
    for (let i = 0; writer.length <= 100_000; i++) write(String.fromCharCode(97 + (i % 26)).repeat(15_000))
    write('behind ')
    expected += 'bytes pair and bytes '
    writer.writeBytes(Buffer.from('bytes '))
    writer.writePair('pair ', Buffer.from('and bytes '))
    t.ok(writer.length > 0)
    write('last')
    const drained = new Promise<void>(resolve => {
      onDrain = resolve
    })
    const received = readAll(peer)
    await drained
    writer.end()
    t.ok((await received) === expected)
    t.equal(writer.length, 0)
  })

  t.test(`${way}: a peer that reset the connection is an error of the socket, not a throw`, async t => {
    const { socket, peer } = await pair(t)
    const writer = new TextWriter(socket, WriteRequest, () => undefined)
    const closed = closeOf(socket)
    peer.resetAndDestroy()
    await once(peer, 'close')
    for (let i = 0; i < 3; i++) writer.writeText('x')
    await closed
    t.ok(socket.destroyed)
    writer.writeText('ignored')
    t.equal(handleOf(socket), null)
  })

  t.test(`${way}: what waits when the socket is destroyed is let go`, async t => {
    const { socket, peer } = await pair(t)
    const writer = new TextWriter(socket, WriteRequest, () => t.fail('nothing was sent'))
    while (writer.length === 0) writer.writeText('y'.repeat(15_000))
    const closed = closeOf(socket)
    socket.destroy()
    await closed
    t.ok(!peer.destroyed)
  })

  t.test(`${way}: destroySoon sends what waits first`, async t => {
    const { socket, peer } = await pair(t)
    const writer = new TextWriter(socket, WriteRequest, () => undefined)
    let bytes = 0
    while (writer.length === 0) {
      writer.writeText('z'.repeat(15_000))
      bytes += 15_000
    }
    writer.destroySoon()
    peer.on('end', () => peer.end())
    t.equal((await readAll(peer)).length, bytes)
  })
}

t.test('errors look as if a stream had made them', async t => {
  t.match(writeError(-32), { code: 'EPIPE', syscall: 'write', message: 'write EPIPE' })
})
