import { createHash } from 'node:crypto'
import { renderHeader } from '@waiter/proxy'
import t from 'tap'
import { createAddressTest, findAddressProblem } from '../../src/auth/address-list.ts'
import { createApiKeys } from '../../src/auth/api-keys.ts'
import { AuthCookies } from '../../src/auth/auth-cookies.ts'
import type { Authentication, Authenticator } from '../../src/auth/authenticator.ts'
import { BoundedMap } from '../../src/auth/bounded-map.ts'
import { createIdentityFactory } from '../../src/auth/identity.ts'
import { createOneUser } from '../../src/auth/one-user.ts'
import { RequestAuthentication } from '../../src/auth/request-authentication.ts'
import { createSealedBox } from '../../src/auth/sealed-box.ts'
import { createTrustedHeader } from '../../src/auth/trusted-header.ts'
import { FakeExchange, headOf } from '../support/fake-exchange.ts'

const createIdentity = createIdentityFactory(renderHeader)
const exchangeOf = (headers: Record<string, string>, remoteAddress = '127.0.0.1') =>
  Object.assign(new FakeExchange({ head: headOf({ headers }) }), { remoteAddress }).exchange

const sha256 = (key: string): string => createHash('sha256').update(key).digest('hex')
const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`

function outcomeOf(
  authenticator: Pick<Authenticator | RequestAuthentication, 'authenticate'>,
  headers: Record<string, string>,
  address?: string,
) {
  const outcome = authenticator.authenticate(exchangeOf(headers, address), undefined, undefined)
  if (outcome instanceof Promise) throw new Error('these answer at once')
  return outcome.kind === 'known' ? outcome.identity.principal : outcome.error.status
}

t.test('one user, and the refusals that clients may ask for', async t => {
  const one = createOneUser('alice@X', createIdentity)
  t.equal(outcomeOf(one, {}), 'alice@X')
  t.equal(outcomeOf(one, { authorization: 'Bearer whatever' }), 'alice@X')
  t.equal(outcomeOf(one, { authorization: 'SingleUser unauthorized' }), 401)
  t.equal(outcomeOf(one, { authorization: 'SingleUser forbidden' }), 403)
  t.equal(outcomeOf(one, { authorization: 'SingleUser x' }), 400)
  const byHeader = (wish: string) =>
    one.authenticate(exchangeOf({}), new Map([['single-user', wish]])) as Authentication
  t.match(byHeader('unauthorized'), { kind: 'refused', error: { status: 401 } })
  t.match(byHeader('forbidden'), { kind: 'refused', error: { status: 403 } })
  t.match(byHeader(''), { kind: 'refused', error: { status: 400 } })
})

t.test('API keys', async t => {
  const keys = createApiKeys(
    [
      { principal: 'alice', sha256: sha256('key-of-alice') },
      { principal: 'bob', sha256: sha256('key-of-bob') },
      { principal: 'bob', sha256: sha256('another-of-bob') },
    ],
    createIdentity,
  )
  const rows: [authorization: string | undefined, outcome: string | number][] = [
    ['Bearer key-of-alice', 'alice'],
    ['bearer  key-of-bob ', 'bob'],
    [basic('bob:another-of-bob'), 'bob'],
    [basic('alice:key-of-bob'), 401],
    [basic(':key-of-bob'), 401],
    [basic('bob'), 401],
    ['Bearer key-of-alic', 401],
    ['Bearer key-of-alice2', 401],
    ['Bearer', 401],
    ['Bearer ', 401],
    ['Bearer a b', 401],
    [sha256('key-of-alice'), 401],
    [`Bearer ${sha256('key-of-alice')}`, 401],
    ['Basic !!!', 401],
    ['Negotiate key-of-alice', 401],
    [`Bearer ${'x'.repeat(2000)}`, 401],
    [undefined, 401],
  ]
  for (const [authorization, outcome] of rows)
    t.equal(
      outcomeOf(keys, authorization === undefined ? {} : { authorization }),
      outcome,
      String(authorization).slice(0, 40),
    )
  const twice = [1, 2].map(() => keys.authenticate(exchangeOf({ authorization: 'Bearer key-of-alice' }), undefined))
  t.equal(twice[0], twice[1], 'the second time it is remembered')
  t.match(keys.authenticate(exchangeOf({}), undefined), { error: { headers: [['www-authenticate', /^Basic realm/]] } })
})

t.test('a proxy in front names the user', async t => {
  const isTrustedAddress = createAddressTest(['10.0.0.0/8', '::1'])
  const trusted = createTrustedHeader({ header: 'x-user', isTrustedAddress }, createIdentity)
  t.same(trusted.privateHeaders, ['x-user'])
  t.equal(outcomeOf(trusted, { 'x-user': 'alice' }, '10.1.2.3'), 'alice')
  t.equal(outcomeOf(trusted, { 'x-user': 'alice' }, '::1'), 'alice')
  t.equal(outcomeOf(trusted, { 'x-user': 'alice' }, '::ffff:10.1.2.3'), 'alice', 'IPv4 on a socket for both')
  t.equal(outcomeOf(trusted, { 'x-user': 'alice' }, '11.1.2.3'), 401)
  t.equal(outcomeOf(trusted, {}, '10.1.2.3'), 401)
  for (const name of ['', 'alice, bob', 'a b', 'x'.repeat(257), 'ünal'])
    t.equal(outcomeOf(trusted, { 'x-user': name }, '10.1.2.3'), 401, name.slice(0, 20))
})

t.test('addresses and networks', async t => {
  t.equal(findAddressProblem(['127.0.0.1', '10.0.0.0/8', '::1', 'fe80::/10', '0.0.0.0/0']), undefined)
  for (const entry of [
    '',
    'x',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0',
    'host/8',
  ])
    t.match(findAddressProblem([entry]), /neither an address nor a network/, entry)
  const test = createAddressTest(['10.0.0.0/8'])
  for (const address of ['', 'x', '::1', '::ffff:x', '9.255.255.255', '11.0.0.0'])
    t.equal(test(address), false, address)
})

t.test('cookies', async t => {
  let now = 1_700_000_000_000
  const box = createSealedBox({ secrets: ['s'], clusterName: 'c', purpose: 'auth cookie', charsMax: 4096 })
  const cookies = new AuthCookies({ maxAgeSecs: 100, sameSite: 'lax', box, createIdentity, nowMs: () => now })
  const alice = createIdentity('alice@X', 'api-key')
  const [[, auth = ''] = [], [, expires = ''] = []] = cookies.issue(alice, false)
  t.match(auth, /^x-waiter-auth=v1\.[\w.-]+; Path=\/; Max-Age=100; SameSite=Lax; HttpOnly$/)
  t.equal(expires, `x-auth-expires-at=${now / 1000 + 100}; Path=/; Max-Age=100; SameSite=Lax`)
  t.match(cookies.issue(alice, true)[0]?.[1], /; Secure; HttpOnly$/)
  const none = new AuthCookies({ maxAgeSecs: 100, sameSite: 'none', box, createIdentity, nowMs: () => now })
  t.match(none.issue(alice, false)[0]?.[1], /SameSite=None; Secure/, 'browsers refuse the one without the other')

  const header = `a=b; ${auth.split(';')[0]}`
  const known = cookies.read(header)
  t.match(known, { identity: { principal: 'alice@X', user: 'alice', method: 'cookie' }, expiresAtMs: now + 100_000 })
  t.equal(cookies.read(header)?.identity, known?.identity, 'the second time it is remembered')
  for (const odd of [undefined, '', 'x-waiter-auth=', 'x-waiter-auth=v1.x.y', `x-waiter-auth=${'x'.repeat(5000)}`])
    t.equal(cookies.read(odd), undefined)
  now += 99_999
  t.ok(cookies.read(header))
  now += 1
  t.equal(cookies.read(header), undefined, 'it has run out, remembered or not')
  t.equal(none.read(header), undefined)
})

t.test('a cookie first, unless a web token speaks for itself', async t => {
  const box = createSealedBox({ secrets: ['s'], clusterName: 'c', purpose: 'auth cookie', charsMax: 4096 })
  const cookies = new AuthCookies({ maxAgeSecs: 100, sameSite: 'lax', box, createIdentity, nowMs: Date.now })
  const keys = createApiKeys([{ principal: 'bob', sha256: sha256('k') }], createIdentity)
  const several = new RequestAuthentication(cookies, keys)
  const cookie = cookies.issue(createIdentity('alice', 'api-key'), false)[0]?.[1].split(';')[0] ?? ''
  t.equal(outcomeOf(several, { cookie }), 'alice')
  t.equal(outcomeOf(several, { cookie, authorization: 'Bearer k' }), 'alice')
  t.equal(outcomeOf(several, { cookie, authorization: 'Bearer a.b.c' }), 401)
  t.equal(outcomeOf(several, { cookie: 'x-waiter-auth=v1.x.y', authorization: 'Bearer k' }), 'bob')
  t.match(several.authenticate(exchangeOf({}), new Map([['authentication', 'disabled']]), undefined), {
    error: { status: 400 },
  })
  t.equal(several.isOneUser, false)
  const one = new RequestAuthentication(cookies, createOneUser('carol', createIdentity))
  t.equal(outcomeOf(one, { cookie }), 'carol', 'one user is who he is')
  const known = several.byCookie(exchangeOf({ cookie }))
  t.same(known && several.cookiesFor(known, false), [], 'who came with a cookie gets none')
  const byToken = { kind: 'known', identity: createIdentity('alice', 'jwt', 'a.e30.c'), expiresAtMs: 1 } as const
  t.same(several.cookiesFor(byToken, true), [], 'nor who shows a token each time')
})

t.test('a bounded map forgets its oldest', async t => {
  const map = new BoundedMap<string, number>(2)
  map.set('a', 1)
  map.set('b', 2)
  map.set('a', 3)
  map.set('c', 4)
  t.same([map.get('a'), map.get('b'), map.get('c'), map.size], [undefined, 2, 4, 2])
})
