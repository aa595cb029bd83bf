import { spawn } from 'node:child_process'
import { EventEmitter } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { PassThrough } from 'node:stream'
import t from 'tap'
import {
  connectRaw,
  createRecorder,
  createTestLogger,
  eventually,
  fastKitchenCommand,
  freePort,
  kitchenCommand,
  listFastKitchens,
  measureStart,
  parseRawResponse,
  rawRequest,
  request,
  waitForEvent,
  waitForLine,
  within,
} from '../src/index.ts'

const parse = (text: string, hasEnded = false, isHead = false) =>
  parseRawResponse(Buffer.from(text, 'latin1'), { hasEnded, isHead })

t.test('reads responses', async t => {
  const rows: [string, string, { hasEnded?: boolean; isHead?: boolean }, unknown][] = [
    ['half a head needs more', 'HTTP/1.1 200', {}, undefined],
    [
      'a length',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiX',
      {},
      { consumedBytes: 40, response: { text: 'hi', isComplete: true } },
    ],
    ['too little', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi', {}, undefined],
    [
      'cut off',
      'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi',
      { hasEnded: true },
      { response: { text: 'hi', isComplete: false } },
    ],
    ['to the end', 'HTTP/1.1 200 OK\r\n\r\nhi', {}, undefined],
    ['ended', 'HTTP/1.1 200 OK\r\n\r\nhi', { hasEnded: true }, { response: { text: 'hi', isComplete: true } }],
    [
      'HEAD',
      'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n',
      { isHead: true },
      { response: { text: '', isComplete: true } },
    ],
    ['100 has no body', 'HTTP/1.1 100 Continue\r\n\r\nHTTP', {}, { consumedBytes: 25, response: { status: 100 } }],
    [
      'chunks and trailers',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\na: b\r\n\r\n',
      {},
      { response: { text: 'hi', chunkBytes: [2], trailers: [['a', 'b']], isComplete: true } },
    ],
    [
      'chunks cut off',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n',
      { hasEnded: true },
      { response: { text: 'hi', isComplete: false } },
    ],
  ]
  for (const [row, text, { hasEnded, isHead }, expected] of rows) {
    const parsed = parse(text, hasEnded, isHead)
    if (expected === undefined) t.equal(parsed, undefined, row)
    else t.match(parsed, expected as object, row)
  }
  t.equal(parse('HTTP/1.1 204 No Content\r\nA: 1\r\na: 2\r\n\r\n')?.response.header('a'), '1, 2')
  t.throws(() => parse('HTTP/2 200\r\n\r\n'), /not a status line/)
  t.throws(() => parse('HTTP/1.1 200 OK\r\nno colon\r\n\r\n'), /not a header/)
  t.throws(() => parse('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'), /not a chunk size/)
  t.throws(() => parse('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nhi\r\n'), /does not end/)
  t.throws(() => parse('HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n'), /not a content-length/)
  t.throws(() => parse('HTTP/1.1 2', true), /within a head/)
})

t.test('tells how a connection ended', async t => {
  const server = createServer(socket => {
    socket.on('error', () => undefined)
    socket.once('data', data => (data.toString().startsWith('reset') ? socket.resetAndDestroy() : socket.end()))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  for (const [word, how] of [
    ['reset', 'ECONNRESET'],
    ['bye', 'end'],
  ] as const) {
    const connection = await connectRaw({ port })
    await connection.write(word)
    t.equal(await connection.closed, how)
    await t.rejects(connection.nextResponse(), new RegExp(how))
    connection.destroy()
  }
  await t.rejects(rawRequest({ port, bytes: 'bye' }), /without a response/)
  await t.rejects(request({ port }), /hang up/)
})

t.test('waits for events, lines and records, and says what it waited for in vain', async t => {
  const emitter = new EventEmitter()
  const event = waitForEvent<number>(emitter, 'tick', { where: count => count === 2 })
  emitter.emit('tick', 1)
  emitter.emit('tick', 2)
  t.equal(await event, 2)
  t.equal(emitter.listenerCount('tick'), 0)
  await t.rejects(waitForEvent(emitter, 'never', { timeoutMs: 1 }), /in vain for the event "never"/)
  const stream = new PassThrough()
  const line = waitForLine(stream, /port (\d+)/)
  stream.write('no\npo')
  stream.write('rt 12\n')
  t.equal((await line)[1], '12')
  const ended = waitForLine(stream, /x/)
  stream.end()
  await t.rejects(ended, /ended without a line/)
  const recorder = createRecorder<string>()
  const second = recorder.waitForCount(2)
  const b = recorder.waitFor(item => item === 'b')
  recorder.push('a')
  recorder.push('b')
  await second
  t.equal(await b, 'b')
  t.equal(await recorder.waitFor(item => item === 'a'), 'a')
  await t.rejects(recorder.waitForCount(3, { timeoutMs: 1 }), /in vain/)
  await t.rejects(within(new Promise(() => undefined), 'nothing', { timeoutMs: 1 }), /1 ms in vain for nothing/)
  let asked = 0
  t.equal(await eventually(() => (++asked < 3 ? undefined : asked), 'three', { everyMs: 1 }), 3)
  const failing = eventually(() => Promise.reject(new Error('why')), 'it', { timeoutMs: 5, everyMs: 1 })
  await t.rejects(failing, { message: 'waited in vain for it', cause: { message: 'why' } })
})

t.test('a test logger remembers', async t => {
  const logger = createTestLogger()
  const warned = logger.records.waitFor(({ level }) => level === 'warn')
  logger.info({ a: 1 }, 'one')
  logger.warn({ b: 2 }, 'two')
  t.same(await warned, { level: 'warn', fields: { b: 2 }, message: 'two' })
  t.equal(logger.records.items.length, 2)
})

t.test('every fast kitchen answers, keeps alive, skips bodies', async t => {
  for (const { name, command } of listFastKitchens().filter(({ isAvailable }) => isAvailable)) {
    await t.test(name, async t => {
      const port = await freePort()
      const child = spawn('/bin/sh', ['-c', command], {
        env: { ...process.env, PORT0: String(port) },
        stdio: 'inherit',
      })
      t.teardown(() => child.kill('SIGKILL'))
      t.equal((await eventually(() => request({ port }), name)).text, 'Hello World')
      const bytes =
        'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\nConnection: close\r\n\r\n'
      const connection = await connectRaw({ port })
      await connection.write(bytes)
      t.match(await connection.nextResponse(), { status: 200, text: 'Hello World' })
      t.match(await connection.nextResponse({ isHead: true }), { status: 200 })
      t.equal(await connection.closed, 'end')
      t.equal(connection.rest().length, 0)
    })
  }
  t.equal(fastKitchenCommand(), listFastKitchens().find(({ isAvailable }) => isAvailable)?.command)
})

t.test('measures starts', async t => {
  const times = await measureStart(kitchenCommand('--keep-alive'), 2)
  t.ok(times.minMs > 0 && times.minMs <= times.medianMs && times.medianMs <= times.maxMs)
  await t.rejects(measureStart('exit 3', 1), /ended before it answered/)
})
