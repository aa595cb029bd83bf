import { createHash, randomBytes } from 'node:crypto'
import { makeCertificate, startWaiter, type TestResponse } from '@waiter/testkit'
import t from 'tap'
import { helloService, onTheFly, serviceIdOf } from './support/services.ts'

/** A Waiter of several users, with two nodes that trust each other by certificate and exchange their secret. */
const keys = new Map(['alice', 'bob', 'root'].map(user => [user, randomBytes(24).toString('base64url')]))
const [oldSecret, newSecret] = ['the secret of this cluster so far', 'the secret of this cluster from now on']
const nodeCertificate = await makeCertificate({ names: ['node.waiter'] })
const directory = t.testdir({ 'node.pem': nodeCertificate.cert, 'node.key': nodeCertificate.key })

const configOf = (passwords: readonly string[]) => ({
  'authenticator-config': {
    kind: 'api-keys',
    'api-keys': {
      keys: [...keys].map(([user, key]) => ({ user, sha256: createHash('sha256').update(key).digest('hex') })),
    },
  },
  'entitlement-config': { simple: { administrators: ['root'] } },
  'password-store-config': { configured: { passwords } },
  'cluster-config': {
    'node-tls': {
      'ca-file': `${directory}/node.pem`,
      'cert-file': `${directory}/node.pem`,
      'key-file': `${directory}/node.key`,
      'server-name': 'node.waiter',
    },
  },
  'cors-config': { kind: 'token-parameter' },
  messages: { 'not-found': 'Nothing of that name' },
})
const as = (user: string): Record<string, string> => ({ authorization: `Bearer ${keys.get(user)}` })
const cookieOf = (answer: TestResponse): string =>
  [answer.headers['set-cookie'] ?? []]
    .flat()
    .map(one => String(one).split(';')[0])
    .join('; ')

const first = await startWaiter({ args: ['--nodes', '2'], config: configOf([oldSecret ?? '']) })
let cookie = ''

async function post(token: string, changes: Record<string, unknown>): Promise<void> {
  const body = JSON.stringify(helloService(token, changes))
  const answer = await first.request({ method: 'POST', path: `/token?token=${token}`, headers: as('alice'), body })
  t.equal(answer.status, 200, answer.text)
}

t.test('users start what is theirs, and nobody else does', async t => {
  await post('shared', { 'run-as-user': 'alice', 'permitted-user': '*', 'concurrency-level': 10 })
  await post('hers', { 'run-as-user': 'alice', 'permitted-user': 'alice' })
  t.equal((await first.request({ headers: { host: 'shared' } })).status, 401)
  t.equal((await first.request({ headers: { host: 'hers', ...as('bob') } })).status, 403)
  for (const port of first.ports) {
    const served = await first.request({ port, headers: { host: 'shared', 'x-waiter-debug': '1', ...as('bob') } })
    t.equal(served.status, 200, served.text)
    t.match(served.headers, { 'x-waiter-auth-principal': 'bob', 'x-waiter-auth-method': 'api-key' })
    t.notMatch(served.headers.server, /^waiter/, 'the answer is the backend’s')
  }
  const own = await first.request({ headers: { ...onTheFly(helloService('own')), ...as('bob') } })
  t.equal(own.status, 200)
  const apps = await first.request({ path: '/apps?run-as-user=bob', headers: as('root') })
  t.equal(JSON.parse(apps.text).length, 1, 'it runs as bob')
  const id = await serviceIdOf(first, { host: 'shared', ...as('bob') })
  const forbidden = await first.request({ method: 'DELETE', path: `/apps/${id}`, headers: as('bob') })
  t.equal(forbidden.status, 403)
})

t.test('a login lasts, through any router', async t => {
  const login = await first.request({ path: '/waiter-auth', headers: as('bob') })
  cookie = cookieOf(login)
  for (const port of first.ports)
    t.equal((await first.request({ port, headers: { host: 'shared', cookie } })).status, 200)
  const forged = cookie.replace(/x-waiter-auth=v1\.[^.]+\./, 'x-waiter-auth=v1.AAAAAAAA.')
  t.equal((await first.request({ headers: { host: 'shared', cookie: forged } })).status, 401)
})

t.test('whoever comes to a token without a user is asked first', async t => {
  await post('asks', { 'run-as-user': '*', 'permitted-user': '*' })
  const host = 'asks'
  const asked = await first.request({ path: '/x?y', headers: { host, cookie } })
  t.match(asked, { status: 303, headers: { location: '/waiter-consent/x?y' } })
  const page = await first.request({ path: '/waiter-consent/x?y', headers: { host, cookie } })
  const serviceId = /data-service-id="([^"]+)"/.exec(page.text)?.[1] ?? ''
  const agreed = await first.request({
    method: 'POST',
    path: '/waiter-consent',
    headers: {
      host,
      cookie,
      origin: `http://${host}`,
      referer: `http://${host}/waiter-consent/x`,
      'x-requested-with': 'XMLHttpRequest',
      'content-type': 'application/x-www-form-urlencoded',
    },
    body: new URLSearchParams({ mode: 'service', 'service-id': serviceId }).toString(),
  })
  t.equal(agreed.status, 200, agreed.text)
  const served = await first.request({ headers: { host, cookie: `${cookie}; ${cookieOf(agreed)}` } })
  t.equal(served.status, 200, served.text)
})

t.test('a browser sees a page while a service starts, and then the service', async t => {
  await post('slow', { 'run-as-user': 'alice', 'permitted-user': '*', 'interstitial-secs': 30 })
  const headers = { host: 'slow', accept: 'text/html', ...as('bob') }
  const shown = await first.request({ path: '/a', headers })
  t.match(shown, { status: 303, headers: { 'x-waiter-interstitial': 'true' } })
  const page = await first.request({ path: shown.headers.location as string, headers })
  const next = (/url=([^"]+)"/.exec(page.text)?.[1] ?? '').replaceAll('&amp;', '&')
  t.match(next, /^\/a\?x-waiter-bypass-interstitial=/)
  const served = await first.request({ path: next, headers })
  t.equal(served.status, 200, served.text)
  t.equal((await first.request({ path: '/a', headers })).status, 200, 'it runs: no page any more')
})

t.test('settings show no secret', async t => {
  const settings = await first.request({ path: '/settings', headers: as('bob') })
  t.equal(settings.status, 200)
  for (const secret of [oldSecret, ...[...keys.values()].map(key => createHash('sha256').update(key).digest('hex'))])
    t.notMatch(settings.text, secret)
  t.match(JSON.parse(settings.text), {
    'password-store-config': { configured: { passwords: ['<hidden>'] } },
    'authenticator-config': { 'api-keys': { keys: [{ user: 'alice', sha256: '<hidden>' }] } },
  })
  t.match((await first.request({ path: '/nowhere', headers: as('bob') })).text, /Nothing of that name/)
  const malformed = await first.request({ headers: { host: 'a b', accept: 'application/json' } })
  t.match(malformed, { status: 400, headers: { server: /^waiter\//, 'x-cid': /./ } })
})

t.test('the secret is exchanged: logins from before go on', async t => {
  const { dataDirectory } = first
  await first.kill9()
  const second = await startWaiter({ dataDirectory, config: configOf([newSecret ?? '', oldSecret ?? '']) })
  t.equal((await second.request({ headers: { host: 'shared', cookie } })).status, 200)
  const fresh = cookieOf(await second.request({ path: '/waiter-auth', headers: as('bob') }))
  await second.kill9()
  const third = await startWaiter({ dataDirectory, config: configOf([newSecret ?? '']) })
  t.teardown(async () => {
    await third.stop()
    await first.stop()
  })
  t.equal((await third.request({ headers: { host: 'shared', cookie } })).status, 401, 'until the old one is forgotten')
  t.equal((await third.request({ headers: { host: 'shared', cookie: fresh } })).status, 200)
})
