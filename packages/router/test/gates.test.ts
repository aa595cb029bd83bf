import { createHash } from 'node:crypto'
import { createSimpleEntitlements } from '@waiter/services'
import type { TestResponse } from '@waiter/testkit'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { type StartedRouter, startTestRouter } from './support/started-router.ts'

const SEED = 20_261_126
const authentication = {
  authenticator: {
    kind: 'api-keys' as const,
    keys: ['alice', 'bob', 'root'].map(user => ({
      principal: user,
      sha256: createHash('sha256').update(`key of ${user}`).digest('hex'),
    })),
  },
  secrets: ['a secret of this test'],
  clusterName: 'waiter',
  cookie: { maxAgeSecs: 60, sameSite: 'lax' as const },
}

const as = (user: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(`${user}:key of ${user}`).toString('base64')}`,
})

/** A router for several users, with tokens of alice. */
async function start(t: Test, tokens: Record<string, Record<string, unknown>> = {}): Promise<StartedRouter> {
  const router = await startTestRouter(t, { authentication, entitlements: createSimpleEntitlements(['root']) })
  for (const [token, changes] of Object.entries(tokens)) {
    const { owner = 'alice', ...description } = changes
    const body = JSON.stringify({
      cmd: 'serve',
      cpus: 1,
      mem: 1,
      version: '1',
      'run-as-user': 'alice',
      'permitted-user': '*',
      ...description,
    })
    const posted = await router.call({
      method: 'POST',
      path: `/token?token=${token}`,
      headers: as(owner as string),
      body,
    })
    if (posted.status !== 200) throw new Error(posted.text)
  }
  return router
}

/** A request that got through all gates waits for an instance, which never comes. */
const isAdmitted = ({ status, text }: TestResponse): boolean =>
  status === 503 && /no instance available to handle request/.test(text)
const AT_ONCE = { 'x-waiter-queue-timeout': '1' }

const get = (router: StartedRouter, host: string, headers: Record<string, string> = {}, path = '/') =>
  router.call({ path, headers: { host, ...AT_ONCE, ...headers } })

t.test('who may use a service', async t => {
  const router = await start(t, {
    open: {},
    'run-as-alice': { 'permitted-user': undefined },
    'for-bob': { 'permitted-user': 'bob' },
    anybody: { authentication: 'disabled' },
  })
  t.match(await get(router, 'open'), {
    status: 401,
    headers: { 'www-authenticate': /^Basic realm/, server: 'waiter/1.2.3' },
  })
  t.ok(isAdmitted(await get(router, 'open', as('alice'))))
  t.ok(isAdmitted(await get(router, 'open', as('bob'))), 'preauthorized')
  t.match(await get(router, 'run-as-alice', as('bob')), { status: 403, text: /cannot run service/ })
  t.ok(isAdmitted(await get(router, 'for-bob', as('bob'))))
  t.match(await get(router, 'for-bob', as('alice')), { status: 403, text: /isn't allowed to invoke/ })
  t.match(await get(router, 'open', { ...as('alice'), 'x-waiter-authentication': 'disabled' }), { status: 400 })
  t.ok(isAdmitted(await get(router, 'anybody')), 'without any proof')
  t.ok(isAdmitted(await get(router, 'anybody', { authorization: 'Basic nonsense' })))
  t.match(await get(router, 'anybody', { 'x-waiter-cmd': 'other' }), { status: 400, text: /may not be combined/ })
  t.match(await get(router, 'unknown', as('alice')), { status: 400, text: /Unable to identify service/ })
})

t.test('who may use the API', async t => {
  const router = await start(t, { anybody: { authentication: 'disabled' }, closed: {} })
  for (const path of ['/apps', '/settings', '/state', '/tokens', '/token?token=closed', '/waiter-auth', '/profiles'])
    t.match(await router.call({ path }), { status: 401 }, path)
  for (const path of ['/', '/status']) t.match(await router.call({ path }), { status: 200 }, path)
  t.match(await router.call({ method: 'DELETE', path: '/token?token=closed' }), { status: 401 })
  t.match(await router.call({ method: 'DELETE', path: '/token?token=closed', headers: as('bob') }), { status: 403 })
  t.match(await router.call({ path: '/token?token=closed', headers: as('bob') }), { status: 200 })
  t.match(await get(router, 'anybody', {}, '/token'), { status: 401 }, 'the token opens its service only')
  t.match(await get(router, 'anybody', {}, '/service-id'), { status: 200 }, 'and says which one that is')
  t.match(await get(router, 'closed', {}, '/service-id'), { status: 401 })
  t.match(await router.call({ method: 'POST', path: '/waiter-ping', headers: { host: 'closed' } }), { status: 401 })
  const admin = await router.call({ method: 'DELETE', path: '/token?token=closed', headers: as('root') })
  t.match(admin, { status: 200 }, 'an administrator')
})

t.test('a login by cookie', async t => {
  const router = await start(t, { open: {} })
  const login = await router.call({ path: '/waiter-auth', headers: as('alice') })
  t.match(login, {
    status: 200,
    text: 'alice',
    headers: { 'x-waiter-auth-method': 'api-key', 'x-waiter-auth-principal': 'alice', 'x-waiter-auth-user': 'alice' },
  })
  const set = login.headers['set-cookie'] as unknown as string[]
  t.match(set, [/^x-waiter-auth=.*HttpOnly$/, /^x-auth-expires-at=\d+; /])
  const cookie = set.map(one => one.split(';')[0]).join('; ')
  const again = await router.call({ path: '/waiter-auth', headers: { cookie } })
  t.match(again, { status: 200, text: 'alice', headers: { 'x-waiter-auth-method': 'cookie' } })
  t.equal(again.headers['set-cookie'], undefined, 'not prolonged by itself')
  t.ok(isAdmitted(await get(router, 'open', { cookie })))
  t.match(await get(router, 'open', { cookie: cookie.replace('v1.', 'v2.') }), { status: 401 })
  const browser = await get(router, 'open', { ...as('alice'), accept: 'text/html' })
  t.match(browser.headers['set-cookie'], [/^x-waiter-auth=/, /^x-auth-expires-at=/], 'a browser gets it anywhere')
  t.equal((await get(router, 'open', as('alice'))).headers['set-cookie'], undefined, 'a program does not')

  const other = await startTestRouter(t, { authentication: { ...authentication, clusterName: 'other' } })
  t.match(await other.call({ path: '/waiter-auth', headers: { cookie } }), { status: 401 }, 'another cluster')
  const rotated = { ...authentication, secrets: ['a new one', ...authentication.secrets] }
  const next = await startTestRouter(t, { authentication: rotated })
  t.match(await next.call({ path: '/waiter-auth', headers: { cookie } }), { status: 200 }, 'the secret before')
  const forgotten = await startTestRouter(t, { authentication: { ...authentication, secrets: ['a new one'] } })
  t.match(await forgotten.call({ path: '/waiter-auth', headers: { cookie } }), { status: 401 }, 'no longer')

  const expires = await router.json({ path: '/.well-known/auth/expires-at', headers: { cookie } })
  t.match(expires, { principal: 'alice' })
  t.ok(Math.abs(expires['expires-at'] - Date.now() / 1000 - 60) < 30)
  t.same(await router.json({ path: '/.well-known/auth/expires-at' }), { 'expires-at': 0, principal: null })

  const keepAlive = (query: string, headers: Record<string, string> = {}) =>
    router.call({ path: `/.well-known/auth/keep-alive?${query}`, headers })
  t.match(await keepAlive('offset=5', { cookie }), { status: 204 })
  t.match(await keepAlive('offset=500', { cookie }), { status: 401 }, 'too short, and no other proof')
  const renewed = await keepAlive('offset=500', { cookie, ...as('alice') })
  t.equal(renewed.status, 204)
  t.match(renewed.headers['set-cookie'], [/^x-waiter-auth=/, /^x-auth-expires-at=/])
  t.match(await keepAlive('done=true'), { status: 204 })
  t.match(await keepAlive('offset=x', { cookie }), { status: 400 })
  t.match(await get(router, 'no-such-token', { cookie }, '/.well-known/auth/keep-alive?offset=5'), { status: 404 })

  const openid = await router.call({ path: '/.well-known/oidc/v1/openid-enabled', headers: { host: 'open' } })
  t.equal(openid.status, 501)
  t.same(JSON.parse(openid.text), { 'client-id': 'open', enabled: false, token: 'open' })
  t.match(await router.call({ path: '/oidc/v1/callback' }), { status: 501 })
})

t.test('maintenance and https come before any question', async t => {
  const router = await start(t, {
    down: { maintenance: { message: 'back <soon>' }, 'https-redirect': true },
    secure: { 'https-redirect': true },
  })
  const down = await get(router, 'down', { accept: 'text/html' })
  t.equal(down.status, 503)
  t.match(down.text, /down is Down For Maintenance/)
  t.match(down.text, /back &lt;soon&gt;/)
  t.match(await get(router, 'down', {}, '/service-id'), { status: 503 })
  const ping = await router.call({ path: '/waiter-ping', headers: { host: 'down', ...as('alice') } })
  t.equal(ping.status, 200)
  t.match(JSON.parse(ping.text)['ping-response'], { result: 'descriptor-error', status: 503, body: 'back <soon>' })

  t.match(await get(router, 'secure', {}, '/a?b=c'), { status: 301, headers: { location: 'https://secure/a?b=c' } })
  const post = await router.call({ method: 'POST', path: '/a', headers: { host: 'secure:9091' } })
  t.match(post, { status: 307, headers: { location: 'https://secure/a' }, text: '' })
  t.match(await get(router, 'secure', {}, '/service-id'), { status: 301 })
  const forwarded = { ...as('alice'), 'x-forwarded-proto': 'https' }
  t.match(await get(router, 'secure', forwarded), { status: 301 }, 'anybody could say so')

  const behind = await startTestRouter(t, { trustedProxies: ['127.0.0.1'], store: router.store })
  t.ok(isAdmitted(await get(behind, 'secure', forwarded)), 'a proxy that is known is believed')
})

t.test('pages of other origins', async t => {
  const rules = [{ 'origin-regex': 'https://page\\.example', 'target-path-regex': '/ok', methods: ['GET'] }]
  const tokens = { app: { 'cors-rules': rules, authentication: 'disabled' } }
  const foreign = { origin: 'https://page.example' }

  const strict = await start(t, tokens)
  t.ok(isAdmitted(await get(strict, 'app')))
  t.ok(isAdmitted(await get(strict, 'app', { origin: 'http://app' })), 'the same origin')
  t.ok(isAdmitted(await get(strict, 'app', { origin: 'https://app' })), 'TLS may end in front of us')
  t.match(await get(strict, 'app', foreign, '/ok'), { status: 403, text: /Cross-origin request not allowed/ })
  t.match(await get(strict, 'app', { origin: 'null' }), { status: 403 })
  const upgrade = { ...foreign, connection: 'upgrade', upgrade: 'websocket' }
  t.match(await get(strict, 'app', upgrade), { status: 403 }, 'a WebSocket, too')

  const cors = { policy: { kind: 'token-parameter' as const }, exposedHeaders: ['etag'], maxAgeSecs: 9 }
  const router = await startTestRouter(t, { authentication, cors, store: strict.store })
  const allowed = await get(router, 'app', foreign, '/ok')
  t.ok(isAdmitted(allowed))
  t.match(allowed.headers, {
    'access-control-allow-origin': 'https://page.example',
    'access-control-allow-credentials': 'true',
    vary: 'origin',
  })
  t.match(await get(router, 'app', foreign, '/other'), { status: 403 })
  t.match(await get(router, 'app', { ...foreign, 'x-waiter-cmd': 'evil' }, '/ok'), { status: 403 }, 'not a description')

  const preflight = (host: string, path: string, headers: Record<string, string> = {}) =>
    router.call({
      method: 'OPTIONS',
      path,
      headers: { host, ...foreign, 'access-control-request-method': 'GET', ...headers },
    })
  t.match(await preflight('app', '/ok', { 'access-control-request-headers': 'x-a' }), {
    status: 200,
    headers: {
      'access-control-allow-origin': 'https://page.example',
      'access-control-allow-methods': 'GET',
      'access-control-allow-headers': 'x-a',
      'access-control-max-age': '9',
    },
  })
  t.match(await preflight('app', '/ok', { 'access-control-request-method': 'PUT' }), { status: 403 })
  t.match(await preflight('app', '/other'), { status: 403 })
  t.match(await preflight('localhost', '/apps'), { status: 403 }, 'the API is not the token’s to open')
  t.match(await preflight('localhost', '/apps', { origin: 'http://localhost' }), { status: 200 }, 'its own page')
  t.match(await preflight('app', '/.well-known/auth/expires-at'), { status: 403 }, 'the path must match, too')

  const listed = { policy: { kind: 'patterns' as const, allowedOrigins: ['https://page\\.example'] } }
  const friendly = await startTestRouter(t, { cors: { ...cors, ...listed } })
  const read = await friendly.call({ path: '/tokens', headers: foreign })
  t.match(read.headers, {
    'access-control-allow-origin': 'https://page.example',
    'access-control-expose-headers': 'etag',
  })
  const unread = await router.call({ path: '/tokens', headers: { ...foreign, ...as('alice') } })
  t.equal(unread.status, 200)
  t.equal(unread.headers['access-control-allow-origin'], undefined, 'a page that is not listed cannot read it')
  t.match(await router.call({ method: 'POST', path: '/token', headers: { ...foreign, ...as('alice') } }), {
    status: 403,
  })
  const open = await startTestRouter(t, { cors: { ...cors, policy: { kind: 'allow-all' } } })
  t.match(await open.call({ method: 'POST', path: '/token', headers: foreign }), { status: 403 }, 'never the API')
})

t.test('consent: a token without a user runs as whoever agrees', async t => {
  const router = await start(t, { app: { 'run-as-user': '*', 'permitted-user': '*', 'interstitial-secs': 0 } })
  const asks = await get(router, 'app', as('bob'), '/a?b=c')
  t.match(asks, { status: 303, headers: { location: '/waiter-consent/a?b=c' } })
  t.match(await get(router, 'app', {}, '/waiter-consent/a'), { status: 401 })
  const page = await get(router, 'app', as('bob'), '/waiter-consent/a?b=c')
  t.equal(page.status, 200)
  t.match(page.headers['content-security-policy'], /frame-ancestors 'none'/)
  t.match(page.text, /data-target="\/a\?b=c"/)
  const serviceId = /data-service-id="([^"]+)"/.exec(page.text)?.[1] ?? ''
  t.match(serviceId, /^waiter-service-/)
  t.match(await get(router, 'app', as('bob'), '/waiter-consent//evil.example/'), {
    text: /data-target="\/evil\.example\/"/,
  })

  const agree = (fields: Record<string, string>, headers: Record<string, string> = {}, user = 'bob') =>
    router.call({
      method: 'POST',
      path: '/waiter-consent',
      headers: {
        host: 'app',
        origin: 'http://app',
        referer: 'http://app/waiter-consent/a',
        'x-requested-with': 'XMLHttpRequest',
        'content-type': 'application/x-www-form-urlencoded',
        ...as(user),
        ...headers,
      },
      body: new URLSearchParams(fields).toString(),
    })
  t.match(await agree({ mode: 'token' }, { origin: 'http://evil.example' }), { status: 400, text: /Origin/ })
  t.match(await agree({ mode: 'token' }, { referer: 'http://evil.example/' }), { status: 400, text: /Referer/ })
  t.match(await agree({ mode: 'token' }, { 'x-requested-with': 'x' }), { status: 400 })
  t.match(await agree({ mode: 'token' }, { host: 'localhost', origin: 'http://localhost' }), { status: 400 })
  t.match(await agree({}), { status: 400, text: /mode/ })
  t.match(await agree({ mode: 'service', 'service-id': 'x' }), { status: 400, text: /Invalid service-id/ })
  t.match(await agree({ mode: 'x'.repeat(20_000) }), { status: 413 })
  t.match(await agree({ mode: 'token' }, { 'content-type': 'multipart/form-data; boundary=' }), { status: 400 })
  t.match(await get(router, 'app', as('bob'), '/waiter-consent'), { status: 405 })

  const agreed = await agree({ mode: 'service', 'service-id': serviceId })
  t.match(agreed, { status: 200, text: 'Added cookie x-waiter-consent' })
  const cookie = String(agreed.headers['set-cookie']).split(';')[0] ?? ''
  t.ok(isAdmitted(await get(router, 'app', { ...as('bob'), cookie })))
  t.match(router.link.needs, [serviceId], 'it runs as bob')
  t.match(await get(router, 'app', { ...as('alice'), cookie }), { status: 303 }, 'his consent is not hers')
  const shown = await router.call({ path: '/waiter-consent-cookie', headers: { ...as('bob'), cookie } })
  t.match(JSON.parse(shown.text)['x-waiter-consent'], {
    'raw-content': ['service', Number, serviceId],
    'formatted-content': { mode: 'service', 'service-id': serviceId, 'issue-time': /^\d{4}-/ },
  })

  const body = new FormData()
  body.set('mode', 'token')
  const multipart = new Response(body)
  const raw = await router.call({
    method: 'POST',
    path: '/waiter-consent',
    headers: {
      host: 'app',
      origin: 'http://app',
      referer: 'http://app/waiter-consent/a',
      'x-requested-with': 'XMLHttpRequest',
      'content-type': multipart.headers.get('content-type') ?? '',
      ...as('alice'),
    },
    body: await multipart.text(),
  })
  t.equal(raw.status, 200, 'as the page sends it')
  t.ok(
    isAdmitted(
      await get(router, 'app', { ...as('alice'), cookie: String(raw.headers['set-cookie']).split(';')[0] ?? '' }),
    ),
  )
  t.match(
    await get(router, 'localhost', { 'x-waiter-token': 'app', ...as('bob') }),
    { status: 503 },
    'by header without',
  )
})

t.test('interstitial: browsers see a page while a service starts', async t => {
  const router = await start(t, { app: { 'interstitial-secs': 60, 'permitted-user': '*' } })
  const browser = { ...as('alice'), accept: 'text/html' }
  t.ok(isAdmitted(await get(router, 'app', browser)), 'not before the leader has told what runs')
  router.router.table.applyAssignment({ isFull: true, upserts: [], removals: [] })
  const first = await get(router, 'app', browser, '/a?b=c')
  t.match(first, {
    status: 303,
    headers: { location: '/waiter-interstitial/a?b=c', 'x-waiter-interstitial': 'true' },
  })
  t.ok(router.link.needs.length > 0, 'and it is being started')
  const { state } = await router.json({ path: '/state/interstitial', headers: as('alice') })
  const [id = ''] = router.link.needs
  t.same(state.interstitial, { 'initialized?': true, 'service-id->interstitial-promise': { [id]: 'not-realized' } })
  t.ok(isAdmitted(await get(router, 'app', { ...browser, accept: '*/*' })), 'programs wait')
  t.ok(isAdmitted(await get(router, 'localhost', { ...browser, 'x-waiter-token': 'app' })), 'on-the-fly')
  const page = await get(router, 'app', browser, '/waiter-interstitial/a?b=c')
  t.equal(page.status, 200)
  const [, next = ''] = /url=([^"]+)"/.exec(page.text) ?? []
  t.match(next, /^\/a\?b=c&amp;x-waiter-bypass-interstitial=\d+$/)
  t.match(page.text, /Waiter - Interstitial/)
  t.ok(isAdmitted(await get(router, 'app', browser, next.replace('&amp;', '&'))), 'the page goes on and waits')
  const evil = await get(router, 'app', browser, '/waiter-interstitial//evil.example/%22%3E')
  t.match(evil.text, /url=\/evil\.example\/%22%3E\?/, 'only to this host')
  t.match(await get(router, 'app', { accept: 'text/html' }, '/waiter-interstitial/'), { status: 401 })
})

t.test('hostile heads end in a refusal', async t => {
  const router = await start(t, {
    app: { 'run-as-user': '*', 'permitted-user': '*', 'cors-rules': [{ 'origin-regex': '.*' }] },
  })
  const text = fc.oneof(
    fc.string({ maxLength: 200, unit: fc.integer({ min: 0x21, max: 0x7e }).map(code => String.fromCharCode(code)) }),
    fc.constantFrom('null', '__proto__', 'http://app', 'x-waiter-auth=v1.AAAAAAAA.AAAA', 'constructor', ';;;=;='),
  )
  const names = fc.constantFrom(
    ...['cookie', 'origin', 'authorization', 'referer', 'accept', 'x-waiter-single-user', 'x-forwarded-proto'],
    ...['access-control-request-method', 'access-control-request-headers', 'sec-fetch-site', 'x-requested-with'],
  )
  const paths = fc.constantFrom(
    '/',
    '/waiter-consent/x',
    '/waiter-auth',
    '/.well-known/auth/keep-alive?offset=1',
    '/x?a',
  )
  let worst = 0
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('GET', 'POST', 'OPTIONS'),
      paths,
      fc.dictionary(names, text, { maxKeys: 5 }),
      fc.constantFrom('app', 'localhost'),
      async (method, path, headers, host) => {
        const answer = await router.call({ method, path, headers: { host, ...AT_ONCE, ...headers } })
        worst = Math.max(worst, answer.status)
        return answer.status < 500 && !/\n\s+at /.test(answer.text)
      },
    ),
    { seed: SEED, numRuns: 500 },
  )
  t.ok(worst >= 400 && worst < 500, 'refused, and nothing else')
})
