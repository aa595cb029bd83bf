import type { Descriptor } from '@waiter/services'
import t from 'tap'
import { AccessLog, type AccessLogOptions, type ProxiedEnding } from '../../src/access-log/access-log.ts'
import { LoggedExchange } from '../../src/access-log/logged-exchange.ts'
import { FakeExchange, headOf } from '../support/fake-exchange.ts'

const START_MS = 1_000
const instance = { instanceId: 'waiter-service-hello.a', host: '127.0.0.9', port: 10_001 }
const effective = {
  env: {},
  name: 'hello',
  version: '1',
  image: undefined,
  profile: undefined,
  'run-as-user': 'ünal',
  'metric-group': 'other',
  'backend-proto': 'http',
}
const descriptorOf = (changes: object = {}): Descriptor =>
  ({
    serviceId: 'waiter-service-hello',
    tokens: [{ token: 'hello', version: '1' }],
    effective: { ...effective, ...changes },
  }) as unknown as Descriptor

type Line = Record<string, unknown>

/** A log whose lines the test reads. */
function logOf(changes: Partial<AccessLogOptions> = {}): { readonly log: AccessLog; readonly lines: Line[] } {
  const lines: Line[] = []
  const log = new AccessLog({
    sink: {
      append: (bytes, length) => lines.push(JSON.parse(bytes.toString('latin1', 0, length)) as Line),
      stats: () => ({ path: '', writtenLines: 0, droppedLines: 0, queuedBytes: 0, failures: 0, problem: null }),
      close: async () => undefined,
    },
    nowMs: () => START_MS + 30,
    wallMs: () => Date.parse('2026-11-23T12:00:00.030Z'),
    requestHeaders: [],
    responseHeaders: [],
    omittedFields: [],
    ...changes,
  })
  return { log, lines }
}

const endingOf = (log: AccessLog, changes: Partial<ProxiedEnding> = {}): ProxiedEnding => ({
  status: 200,
  cid: 'cid-1',
  service: log.servicePart(descriptorOf()),
  instance,
  response: undefined,
  grantedAtMs: -1,
  answeredAtMs: -1,
  endedAtMs: START_MS + 30,
  retries: 0,
  problem: undefined,
  errorClass: undefined,
  grpcStatus: undefined,
  identity: { principal: 'alice', method: 'single-user' },
  ...changes,
})

const exchangeOf = (head: Parameters<typeof headOf>[0] = {}): FakeExchange =>
  new FakeExchange({ head: headOf({ headers: { host: 'hello.example.com' }, ...head }), arrivedAtMs: START_MS })

t.test('everything that is known of a proxied request is in its line', async t => {
  const { log, lines } = logOf()
  const { exchange } = exchangeOf({
    method: 'POST',
    path: '/a/b?c=d&e="',
    headers: {
      host: 'hello.example.com:9091',
      origin: 'https://example.com',
      referer: 'https://example.com/p',
      'user-agent': 'curl/8 "x"\\',
      'content-type': 'text/plain',
      cookie: 'secret=1',
      authorization: 'Bearer secret',
    },
  })
  Object.assign(exchange.head, { bodyKind: 'length', contentLength: 12 })
  const header: Record<string, string> = {
    server: 'kitchen',
    'content-type': 'text/html',
    'content-length': '3',
    location: '/there',
    'set-cookie': 'secret=2',
  }
  log.proxied(
    exchange,
    endingOf(log, {
      status: 302,
      response: log.responsePart(name => header[name], 5),
      grantedAtMs: START_MS + 10,
      answeredAtMs: START_MS + 25,
      retries: 2,
    }),
  )
  t.strictSame(lines, [
    {
      cid: 'cid-1',
      'request-id': 'cid-1-http',
      'request-time': '2026-11-23T12:00:00.000Z',
      host: 'hello.example.com:9091',
      'remote-addr': '127.0.0.1',
      'server-port': 9091,
      method: 'POST',
      scheme: 'http',
      'request-type': 'waiter-proxy',
      'client-protocol': 'HTTP/1.1',
      'internal-protocol': 'HTTP/1.1',
      'request-header-count': 7,
      path: '/a/b',
      'query-string': 'c=d&e="',
      'user-agent': 'curl/8 "x"\\',
      origin: 'https://example.com',
      referer: 'https://example.com/p',
      'cookie-header-length': 8,
      'request-content-type': 'text/plain',
      'request-content-length': 12,
      'instance-host': '127.0.0.9',
      'instance-id': 'waiter-service-hello.a',
      'instance-port': 10_001,
      'instance-proto': 'http',
      'backend-protocol': 'HTTP/1.1',
      'response-header-count': 5,
      server: 'kitchen',
      'response-content-type': 'text/html',
      'response-location': '/there',
      'response-content-length': 3,
      status: 302,
      'get-instance-latency-ns': 10_000_000,
      'backend-response-latency-ns': 15_000_000,
      retries: 2,
      'authentication-method': 'single-user',
      principal: 'alice',
      'metric-group': 'other',
      'run-as-user': 'ünal',
      'service-id': 'waiter-service-hello',
      'service-name': 'hello',
      'service-version': '1',
      token: 'hello',
      'handle-request-latency-ns': 30_000_000,
    },
  ])
})

t.test('what one request has in common with the one before does not stick to the next', async t => {
  const { log, lines } = logOf()
  const ending = endingOf(log)
  const paths: [method: string, host: string, type: string | undefined][] = [
    ['GET', 'a.example', 'text/plain'],
    ['GET', 'a.example', 'text/plain'],
    ['HEAD', 'a.example', undefined],
    ['GET', 'b.example', 'text/html'],
  ]
  for (const [method, host, type] of paths)
    log.proxied(exchangeOf({ method, headers: { host } }).exchange, {
      ...ending,
      response: log.responsePart(name => (name === 'content-type' ? type : undefined), 1),
    })
  t.strictSame(
    lines.map(line => [line.method, line.host, line['response-content-type']]),
    paths,
  )
  log.proxied(exchangeOf().exchange, { ...ending, instance: { ...instance, instanceId: 'other', port: 1 } })
  t.equal(lines.at(-1)?.['instance-port'], 1)
})

t.test('a client that left is told apart from an answer', async t => {
  const { log, lines } = logOf()
  log.proxied(exchangeOf().exchange, endingOf(log, { status: undefined, instance: undefined, problem: 'client-gone' }))
  t.match(lines, [{ outcome: 'client-gone' }])
  for (const absent of ['status', 'instance-id', 'get-instance-latency-ns', 'retries']) t.notOk(absent in lines[0]!)
})

t.test('no header can begin a line or a field', async t => {
  const { log, lines } = logOf({ requestHeaders: ['X-Odd'] })
  const odd = 'a\r\n{"status":999,"x":"\u0000\u007f\u00e9'
  log.proxied(exchangeOf({ headers: { host: 'h', 'x-odd': odd, 'user-agent': odd } }).exchange, endingOf(log))
  t.match(lines, [{ status: 200, 'request-header-x-odd': 'a\r\n{"status":999,"x":"\u0000\u007f\ufffd' }])
})

t.test('headers that are asked for, but no credentials', async t => {
  const names = ['X-Tenant', 'Authorization', 'cookie', 'Set-Cookie', 'proxy-authorization']
  const { log, lines } = logOf({ requestHeaders: names, responseHeaders: names })
  const headers = {
    host: 'h',
    'x-tenant': 't',
    authorization: 'secret',
    cookie: 'secret',
    'proxy-authorization': 'secret',
  }
  log.proxied(
    exchangeOf({ headers }).exchange,
    endingOf(log, { response: log.responsePart(name => (name === 'x-tenant' ? 'u' : 'secret'), 9) }),
  )
  t.match(lines, [{ 'request-header-x-tenant': 't', 'response-header-x-tenant': 'u' }])
  for (const name of Object.keys(lines[0]!)) t.notMatch(name, /-header-(?:.*authorization|.*cookie)$/)
})

t.test('fields that the configuration or a service wants left out', async t => {
  const { log, lines } = logOf({ omittedFields: ['remote-addr'] })
  const env = { WAITER_CONFIG_REDACTED_REQUEST_FIELDS: 'query-string, user-agent,,no-such' }
  const { exchange } = exchangeOf({ path: '/p?secret', headers: { host: 'h', 'user-agent': 'secret' } })
  log.proxied(exchange, endingOf(log, { service: log.servicePart(descriptorOf({ env })) }))
  log.proxied(exchange, endingOf(log))
  t.match(lines[0], { path: '/p', status: 200 })
  for (const name of ['query-string', 'user-agent', 'remote-addr']) t.notOk(name in lines[0]!, name)
  t.match(lines[1], { 'query-string': 'secret', 'user-agent': 'secret' })
  t.notOk('remote-addr' in lines[1]!)
})

t.test('refused bytes have a line', async t => {
  const { log, lines } = logOf()
  log.refused({ status: 400, message: 'a "bad" head', remoteAddress: '::1', localPort: 9091 })
  t.strictSame(lines, [
    {
      'request-type': 'refused',
      status: 400,
      outcome: 'a "bad" head',
      'remote-addr': '::1',
      'server-port': 9091,
      'request-time': '2026-11-23T12:00:00.030Z',
      'handle-request-latency-ns': 0,
    },
  ])
})

t.test('an answer of our own is logged once, however it ends', async t => {
  const { log, lines } = logOf()
  const own = (): { readonly fake: FakeExchange; readonly exchange: LoggedExchange } => {
    const fake = exchangeOf()
    return { fake, exchange: new LoggedExchange(fake.exchange, log, { cid: 'c', type: 'waiter-api' }) }
  }
  const answered = own()
  answered.exchange.errorClass = 'waiter.ServiceUnknown'
  answered.exchange.identity = { principal: 'bob@X', method: 'cookie' }
  answered.exchange.respond({ status: 404, headers: [] })
  answered.exchange.respond({ status: 500, headers: [] })
  answered.fake.leave()
  t.match(lines, [
    {
      status: 404,
      'waiter-api': true,
      'waiter-error-class': 'waiter.ServiceUnknown',
      principal: 'bob@X',
      'authentication-method': 'cookie',
    },
  ])
  t.equal(lines.length, 1)

  const left = own()
  let told = 0
  left.exchange.onClientGone = () => {
    told += 1
  }
  left.fake.leave()
  t.equal(told, 1)
  t.match(lines[1], { outcome: 'client-gone' })
  left.exchange.respond({ status: 200, headers: [] })
  t.equal(lines.length, 2)

  const released = own()
  released.exchange.release()
  released.fake.leave()
  t.equal(lines.length, 2, 'a request that goes to a service has a line of its own')
})
