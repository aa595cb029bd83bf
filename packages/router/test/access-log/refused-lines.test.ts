import { once } from 'node:events'
import { connect } from 'node:http2'
import t from 'tap'
import { AccessLog } from '../../src/access-log/access-log.ts'
import { exampleView, startTestRouter } from '../support/started-router.ts'

type Line = Record<string, unknown>

const lines: Line[] = []
const accessLog = new AccessLog({
  sink: {
    append: (bytes, length) => lines.push(JSON.parse(bytes.toString('latin1', 0, length)) as Line),
    stats: () => ({ path: '', writtenLines: 0, droppedLines: 0, queuedBytes: 0, failures: 0, problem: null }),
    close: async () => undefined,
  },
  nowMs: () => performance.now(),
  requestHeaders: [],
  responseHeaders: [],
  omittedFields: [],
})
const router = await startTestRouter(t, { accessLog })

const rules = [{ 'origin-regex': 'https://page\\.example', methods: ['GET'] }]
const tokens: Record<string, object> = {
  plain: { 'interstitial-secs': 60, 'run-as-user': 'alice', 'permitted-user': '*' },
  down: { maintenance: { message: 'back soon' } },
  secure: { 'https-redirect': true },
  app: { 'cors-rules': rules },
}
for (const [token, changes] of Object.entries(tokens)) {
  const body = JSON.stringify({ cmd: 'serve', cpus: 1, mem: 1, version: '1', name: token, ...changes })
  const posted = await router.call({ method: 'POST', path: `/token?token=${token}`, body })
  if (posted.status !== 200) throw new Error(posted.text)
}
const serviceId = (await router.call({ path: '/service-id', headers: { host: 'plain' } })).text

/** The line of one request; a request has one. */
async function lineOf(headers: Record<string, string>, method = 'GET'): Promise<Line | undefined> {
  lines.length = 0
  await router.call({ method, path: '/p', headers: { 'x-waiter-queue-timeout': '1', ...headers } })
  t.equal(lines.length, 1)
  return lines[0]
}

t.test('the line of a refused request tells which token it was for', async t => {
  const foreign = { origin: 'https://page.example' }
  const rows: [sentence: string, headers: Record<string, string>, expected: Line, method?: string][] = [
    ['maintenance', { host: 'down' }, { token: 'down', status: 503, 'waiter-error-class': 'waiter.Maintenance' }],
    ['redirect to https', { host: 'secure:9091' }, { token: 'secure', status: 301 }],
    ['another origin', { host: 'app', ...foreign }, { token: 'app', status: 403, principal: 'alice' }],
    ['no such token', { 'x-waiter-token': 'no,body' }, { token: 'no,body', status: 404 }],
    ['no such host', { host: 'unknown.example' }, { token: 'unknown.example', status: 400 }],
    [
      'a preflight',
      { host: 'app', ...foreign, 'access-control-request-method': 'PUT' },
      { token: 'app', status: 403 },
      'OPTIONS',
    ],
  ]
  for (const [sentence, headers, expected, method] of rows)
    t.match(
      await lineOf(headers, method),
      { 'request-type': 'waiter-proxy', 'waiter-api': false, ...expected },
      sentence,
    )
  t.notOk('token' in ((await lineOf({ host: 'localhost', 'x-waiter-cpus': '1' })) ?? {}), 'Waiter’s own name is none')
})

t.test('once the service is known, the line has everything about it', async t => {
  router.router.table.applyAssignment({ isFull: true, upserts: [], removals: [] })
  const whole = { token: 'plain', 'service-id': serviceId, 'service-name': 'plain', 'service-version': '1' }
  t.match(await lineOf({ host: 'plain', accept: 'text/html' }), { ...whole, status: 303 }, 'the page while it starts')
  router.link.services = [exampleView(serviceId)]
  t.match(await router.call({ path: `/apps/${serviceId}/suspend` }), { status: 200 })
  const expected = { ...whole, status: 503, 'waiter-error-class': 'waiter.Suspended', principal: 'alice' }
  t.match(await lineOf({ host: 'plain' }), expected, 'suspended')
  await router.call({ path: `/apps/${serviceId}/resume` })
})

t.test('gRPC: what the client saw, status 200 and a status of its own', async t => {
  const session = connect(`http://127.0.0.1:${router.port}`)
  t.teardown(() => session.close())
  const call = async (token: string): Promise<Line | undefined> => {
    lines.length = 0
    const stream = session.request({
      ':method': 'POST',
      ':path': '/p',
      'content-type': 'application/grpc',
      'x-waiter-token': token,
      'x-waiter-queue-timeout': '1',
    })
    stream.end().resume()
    await once(stream, 'close')
    return lines[0]
  }
  t.match(await call('down'), { status: 200, 'grpc-status': '14', token: 'down' })
  t.match(await call('nobody'), { status: 200, 'grpc-status': '5', token: 'nobody' })
  t.match(await call('plain'), { status: 200, 'grpc-status': '14', token: 'plain', 'service-id': serviceId })
})
