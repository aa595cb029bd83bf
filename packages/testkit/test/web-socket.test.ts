import { createPrng } from '@waiter/base'
import t, { type Test } from 'tap'
import {
  CLOSE_CODE,
  connectWebSocket,
  createKitchen,
  createMessageReader,
  encodeFrame,
  type KitchenOptions,
  OPCODE,
  type WebSocketMessage,
} from '../src/index.ts'

async function open(test: Test, options: Partial<KitchenOptions> = {}) {
  const kitchen = createKitchen({ port: 0, hostname: '127.0.0.1', ...options })
  await kitchen.listen()
  test.teardown(() => kitchen.close())
  const socket = await connectWebSocket({ port: kitchen.port(), path: '/any?x', protocols: ['first', 'second'] })
  test.teardown(() => socket.destroy())
  t.same(await socket.next(), { kind: 'text', text: 'Connected to kitchen' })
  return { kitchen, socket }
}

t.test('the handshake accepts the key and echoes one subprotocol', async t => {
  const { socket } = await open(t)
  t.equal(socket.response.status, 101)
  t.equal(socket.response.header('sec-websocket-accept'), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
  t.equal(socket.response.header('sec-websocket-protocol'), 'first')
})

t.test('echoes text and binary, answers pings, joins fragments', async t => {
  const { socket } = await open(t)
  await socket.sendText('grüße')
  t.same(await socket.next(), { kind: 'text', text: 'grüße' })
  const large = Buffer.alloc(70_000, 7)
  await socket.sendBinary(large)
  t.same(await socket.next(), { kind: 'binary', data: large })
  await socket.sendFrame({ opcode: OPCODE.text, payload: Buffer.from('ab'), isFinal: false })
  await socket.sendFrame({ opcode: OPCODE.ping, payload: Buffer.from('p') })
  await socket.sendFrame({ opcode: OPCODE.continuation, payload: Buffer.from('cd') })
  t.same(await socket.next(), { kind: 'pong', data: Buffer.from('p') })
  t.same(await socket.next(), { kind: 'text', text: 'abcd' })
})

t.test('knows request-info, kitchen-state, bytes-N and chars-N', async t => {
  const { socket, kitchen } = await open(t)
  const textOf = (message: WebSocketMessage) => (message.kind === 'text' ? message.text : t.fail(message.kind))
  await socket.sendText('request-info')
  t.match(JSON.parse(String(textOf(await socket.next()))), { uri: '/any', 'query-string': 'x' })
  await socket.sendText('kitchen-state')
  const state = JSON.parse(String(textOf(await socket.next())))
  t.match(state, { 'pending-ws-requests': 0, 'total-ws-requests': 0 })
  t.match(kitchen.state(), { 'pending-ws-requests': 1, 'total-ws-requests': 1 })
  await socket.sendText('bytes-300')
  const bytes = await socket.next()
  t.equal(bytes.kind === 'binary' && bytes.data.length, 300)
  await socket.sendText('chars-200')
  t.match(textOf(await socket.next()), /^[A-Z]{200}$/)
})

t.test('says why it closes', async t => {
  const limits = { wsMaxBinaryMessageSize: 1000, wsMaxTextMessageSize: 100 }
  const rows = [
    ['more bytes than allowed', CLOSE_CODE.internalError, { opcode: OPCODE.text, payload: Buffer.from('bytes-1001') }],
    ['more chars than allowed', CLOSE_CODE.internalError, { opcode: OPCODE.text, payload: Buffer.from('chars-101') }],
    ['a text beyond the limit', CLOSE_CODE.tooLarge, { opcode: OPCODE.text, payload: Buffer.alloc(101, 65) }],
    ['a frame beyond the limit', CLOSE_CODE.tooLarge, { opcode: OPCODE.binary, payload: Buffer.alloc(1001) }],
    ['an unknown frame', CLOSE_CODE.unsupportedData, { opcode: 5, payload: Buffer.alloc(0) }],
    ['text that is not UTF-8', CLOSE_CODE.invalidText, { opcode: OPCODE.text, payload: Buffer.of(0xff) }],
    ['a continuation of nothing', CLOSE_CODE.protocolError, { opcode: OPCODE.continuation, payload: Buffer.alloc(1) }],
  ] as const
  for (const [row, code, frame] of rows) {
    await t.test(row, async t => {
      const { socket } = await open(t, limits)
      await socket.sendFrame(frame)
      t.match(await socket.next(), { kind: 'close', code })
      t.equal(await socket.closed, 'end')
    })
  }
  const { socket } = await open(t)
  await socket.sendClose(4001, 'done')
  t.same(await socket.next(), { kind: 'close', code: 4001, reason: 'done' })
  await t.rejects(socket.next(), /ended/)
})

t.test('refuses what is not a WebSocket', async t => {
  process.env.WAITER_USERNAME = 'u'
  process.env.WAITER_PASSWORD = 'p'
  const kitchen = createKitchen({ port: 0, hostname: '127.0.0.1' })
  await kitchen.listen()
  t.teardown(() => kitchen.close())
  const socket = await connectWebSocket({ port: kitchen.port() })
  delete process.env.WAITER_USERNAME
  delete process.env.WAITER_PASSWORD
  t.equal(socket.response.status, 403)
})

t.test('frames survive being cut anywhere', async t => {
  const prng = createPrng(11)
  const expected: string[] = []
  const frames: Buffer[] = []
  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 3]) {
    const text = 'x'.repeat(length)
    expected.push(text)
    frames.push(
      encodeFrame({ opcode: OPCODE.text, payload: Buffer.from(text), mask: Uint8Array.of(9, 8, 7, prng.below(256)) }),
    )
  }
  const bytes = Buffer.concat(frames)
  for (let run = 0; run < 20; run++) {
    const read = createMessageReader({ textBytesMax: 1e6, binaryBytesMax: 1e6, isMasked: true })
    const texts: unknown[] = []
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + prng.below(run < 2 ? 3 : 20_000)
      for (const message of read(bytes.subarray(at, end))) texts.push(message.kind === 'text' ? message.text : message)
      at = end
    }
    t.same(texts, expected)
  }
})
