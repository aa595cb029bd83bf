import {
  authorizeRequest,
  computeServiceId,
  createServicesConfig,
  createSimpleEntitlements,
  discoverService,
  hostToken,
  tokenEtag,
} from '@waiter/services'
import fc from 'fast-check'
import t from 'tap'
import { complete, config, record, refused, resolve, resolved, root } from './fixtures.ts'

const app = record(complete)
const { 'run-as-user': _user, ...withoutUser } = complete
const open = record(withoutUser)

t.test('R1 header tokens win over the host, and later ones over earlier ones', async t => {
  const tokens = {
    one: record({ ...complete, env: { A: '1', B: '1' }, metadata: { m: '1' }, version: 'one' }),
    two: record({ env: { B: '2' }, metadata: { n: '2' }, version: 'two' }),
    'app.example.com': app,
  }
  const descriptor = resolved({ tokens, host: 'app.example.com', with: { 'x-waiter-token': 'one, two' } })
  t.match(descriptor.core, { version: 'two', env: { A: '1', B: '2' }, metadata: { m: '1', n: '2' }, cmd: complete.cmd })
  t.same(descriptor.tokens, [
    { token: 'one', version: tokenEtag(tokens.one) },
    { token: 'two', version: tokenEtag(tokens.two) },
  ])
  t.ok(descriptor.isOnTheFly)
  const blank = resolved({ tokens, host: 'app.example.com', with: { 'x-waiter-token': ' ' } })
  t.same(
    blank.tokens.map(one => one.token),
    ['app.example.com'],
    'a blank header does not count',
  )
  t.match(refused({ tokens, with: { 'x-waiter-token': 'one,absent' } }), {
    kind: 'token-not-found',
    status: 404,
    message: 'Token not found: absent',
  })
  const deleted = { gone: record({ ...complete, deleted: true }) }
  t.match(refused({ tokens: deleted, with: { 'x-waiter-token': 'gone' } }), { status: 404 }, 'deleted is absent')
  t.match(refused({ tokens, with: { 'x-waiter-token': ',' } }), { status: 400 })
  t.match(refused({ tokens, with: { 'x-waiter-token': Array(17).fill('one').join(',') } }), { status: 400 })
})

t.test('R2 the host names a token', async t => {
  const tokens = { 'app.example.com': app, MixedCase: app }
  const names = (host: string): unknown => resolved({ tokens, host }).tokens.map(one => one.token)
  t.same(names('app.example.com'), ['app.example.com'])
  t.same(names('app.example.com:9091'), ['app.example.com'])
  t.same(names('APP.example.com'), ['app.example.com'], 'host names ignore case')
  t.same(names('MixedCase'), ['MixedCase'])
  for (const host of [undefined, '', 'waiter.example.com', 'WAITER.example.com:80', 'localhost:1']) {
    t.equal(hostToken(host, config), undefined, `${host} is no token`)
  }
  t.equal(hostToken('[::2]:80', config), '[::2]')
  const headers = Object.fromEntries(Object.entries(complete).map(([key, value]) => [`x-waiter-${key}`, `${value}`]))
  const pure = resolved({ tokens, host: 'absent.example.com', with: headers })
  t.same(pure.tokens, [], 'an unknown host token is an empty template')
  t.match(refused({ tokens, host: 'absent.example.com' }), {
    kind: 'unknown-service',
    details: { token: 'absent.example.com' },
  })
})

t.test('R3 headers override as a whole, params go into the environment', async t => {
  const tokens = { app: record({ ...complete, env: { A: '1' }, 'allowed-params': ['SIZE'] }) }
  const coreOf = (headers: Record<string, string>) =>
    resolved({ tokens, with: { 'x-waiter-token': 'app', ...headers } }).core
  t.same(coreOf({ 'x-waiter-env-b': '2' }).env, { B: '2' }, "a header's env replaces the token's")
  t.same(coreOf({ 'x-waiter-param-size': 'XL' }).env, { A: '1', SIZE: 'XL' })
  t.same(coreOf({ 'x-waiter-env-b': '2', 'x-waiter-param-size': 'XL' }).env, { B: '2', SIZE: 'XL' })
  t.match(refused({ tokens, with: { 'x-waiter-token': 'app', 'x-waiter-param-color': 'red' } }), {
    status: 400,
    message: 'Some params cannot be configured',
    details: { 'allowed-params': ['SIZE'], params: ['COLOR'] },
  })
  t.match(refused({ with: { 'x-waiter-param-color': 'red' } }), { message: 'Some params cannot be configured' })
})

t.test('R4 parameter headers run as the requester', async t => {
  const tokens = { app: record({ ...complete, 'permitted-user': '*', 'allowed-params': ['SIZE'] }) }
  const usersOf = (headers: Record<string, string>): unknown => {
    const { core, runAsUserSource } = resolved({ tokens, with: { 'x-waiter-token': 'app', ...headers } })
    return [core['run-as-user'], core['permitted-user'], runAsUserSource]
  }
  t.same(usersOf({}), ['alice', '*', 'token'])
  t.same(usersOf({ 'x-waiter-cpus': '1' }), ['rita', 'rita', 'requester'])
  t.same(usersOf({ 'x-waiter-env-a': '1' }), ['rita', 'rita', 'requester'])
  t.same(usersOf({ 'x-waiter-run-as-user': 'bob' }), ['bob', 'rita', 'header'])
  t.same(usersOf({ 'x-waiter-run-as-user': '*' }), ['rita', 'rita', 'requester'])
  t.same(usersOf({ 'x-waiter-permitted-user': 'bob' }), ['rita', 'bob', 'requester'])
  t.same(usersOf({ 'x-waiter-param-size': 'XL' }), ['alice', '*', 'token'], 'a param changes no user')
})

t.test('R5 without a user, an on-the-fly request runs as the requester', async t => {
  for (const users of [{}, { 'run-as-user': '*' }, { 'run-as-user': '*', 'permitted-user': '*' }]) {
    const tokens = { app: record({ ...withoutUser, ...users }) }
    const descriptor = resolved({ tokens, with: { 'x-waiter-token': 'app' } })
    t.match(descriptor.core, { 'run-as-user': 'rita', 'permitted-user': 'rita' })
    t.equal(descriptor.runAsUserSource, 'requester')
    t.notOk(descriptor.isPreauthorized)
  }
})

t.test('R6 a host token without a user asks for consent, except in one-user mode', async t => {
  const tokens = { 'open.example.com': open, 'bad.example.com': record({ ...withoutUser, cpus: 99 }) }
  t.match(refused({ tokens, host: 'open.example.com' }), { kind: 'consent-required', status: 400 })
  t.match(refused({ tokens, host: 'bad.example.com' }), { kind: 'invalid-description' }, 'consent would not help')
  const descriptor = resolved({ tokens, host: 'open.example.com', isOneUser: true })
  t.match(descriptor.core, { 'run-as-user': 'rita', 'permitted-user': 'rita' })
  t.match(descriptor, { runAsUserSource: 'one-user', isOnTheFly: false })
})

t.test('R7 nothing to go by', async t => {
  for (const request of [
    {},
    { with: { 'x-waiter-timeout': '5' } },
    { tokens: { empty: record() }, with: { 'x-waiter-token': 'empty' } },
  ]) {
    t.match(refused(request), {
      kind: 'unknown-service',
      status: 400,
      message: 'Unable to identify service using waiter headers/token',
      errorClass: 'waiter.ServiceUnknown',
    })
  }
})

t.test('R8 headers that are refused', async t => {
  const tokens = {
    app,
    public: record({ ...complete, authentication: 'disabled', 'permitted-user': '*' }),
  }
  const rows: [string, Record<string, string>, string][] = [
    [
      'authentication',
      { 'x-waiter-token': 'app', 'x-waiter-authentication': 'disabled' },
      'An authentication parameter is not supported for on-the-fly headers',
    ],
    [
      'headers with a public token',
      { 'x-waiter-token': 'public', 'x-waiter-cpus': '1' },
      'An authentication disabled token may not be combined with on-the-fly headers',
    ],
    [
      'a param with a public token',
      { 'x-waiter-token': 'public', 'x-waiter-param-x': '1' },
      'An authentication disabled token may not be combined with on-the-fly headers',
    ],
    [
      'never collected',
      { 'x-waiter-token': 'app', 'x-waiter-idle-timeout-mins': '0' },
      'idle-timeout-mins on-the-fly header configured to a value of zero is not supported',
    ],
    ['maintenance', { 'x-waiter-token': 'app', 'x-waiter-maintenance': '1' }, 'Unsupported waiter headers found'],
  ]
  for (const [title, headers, message] of rows)
    t.match(refused({ tokens, with: headers }), { status: 400, message }, title)
  t.ok(
    resolve({ tokens: { app: record({ ...complete, 'idle-timeout-mins': 0 }) }, with: { 'x-waiter-token': 'app' } }).ok,
  )
})

t.test('R9 exclusive tokens own their service', async t => {
  const exclusive = record({ ...complete, env: { A: '1' }, 'service-mapping': 'exclusive' })
  const tokens = { a: exclusive, b: exclusive, c: app, d: app }
  const idOf = (token: string): string => resolved({ tokens, with: { 'x-waiter-token': token } }).serviceId
  t.not(idOf('a'), idOf('b'))
  t.equal(idOf('c'), idOf('d'), 'legacy tokens share')
  t.same(resolved({ tokens, with: { 'x-waiter-token': 'c,a' } }).core.env, { A: '1', WAITER_CONFIG_TOKEN: 'c,a' })
  const promoted = createServicesConfig({
    token: { ...config.token, exclusivePromotionStartTimeMs: 1_700_000_000_000 },
  })
  const envOf = (updatedMs: number, using = promoted): unknown =>
    resolved({
      tokens: { t: record({ ...complete, 'service-mapping': 'default', 'last-update-time': updatedMs }) },
      with: { 'x-waiter-token': 't' },
      config: using,
    }).core.env
  t.same(envOf(1_700_000_000_001), { WAITER_CONFIG_TOKEN: 't' })
  t.same(envOf(1_700_000_000_000), undefined)
  t.same(envOf(1_700_000_000_001, config), undefined, 'promotion is off by default')
})

t.test('R10 namespaces', async t => {
  const tokens = {
    any: record({ ...withoutUser, namespace: '*' }),
    mine: record({ ...complete, namespace: '*' }),
    bad: record({ ...withoutUser, 'run-as-user': '*', namespace: 'bob' }),
    other: record({ ...complete, namespace: 'bob' }),
  }
  t.equal(resolved({ tokens, with: { 'x-waiter-token': 'any' } }).core.namespace, 'rita')
  t.equal(resolved({ tokens, with: { 'x-waiter-token': 'mine' } }).core.namespace, 'alice')
  t.match(refused({ tokens, with: { 'x-waiter-token': 'bad' } }), {
    message: 'Cannot use run-as-requester with a specific namespace',
  })
  t.match(refused({ tokens, with: { 'x-waiter-token': 'other' } }).message, /namespace must either be omitted/)
})

t.test('R11 an invalid description tells everything but secrets', async t => {
  const error = refused({
    with: { 'x-waiter-cmd': 'x', 'x-waiter-cpus': 'many', 'x-waiter-env-password': 'hunter2', 'x-waiter-mem': '-1' },
  })
  t.match(error, { kind: 'invalid-description', status: 400, errorClass: 'waiter.ServiceMisconfigured' })
  t.same(error.message.split('\n').slice(0, 3), [
    'Service description using waiter headers/token improperly configured',
    'cpus must be a positive number.',
    'mem must be a positive number.',
  ])
  t.match(error.details, {
    issue: { cpus: /positive/, version: /missing/ },
    'service-description': { env: ['PASSWORD'] },
  })
  t.notMatch(JSON.stringify(error), /hunter2/)
})

t.test('R12 a raw service id is exactly that service', async t => {
  const core = { ...complete, cpus: 99, env: { WAITER_CONFIG_TOKEN: 'a' } }
  const id = computeServiceId(core, config.servicePrefix)
  const findServiceDescription = (wanted: string) => (wanted === id ? core : undefined)
  const descriptor = resolved({ findServiceDescription, with: { 'x-waiter-token': `^SERVICE-ID#${id}` } })
  t.equal(descriptor.serviceId, id, 'also when limits were lowered since')
  t.same(descriptor.tokens, [])
  t.match(refused({ findServiceDescription, with: { 'x-waiter-token': '^SERVICE-ID#other' } }), { status: 404 })
  const mixed = resolved({
    findServiceDescription,
    tokens: { t: record({ cpus: 1, 'service-mapping': 'exclusive' }) },
    with: { 'x-waiter-token': `^SERVICE-ID#${id},t` },
  })
  t.same(mixed.core.env, { WAITER_CONFIG_TOKEN: 'a' }, 'it forces legacy mapping')
})

t.test('R13 several tokens never disable authentication', async t => {
  const tokens = {
    public: record({ ...complete, authentication: 'disabled', 'permitted-user': '*' }),
    private: record({ env: { SECRET: 'x' } }),
  }
  t.ok(resolved({ tokens, with: { 'x-waiter-token': 'public' }, requester: undefined }).isAuthenticationDisabled)
  t.notOk(resolved({ tokens, with: { 'x-waiter-token': 'public,private' } }).isAuthenticationDisabled)
  t.notOk(resolved({ tokens, with: { 'x-waiter-token': 'private,public' } }).isAuthenticationDisabled)
})

t.test('R14 metadata with profile and defaults', async t => {
  const profiles = { slow: { defaults: { 'socket-timeout-ms': 7, 'https-redirect': true } } }
  const tokens = {
    app: record({
      ...complete,
      profile: 'slow',
      'queue-timeout-ms': 5,
      'fallback-period-secs': 0,
      maintenance: { message: 'back soon' },
    }),
  }
  const using = createServicesConfig({ profiles })
  const input = {
    findToken: (name: string) => new Map(Object.entries(tokens)).get(name),
    host: undefined,
    config: using,
  }
  const discovered = discoverService({ ...input, headers: new Map([['token', 'app']]) })
  t.match(discovered, {
    ok: true,
    value: {
      maintenance: { token: 'app', owner: 'alice', message: 'back soon' },
      isHttpsRedirected: true,
      source: 'header',
    },
  })
  t.match(resolved({ tokens, config: using, with: { 'x-waiter-token': 'app' } }), {
    timeouts: { queueTimeoutMs: 5, socketTimeoutMs: 7, streamingTimeoutMs: 20_000 },
    fallbackPeriodSecs: 0,
    staleTimeoutMins: 15,
  })
})

t.test('R14 overrides of the service apply', async t => {
  const descriptor = resolved({
    tokens: { app },
    with: { 'x-waiter-token': 'app' },
    findOverrides: () => ({ 'max-instances': 2 }),
  })
  t.equal(descriptor.effective['max-instances'], 2)
  t.equal(descriptor.core['max-instances'], undefined)
})

t.test('R15 hostile headers never throw', async t => {
  const names = fc.constantFrom(
    'cmd',
    'env',
    'env-A',
    'metadata',
    'metadata-__proto__',
    'allowed-params',
    'param-__proto__',
    'param-A',
    'token',
    'namespace',
    'run-as-user',
    'cpus',
    'profile',
    'ports',
    '__proto__',
    'idle-timeout-mins',
  )
  const values = fc.oneof(
    fc.string(),
    fc.json(),
    fc.constantFrom('{"__proto__":{"x":1}}', '*', '', 'app', 'app,app', '[['),
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(names, values), { maxLength: 12 }), fc.string(), (headers, host) => {
      const result = resolve({ headers: new Map(headers), host, tokens: { app } })
      return result.ok || (result.error.status >= 400 && result.error.message.length > 0)
    }),
    { seed: 31, numRuns: 1500 },
  )
  t.equal(({} as Record<string, unknown>).x, undefined)
})

t.test('A1 who may run a service', async t => {
  const entitlements = createSimpleEntitlements([root])
  const tokens = {
    alices: app,
    shared: record({ ...complete, 'permitted-user': '*' }),
    public: record({ ...complete, authentication: 'disabled', 'permitted-user': '*' }),
    limited: record({ ...complete, 'permitted-user': 'rita' }),
  }
  const decide = (token: string, requester: string | undefined): unknown => {
    const descriptor = resolved({ tokens, with: { 'x-waiter-token': token }, requester })
    const result = authorizeRequest(descriptor, requester, entitlements)
    return result.ok ? 'may' : [result.error.status, result.error.message]
  }
  const cannotRun = [403, 'Authenticated user cannot run service']
  t.equal(decide('alices', 'alice'), 'may')
  t.equal(decide('alices', root), 'may')
  t.same(decide('alices', 'rita'), cannotRun)
  t.equal(decide('shared', 'rita'), 'may', 'preauthorized by a token that names both users')
  t.same(decide('shared,alices', 'rita'), cannotRun, 'several tokens preauthorize nobody')
  t.equal(decide('public', undefined), 'may')
  t.same(decide('limited', 'bob'), [403, "This user isn't allowed to invoke this service"], 'A2 via preauthorization')
  t.equal(decide('limited', 'rita'), 'may')
})

t.test('A2 who is permitted', async t => {
  const tokens = { limited: record({ ...complete, 'permitted-user': 'bob' }) }
  const descriptor = resolved({ tokens, with: { 'x-waiter-token': 'limited' }, requester: 'alice' })
  const result = authorizeRequest(descriptor, 'alice', createSimpleEntitlements())
  t.match(result, { ok: false, error: { status: 403, errorClass: 'waiter.ServiceForbidden' } })
})
