import { once } from 'node:events'
import { kitchenCommand, startWaiter } from '@waiter/testkit'
import t, { type Test } from 'tap'
import WebSocket from 'ws'
import { describeService, postToken } from '../support/services.ts'

const waiter = await startWaiter()
t.teardown(() => waiter.stop())
await postToken(waiter, 'sockets', describeService(kitchenCommand(), { 'concurrency-level': 20, 'max-instances': 1 }))

interface Client {
  readonly socket: WebSocket
  /** The next message, as text or bytes. */
  next(): Promise<string | Buffer>
}

async function open(t: Test, path = '/', protocols: string[] = []): Promise<Client> {
  const socket = new WebSocket(`ws://127.0.0.1:${waiter.port}${path}`, protocols, {
    headers: { 'x-waiter-token': 'sockets' },
    perMessageDeflate: true,
  })
  t.teardown(() => socket.terminate())
  const messages: (string | Buffer)[] = []
  const waiting: ((message: string | Buffer) => void)[] = []
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    const message = isBinary ? data : data.toString()
    const taker = waiting.shift()
    if (taker === undefined) messages.push(message)
    else taker(message)
  })
  await once(socket, 'open')
  return {
    socket,
    next: async () => messages.shift() ?? (await new Promise(resolve => waiting.push(resolve))),
  }
}

t.test('`ws` talks through Waiter', async t => {
  await t.test('text, binary, long and fragmented messages, pings', async t => {
    const { socket, next } = await open(t)
    t.equal(await next(), 'Connected to kitchen')
    socket.send('hello')
    t.equal(await next(), 'hello')
    socket.send(Buffer.from([0, 1, 255]))
    t.same(await next(), Buffer.from([0, 1, 255]))
    const long = 'l'.repeat(1_000_000)
    socket.send(long)
    t.equal(await next(), long)
    socket.send('in ', { fin: false })
    socket.send('pieces', { fin: true })
    t.equal(await next(), 'in pieces')
    socket.ping('beat')
    const [payload] = await once(socket, 'pong')
    t.equal(String(payload), 'beat')
    socket.close(1000, 'done')
    const [code, reason] = await once(socket, 'close')
    t.same([code, String(reason)], [1000, 'done'], 'the close comes back')
  })

  await t.test('the first of several subprotocols that the backend takes', async t => {
    const { socket } = await open(t, '/', ['chat.v2', 'chat.v1'])
    t.equal(socket.protocol, 'chat.v2')
  })

  await t.test('an application’s own close code', async t => {
    const { socket, next } = await open(t)
    await next()
    socket.close(4321, 'of my own')
    t.same((await once(socket, 'close')).map(String), ['4321', 'of my own'])
  })

  await t.test('ten at once do not mix', async t => {
    const clients = await Promise.all(Array.from({ length: 10 }, () => open(t)))
    await Promise.all(clients.map(({ next }) => next()))
    for (const [index, { socket }] of clients.entries()) socket.send(`to ${index}`)
    t.same(
      await Promise.all(clients.map(({ next }) => next())),
      clients.map((_, index) => `to ${index}`),
    )
  })

  await t.test('an instance that dies closes its WebSockets with 1006', async t => {
    const { socket, next } = await open(t)
    await next()
    for (const { pid } of waiter.instanceProcesses()) process.kill(pid, 'SIGKILL')
    const [code] = await once(socket, 'close')
    t.equal(code, 1006)
  })
})
