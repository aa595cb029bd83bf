import t from 'tap'
import { classifyRequest } from '../src/request/classify.ts'
import { headOf } from './support/fake-exchange.ts'

const isWaiterHost = (host: string): boolean => host === 'localhost' || host === '127.0.0.1'

type Row = readonly [sentence: string, path: string, headers: Record<string, string>, isApi: boolean]

const OWN = { host: 'localhost:9091' }
const APP = { host: 'app.example.com' }

const rows: readonly Row[] = [
  ['any path of Waiter itself is the API', '/apps', OWN, true],
  ['an unknown one, too: it is answered 404', '/no/such/path', OWN, true],
  ['a request without a host is for Waiter', '/hello', {}, true],
  ['another port is the same host', '/apps', { host: '127.0.0.1:1' }, true],
  ['upper case is the same host', '/apps', { host: 'LOCALHOST' }, true],
  ['a token named by a header', '/apps', { ...OWN, 'x-waiter-token': 't' }, false],
  ['a description in headers', '/', { ...OWN, 'X-Waiter-Cmd': 'serve' }, false],
  ['the debug header names no service', '/apps', { ...OWN, 'x-waiter-debug': 'true' }, true],
  ['the debug header beside a token', '/', { ...OWN, 'x-waiter-debug': '1', 'x-waiter-token': 't' }, false],
  ['a host that is a token', '/apps', APP, false],
  ['a host that is a token, its own status page', '/status', APP, false],
  ['/token shadows applications', '/token', APP, true],
  ['/token, with a token named', '/token', { ...OWN, 'x-waiter-token': 't' }, true],
  ['/service-id', '/service-id', APP, true],
  ['/app-name', '/app-name', APP, true],
  ['/waiter-ping', '/waiter-ping', APP, true],
  ['not /waiter-pings', '/waiter-pings', APP, false],
  ['nothing below /token', '/token/x', APP, false],
  ['nothing below /waiter-ping', '/waiter-ping/x', APP, false],
  ['when a login expires', '/.well-known/auth/expires-at', APP, true],
  ['keeping a login alive', '/.well-known/auth/keep-alive', APP, true],
  ['no other well-known path', '/.well-known/acme-challenge/x', APP, false],
  ['whether OpenID is on', '/.well-known/oidc/v1/openid-enabled', APP, true],
  ['the answer of an OpenID provider', '/oidc/v1/callback', APP, true],
  ['asynchronous results', '/waiter-async/result/a/b/c', APP, true],
  ['asynchronous results, version 2', '/waiter-async/v2/status/a/b', APP, true],
  ['no other asynchronous path', '/waiter-async/other/a', APP, false],
  ['logging in', '/waiter-auth/x', APP, true],
  ['consent', '/waiter-consent/x?y', APP, true],
  ['the interstitial page', '/waiter-interstitial/x', APP, true],
  ['the application has its own /waiter-things', '/waiter-things', APP, false],
  ['a header that only looks like one', '/apps', { ...OWN, 'x-waiters': 'many' }, true],
]

t.test('who answers: Waiter itself, or a service', async t => {
  for (const [sentence, path, headers, isApi] of rows)
    t.equal(classifyRequest(headOf({ path, headers }), isWaiterHost).isApi, isApi, sentence)
})

t.test('Waiter headers are collected by name, without the prefix', async t => {
  const of = (headers: readonly (readonly [string, string])[]) =>
    classifyRequest(headOf({ headers }), isWaiterHost).waiterHeaders
  t.equal(of([['accept', 'x']]), undefined)
  t.same(
    [
      ...(of([
        ['X-Waiter-Token', 'a'],
        ['cookie', 'x-waiter-cookie'],
        ['x-waiter-ENV-Home', '/tmp'],
      ]) ?? []),
    ],
    [
      ['token', 'a'],
      ['env-home', '/tmp'],
    ],
  )
  t.same(
    [
      ...(of([
        ['x-waiter-token', 'a'],
        ['X-WAITER-TOKEN', 'b'],
      ]) ?? []),
    ],
    [['token', 'a,b']],
    'repeated ones are a list',
  )
})
