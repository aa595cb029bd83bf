import {
  kitchenCommand,
  makeCertificate,
  request,
  startWaiter,
  TestIdentityProvider,
  type TestResponse,
} from '@waiter/testkit'
import t from 'tap'
import { describeService } from './support/services.ts'

/** A Waiter whose users are those of an identity provider: programs show web tokens, people log in. */
const provider = await TestIdentityProvider.start()
const certificate = await makeCertificate({ names: ['waiter.example', 'told'] })
const directory = t.testdir({ 'waiter.pem': certificate.cert, 'waiter.key': certificate.key })
const SECRET = 'the-secret-of-the-client'
provider.clientSecret = SECRET
const waiter = await startWaiter({
  config: {
    hostname: ['localhost', 'waiter.example'],
    'server-options': {
      'ssl-port': 0,
      certificates: [{ cert: `${directory}/waiter.pem`, key: `${directory}/waiter.key` }],
    },
    'entitlement-config': { simple: { administrators: ['alice'] } },
    'authenticator-config': {
      kind: 'jwt',
      jwt: {
        'jwks-url': `${provider.url}/keys`,
        issuer: provider.issuer,
        'allow-bearer-auth-services?': true,
        'oidc-authorize-uri': `${provider.url}/authorize`,
        'oidc-token-uri': `${provider.url}/token`,
        'oidc-client-id': 'waiter',
        'oidc-client-secret': SECRET,
        'allow-oidc-auth-services?': true,
      },
    },
  },
})
t.teardown(async () => {
  await waiter.stop()
  await provider[Symbol.asyncDispose]()
})
const port = Number(new URL(waiter.nodes[0]?.https ?? '').port)
const send = (host: string, path: string, headers: Record<string, string> = {}, body?: string): Promise<TestResponse> =>
  request({
    ...{ port, tls: true, path, method: body === undefined ? 'GET' : 'POST' },
    headers: { host, ...headers },
    ...(body === undefined ? {} : { body }),
    signal: AbortSignal.timeout(60_000),
  })
const bearer = (host: string): Record<string, string> => ({ authorization: `Bearer ${provider.token(host)}` })
const cookiesOf = (answer: TestResponse): string =>
  [answer.headers['set-cookie'] ?? []]
    .flat()
    .map(one => String(one).split(';')[0])
    .join('; ')
const toldOf = (answer: TestResponse): Record<string, string> => JSON.parse(answer.text).headers

t.test('a program with a web token uses the API and a service, which gets to see it', async t => {
  const description = describeService(kitchenCommand(), { 'run-as-user': 'alice', 'permitted-user': '*' })
  const posted = await send(
    'waiter.example',
    '/token?token=told',
    bearer('waiter.example'),
    JSON.stringify(description),
  )
  t.equal(posted.status, 200, posted.text)
  t.equal((await send('told', '/request-info')).status, 401)
  const token = provider.token('told', { claims: { name: 'Älice' } })
  const answer = await send('told', '/request-info', { authorization: `Bearer ${token}` })
  t.equal(answer.status, 200, answer.text)
  const told = toldOf(answer)
  t.match(told, { 'x-waiter-jwt': token, 'x-waiter-authenticated-principal': 'alice@example.com' })
  t.match(JSON.parse(told['x-waiter-jwt-payload'] ?? ''), { aud: 'told', name: 'Älice', sub: 'alice@example.com' })
  t.match(told['x-waiter-jwt-payload'], /^[\x20-\x7e]+$/)
  const forged = await send('told', '/request-info', { ...bearer('told'), 'x-waiter-jwt': 'forged' })
  t.not(toldOf(forged)['x-waiter-jwt'], 'forged')
})

t.test('a person with a browser logs in', async t => {
  const browser = { 'user-agent': 'Mozilla/5.0' }
  const sent = await send('told', '/request-info?a=b', browser)
  t.equal(sent.status, 302, sent.text)
  const page = new URL(String(sent.headers.location))
  const back = await request({ port: Number(page.port), path: page.pathname + page.search })
  const callback = new URL(String(back.headers.location))
  const done = await send('told', callback.pathname + callback.search, { ...browser, cookie: cookiesOf(sent) })
  t.match(done, { status: 302, headers: { location: '/request-info?a=b' } })
  const served = await send('told', String(done.headers.location), { ...browser, cookie: cookiesOf(done) })
  t.equal(served.status, 200, served.text)
  t.match(toldOf(served), { 'x-waiter-authenticated-principal': 'alice@example.com', 'x-waiter-jwt': /^ey/ })
  t.notMatch(toldOf(served).cookie ?? '', 'x-waiter-auth')
})

t.test('settings show no secret', async t => {
  const settings = await send('waiter.example', '/settings', bearer('waiter.example'))
  t.equal(settings.status, 200)
  t.notMatch(settings.text, SECRET)
  t.match(JSON.parse(settings.text)['authenticator-config'].jwt, { 'oidc-client-secret': '<hidden>' })
  t.notMatch(waiter.log(), SECRET)
})
