import t from 'tap'
import { judgeLocation, LOCATION_CHARS_MAX } from '../../src/async/async-location.ts'

const BASE = { protocol: 'http', host: '127.0.0.1', port: 10_001, target: '/async/request?a=b' } as const

for (const [story, location, kind, target] of [
  ['absent', undefined, 'none', ''],
  ['empty', '', 'none', ''],
  ['a path', '/status?id=1', 'own', '/status?id=1'],
  ['a relative path', 'status?id=1', 'own', '/async/status?id=1'],
  ['a relative path upwards', '../status', 'own', '/status'],
  ['a path upwards beyond the root', '/../../status', 'own', '/status'],
  ['the same in disguise', '/%2e%2e/status', 'own', '/status'],
  ['a query alone', '?id=1', 'own', '/async/request?id=1'],
  ['the instance by its address', 'http://127.0.0.1:10001/status', 'own', '/status'],
  ['a fragment stays with the client', '/status#top', 'own', '/status'],
  ['another port', 'http://127.0.0.1:10002/status', 'foreign', ''],
  ['the usual port', 'http://127.0.0.1/status', 'foreign', ''],
  ['another scheme', 'https://127.0.0.1:10001/status', 'foreign', ''],
  ['another host', 'http://example.com/status', 'foreign', ''],
  ['another host, without scheme', '//example.com/status', 'foreign', ''],
  ['another host, as browsers read it', '/\\example.com/status', 'foreign', ''],
  ['no scheme of the web', 'mailto:a@example.com', 'foreign', ''],
  ['not a port', 'http://127.0.0.1:x/', 'none', ''],
  ['blanks', '/a b', 'none', ''],
  ['two fields, joined', '/a, /b', 'none', ''],
  ['a control character', '/a\u0001', 'none', ''],
  ['not ASCII', '/é', 'none', ''],
  ['the longest', `/${'a'.repeat(LOCATION_CHARS_MAX - 1)}`, 'own', `/${'a'.repeat(LOCATION_CHARS_MAX - 1)}`],
  ['too long', `/${'a'.repeat(LOCATION_CHARS_MAX)}`, 'none', ''],
  ['long once it is resolved', `${'a'.repeat(LOCATION_CHARS_MAX)}`, 'none', ''],
] as const)
  t.test(`a location that is ${story}`, async t => {
    t.same(judgeLocation(location, BASE), { kind, target })
  })

t.test('protocols and addresses of every kind', async t => {
  const { kind: overTls } = judgeLocation('https://a:1/x', { ...BASE, protocol: 'h2', host: 'a', port: 1 })
  t.equal(overTls, 'own')
  t.equal(judgeLocation('http://a:1/x', { ...BASE, protocol: 'h2c', host: 'a', port: 1 }).kind, 'own')
  t.equal(judgeLocation('http://[::1]:1/x', { ...BASE, host: '::1', port: 1 }).kind, 'own')
  t.equal(judgeLocation('https://a/x', { ...BASE, protocol: 'https', host: 'a', port: 443 }).kind, 'own')
})

t.test('a request for a path that begins with two slashes does not move the origin', async t => {
  t.same(judgeLocation('/status', { ...BASE, target: '//example.com/x' }), { kind: 'own', target: '/status' })
})
