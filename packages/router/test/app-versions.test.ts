import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { exampleView, startTestRouter } from './support/started-router.ts'

const ID = 'waiter-service-hello-1'
const TOKEN = { cmd: 'serve', cpus: 1, mem: 256, name: 'hello', 'run-as-user': 'alice' }

t.test('what answers in place of a service that is not healthy is shown on request', async t => {
  const { call, json: get, link } = await startTestRouter(t)
  const ids: string[] = []
  for (const version of ['1', '2']) {
    await call({ method: 'POST', path: '/token?token=app', body: JSON.stringify({ ...TOKEN, version }) })
    ids.push((await call({ path: '/service-id?latest=true', headers: { 'x-waiter-token': 'app' } })).text)
  }
  const [former = '', latest = ''] = ids
  t.not(former, latest)
  const example = exampleView(latest)
  const { etag } = (await call({ path: '/token?token=app' })).headers
  const sourceTokens = [[{ token: 'app', version: String(etag) }]]
  link.services = [{ ...example, summary: { ...example.summary, sourceTokens } }]
  const shown = await get({ path: `/apps/${latest}?include=token-fallback&include=references` })
  t.same(shown['token-fallback'], { 'service-id': former })
  t.same(shown['current-for-tokens'], ['app'])
  t.same((await get({ path: '/apps?include=token-fallback' }))[0]['token-fallback'], { 'service-id': former })
  t.notOk('token-fallback' in (await get({ path: `/apps/${latest}` })), 'only on request')
})

t.test('a ping with debug says the service id in its head', async t => {
  const { call, json: get } = await startTestRouter(t)
  await call({ method: 'POST', path: '/token?token=app', body: JSON.stringify({ ...TOKEN, version: '1' }) })
  const named = { 'x-waiter-token': 'app', 'x-waiter-timeout': '1' }
  const id = (await call({ path: '/service-id', headers: named })).text
  const debug = await call({ path: '/waiter-ping', headers: { ...named, 'x-waiter-debug': '1' } })
  t.equal(debug.headers['x-waiter-service-id'], id)
  t.equal((await call({ path: '/waiter-ping', headers: named })).headers['x-waiter-service-id'], undefined)
  t.match(await get({ path: '/waiter-ping?exclude=service-state', headers: named }), {
    'ping-response': { result: 'timed-out' },
    'service-description': { version: '1', 'run-as-user': 'alice' },
    'service-state': { result: 'excluded', 'service-id': id },
  })
})

t.test('ejecting by hand: an instance rests, unless it is unknown or in use', async t => {
  const { call, json: get, router } = await startTestRouter(t)
  const { definition, summary } = exampleView(ID)
  const lease = (name: string, port: number) => ({
    instanceId: `${ID}.${name}`,
    host: '127.0.0.1',
    port,
    extraPorts: [],
    slots: 1,
    startedAtMs: port,
    expired: false,
    logDirectory: '/data',
  })
  const leases = [lease('a', 1), lease('b', 2)]
  router.table.applyAssignment({ isFull: true, upserts: [{ definition, leases, summary }], removals: [] })
  const eject = async (id: string, changes: object = {}) => {
    const body = { instance: { id, 'service-id': ID }, 'period-in-ms': 60_000, reason: 'a test', ...changes }
    const { status, text } = await call({ method: 'POST', path: '/eject', body: JSON.stringify(body) })
    return { status, body: JSON.parse(text) }
  }
  t.same(await get({ path: `/ejected/${ID}` }), { 'ejected-instances': [] })
  t.same(await eject(`${ID}.b`), { status: 200, body: { 'instance-id': `${ID}.b`, 'eject-period': 60_000 } })
  t.same(await get({ path: `/ejected/${ID}` }), { 'ejected-instances': [`${ID}.b`] })
  const slot = router.table.get(ID)?.machine.reserve(performance.now())
  t.equal(slot?.instanceId, `${ID}.a`, 'the other one serves')
  const message = 'Unable to eject instance.'
  t.same(await eject(`${ID}.a`), {
    status: 423,
    body: { 'instance-id': `${ID}.a`, message, reason: 'in-use' },
  })
  t.same(await eject('other'), {
    status: 503,
    body: { 'instance-id': 'other', message, reason: 'no-such-instance' },
  })
  t.same(await get({ path: '/ejected/unknown' }), { 'ejected-instances': [] })
  if (slot !== undefined) router.table.get(ID)?.release(slot, 'success')
})

t.test('requests that an older version serves are counted at both', async t => {
  const backend = createServer((_, response) => response.end('from the older one')).listen(0, '127.0.0.1')
  await once(backend, 'listening')
  t.teardown(() => backend.close())
  const { call, json: get, router } = await startTestRouter(t)
  const write = (version: string) =>
    call({ method: 'POST', path: '/token?token=app', body: JSON.stringify({ ...TOKEN, version }) })
  const ask = (headers: Record<string, string> = {}) =>
    call({ path: '/', headers: { 'x-waiter-token': 'app', 'x-waiter-queue-timeout': '1', ...headers } })
  await write('1')
  t.equal((await ask()).status, 503, 'now the router knows the first version')
  const [runtime] = router.table.values()
  if (runtime === undefined) throw new Error('no service is known')
  const { definition } = runtime
  const lease = {
    ...{ instanceId: `${definition.id}.1`, host: '127.0.0.1', port: (backend.address() as AddressInfo).port },
    ...{ extraPorts: [], slots: 1, startedAtMs: 1, expired: false, logDirectory: '/data' },
  }
  const { summary } = exampleView(definition.id)
  router.table.applyAssignment({ isFull: true, upserts: [{ definition, leases: [lease], summary }], removals: [] })
  await write('2')
  t.equal((await ask({ 'x-waiter-fallback-period-secs': '0' })).status, 503, 'who does not fall back waits')
  t.equal((await ask()).text, 'from the older one')
  const latest = (await call({ path: '/service-id?latest=true', headers: { 'x-waiter-token': 'app' } })).text
  t.not(latest, definition.id)
  const counts = async (id: string) => (await get({ path: `/state/${id}` })).state['request-counts']
  t.match(await counts(definition.id), { fallback: { source: 0, target: 1 }, successful: 1 })
  t.match(await counts(latest), { fallback: { source: 1, target: 0 }, successful: 0 })
})

t.test('a service that does not run can be looked at and overridden once somebody has asked for its id', async t => {
  const { call, json: get } = await startTestRouter(t)
  await call({ method: 'POST', path: '/token?token=app', body: JSON.stringify({ ...TOKEN, version: '1' }) })
  const id = (await call({ path: '/service-id', headers: { 'x-waiter-token': 'app' } })).text
  t.same(await get({ path: '/apps' }), [])
  t.match(await get({ path: `/apps/${id}` }), {
    status: 'Inactive',
    'service-description': { cmd: 'serve', version: '1' },
    instances: { 'active-instances': [], 'failed-instances': [], 'killed-instances': [] },
    'num-active-instances': 0,
    'resource-usage': { cpus: 0, mem: 0 },
    'last-request-time': '',
  })
  const override = `/apps/${id}/override`
  t.equal((await call({ method: 'POST', path: override, body: '{"min-instances":3}' })).status, 200)
  const overridden = await get({ path: `/apps/${id}?include=effective-parameters` })
  t.equal(overridden['effective-parameters']['min-instances'], 3)
  t.match(await get({ path: `/apps/${id}/suspend` }), { action: 'suspend', success: true })
  t.match((await get({ path: `/apps/${id}` }))['service-suspended-state'], { suspended: true })
  const ping = await get({ path: '/waiter-ping', headers: { 'x-waiter-token': 'app', 'x-waiter-timeout': '1' } })
  t.match(ping['ping-response'], { result: 'waiter-response', status: 503, body: 'Service has been suspended' })
  t.match(await get({ path: `/apps/${id}/resume` }), { action: 'resume', success: true })
  t.match((await get({ path: `/apps/${id}` }))['service-suspended-state'], { suspended: false })
  t.equal((await call({ method: 'DELETE', path: `/apps/${id}` })).status, 404, 'there is nothing to delete')
  t.equal((await call({ path: `/apps/${id}x` })).status, 404, 'nobody knows this one')
})
