import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer as createTcpServer } from 'node:net'
import { freePort } from '@waiter/testkit'
import t from 'tap'
import type { Cluster } from '../src/config/cluster.ts'
import { createClient } from '../src/http/client.ts'
import { WaiterApi } from '../src/http/waiter-api.ts'

const HTTP = { retries: 2, connectTimeoutMs: 2_000, readTimeoutMs: 10_000 }

type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void

/** A server that plays Waiter, and a client of it. */
async function start(t: Tap, handler: Handler, changes: Partial<Cluster> = {}, http = HTTP) {
  let count = 0
  const server = createServer((request, response) => handler(request, response, ++count))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const cluster: Cluster = { name: 'test', url, credentials: undefined, isDefaultForCreate: false, ...changes }
  const lines: string[] = []
  const client = createClient({ cluster, http, trace: line => void lines.push(line) })
  return { api: new WaiterApi(client), client, lines, requests: () => count }
}

type Tap = { teardown(end: () => void): void }

const waiterError = (message: string, details = {}) => JSON.stringify({ 'waiter-error': { message, details } })

t.test('every request says who sends it', async t => {
  const seen: IncomingMessage['headers'][] = []
  const credentials = { kind: 'basic', user: 'älice', pass: 's3cret' } as const
  const { api, lines } = await start(
    t,
    (request, response) => {
      seen.push(request.headers)
      response.end('[]')
    },
    { credentials },
  )
  t.same(await api.listTokens({ owner: 'a b', include: ['metadata', 'deleted'] }), [])
  t.match(seen, [
    {
      accept: 'application/json',
      'user-agent': /^waiter\/\d/,
      'x-cid': /^waiter-\d+\.\d+\.\d+-[0-9a-f-]{36}$/,
      authorization: `Basic ${Buffer.from('älice:s3cret').toString('base64')}`,
    },
  ])
  t.match(lines, [/^GET http:.*\/tokens\?owner=a\+b&include=metadata&include=deleted → 200 in \d+ ms/])
  t.notMatch(lines.join(), /s3cret|Basic|authorization/i)
})

t.test('a read is repeated while the leader is away, a write is not', async t => {
  const refuse: Handler = (request, response, count) => {
    response.statusCode = count < 3 && request.method !== 'DELETE' ? 503 : 200
    response.end(count < 3 ? waiterError('no leader') : '[]')
  }
  const reading = await start(t, refuse)
  t.same(await reading.api.listTokens({}), [])
  t.equal(reading.requests(), 3)
  const writing = await start(t, (_, response) => {
    response.statusCode = 503
    response.end(waiterError('no leader', { code: 'WTR_CONTROL_UNREACHABLE' }))
  })
  await t.rejects(writing.api.writeToken('x', {}, ''), { code: 'WTR_CONTROL_UNREACHABLE', status: 503 })
  t.equal(writing.requests(), 1)
})

t.test('a ping waits long enough: it is asked once', async t => {
  const { api, requests } = await start(t, request => void request.socket.destroy())
  await t.rejects(api.ping('x', 1_000), { code: 'WTR_CLI_UNREACHABLE' })
  t.equal(requests(), 1)
})

t.test('a connection that breaks: reads are repeated, writes only when they never left', async t => {
  const reset: Handler = request => void request.socket.destroy()
  const { api, requests } = await start(t, reset)
  await t.rejects(api.listTokens({}), {
    code: 'WTR_CLI_UNREACHABLE',
    message: /Encountered connection error with test/,
  })
  t.equal(requests(), 3)
  await t.rejects(api.writeToken('x', {}, ''), { code: 'WTR_CLI_UNREACHABLE' })
  t.equal(requests(), 4)

  const port = await freePort()
  const nobody = await start(t, reset, { url: `http://127.0.0.1:${port}` })
  await t.rejects(nobody.api.writeToken('x', {}, ''), { message: /ECONNREFUSED.*waiter up/s })
  t.equal(nobody.lines.length, 3, 'it never left, so it was tried again')
})

t.test('time-outs are bounded', async t => {
  const silent = await start(t, () => undefined, {}, { ...HTTP, retries: 0, readTimeoutMs: 100 })
  await t.rejects(silent.api.listTokens({}), { message: /no answer within 100 ms/ })
  // Accepts, but never shakes hands for TLS.
  const server = createTcpServer(socket => socket.on('error', () => undefined))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const deaf = await start(
    t,
    () => undefined,
    { url: `https://127.0.0.1:${port}` },
    { ...HTTP, retries: 0, connectTimeoutMs: 100 },
  )
  await t.rejects(deaf.api.listTokens({}), { message: /no connection within 100 ms/ })
  server.close()
})

t.test('what is refused is said in Waiter’s words', async t => {
  const answers: [number, string, Record<string, string>, { code?: string; message: RegExp }][] = [
    [401, 'x', {}, { code: 'WTR_CLI_AUTHENTICATION', message: /^Authentication failed on test \(http:.*http\.auth/ }],
    [
      403,
      waiterError('not \u001b[2Jyours', { code: 'WTR_FORBIDDEN' }),
      {},
      { code: 'WTR_FORBIDDEN', message: /\(403\): not \\u001b\[2Jyours$/ },
    ],
    [302, '', { location: 'https://login' }, { message: /sends elsewhere: https:\/\/login\nIs that a Waiter/ }],
    [500, '<html>oops', {}, { message: /<html>oops\nIs that a Waiter/ }],
    [404, '<html>not here', {}, { message: /\(404\)/ }],
    [200, '<html>hello', {}, { message: /not JSON. Is that a Waiter/ }],
    [200, '[]', {}, { message: /not an object/ }],
  ]
  for (const [status, body, headers, expected] of answers) {
    const { api } = await start(t, (_, response) => response.writeHead(status, headers).end(body))
    await t.rejects(api.readToken('hello'), expected, `${status} ${body}`)
  }
  const absent = await start(t, (_, response) => response.writeHead(404).end(waiterError('no token')))
  t.equal(await absent.api.readToken('hello'), undefined)
})

t.test('pieces of files', async t => {
  const { api } = await start(t, (request, response) => {
    const { range } = request.headers
    if (range === 'bytes=-4') response.writeHead(206, { 'content-range': 'bytes 6-9/10' }).end('6789')
    else if (range === 'bytes=10-') response.writeHead(416, { 'content-range': 'bytes */10' }).end()
    else response.end('0123456789')
  })
  const address = { serviceId: 's/1', instanceId: 'i', host: 'h', file: 'stdout' }
  t.match(await api.readFile(address, { tailBytes: 4 }), { offset: 6, size: 10 })
  t.match(await api.readFile(address, { from: 10 }), { offset: 10, size: 10, bytes: Buffer.alloc(0) })
  t.match(await api.readFile(address, { from: 0 }), { offset: 0, size: 10 })
})
