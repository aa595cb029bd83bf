import { request, type TestIdentityProvider, type TestResponse } from '@waiter/testkit'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { isRedirectCapable, openIdModeOf } from '../../src/auth/open-id/open-id-mode.ts'
import { HTTPS, type OpenIdSettings, providerSettings, startProvider, startWithProvider } from '../support/provider.ts'
import type { StartedRouter } from '../support/started-router.ts'

const SEED = 20_261_127
const BROWSER = { 'user-agent': 'Mozilla/5.0 (X11; Linux) Chrome/140.0', accept: 'text/html' }
const CHALLENGE = 'x-waiter-oidc-challenge-'

const setCookiesOf = (answer: TestResponse): string[] => [answer.headers['set-cookie'] ?? []].flat().map(String)
const cookiesOf = (answer: TestResponse): string =>
  setCookiesOf(answer)
    .map(one => one.split(';')[0])
    .join('; ')
const messageOf = (answer: TestResponse): [number, string] => [
  answer.status,
  JSON.parse(answer.text)['waiter-error'].message,
]

interface World {
  readonly provider: TestIdentityProvider
  readonly router: StartedRouter
  get(host: string, path: string, headers?: Record<string, string>): Promise<TestResponse>
}

async function start(
  t: Test,
  openId: Partial<OpenIdSettings> = {},
  options: Parameters<typeof startWithProvider>[2] = {},
): Promise<World> {
  const provider = await startProvider(t)
  const tokens = options.kind === 'jwt' ? {} : { hello: {}, open: { authentication: 'disabled' }, ...options.tokens }
  const router = await startWithProvider(t, providerSettings(provider, { openId }), { ...options, tokens })
  const get: World['get'] = (host, path, headers = {}) =>
    router.call({ path, headers: { host, 'x-waiter-queue-timeout': '1', ...HTTPS, ...BROWSER, ...headers } })
  return { provider, router, get }
}

/** The way to the provider's login page and back to the callback, as a browser goes it. */
async function logIn({ get }: World, host: string, path: string): Promise<{ challenge: string; callback: URL }> {
  const sent = await get(host, path)
  if (sent.status !== 302) throw new Error(`not sent to a login: ${sent.status} ${sent.text}`)
  const page = new URL(String(sent.headers.location))
  const back = await request({ port: Number(page.port), path: page.pathname + page.search })
  if (back.status !== 302) throw new Error(`the provider: ${back.text}`)
  return { challenge: cookiesOf(sent), callback: new URL(String(back.headers.location)) }
}

t.test('a login from its beginning to its end', async t => {
  const world = await start(t)
  const sent = await world.get('hello', '/a/b?c=d')
  t.equal(sent.status, 302)
  t.match(sent.headers, { 'cache-control': 'no-store', 'content-security-policy': /default-src 'none'/ })
  const [challengeCookie] = setCookiesOf(sent)
  t.match(
    challengeCookie,
    /^x-waiter-oidc-challenge-[0-9a-f]{32}=v1\..*; Path=\/; Max-Age=300; SameSite=Lax; Secure; HttpOnly$/,
  )
  const page = new URL(String(sent.headers.location))
  t.match(Object.fromEntries(page.searchParams), {
    tenant: '7',
    client_id: 'hello',
    code_challenge_method: 'S256',
    code_challenge: /^[\w-]{43}$/,
    nonce: /^[\w-]{43}$/,
    redirect_uri: 'https://hello/oidc/v1/callback',
    response_type: 'code',
    scope: 'openid',
  })

  const { challenge, callback } = await logIn(world, 'hello', '/a/b?c=d')
  t.equal(callback.origin + callback.pathname, 'https://hello/oidc/v1/callback')
  const done = await world.get('hello', callback.pathname + callback.search, { cookie: challenge })
  t.match(done, { status: 302, headers: { location: '/a/b?c=d', 'cache-control': 'no-store' } })
  const cookies = setCookiesOf(done)
  t.match(cookies[0], /^x-waiter-auth=v1\..*; Path=\/; Max-Age=86400; SameSite=Lax; Secure; HttpOnly$/)
  t.match(cookies[1], /^x-auth-expires-at=\d+; /)
  t.match(cookies[2], /^x-waiter-oidc-challenge-[0-9a-f]{32}=; Path=\/; Max-Age=0; /)
  const cookie = cookiesOf(done)
  const who = await world.get('hello', '/waiter-auth', { cookie })
  t.match([who.status, who.text, who.headers['x-waiter-auth-method']], [200, 'alice', 'cookie'])
  t.equal((await world.get('hello', '/', { cookie })).status, 503, 'admitted: it waits for an instance')
  t.equal(world.provider.tokenRequests.length, 1)
  t.notMatch(world.provider.tokenRequests[0]?.get('code_verifier'), page.searchParams.get('code_challenge') ?? '')
})

t.test('who is sent to the login page, and where', async t => {
  const world = await start(t, {}, { tokens: { no: { env: { USE_OIDC_AUTH: 'false' } } } })
  const { get, router } = world
  t.equal((await get('hello', '/', { 'user-agent': 'curl/8' })).status, 401, 'a program')
  t.equal((await get('hello', '/', { 'sec-fetch-mode': 'cors' })).status, 401, 'a script of a page')
  t.equal((await get('hello', '/', { 'sec-fetch-mode': 'navigate' })).status, 302)
  t.equal((await get('hello', '/', { 'user-agent': 'curl/8', 'accept-redirect': 'yes' })).status, 302)
  t.equal((await get('no', '/')).status, 401, 'its token says no')
  t.equal((await get('open', '/')).status, 503, 'nobody is asked')
  const socket = {
    connection: 'upgrade',
    upgrade: 'websocket',
    'sec-websocket-key': 'x',
    'sec-websocket-version': '13',
  }
  t.not((await get('hello', '/', socket)).status, 302, 'a WebSocket follows no redirect')

  const headers = { host: 'hello:80', ...BROWSER }
  const plain = await router.call({ path: '/x?y=z', headers })
  t.match(plain, { status: 302, headers: { location: 'https://hello/x?y=z', 'set-cookie': undefined } }, 'over https')
  t.match(await router.call({ method: 'POST', path: '/x', headers }), { status: 307 })

  const api = await get('waiter.example.com', '/apps')
  t.match(new URL(String(api.headers.location)).searchParams.get('client_id'), 'waiter.example.com')
  const port = await get('waiter.example.com:8443', '/apps')
  t.match(Object.fromEntries(new URL(String(port.headers.location)).searchParams), {
    client_id: 'waiter.example.com',
    redirect_uri: 'https://waiter.example.com:8443/oidc/v1/callback',
  })
})

t.test('a callback that does not belong to a login', async t => {
  const world = await start(t)
  const { get } = world
  const json = { accept: 'application/json' }
  const call = (search: string, cookie: string, host = 'hello', headers: Record<string, string> = {}) =>
    get(host, `/oidc/v1/callback${search}`, { cookie, ...json, ...headers })
  const { challenge, callback } = await logIn(world, 'hello', '/')
  const other = await logIn(world, 'hello', '/other')
  const state = callback.searchParams.get('state') ?? ''
  const query = (changes: Record<string, string | undefined>): string => {
    const search = new URLSearchParams(callback.search)
    for (const [name, value] of Object.entries(changes))
      value === undefined ? search.delete(name) : search.set(name, value)
    return `?${search}`
  }
  t.match(messageOf(await call(query({ code: undefined }), challenge)), [400, /code is missing/])
  t.match(messageOf(await call(query({ state: undefined }), challenge)), [400, /state is missing/])
  t.match(messageOf(await call(query({ state: `${state.slice(0, -2)}xx` }), challenge)), [400, /state is not valid/])
  t.match(messageOf(await call(query({}), '')), [400, /cookie of this login is missing/])
  t.match(
    messageOf(await call(query({}), other.challenge)),
    [400, /cookie of this login is missing/],
    'of another login',
  )
  const swapped = `${challenge.split('=')[0]}=${other.challenge.split('=')[1]}`
  t.match(
    messageOf(await call(query({}), swapped)),
    [400, /cookie of this login is not valid/],
    'the secrets of another',
  )
  t.match(
    messageOf(await call(query({}), challenge, 'waiter.example.com')),
    [400, /state is not valid/],
    'on another host',
  )
  t.match(messageOf(await call(query({}), challenge, 'hello', { 'x-forwarded-proto': 'http' })), [400, /HTTPS/])
  const denied = await call('?error=access_denied', challenge)
  t.match([denied.status, JSON.parse(denied.text)['waiter-error'].details], [401, { reason: 'access_denied' }])
  const odd = await call(`?error=${encodeURIComponent('<script>')}`, challenge)
  t.notMatch(JSON.parse(odd.text)['waiter-error'].details.reason, '<script>')
  t.equal(world.provider.tokenRequests.length, 0, 'nothing of it reached the provider')

  t.equal((await call(query({}), challenge)).status, 302)
  t.match(messageOf(await call(query({}), challenge)), [401, /retrieving access token/], 'a code is good for once')
  const foreign = query({ code: other.callback.searchParams.get('code') ?? '' })
  t.match(messageOf(await call(foreign, challenge)), [401, /retrieving access token/], 'the code of another login')
})

t.test('what the provider gives for the code', async t => {
  const world = await start(t)
  const { provider } = world
  const finish = async (): Promise<TestResponse> => {
    const { challenge, callback } = await logIn(world, 'hello', '/')
    return await finishWith(challenge, callback)
  }
  const finishWith = (challenge: string, callback: URL): Promise<TestResponse> =>
    world.get('hello', callback.pathname + callback.search, { cookie: challenge, accept: 'application/json' })
  for (const [story, claims, reason] of [
    ['a token of another login', { nonce: 'another' }, /not of this login/],
    ['a token for another client', { aud: 'other' }, /another host/],
    ['a token of another issuer', { iss: 'https://evil.example.com' }, /issuer/],
    ['an expired token', { exp: 1 }, /expired/],
  ] as const) {
    provider.extraClaims = claims
    const answer = await finish()
    t.match([answer.status, JSON.parse(answer.text)['waiter-error'].details.reason], [401, reason], story)
    t.same(
      setCookiesOf(answer).filter(one => one.startsWith('x-waiter-auth=')),
      [],
      story,
    )
  }
  provider.extraClaims = {}
  const { challenge, callback } = await logIn(world, 'hello', '/')
  provider.failure = 500
  t.match(messageOf(await finishWith(challenge, callback)), [401, /Error in retrieving access token/], 'it is down')
  provider.failure = undefined
  t.equal((await finish()).status, 302)
})

t.test('a confidential client', async t => {
  const world = await start(t, { clientId: 'waiter', clientSecret: 'a secret: of the client' })
  world.provider.clientSecret = encodeURIComponent('a secret: of the client')
  const { challenge, callback } = await logIn(world, 'hello', '/x')
  t.equal((await world.get('hello', callback.pathname + callback.search, { cookie: challenge })).status, 302)
  t.equal(world.provider.tokenRequests[0]?.get('client_id'), 'waiter')
})

t.test('how long a login lasts', async t => {
  const tokens = { short: { env: { USE_OIDC_AUTH: 'strict' } }, long: { env: { USE_OIDC_AUTH: 'relaxed' } } }
  const world = await start(t, { isForServices: false, isForApi: false }, { tokens })
  t.equal((await world.get('hello', '/')).status, 401, 'off, unless a token says otherwise')
  const finish = async (host: string): Promise<TestResponse> => {
    const { challenge, callback } = await logIn(world, host, '/')
    return await world.get(host, callback.pathname + callback.search, { cookie: challenge })
  }
  world.provider.extraClaims = { exp: Math.floor(Date.now() / 1_000) + 600 }
  const age = (answer: TestResponse): number => Number(/Max-Age=(\d+)/.exec(setCookiesOf(answer)[0] ?? '')?.[1])
  const strict = age(await finish('short'))
  t.ok(strict > 500 && strict <= 585, `strict: ${strict}`)
  t.equal(age(await finish('long')), 86_400, 'relaxed')
  world.provider.extraClaims = { exp: Math.floor(Date.now() / 1_000) + 10 }
  t.equal((await finish('short')).status, 401, 'it would be over at once')
})

t.test('too many logins under way', async t => {
  const cookie = (count: number): string => Array.from({ length: count }, (_, n) => `${CHALLENGE}${n}=x`).join('; ')
  const only = await start(t, { challengesMax: 3 }, { kind: 'jwt' })
  t.equal((await only.get('waiter.example.com', '/apps', { cookie: cookie(3) })).status, 302)
  const refused = await only.get('waiter.example.com', '/apps', { cookie: cookie(4) })
  t.match([refused.status, refused.text], [403, /Too many OIDC challenge cookies \(allowed: 3, provided: 4\)/])
  const both = await start(t, { challengesMax: 3 })
  t.equal((await both.get('hello', '/', { cookie: cookie(4) })).status, 401, 'there are other ways in')
})

t.test('a page keeps its login alive', async t => {
  const world = await start(t)
  const { challenge, callback } = await logIn(world, 'hello', '/')
  const cookie = cookiesOf(await world.get('hello', callback.pathname + callback.search, { cookie: challenge }))
  t.equal((await world.get('hello', '/.well-known/auth/keep-alive?offset=60', { cookie })).status, 204)
  const again = await logInAgain(world, '/.well-known/auth/keep-alive?offset=999999', cookie)
  t.equal(again.headers.location, '/.well-known/auth/keep-alive?offset=999999&done=true')
  t.equal((await world.get('hello', String(again.headers.location))).status, 204)
})

async function logInAgain(world: World, path: string, cookie: string): Promise<TestResponse> {
  const { challenge, callback } = await logIn(
    { ...world, get: (host, path) => world.get(host, path, { cookie }) },
    'hello',
    path,
  )
  return await world.get('hello', callback.pathname + callback.search, { cookie: `${cookie}; ${challenge}` })
}

t.test('no way leads to another host', async t => {
  const world = await start(t)
  for (const path of ['//evil.example.com/x', '/\\evil.example.com', '///evil.example.com', `/${'x'.repeat(2_000)}`]) {
    const { challenge, callback } = await logIn(world, 'hello', path)
    const done = await world.get('hello', callback.pathname + callback.search, { cookie: challenge })
    t.equal(done.status, 302, path.slice(0, 30))
    const location = String(done.headers.location)
    t.equal(new URL(location, 'https://hello').host, 'hello', `${path.slice(0, 30)} → ${location.slice(0, 40)}`)
  }
})

t.test('does the token log people in?', async t => {
  const world = await start(t, { isForApi: false }, { tokens: { no: { env: { USE_OIDC_AUTH: 'false' } } } })
  const enabled = async (host: string): Promise<[number, unknown]> => {
    const { status, text } = await world.get(host, '/.well-known/oidc/v1/openid-enabled')
    return [status, JSON.parse(text)]
  }
  t.same(await enabled('hello'), [200, { 'client-id': 'hello', enabled: true, token: 'hello' }])
  t.same(await enabled('no'), [404, { 'client-id': 'no', enabled: false, token: 'no' }])
  t.same(await enabled('open'), [404, { 'client-id': 'open', enabled: false, token: 'open' }])
  t.same(await enabled('waiter.example.com'), [404, { 'client-id': 'waiter.example.com', enabled: false }])
})

t.test('modes and signs', async t => {
  const policy = { isForApi: false, isForServices: true, defaultMode: 'strict' as const }
  const target = (wish?: string) =>
    ({ template: { env: wish === undefined ? {} : { USE_OIDC_AUTH: wish } } }) as unknown as Parameters<
      typeof openIdModeOf
    >[0]
  t.equal(openIdModeOf(undefined, policy), undefined)
  t.equal(openIdModeOf(undefined, { ...policy, isForApi: true }), 'strict')
  t.equal(openIdModeOf(target(), policy), 'strict')
  t.equal(openIdModeOf(target(), { ...policy, isForServices: false }), undefined)
  for (const [wish, mode] of [
    ['true', 'relaxed'],
    ['relaxed', 'relaxed'],
    ['strict', 'strict'],
    ['false', undefined],
    ['', undefined],
  ] as const)
    t.equal(openIdModeOf(target(wish), policy), mode, wish)

  const signs = { userAgent: undefined, acceptRedirect: undefined, acceptRedirectAuth: undefined, fetchMode: undefined }
  const redirects = { userAgentProducts: ['chrome', 'mozilla'], authority: 'login.example.com:8443' }
  const rows: readonly (readonly [Partial<Record<keyof typeof signs, string>>, boolean])[] = [
    [{}, false],
    [{ userAgent: 'Mozilla/5.0' }, true],
    [{ userAgent: 'x/1 chrome/2' }, true],
    [{ userAgent: 'NotMozilla/5.0' }, false],
    [{ userAgent: 'Mozilla/5.0', fetchMode: 'no-cors' }, false],
    [{ acceptRedirect: 'yes' }, true],
    [{ acceptRedirect: 'no' }, false],
    [{ acceptRedirect: 'yes', acceptRedirectAuth: '.' }, true],
    [{ acceptRedirect: 'yes', acceptRedirectAuth: 'a.example.com login.example.com:8443' }, true],
    [{ acceptRedirect: 'yes', acceptRedirectAuth: 'a.example.com' }, false],
    [{ acceptRedirect: 'yes', fetchMode: 'cors' }, true],
  ]
  for (const [given, expected] of rows)
    t.equal(isRedirectCapable({ ...signs, ...given }, redirects), expected, JSON.stringify(given))
})

t.test('hostile callbacks never give a 5xx', async t => {
  const world = await start(t)
  const { callback, challenge } = await logIn(world, 'hello', '/')
  const piece = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.constantFrom('', 'v1..', callback.searchParams.get('state') ?? ''),
  )
  const value = fc.oneof(
    fc.constantFrom(challenge, `${CHALLENGE}${'0'.repeat(32)}=v1.a.b`),
    fc.stringMatching(/^[!-:<-~]{0,60}$/),
  )
  const property = fc.asyncProperty(piece, piece, value, async (code, state, cookie) => {
    const search = new URLSearchParams({ code, state }).toString()
    const { status } = await world.get('hello', `/oidc/v1/callback?${search}`, { cookie })
    return status === 400 || status === 401
  })
  await fc.assert(property, { seed: SEED, numRuns: 200 })
})
