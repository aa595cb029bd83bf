import { createHmac } from 'node:crypto'
import { renderHeader } from '@waiter/proxy'
import {
  createSigningKey,
  type SigningKey,
  type TestIdentityProvider,
  type TestResponse,
  type TokenWish,
} from '@waiter/testkit'
import t, { type Test } from 'tap'
import { unauthorized } from '../../src/auth/authenticator.ts'
import { createIdentityFactory } from '../../src/auth/identity.ts'
import { BearerTokens, bearerTokenOf } from '../../src/auth/web-token/bearer-tokens.ts'
import { FakeExchange, headOf } from '../support/fake-exchange.ts'
import { HTTPS, providerSettings, ROOT_KEY, startProvider, startWithProvider } from '../support/provider.ts'
import type { StartedRouter } from '../support/started-router.ts'

const HOST = 'waiter.example.com'
const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` })

/** Who the API takes the bearer of a token for, or why not. */
async function whoIs(router: StartedRouter, headers: Record<string, string>): Promise<TestResponse> {
  return await router.call({ path: '/waiter-auth', headers: { host: HOST, ...HTTPS, ...headers } })
}

const detailOf = ({ text }: TestResponse): unknown => JSON.parse(text)['waiter-error'].details['bearer-token']

/** A request that got through all gates waits for an instance, which never comes. */
const isAdmitted = ({ status, text }: TestResponse): boolean =>
  status === 503 && /no instance available to handle request/.test(text)

async function askService(router: StartedRouter, host: string, headers: Record<string, string>) {
  return await router.call({ headers: { host, 'x-waiter-queue-timeout': '1', ...HTTPS, ...headers } })
}

t.test('a good token', async t => {
  const provider = await startProvider(t)
  provider.keys = [createSigningKey('RS256'), createSigningKey('EdDSA'), createSigningKey('ES256')]
  const router = await startWithProvider(t, providerSettings(provider), { kind: 'jwt' })
  for (const key of provider.keys) {
    const answer = await whoIs(router, bearer(provider.token(HOST, { key })))
    t.match(answer, { status: 200, text: 'alice' }, key.algorithm)
    t.match(answer.headers, { 'x-waiter-auth-method': 'jwt', 'x-waiter-auth-principal': 'alice@example.com' })
    t.equal(answer.headers['set-cookie'], undefined, 'it comes with every request: no cookie')
  }
  const several = provider.token(HOST, { claims: { aud: ['other.example.com', HOST] } })
  t.match(await whoIs(router, bearer(several)), { status: 200 }, 'one of its audiences')
  const late = provider.token(HOST, { claims: { exp: Date.now() / 1_000 - 5 } })
  t.match(await whoIs(router, bearer(late)), { status: 200 }, 'within the skew of clocks')
  const state = await router.json({
    path: '/state/jwt-auth-server',
    headers: { host: HOST, ...HTTPS, ...bearer(provider.token(HOST)) },
  })
  t.match(state.state, { 'key-ids': provider.keys.map(({ id }) => id), 'last-update-time': String })
  t.equal(provider.keyFetches, 1)
})

t.test('tokens that are not believed', async t => {
  const provider = await startProvider(t)
  const router = await startWithProvider(t, providerSettings(provider), { kind: 'jwt' })
  const nowSecs = Math.floor(Date.now() / 1_000)
  const claims = (changes: Record<string, unknown>): TokenWish => ({ claims: changes })
  const rows: readonly (readonly [story: string, wish: TokenWish, reason: RegExp])[] = [
    ['expired', claims({ exp: nowSecs - 60 }), /has expired/],
    ['without an end', claims({ exp: undefined }), /does not say when it expires/],
    ['with an end that is no number', claims({ exp: 'never' }), /./],
    ['for too long', claims({ exp: nowSecs + 100_000 }), /lasts too long/],
    ['not valid yet', claims({ nbf: nowSecs + 60 }), /not valid yet/],
    ['for another host', claims({ aud: 'other.example.com' }), /another host/],
    ['for no host', claims({ aud: undefined }), /another host/],
    ['of another issuer', claims({ iss: 'https://login.example.com.evil.example' }), /issuer/],
    ['of no issuer', claims({ iss: undefined }), /issuer/],
    ['without a subject', claims({ sub: undefined }), /subject/],
    ['with a blank subject', claims({ sub: ' ' }), /subject/],
    ['with a subject of the wrong form', claims({ sub: 'alice' }), /names no user/],
    ['with a subject that breaks lines', claims({ sub: 'alice@example.com\r\nx: y' }), /names no user/],
    ['of another type', { header: { typ: 'at+jwt' } }, /another type/],
    ['of no type', { header: { typ: undefined } }, /another type/],
    ['without a key id', { header: { kid: undefined } }, /key of the token/],
    ['of a stranger’s key', { key: createSigningKey('RS256', provider.keys[0]?.id) }, /signature/],
    ['of an unknown key', { key: createSigningKey('RS256') }, /key of the token/],
    [
      'with another algorithm for a known key',
      { key: createSigningKey('EdDSA', provider.keys[0]?.id) },
      /key of the token/,
    ],
    ['with a critical extension', { header: { crit: ['b64'], b64: false } }, /./],
  ]
  for (const [story, wish, reason] of rows) {
    const answer = await whoIs(router, { accept: 'application/json', ...bearer(provider.token(HOST, wish)) })
    t.equal(answer.status, 401, story)
    t.match(detailOf(answer), reason, story)
    t.equal(answer.headers['www-authenticate'], `Bearer realm="${HOST}"`, story)
  }
  const [header, payload, signature] = provider.token(HOST).split('.') as [string, string, string]
  const unsigned = Buffer.from(JSON.stringify({ alg: 'none', typ: 'JWT', kid: provider.keys[0]?.id })).toString(
    'base64url',
  )
  const symmetric = Buffer.from(JSON.stringify({ alg: 'HS256', typ: 'JWT', kid: provider.keys[0]?.id })).toString(
    'base64url',
  )
  const pem = provider.keys[0]?.publicKey.export({ format: 'pem', type: 'spki' }) ?? ''
  const confused = createHmac('sha256', pem).update(`${symmetric}.${payload}`).digest('base64url')
  const tampered = Buffer.from(Buffer.from(payload, 'base64url').toString().replace('alice', 'mallory')).toString(
    'base64url',
  )
  for (const [story, token] of [
    ['unsigned', `${unsigned}.${payload}.${signature}`],
    ['HS256 under the public key', `${symmetric}.${payload}.${confused}`],
    ['changed', `${header}.${tampered}.${signature}`],
    ['garbage', 'a.b.c'],
    ['too long', `${header}.${'A'.repeat(9_000)}.${signature}`],
    ['a payload that is no object', `${header}.${Buffer.from('7').toString('base64url')}.${signature}`],
  ] as const)
    t.equal((await whoIs(router, bearer(token))).status, 401, story)
  const none = await whoIs(router, bearer(`${unsigned}.${payload}.`))
  t.equal(none.status, 401, 'unsigned, with nothing for a signature')
  t.notMatch(none.text, /JW[ST]|compact/i, 'nothing of the library’s words')
})

t.test('where a token counts', async t => {
  const provider = await startProvider(t)
  const tokens = {
    hello: {},
    scoped: { metadata: { 'accept-scoped-token': 'true' } },
    open: { authentication: 'disabled' },
  }
  const router = await startWithProvider(t, providerSettings(provider), { tokens })
  const plain = await router.call({ path: '/waiter-auth', headers: { host: HOST, ...bearer(provider.token(HOST)) } })
  t.equal(plain.status, 403)
  t.match(plain.text, /Must use HTTPS connection/)

  t.ok(isAdmitted(await askService(router, 'hello', bearer(provider.token('hello')))))
  t.equal((await askService(router, 'hello', bearer(provider.token('scoped')))).status, 401, 'of another service')
  const scope = { claims: { scope: 'read' } }
  const scoped = await askService(router, 'hello', bearer(provider.token('hello', scope)))
  t.match([scoped.status, scoped.text], [403, /Tokens with a scope are not accepted here/])
  t.ok(isAdmitted(await askService(router, 'scoped', bearer(provider.token('scoped', scope)))))
  t.ok(isAdmitted(await askService(router, 'open', bearer('x.y.z'))), 'where nobody is asked')

  // A backend sees the tokens of its users.
  const stolen = bearer(provider.token('hello'))
  for (const [story, path, headers, method] of [
    ['another service by name', '/', { 'x-waiter-token': 'scoped' }, 'GET'],
    ['a service of its own', '/', { 'x-waiter-cmd': 'evil' }, 'GET'],
    ['a token', '/token?token=mine', {}, 'POST'],
    ['a consent', '/waiter-consent', {}, 'POST'],
  ] as const) {
    const answer = await router.call({ method, path, headers: { host: 'hello', ...HTTPS, ...stolen, ...headers } })
    t.match([answer.status, answer.text], [403, /counts for that service only/], story)
  }
  const own = await router.call({ path: '/service-id', headers: { host: 'hello', ...HTTPS, ...stolen } })
  t.match([own.status, own.text], [200, /^waiter-service-/], 'the id of the service itself')
  const byName = bearer(provider.token(HOST))
  t.ok(
    isAdmitted(await askService(router, HOST, { 'x-waiter-token': 'hello', ...byName })),
    'a token for Waiter itself',
  )
})

t.test('switches', async t => {
  const provider = await startProvider(t)
  const bearerFor = (isForApi: boolean, isForServices: boolean, isChallengeAlways: boolean) =>
    providerSettings(provider, { bearer: { isForApi, isForServices, isChallengeAlways } })
  const apiOnly = await startWithProvider(t, bearerFor(true, false, true), { tokens: { hello: {} } })
  t.equal((await whoIs(apiOnly, bearer(provider.token(HOST)))).status, 200)
  const refused = await askService(apiOnly, 'hello', bearer(provider.token('hello')))
  t.match(refused, { status: 401, headers: { 'www-authenticate': /^Basic realm="waiter", charset="UTF-8"$/ } })
  const missing = await whoIs(apiOnly, {})
  t.equal(missing.headers['www-authenticate'], `Basic realm="waiter", charset="UTF-8", Bearer realm="${HOST}"`)

  const quiet = await startWithProvider(t, bearerFor(false, true, false), { tokens: { hello: {} } })
  t.equal((await whoIs(quiet, bearer(provider.token(HOST)))).status, 401)
  t.ok(isAdmitted(await askService(quiet, 'hello', bearer(provider.token('hello')))))
  t.notMatch(
    (await askService(quiet, 'hello', {})).headers['www-authenticate'],
    /Bearer/,
    'not to those who showed none',
  )
  t.match((await askService(quiet, 'hello', bearer(provider.token('x')))).headers['www-authenticate'], /Bearer/)
})

t.test('other ways in remain', async t => {
  const provider = await startProvider(t)
  const settings = providerSettings(provider, { issuers: [], issuerPatterns: ['https://[a-z]+\\.example\\.com'] })
  const router = await startWithProvider(t, settings, { tokens: { hello: {} } })
  t.match(await whoIs(router, bearer(ROOT_KEY)), { status: 200, text: 'root' }, 'a key')
  t.match(await whoIs(router, bearer(provider.token(HOST))), { status: 200, text: 'alice' }, 'an issuer by pattern')
  const login = await whoIs(router, bearer(ROOT_KEY))
  const cookie = [login.headers['set-cookie'] ?? []]
    .flat()
    .map(one => String(one).split(';')[0])
    .join('; ')
  t.match(await whoIs(router, { cookie }), { status: 200, text: 'root' })
  t.match(
    await whoIs(router, { cookie, ...bearer(provider.token(HOST)) }),
    { text: 'alice' },
    'a token speaks for itself',
  )
  t.match(await whoIs(router, { cookie, ...bearer('a.b.c') }), { status: 401 }, 'also a bad one')
})

t.test('keys come and go', async t => {
  const provider = await startProvider(t)
  const before = provider.keys[0] as SigningKey
  const router = await startWithProvider(t, providerSettings(provider), { kind: 'jwt' })
  const old = provider.token(HOST)
  t.equal((await whoIs(router, bearer(old))).status, 200)
  provider.keys = [createSigningKey('EdDSA')]
  // Asked a moment ago: unknown ids do not make it ask again and again.
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => whoIs(router, bearer(provider.token(HOST, { key: createSigningKey('EdDSA') })))),
  )
  t.same([...new Set(answers.map(({ status }) => status))], [401])
  t.equal(provider.keyFetches, 1)
  t.equal(
    (await whoIs(router, bearer(provider.token(HOST, { key: before })))).status,
    200,
    'the keys it has still count',
  )
})

t.test('while the provider is down', async t => {
  const provider = await startProvider(t)
  provider.failure = 503
  const router = await startWithProvider(t, providerSettings(provider))
  const answer = await whoIs(router, { accept: 'application/json', ...bearer(provider.token(HOST)) })
  t.equal(answer.status, 401)
  t.match(detailOf(answer), /key of the token is not known/)
  const asRoot = { host: HOST, ...HTTPS, ...bearer(ROOT_KEY) }
  const { state } = await router.json({ path: '/state/jwt-auth-server', headers: asRoot })
  t.match(state, { 'key-ids': [], 'last-update-time': null, problem: /answered 503/ })
})

t.test('without an identity provider a web token is none of anybody’s', async (t: Test) => {
  const provider: TestIdentityProvider = await startProvider(t)
  const settings = providerSettings(provider, {
    bearer: { isForApi: false, isForServices: false, isChallengeAlways: true },
  })
  const router = await startWithProvider(t, settings)
  const answer = await whoIs(router, bearer(provider.token(HOST)))
  t.match(answer, { status: 401, headers: { 'www-authenticate': /^Basic realm="waiter", charset="UTF-8"$/ } })
})

t.test('a verified token is remembered, for its host, until it expires or keys change', async t => {
  let nowMs = 1_000
  let verified = 0
  const keys = { generation: 1 }
  const bearerTokens = new BearerTokens({
    ...{ isForApi: true, isForServices: true, isChallengeAlways: true, keys, nowMs: () => nowMs },
    createIdentity: createIdentityFactory(renderHeader),
    isHttps: () => true,
    isWaiterHost: () => true,
    verify: async token => {
      verified += 1
      return { ok: true, value: { principal: 'alice', token, expiresAtMs: 2_000 } }
    },
  })
  const ask = (host: string, authorization: string) => {
    const { exchange } = new FakeExchange({ head: headOf({ headers: { host, authorization } }) })
    return bearerTokens.authenticate(exchange, undefined, undefined, () => unauthorized(undefined))
  }
  const first = await ask('h', 'Bearer a.e30.c')
  t.equal(ask('h', 'Bearer a.e30.c'), first, 'at once, and the same')
  t.equal(verified, 1)
  await ask('other', 'Bearer a.e30.c')
  t.equal(verified, 2, 'for another host it is another question')
  await ask('h', 'Bearer a.e30.c')
  keys.generation = 2
  t.ok(ask('h', 'Bearer a.e30.c') instanceof Promise, 'its key may be gone')
  await ask('h', 'Bearer a.e30.c')
  nowMs = 2_000
  t.ok(ask('h', 'Bearer a.e30.c') instanceof Promise, 'it has expired')
  const long = `Bearer a.e30.${'c'.repeat(3_000)}`
  await ask('h', long)
  t.ok(ask('h', long) instanceof Promise, 'long ones are not remembered')
})

t.test('what is a web token', async t => {
  const rows: readonly (readonly [authorization: string | undefined, token: string | undefined])[] = [
    ['Bearer a.b.c', 'a.b.c'],
    ['bearer  a.b.c ', 'a.b.c'],
    ['BEARER a.b.c', 'a.b.c'],
    ['Bearer a.b', undefined],
    ['Bearer a.b.c.d', undefined],
    ['Bearer .b.c', undefined],
    ['Bearer a..c', undefined],
    ['Bearer a.b.', undefined],
    ['Bearer a.b .c', undefined],
    ['Bearer a.b.c d', undefined],
    ['Bearer a\t.b.c', undefined],
    ['Bearera.b.c', undefined],
    ['Basic a.b.c', undefined],
    ['Bearer', undefined],
    ['', undefined],
    [undefined, undefined],
  ]
  for (const [authorization, token] of rows) t.equal(bearerTokenOf(authorization), token, JSON.stringify(authorization))
})
