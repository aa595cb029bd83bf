import { createHash } from 'node:crypto'
import { createSimpleEntitlements } from '@waiter/services'
import t from 'tap'
import { exampleView, startTestRouter } from './support/started-router.ts'

const ID = 'waiter-service-hello-1'
const TOKEN = { cmd: 'serve', cpus: 1, mem: 256, version: '1', name: 'hello', 'run-as-user': 'alice' }
const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH']

type Answers = Readonly<Record<string, number>>
/** A path of spec §4.1, who may call it, what it answers by method; methods that are not named are 405. */
type Row = readonly [path: string, access: 'anybody' | 'users' | 'by token', answers: Answers]

const rows: readonly Row[] = [
  ['/', 'anybody', { GET: 200 }],
  ['/app-name', 'by token', { GET: 200 }],
  ['/service-id', 'by token', { GET: 200 }],
  ['/apps', 'users', { GET: 200 }],
  // Deleting is of a service, and there is none of this name.
  ['/apps/instances', 'users', { GET: 400, DELETE: 404 }],
  [`/apps/${ID}`, 'users', { GET: 200, DELETE: 200 }],
  [`/apps/${ID}/await/exist?timeout=1`, 'users', { GET: 200 }],
  [`/apps/${ID}/instance/${ID}.1/expire`, 'users', { POST: 200 }],
  [`/apps/${ID}/instance/${ID}.1/kill`, 'users', { POST: 200 }],
  [`/apps/${ID}/logs`, 'users', { GET: 400 }],
  [`/apps/${ID}/override`, 'users', { GET: 200, POST: 200, DELETE: 200 }],
  [`/apps/${ID}/refresh`, 'users', { GET: 200 }],
  [`/apps/${ID}/resume`, 'users', { GET: 200, POST: 200 }],
  [`/apps/${ID}/suspend`, 'users', { GET: 200, POST: 200 }],
  ['/eject', 'users', { POST: 400 }],
  [`/ejected/${ID}`, 'users', { GET: 200 }],
  ['/favicon.ico', 'anybody', { GET: 200 }],
  ['/images/waiter.svg', 'anybody', { GET: 200 }],
  ['/metrics', 'anybody', { GET: 200 }],
  ['/metrics/external', 'users', { GET: 400, POST: 400, PUT: 400, DELETE: 400 }],
  ['/oidc/v1/callback', 'anybody', { GET: 501 }],
  ['/profiles', 'users', { GET: 200 }],
  ['/reference/notify', 'users', { POST: 400 }],
  ['/settings', 'users', { GET: 200 }],
  ['/state', 'users', { GET: 200 }],
  ['/state/leader', 'users', { GET: 200 }],
  [`/state/${ID}`, 'users', { GET: 200 }],
  ['/status', 'anybody', { GET: 200 }],
  ['/token?token=hello', 'users', { GET: 200, POST: 400, DELETE: 200 }],
  ['/tokens', 'users', { GET: 200 }],
  ['/tokens/owners', 'users', { GET: 200 }],
  ['/tokens/refresh', 'users', { POST: 400 }],
  ['/tokens/reindex', 'users', { POST: 200 }],
  ['/token-history?token=hello', 'users', { GET: 200 }],
  ['/waiter-auth', 'users', { GET: 200 }],
  ['/waiter-consent', 'users', { POST: 400 }],
  ['/waiter-consent/x', 'users', { GET: 400 }],
  ['/waiter-consent-cookie', 'users', { GET: 200 }],
  ['/waiter-interstitial/x', 'users', { GET: 200 }],
  ['/waiter-ping', 'by token', { GET: 200, POST: 200 }],
  ['/.well-known/auth/expires-at', 'anybody', { GET: 200 }],
  ['/.well-known/auth/keep-alive?done=true', 'anybody', { GET: 204 }],
  ['/.well-known/oidc/v1/openid-enabled', 'anybody', { GET: 501 }],
  ['/drain', 'users', { GET: 200, POST: 200 }],
]

const authentication = {
  authenticator: {
    kind: 'api-keys' as const,
    keys: [{ principal: 'alice', sha256: createHash('sha256').update('key').digest('hex') }],
  },
  secrets: ['a secret of this test'],
  clusterName: 'waiter',
  cookie: { maxAgeSecs: 60, sameSite: 'lax' as const },
}
const ALICE = { authorization: `Basic ${Buffer.from('alice:key').toString('base64')}` }
const NAMED: Readonly<Record<string, Record<string, string>>> = {
  '/app-name': { 'x-waiter-token': 'hello' },
  '/service-id': { 'x-waiter-token': 'hello' },
  '/waiter-ping': { 'x-waiter-token': 'hello', 'x-waiter-timeout': '1' },
  '/waiter-interstitial/x': { 'x-waiter-token': 'hello' },
}

t.test('every endpoint takes the methods that it has, and no other; and whom it should', async t => {
  const router = await startTestRouter(t, { authentication, entitlements: createSimpleEntitlements(['alice']) })
  router.link.services = [exampleView(ID)]
  router.router.table.open(exampleView(ID).definition)
  const create = () =>
    router.call({ method: 'POST', path: '/token?token=hello', headers: ALICE, body: JSON.stringify(TOKEN) })
  const ask = (method: string, path: string, headers: Record<string, string>) => {
    const body = method === 'POST' || method === 'PUT' || method === 'PATCH' ? { body: '{}' } : {}
    const named = NAMED[path.split('?')[0] ?? ''] ?? {}
    return router.call({ method, path, headers: { accept: 'application/json', ...named, ...headers }, ...body })
  }
  for (const [path, access, answers] of rows) {
    await create()
    for (const method of METHODS) {
      const answer = await ask(method, path, ALICE)
      t.equal(answer.status, answers[method] ?? 405, `${method} ${path}: ${answer.text.slice(0, 200)}`)
      t.ok(answer.headers['x-cid'], `${method} ${path} has a correlation id`)
      t.equal(answer.headers.server, 'waiter/1.2.3')
    }
    const [method = 'GET', status] = Object.entries(answers)[0] ?? []
    const stranger = await ask(method, path, {})
    t.equal(stranger.status, access === 'anybody' ? status : 401, `${method} ${path} by nobody`)
  }
})

t.test('what the original has and we have not is not found', async t => {
  const { call } = await startTestRouter(t)
  for (const path of ['/sim', '/work-stealing', `/waiter-kill-instance/${ID}`, '/waiter-router-metrics', '/blacklist'])
    t.equal((await call({ path })).status, 404, path)
})

t.test('errors of the API come as JSON, a page or text', async t => {
  const { call } = await startTestRouter(t)
  for (const [headers, type] of [
    [{ accept: 'application/json' }, 'application/json'],
    [{ accept: 'text/html,*/*' }, 'text/html;charset=utf-8'],
    [{ accept: 'text/plain' }, 'text/plain;charset=utf-8'],
    [{ 'content-type': 'application/json' }, 'application/json'],
    [{}, 'text/plain;charset=utf-8'],
  ] as const)
    for (const path of ['/nothing', '/apps/absent', '/token?token=absent', '/apps/instances']) {
      const answer = await call({ path, headers })
      t.equal(answer.headers['content-type'], type, `${path} ${JSON.stringify(headers)}`)
    }
})

t.test('an error names the token that the call was about', async t => {
  const { call } = await startTestRouter(t)
  for (const [method, path, headers, body] of [
    ['GET', '/token?token=absent', {}, undefined],
    ['POST', '/token?token=absent', {}, '{"cpus":-1}'],
    ['DELETE', '/token', { 'x-waiter-token': 'absent' }, undefined],
    ['GET', '/service-id', { 'x-waiter-token': 'absent' }, undefined],
    ['GET', '/hello', { 'x-waiter-token': 'absent' }, undefined],
  ] as const) {
    const wanted = { method, path, headers: { accept: 'application/json', ...headers } }
    const answer = await call(body === undefined ? wanted : { ...wanted, body })
    t.equal(JSON.parse(answer.text)['waiter-error']['waiter-token'], 'absent', `${method} ${path}`)
  }
  const other = JSON.parse((await call({ path: '/apps/absent', headers: { accept: 'application/json' } })).text)
  t.notOk('waiter-token' in other['waiter-error'])
})

t.test('administrators see a service with the eyes of another user', async t => {
  for (const isAdministrator of [true, false]) {
    const { call, link } = await startTestRouter(t, {
      entitlements: createSimpleEntitlements(isAdministrator ? ['alice'] : []),
    })
    link.services = [exampleView(ID)]
    const view = async (path: string, viewer?: string) => {
      const answer = await call({ path, headers: viewer === undefined ? {} : { 'x-view-as-user': viewer } })
      return { status: answer.status, text: answer.text }
    }
    const app = `/apps/${ID}`
    const logs = `/apps/${ID}/logs?instance-id=${ID}.1&host=h`
    t.match((await view(app)).text, '"log-url"')
    t.equal((await view(app, 'alice')).status, 200, 'as oneself')
    t.equal((await view(logs, 'alice')).status, 200)
    const asBob = await view(app, 'bob')
    t.equal(asBob.status, isAdministrator ? 200 : 401)
    t.notMatch(asBob.text, '"log-url"', 'bob does not manage it')
    t.equal((await view(logs, 'bob')).status, 401, 'nor may he read its files')
  }
})

t.test('what the client speaks is what a known proxy in front says', async t => {
  const said = { 'x-forwarded-proto': 'https', 'x-forwarded-proto-version': 'http/2' }
  for (const [trustedProxies, expected] of [
    [['127.0.0.1'], { scheme: 'https', 'client-protocol': 'HTTP/2.0', 'internal-protocol': 'HTTP/1.1' }],
    [[], { scheme: 'http', 'client-protocol': 'HTTP/1.1', 'internal-protocol': 'HTTP/1.1' }],
  ] as const) {
    const { json } = await startTestRouter(t, { trustedProxies })
    t.match((await json({ path: '/status?include=request-info', headers: said }))['request-info'], expected)
  }
})
