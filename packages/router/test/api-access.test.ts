import { Hono } from 'hono'
import t from 'tap'
import { accessOf } from '../src/api/api-access.ts'
import { Endpoints } from '../src/api/contract/endpoint.ts'
import { OTHER_ENDPOINTS } from '../src/api/contract/other-endpoints.ts'

t.test('who may call a path is what its description says', async t => {
  const endpoints = new Endpoints(new Hono())
  for (const spec of OTHER_ENDPOINTS) endpoints.describe(spec)
  for (const { path, access } of endpoints.specs)
    t.equal(accessOf(path.replaceAll(/:\w+/g, 'x')) === 'open', access === 'public', `${path}: ${access}`)
})

t.test('nobody is let in by a path that looks like an open one', async t => {
  for (const path of [
    '/status/x',
    '/images/a/b',
    '/metrics/external',
    '/openapi.json/',
    '/x/status',
    '/.well-known',
    '',
  ])
    t.equal(accessOf(path), 'user', path)
  for (const path of ['/', '/status', '/images/x', '/metrics', '/favicon.ico']) t.equal(accessOf(path), 'open', path)
})
