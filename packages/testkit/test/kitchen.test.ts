import { mkdtempSync, readFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { gunzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import {
  connectRaw,
  createKitchen,
  createRecorder,
  type KitchenOptions,
  parseKitchenFlags,
  rawRequest,
  request,
  startKitchen,
  type TestRequest,
} from '../src/index.ts'

async function open(test: Test, options: Partial<KitchenOptions> = {}) {
  const exits = createRecorder<number>()
  const kitchen = createKitchen({ port: 0, hostname: '127.0.0.1', ...options }, { exit: exits.push })
  await kitchen.listen()
  test.teardown(() => kitchen.close())
  const port = kitchen.port()
  return { kitchen, port, exits, ask: (wanted: Omit<TestRequest, 'port'> = {}) => request({ port, ...wanted }) }
}

interface Row {
  readonly row: string
  readonly ask: Omit<TestRequest, 'port'>
  readonly status: number
  readonly text?: string
  readonly headers?: Readonly<Record<string, string | string[] | undefined>>
}

const rows: readonly Row[] = [
  { row: 'any path says hello', ask: { path: '/some/where?x=1' }, status: 200, text: 'Hello World' },
  { row: 'the default is plain text', ask: {}, status: 200, headers: { 'content-type': 'text/plain' } },
  { row: 'one request per connection', ask: {}, status: 200, headers: { connection: 'close' } },
  { row: 'every method is welcome', ask: { method: 'PATCH', body: 'x' }, status: 200, text: 'Hello World' },
  {
    row: 'a HEAD has a length and no body',
    ask: { method: 'HEAD' },
    status: 200,
    text: '',
    headers: { 'content-length': '11' },
  },
  { row: 'x-cid comes back', ask: { headers: { 'x-cid': 'c-1' } }, status: 200, headers: { 'x-cid': 'c-1' } },
  { row: 'a busy kitchen answers 503', ask: { headers: { 'x-kitchen-act-busy': 'true' } }, status: 503 },
  { row: 'act-busy false is not busy', ask: { headers: { 'x-kitchen-act-busy': 'false' } }, status: 200 },
  { row: '/bad-status is 500', ask: { path: '/bad-status' }, status: 500 },
  { row: '/bad-status gives the wished status', ask: { path: '/bad-status?status=418' }, status: 418 },
  {
    row: '/sleep answers with a status',
    ask: { path: '/sleep?sleep-ms=1&status=400' },
    status: 400,
    text: 'Slept for 1 ms',
  },
  {
    row: 'an echo keeps body and length',
    ask: { method: 'POST', body: 'päyload', headers: { 'x-kitchen-echo': 'true', 'content-length': '8' } },
    status: 200,
    text: 'päyload',
    headers: { 'content-length': '8' },
  },
  {
    row: 'an echo of a chunked body is chunked',
    ask: { method: 'POST', body: 'abc', headers: { 'x-kitchen-echo': 'true', 'transfer-encoding': 'chunked' } },
    status: 200,
    text: 'abc',
    headers: { 'transfer-encoding': 'chunked' },
  },
  { row: 'an echo of nothing is empty', ask: { headers: { 'x-kitchen-echo': '1' } }, status: 200, text: '' },
  {
    row: 'content type and cookies as wished',
    ask: { headers: { 'x-kitchen-content-type': 'a/b', 'x-kitchen-cookies': 'a=b,c=d' } },
    status: 200,
    headers: { 'content-type': 'a/b', 'set-cookie': ['a=b', 'c=d'] },
  },
  {
    row: 'headers can be left out',
    ask: { headers: { 'x-kitchen-exclude-headers': 'Date, content-type' } },
    status: 200,
    headers: { date: undefined, 'content-type': undefined },
  },
  {
    row: 'request-info as headers',
    ask: { method: 'PUT', path: '/a?include=request-info', body: '12345' },
    status: 200,
    headers: {
      'x-kitchen-request-method': 'PUT',
      'x-kitchen-request-length': '5',
      'x-kitchen-protocol-version': 'HTTP/1.1',
      'x-kitchen-request-version': 'HTTP/1.1',
    },
  },
  {
    row: 'a delayed answer is an answer',
    ask: { headers: { 'x-kitchen-delay-ms': '1' } },
    status: 200,
    text: 'Hello World',
  },
]

t.test('each wish alone', async t => {
  const { ask } = await open(t)
  for (const { row, ask: wanted, status, text, headers } of rows) {
    await t.test(row, async t => {
      const answer = await ask(wanted)
      t.equal(answer.status, status)
      if (text !== undefined) t.equal(answer.text, text)
      for (const [name, value] of Object.entries(headers ?? {})) t.same(answer.headers[name], value, name)
    })
  }
})

t.test('bodies of a wished size: chunked, with a length, zipped, and capped at 50 MiB', async t => {
  const { ask, port } = await open(t)
  const size = { 'x-kitchen-response-size': '100000' }
  const chunked = await ask({ path: '/chunked', headers: size })
  t.match(chunked.headers, { 'transfer-encoding': 'chunked', 'content-length': undefined })
  t.equal(chunked.body.length, 100_000)
  t.ok(chunked.text.startsWith('Lorem ipsum dolor sit amet'))
  const unchunked = await ask({ path: '/unchunked', headers: size })
  t.equal(unchunked.headers['content-length'], '100000')
  t.ok(unchunked.body.equals(chunked.body))
  const zipped = await ask({ path: '/gzip', headers: size })
  t.equal(zipped.headers['content-encoding'], 'gzip')
  t.ok(gunzipSync(zipped.body).equals(chunked.body))
  const capped = await request({
    port,
    method: 'HEAD',
    path: '/unchunked',
    headers: { 'x-kitchen-response-size': '99999999' },
  })
  t.equal(capped.headers['content-length'], String(50 * 2 ** 20))
})

t.test('chunks have the wished size, and trailers follow', async t => {
  const { port } = await open(t)
  const wishes = [
    'x-kitchen-chunked: true',
    'x-kitchen-chunk-size: 4',
    'x-kitchen-chunk-delay: 1',
    'x-kitchen-trailer-checksum: 12',
    'x-kitchen-pre-trailer-sleep-ms: 1',
  ]
  const { responses } = await rawRequest({ port, bytes: `GET / HTTP/1.1\r\nhost: a\r\n${wishes.join('\r\n')}\r\n\r\n` })
  t.match(responses, [{ status: 200, text: 'Hello World', isComplete: true, chunkBytes: [4, 4, 3] }])
  t.same(responses[0]?.trailers, [['checksum', '12']])
  t.equal(responses[0]?.header('trailer'), 'checksum')
})

t.test('fail-after cuts the body and the connection', async t => {
  const { port } = await open(t)
  for (const [extra, bytes] of [
    ['', 4],
    ['x-kitchen-chunked: 1\r\n', 4],
    ['', 0],
  ] as const) {
    const head = `GET / HTTP/1.1\r\nhost: a\r\n${extra}x-kitchen-fail-after: ${bytes}\r\n\r\n`
    const { responses } = await rawRequest({ port, bytes: head })
    t.equal(responses[0]?.isComplete, false)
    t.equal(responses[0]?.text, 'Hello World'.slice(0, bytes))
  }
})

t.test('keep-alive only with its flag', async t => {
  const { port } = await open(t, { keepAlive: true })
  const bytes = 'GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'
  const { responses } = await rawRequest({ port, bytes, responses: 2 })
  t.same(
    responses.map(({ status }) => status),
    [200, 200],
  )
  t.equal(responses[0]?.header('connection'), 'keep-alive')
})

t.test('a default status for a while', async t => {
  const { ask } = await open(t, { enableStatusChange: true })
  const wish = { 'x-kitchen-default-status-value': '503', 'x-kitchen-default-status-timeout': '60000' }
  t.equal((await ask({ headers: wish })).status, 503)
  t.equal((await ask({ path: '/status' })).status, 503)
  t.equal((await ask({ headers: { ...wish, 'x-kitchen-default-status-timeout': '0' } })).status, 200)
  t.equal((await ask({ path: '/status' })).status, 200)
  const without = await open(t)
  t.equal((await without.ask({ headers: wish })).status, 200, 'needs the flag')
})

t.test('request-info, environment, kitchen-state', async t => {
  process.env.KITCHEN_PASSWORD_FOR_TEST = 'secret'
  const { ask, kitchen } = await open(t)
  const info = JSON.parse(
    (
      await ask({
        method: 'POST',
        path: '/request-info?a=b',
        body: 'xyz',
        headers: { Authorization: 'Basic abcdefghijklmnop', Cookie: 'a=b; c=d', 'X-Thing': '1' },
      })
    ).text,
  )
  t.match(info, {
    cookies: ['a=b', 'c=d'],
    headers: { authorization: 'Basic abcdefghi', 'x-thing': '1' },
    'query-string': 'a=b',
    'request-length': 3,
    'request-method': 'POST',
    'request-version': 'HTTP/1.1',
    uri: '/request-info',
  })
  t.equal(info.headers.authorization.length, 15)
  const environment = JSON.parse((await ask({ path: '/environment' })).text)
  t.equal(environment.PATH, process.env.PATH)
  t.equal(environment.KITCHEN_PASSWORD_FOR_TEST, undefined)
  const state = JSON.parse((await ask({ path: '/kitchen-state' })).text)
  t.match(state, {
    'async-requests': 0,
    'pending-http-requests': 0,
    'pending-ws-requests': 0,
    'total-http-requests': 2,
  })
  t.equal(kitchen.state()['total-http-requests'], 3)
})

t.test('basic authentication when the environment asks for it', async t => {
  process.env.WAITER_USERNAME = 'u'
  process.env.WAITER_PASSWORD = 'p'
  t.teardown(() => {
    delete process.env.WAITER_USERNAME
    delete process.env.WAITER_PASSWORD
  })
  const right = { authorization: `Basic ${Buffer.from('u:p').toString('base64')}` }
  const wrong = { authorization: `Basic ${Buffer.from('u:q').toString('base64')}` }
  const { ask } = await open(t)
  t.equal((await ask()).status, 403)
  t.equal((await ask({ headers: wrong })).status, 403)
  t.equal((await ask({ headers: right })).status, 200)
  t.equal((await ask({ path: '/status' })).status, 200)
  t.equal((await ask({ path: '/sleep' })).status, 200)
  t.equal((await ask({ path: '/bad-status?status=501' })).status, 501)
  const guarded = await open(t, { enableHealthCheckAuthentication: true })
  t.equal((await guarded.ask({ path: '/status' })).status, 403)
  const greeting = await guarded.ask({ headers: { ...right, 'x-waiter-auth-principal': 'ann' } })
  t.equal(greeting.text, 'Hello ann')
})

t.test('asynchronous requests', async t => {
  const { ask, kitchen } = await open(t)
  const order = (headers: Record<string, string>) => ask({ path: '/async/request', headers })
  const status = (id: string, method = 'GET') => ask({ path: `/async/status?request-id=${id}`, method })
  const accepted = await order({ 'x-kitchen-request-id': 'r1' })
  t.equal(accepted.status, 202)
  t.equal(accepted.text, 'Accepted request r1')
  t.match(accepted.headers, { location: '/async/status?request-id=r1', 'x-kitchen-request-id': 'r1' })
  t.match(await status('r1'), { status: 200, text: /^Still processing/ })
  t.equal((await ask({ path: '/async/result?request-id=r1' })).status, 404, 'not yet')
  t.equal(kitchen.state()['async-requests'], 1)
  t.equal((await status('r1', 'DELETE')).status, 204)
  t.equal((await status('r1')).status, 410, 'cancelled')
  await order({ 'x-kitchen-request-id': 'r2', 'x-kitchen-delay-ms': '0' })
  const done = await status('r2')
  t.equal(done.status, 303)
  t.equal(done.headers.location, '/async/result?request-id=r2')
  t.match(JSON.parse((await ask({ path: done.headers.location as string })).text), { 'request-id': 'r2' })
  await order({ 'x-kitchen-request-id': 'r3', 'x-kitchen-delay-ms': '0', 'x-kitchen-store-async-response-ms': '0' })
  t.equal((await status('r3')).status, 410, 'expired')
  await order({ 'x-kitchen-request-id': 'r4', 'x-kitchen-allow-async-cancel': 'false' })
  t.equal((await status('r4', 'DELETE')).status, 405)
  await order({ 'x-kitchen-request-id': 'r5', 'x-kitchen-204-on-async-cancel': 'false' })
  t.equal((await status('r5', 'DELETE')).status, 200)
  const named = await order({})
  t.match(named.headers['x-kitchen-request-id'], /^[0-9a-f-]{36}$/)
})

t.test('ways to die', async t => {
  for (const wanted of [
    { path: '/die' },
    { headers: { 'x-kitchen-die-after-ms': '1' } },
    { headers: { 'x-kitchen-fail-by-terminating-jvm': 'true' } },
  ]) {
    const { ask, exits } = await open(t)
    await ask(wanted)
    t.equal(await exits.waitFor(() => true), 1, JSON.stringify(wanted))
  }
  const { ask } = await open(t, { oomBytes: 1024 })
  t.equal((await ask({ path: '/oom-instability?sleep-ms=0' })).text, 'took 1024 bytes')
})

t.test('a visitor who leaves is no longer pending', async t => {
  const logDirectory = mkdtempSync(t.testdir())
  const { port, kitchen, ask } = await open(t, { logOutput: `${logDirectory}/log` })
  const visitor = await connectRaw({ port })
  await visitor.write('GET /left HTTP/1.1\r\nhost: a\r\nx-kitchen-delay-ms: 60000\r\n\r\n')
  while (kitchen.state()['pending-http-requests'] === 0) await ask()
  visitor.destroy()
  while (kitchen.state()['pending-http-requests'] > 0) await new Promise(setImmediate)
  t.match(readFileSync(`${logDirectory}/log`, 'utf8'), /^GET \/left /m)
})

t.test('the program: flags, an own process, a clear refusal', async t => {
  const kitchen = await startKitchen({ args: ['--start-up-sleep-ms', '1'], env: { KITCHEN_TEST: 'yes' } })
  t.equal(JSON.parse((await request({ port: kitchen.port, path: '/environment' })).text).KITCHEN_TEST, 'yes')
  await t.rejects(request({ port: kitchen.port, path: '/die' }))
  t.equal(await kitchen.exited, 1)
  await t.rejects(startKitchen({ args: ['--nonsense'] }), /unknown flag --nonsense/)
})

t.test('TLS with a self-signed certificate; HTTP/2 by prior knowledge', async t => {
  const secure = await open(t, { sslSelfSigned: true })
  t.equal((await secure.ask({ tls: true })).text, 'Hello World')
  const h2c = await open(t, { http2: true })
  const session = connectHttp2(`http://127.0.0.1:${h2c.port}`)
  t.teardown(() => session.destroy())
  const stream = session.request({ ':path': '/request-info', 'x-kitchen-trailer-a': 'b', 'x-cid': '7' })
  let text = ''
  const trailers = await new Promise((resolve, reject) => {
    stream.setEncoding('utf8').on('data', part => {
      text += part
    })
    stream.once('trailers', resolve)
    stream.once('error', reject)
  })
  t.match(trailers, { a: 'b' })
  t.match(JSON.parse(text), { 'request-version': 'HTTP/2.0', headers: { 'x-cid': '7' } })
})

t.test('the command line', async t => {
  t.match(parseKitchenFlags(['-p', '1', '--keep-alive', '--ws-max-text-message-size=7']), {
    port: 1,
    keepAlive: true,
    wsMaxTextMessageSize: 7,
  })
  t.throws(() => parseKitchenFlags(['--port']), /--port needs a value/)
  t.throws(() => parseKitchenFlags(['--port', '1x']), /whole number/)
  t.throws(() => parseKitchenFlags(['stray']), /unknown flag stray/)
  t.throws(() => parseKitchenFlags(['--__proto__', '1']), /unknown flag/)
})
