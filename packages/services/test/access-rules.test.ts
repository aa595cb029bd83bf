import {
  type CorsPolicy,
  type CorsRequest,
  decideKeepAlive,
  findConsentProblem,
  findCookie,
  isConsentGiven,
  isSameOrigin,
  judgeCors,
  preflightHeaders,
  readAuthCookie,
  readConsent,
  readInterstitialQuery,
  redirectToHttps,
  userOf,
  wantsInterstitial,
  withBypass,
  writeAuthCookie,
  writeConsent,
} from '@waiter/services'
import fc from 'fast-check'
import t from 'tap'

const SEED = 20_261_125
const NOW = 1_700_000_000_000

const request = (changes: Partial<CorsRequest> = {}): CorsRequest => ({
  origin: 'https://page.example',
  scheme: 'http',
  authority: 'app.example:9091',
  path: '/a/b',
  method: 'GET',
  rules: undefined,
  ...changes,
})

t.test('K1 what the same origin is', async t => {
  const rows: [origin: string, scheme: string, authority: string, isSame: boolean][] = [
    ['http://app.example:9091', 'http', 'app.example:9091', true],
    ['HTTP://App.Example:9091', 'http', 'app.example:9091', true],
    ['https://app.example', 'http', 'app.example', true],
    ['http://app.example', 'https', 'app.example', false],
    ['http://app.example', 'http', 'app.example:9091', false],
    ['http://app.example.evil.example', 'http', 'app.example', false],
    ['http://evil-app.example', 'http', 'app.example', false],
    ['null', 'http', 'app.example', false],
    ['http://', 'http', '', false],
    ['', 'http', 'app.example', false],
  ]
  for (const [origin, scheme, authority, isSame] of rows)
    t.equal(isSameOrigin({ origin, scheme, authority }), isSame, `${origin} for ${scheme}://${authority}`)
})

t.test('K2 whom the configuration allows', async t => {
  const patterns: CorsPolicy = { kind: 'patterns', allowedOrigins: ['https://.*\\.good\\.example', '['] }
  const rows: [policy: CorsPolicy, changes: Partial<CorsRequest>, isAllowed: boolean][] = [
    [{ kind: 'allow-all' }, {}, true],
    [{ kind: 'deny-all' }, {}, false],
    [{ kind: 'deny-all' }, { origin: 'http://app.example:9091' }, false],
    [patterns, { origin: 'http://app.example:9091' }, true],
    [patterns, { origin: 'https://a.good.example' }, true],
    [patterns, { origin: 'https://a.good.example.evil' }, false],
    [patterns, { origin: 'x https://a.good.example' }, false],
    [patterns, { origin: 'null' }, false],
    [{ kind: 'patterns', allowedOrigins: [] }, {}, false],
  ]
  for (const [policy, changes, isAllowed] of rows)
    t.equal(judgeCors(policy, request(changes)).isAllowed, isAllowed, `${policy.kind} ${changes.origin ?? ''}`)
})

t.test('K3 whom a token allows', async t => {
  const policy: CorsPolicy = { kind: 'token-parameter' }
  const rules = [
    { 'origin-regex': 'https://page\\.example', 'target-path-regex': '/a/.*', methods: ['GET', 'PUT'] },
    { 'origin-regex': 'https://page\\.example', 'target-path-regex': '/b' },
    { 'origin-regex': '[' },
  ]
  t.same(judgeCors(policy, request({ rules })), { isAllowed: true, methods: ['GET', 'PUT'] })
  t.match(judgeCors(policy, request({ rules, path: '/b', method: 'DELETE' })), { isAllowed: true })
  for (const changes of [{ method: 'POST' }, { path: '/c' }, { path: '/a' }, { origin: 'https://other.example' }])
    t.match(judgeCors(policy, request({ rules, ...changes })), { isAllowed: false, reason: /cors-rules/ })
  t.match(judgeCors(policy, request({ rules: [] })), { isAllowed: false, reason: /no cors-rules/ })
  t.match(judgeCors(policy, request()), { isAllowed: false, reason: /no cors-rules/ })
  t.match(judgeCors(policy, request({ origin: 'http://app.example:9091' })), { isAllowed: true }, 'the same origin')
})

t.test('K4 what an allowed preflight is told', async t => {
  const told = Object.fromEntries(
    preflightHeaders(['GET', 'PUT'], { origin: 'https://p', requestedHeaders: 'x-a, x-b', maxAgeSecs: 7 }),
  )
  t.same(told, {
    'access-control-allow-credentials': 'true',
    'access-control-allow-headers': 'x-a, x-b',
    'access-control-allow-methods': 'GET, PUT',
    'access-control-allow-origin': 'https://p',
    'access-control-max-age': '7',
    vary: 'origin',
  })
  const plain = preflightHeaders([], { origin: 'https://p', requestedHeaders: undefined, maxAgeSecs: 7 })
  t.equal(Object.fromEntries(plain)['access-control-allow-headers'], '*')
})

t.test('L1 what a login cookie says', async t => {
  const content = writeAuthCookie('alice@EXAMPLE', NOW, 60)
  t.same(content, ['alice@EXAMPLE', NOW, { 'expires-at': NOW / 1000 + 60 }])
  const known = { principal: 'alice@EXAMPLE', createdAtMs: NOW, expiresAtMs: NOW + 60_000, webToken: undefined }
  t.same(readAuthCookie(content, NOW, 60), known)
  t.same(readAuthCookie(content, NOW + 59_999, 3600), known)
  const login = writeAuthCookie('alice@EXAMPLE', NOW, 60, 'a.b.c')
  t.same(readAuthCookie(login, NOW, 60), { ...known, webToken: 'a.b.c' }, 'of a login at an identity provider')
  const odd = ['alice@EXAMPLE', NOW, { 'expires-at': NOW / 1000 + 60, 'jwt-access-token': 7 }]
  t.same(readAuthCookie(odd, NOW, 60), known)
  t.equal(readAuthCookie(content, NOW + 60_000, 3600), undefined, 'it has run out')
  t.equal(readAuthCookie(content, NOW + 10_000, 10), undefined, 'the age was shortened')
  const rows: unknown[] = [
    undefined,
    null,
    'alice',
    {},
    [],
    ['alice', NOW],
    ['', NOW, { 'expires-at': 9e9 }],
    ['x'.repeat(257), NOW, { 'expires-at': 9e9 }],
    ['alice', 'now', { 'expires-at': 9e9 }],
    ['alice', -1, { 'expires-at': 9e9 }],
    ['alice', NOW, null],
    ['alice', NOW, {}],
    ['alice', NOW, { 'expires-at': '9000000000' }],
    ['alice', NOW, { 'expires-at': 1.5e9 + 0.5 }],
    ['alice', NOW, Object.create({ 'expires-at': 9e9 })],
    ['alice', NOW, { 'expires-at': 9e9 }, 1],
  ]
  for (const row of rows) t.equal(readAuthCookie(row, NOW, 60), undefined, JSON.stringify(row)?.slice(0, 60))
  fc.assert(
    fc.property(fc.anything(), value => {
      const cookie = readAuthCookie(value, NOW, 60)
      return cookie === undefined || cookie.expiresAtMs > NOW
    }),
    { seed: SEED, numRuns: 1000 },
  )
})

t.test('L2 cookies and principals', async t => {
  const rows: [header: string, value: string | undefined][] = [
    ['a=1', '1'],
    ['b=2; a=1', '1'],
    ['b=2;a=1', '1'],
    ['a=1; a=2', '1'],
    ['aa=1', undefined],
    ['b=a=1', undefined],
    ['xa=1; a =2', '2'],
    ['a', undefined],
    ['a=', ''],
    ['a=x=y', 'x=y'],
    ['', undefined],
  ]
  for (const [header, value] of rows) t.equal(findCookie(header, 'a'), value, header)
  const bySplitting = (header: string): string | undefined => {
    const entries = header.split(';').map(entry => /^([^=]*)=(.*)$/s.exec(entry))
    return entries.find(entry => entry?.[1]?.trim() === 'a')?.[2]?.trim()
  }
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', 'b', '=', ';', ' '), maxLength: 12 }), header => {
      t.equal(findCookie(header, 'a'), bySplitting(header), header)
    }),
    { seed: SEED, numRuns: 500 },
  )
  for (const [principal, user] of [
    ['alice', 'alice'],
    ['alice@EXAMPLE.COM', 'alice'],
    ['http/host@R', 'http'],
    ['@R', '@R'],
  ] as const)
    t.equal(userOf(principal), user)
})

t.test('L3 what a consent covers', async t => {
  const now = { serviceId: 's-1', token: 'app', owner: 'bob', nowMs: NOW, maxAgeMs: 1000 }
  const service = readConsent(writeConsent({ mode: 'service', issuedAtMs: NOW, serviceId: 's-1' }))
  const token = readConsent(writeConsent({ mode: 'token', issuedAtMs: NOW, token: 'app', owner: 'bob' }))
  t.ok(service && token)
  if (service === undefined || token === undefined) return
  for (const grant of [service, token]) {
    t.equal(isConsentGiven(grant, now), true)
    t.equal(isConsentGiven(grant, { ...now, nowMs: NOW + 999 }), true)
    t.equal(isConsentGiven(grant, { ...now, nowMs: NOW + 1000 }), false, 'too old')
    t.equal(isConsentGiven(grant, { ...now, nowMs: NOW - 1 }), false, 'from the future')
  }
  t.equal(isConsentGiven(service, { ...now, serviceId: 's-2' }), false, 'another version')
  t.equal(isConsentGiven(token, { ...now, serviceId: 's-2' }), true, 'another version of the token')
  t.equal(isConsentGiven(token, { ...now, token: 'other' }), false)
  t.equal(isConsentGiven(token, { ...now, owner: 'mallory' }), false, 'somebody else owns it now')
  for (const content of [null, [], ['service', NOW], ['service', NOW, 1], ['token', NOW, 'a'], ['x', NOW, 'a', 'b']])
    t.equal(readConsent(content), undefined)
  fc.assert(
    fc.property(fc.anything(), value => {
      readConsent(value)
      return true
    }),
    { seed: SEED, numRuns: 1000 },
  )
})

t.test('L4 from where a consent is taken', async t => {
  const post = {
    scheme: 'http',
    authority: 'app.example',
    origin: 'http://app.example',
    referer: 'http://app.example/waiter-consent/x',
    requestedWith: 'XMLHttpRequest',
    mode: 'service',
    serviceId: 's-1',
    expectedServiceId: 's-1',
  }
  t.equal(findConsentProblem(post), undefined)
  t.equal(findConsentProblem({ ...post, mode: 'token', serviceId: undefined }), undefined)
  const rows: [changes: Partial<Parameters<typeof findConsentProblem>[0]>, problem: RegExp][] = [
    [{ origin: undefined }, /Origin/],
    [{ origin: 'http://evil.example' }, /Origin/],
    [{ origin: 'null' }, /Origin/],
    [{ scheme: 'https' }, /Origin/],
    [{ referer: undefined }, /Referer/],
    [{ referer: 'http://app.example.evil/x' }, /Referer/],
    [{ referer: 'http://evil.example/?http://app.example/' }, /Referer/],
    [{ requestedWith: undefined }, /x-requested-with/],
    [{ requestedWith: 'fetch' }, /x-requested-with/],
    [{ mode: undefined }, /mode/],
    [{ mode: 'both' }, /mode/],
    [{ serviceId: undefined }, /Missing service-id/],
    [{ serviceId: 's-2' }, /Invalid service-id/],
    [{ expectedServiceId: undefined }, /load description/],
  ]
  for (const [changes, problem] of rows)
    t.match(findConsentProblem({ ...post, ...changes }), problem, JSON.stringify(changes))
})

t.test('L5 keeping a login alive', async t => {
  const rows: [offset: string | undefined, done: string | undefined, expires: number | undefined, kind: string][] = [
    ['60', undefined, NOW + 60_001, 'done'],
    ['60', undefined, NOW + 60_000, 'authenticate'],
    ['60', undefined, undefined, 'authenticate'],
    [undefined, undefined, NOW + 1e9, 'authenticate'],
    [undefined, 'true', undefined, 'done'],
    ['0', undefined, NOW + 1e9, 'refused'],
    ['-1', undefined, NOW + 1e9, 'refused'],
    ['x', undefined, NOW + 1e9, 'refused'],
    ['1.5', undefined, NOW + 1e9, 'refused'],
    ['1e3', undefined, undefined, 'refused'],
    ['', undefined, undefined, 'refused'],
    ['60', 'yes', undefined, 'authenticate'],
  ]
  for (const [offset, done, expires, kind] of rows)
    t.equal(decideKeepAlive({ offset, done }, NOW, expires).kind, kind, `offset ${offset}, done ${done}`)
})

t.test('J1 redirects to https', async t => {
  const rows: [method: string, query: string | null, port: number | undefined, status: number, location: string][] = [
    ['GET', null, undefined, 301, 'https://app.example/a'],
    ['HEAD', 'b=c', undefined, 301, 'https://app.example/a?b=c'],
    ['POST', '', 443, 307, 'https://app.example/a?'],
    ['PUT', null, 8443, 307, 'https://app.example:8443/a'],
  ]
  for (const [method, query, port, status, location] of rows)
    t.same(redirectToHttps({ method, host: 'app.example', path: '/a', query, port }), { status, location })
})

t.test('J2 the bypass of the interstitial', async t => {
  const bypass = 'x-waiter-bypass-interstitial='
  const rows: [query: string | null, isBypassed: boolean, rest: string | null][] = [
    [null, false, null],
    ['', false, ''],
    ['a=b', false, 'a=b'],
    [`${bypass}${NOW}`, true, null],
    [`a=b&${bypass}${NOW + 10_000}`, true, 'a=b'],
    [`a=b&&${bypass}${NOW}`, true, 'a=b&'],
    [`${bypass}${NOW}&a=b`, false, `${bypass}${NOW}&a=b`],
    [`a=b&${bypass}${NOW - 1}`, false, 'a=b'],
    [`a=b&${bypass}${NOW + 10_001}`, false, 'a=b'],
    [`a=b&${bypass}`, false, 'a=b'],
    [`a=b&${bypass}x`, false, 'a=b'],
    [`a=b&${bypass}99999999999999999999`, false, 'a=b'],
    [`a=b&x${bypass}${NOW}`, false, `a=b&x${bypass}${NOW}`],
  ]
  for (const [query, isBypassed, rest] of rows)
    t.same(readInterstitialQuery(query, NOW), { isBypassed, rest }, `${query}`)
  for (const query of [null, '', 'a=b', 'a'])
    t.same(readInterstitialQuery(withBypass(query, NOW), NOW + 9_999), { isBypassed: true, rest: query || null })
})

t.test('J3 who sees the interstitial', async t => {
  const browser = { interstitialSecs: 5, isOnTheFly: false, accept: 'text/html,*/*' }
  t.equal(wantsInterstitial(browser), true)
  t.equal(wantsInterstitial({ ...browser, interstitialSecs: 0 }), false)
  t.equal(wantsInterstitial({ ...browser, isOnTheFly: true }), false)
  t.equal(wantsInterstitial({ ...browser, accept: '*/*' }), false)
  t.equal(wantsInterstitial({ ...browser, accept: undefined }), false)
})
