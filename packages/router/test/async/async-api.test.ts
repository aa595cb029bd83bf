import { createHash } from 'node:crypto'
import { createSimpleEntitlements } from '@waiter/services'
import { eventually, type TestResponse } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { AsyncBackend } from '../support/async-backend.ts'
import { exampleView, PASSWORD, type StartedRouter, startTestRouter } from '../support/started-router.ts'

const HOST = 'work.example.com'
const authentication = {
  authenticator: {
    kind: 'api-keys' as const,
    keys: ['alice', 'bob'].map(user => ({
      principal: `${user}@X`,
      sha256: createHash('sha256').update(`key of ${user}`).digest('hex'),
    })),
  },
  secrets: ['a secret of this test'],
  clusterName: 'waiter',
  cookie: { maxAgeSecs: 60, sameSite: 'lax' as const },
}
const as = (user: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(`${user}@X:key of ${user}`).toString('base64')}`,
})
const ALICE = as('alice')
const TOKEN = { cmd: 'serve', cpus: 1, mem: 1, version: '1', 'run-as-user': 'alice', 'permitted-user': 'alice' }

interface World {
  readonly backend: AsyncBackend
  /** The one that accepts, and has the service's only instance to itself. */
  readonly first: StartedRouter
  /** Another one of the same cluster, which asks the leader where instances are. */
  readonly second: StartedRouter
  readonly serviceId: string
  readonly instanceId: string
  /** Slots of the only instance for this router. */
  assign(router: StartedRouter, slots: number): void
  /** A request that goes on behind its answer: where it says that its status is. */
  accept(headers?: Record<string, string>): Promise<string>
  ask(
    router: StartedRouter,
    path: string,
    wanted?: { method?: string; headers?: Record<string, string> },
  ): Promise<TestResponse>
  counts(router?: StartedRouter): { readonly outstanding: number; readonly async: number; readonly successful: number }
}

async function start(t: Test, token: Record<string, unknown> = {}): Promise<World> {
  const backend = await new AsyncBackend().start(t)
  backend.pages.set('/request', { status: 202, location: '/status?id=1', body: 'accepted' })
  backend.pages.set('/status', { status: 200, body: 'working' })
  const open = (routerId: string) =>
    startTestRouter(t, { routerId, authentication, entitlements: createSimpleEntitlements(['root']) })
  const first = await open('router-1')
  const second = await open('router-2')
  const { isDisabled, ...changes } = { isDisabled: false, ...token }
  const body = JSON.stringify({ ...TOKEN, ...changes })
  const headers = { 'x-waiter-token': HOST }
  const posted = await first.call({ method: 'POST', path: `/token?token=${HOST}`, headers: ALICE, body })
  if (posted.status !== 200) throw new Error(posted.text)
  const serviceId = (await first.call({ path: '/service-id', headers: { ...headers, ...ALICE } })).text
  const instanceId = `${serviceId}.1`
  // A first request makes the service known, with what its token says.
  await first.call({ path: '/', headers: { host: HOST, ...ALICE, 'x-waiter-queue-timeout': '1' } })
  const { definition } = first.router.table.get(serviceId)!
  const view = exampleView(serviceId)
  const instances = view.instances.map(record => ({ ...record, host: '127.0.0.1', port: backend.port }))
  for (const { link } of [first, second]) link.services = [{ ...view, definition, instances }]
  // The second router reaches the first one; not the other way round.
  second.link.answer = first.router.answer
  const world: World = {
    backend,
    first,
    second,
    serviceId,
    instanceId,
    assign: ({ router }, slots) => {
      const lease = { instanceId, host: '127.0.0.1', port: backend.port, extraPorts: [], slots, startedAtMs: 1 }
      const leases = [{ ...lease, expired: false, logDirectory: null }]
      router.table.applyAssignment({
        isFull: false,
        upserts: [{ definition, leases, summary: view.summary }],
        removals: [],
      })
    },
    accept: async (more = {}) => {
      const answer = await first.call({ method: 'POST', path: '/request', headers: { host: HOST, ...ALICE, ...more } })
      t.equal(answer.status, 202)
      return answer.headers.location ?? ''
    },
    ask: ({ call }, path, { method = 'GET', headers: more = {} } = {}) =>
      call({ method, path, headers: { host: HOST, ...(isDisabled ? {} : ALICE), ...more } }),
    counts: ({ router } = first) => router.table.get(serviceId)!.counts,
  }
  world.assign(first, 1)
  return world
}

t.test('accepted by one router, followed and fetched through another, over at the first', async t => {
  const { backend, first, second, accept, ask, counts, serviceId } = await start(t)
  const url = await accept()
  t.match(url, /^\/waiter-async\/v2\/status\/[\w-]+\/v1\.[\w.-]+\/status\?id=1$/)
  t.notMatch(url, new RegExp(`127|${backend.port}|${serviceId}|router-`), 'nothing of the backend in clear')
  t.match(counts(), { outstanding: 1, async: 1 })
  t.match(await first.json({ path: '/state/async-requests', headers: ALICE }), {
    state: { count: 1, 'service-id->count': { [serviceId]: 1 } },
  })
  t.match(
    (await first.call({ path: '/metrics?format=prometheus' })).text,
    `waiter_requests_async{service="${serviceId}"`,
  )

  for (const router of [first, second]) {
    const status = await ask(router, `${url}&wait=1`, { headers: { 'x-cid': 'mine', 'x-waiter-debug': 'true' } })
    t.match([status.status, status.text], [200, 'working'])
    t.match(status.headers, { 'x-cid': 'mine', via: /^1\.1 router-/ })
    t.equal(status.headers.server, undefined, 'the service’s answer, not Waiter’s')
    const { url: seen, headers } = backend.asked.at(-1)!
    t.equal(seen, '/status?id=1&wait=1')
    t.equal(headers.authorization, `Basic ${Buffer.from(`waiter:${PASSWORD}`).toString('base64')}`)
    t.match(headers, {
      'x-waiter-auth-principal': 'alice',
      'x-waiter-authenticated-principal': 'alice@X',
      'x-cid': 'mine',
    })
    t.notOk('x-waiter-debug' in headers)
  }
  t.match(counts(), { outstanding: 1, async: 1 }, 'following it changes nothing')

  backend.pages.set('/status', { status: 303, location: '/result?id=1' })
  const done = await ask(second, url)
  t.equal(done.status, 303)
  const result = done.headers.location ?? ''
  t.match(result, /^\/waiter-async\/v2\/result\/[\w-]+\/v1\.[\w.-]+\/result\?id=1$/)
  t.match(counts(), { outstanding: 1, async: 1 }, 'a result that nobody fetched')

  backend.pages.set('/result', { status: 200, body: 'the result' })
  t.equal((await ask(second, result)).text, 'the result')
  await eventually(() => counts().async === 0 || undefined, 'the slot given back by the first router')
  t.match(counts(), { outstanding: 0, async: 0, successful: 1 })
  t.match(second.link.questions.at(-1), { topic: 'async-complete' })
})

for (const [story, method, page, isOver] of [
  ['cancelled', 'DELETE', { status: 204 }, true],
  ['cancelled with 200', 'DELETE', { status: 200 }, true],
  ['not to be cancelled', 'DELETE', { status: 405 }, false],
  ['gone', 'GET', { status: 410 }, true],
  ['done, with a result elsewhere', 'GET', { status: 303, location: 'http://example.com/result' }, true],
  ['done, with a result here', 'GET', { status: 303, location: '/result' }, false],
  ['failing to say', 'GET', { status: 500 }, false],
] as const)
  t.test(`${method} of a status: ${story}`, async t => {
    const { backend, first, accept, ask, counts } = await start(t)
    const url = await accept()
    backend.pages.set(`${method} /status`, page)
    const answer = await ask(first, url, { method })
    t.equal(answer.status, page.status)
    if (!('location' in page)) t.equal(answer.headers.location, undefined)
    else if (isOver) t.equal(answer.headers.location, page.location, 'left alone')
    t.match(counts(), { async: isOver ? 0 : 1 })
  })

t.test('a status that says 202 again leads to itself through Waiter', async t => {
  const { backend, first, accept, ask, counts } = await start(t)
  const url = await accept()
  backend.pages.set('/status', { status: 202, location: 'status?id=2' })
  const { status, headers } = await ask(first, url)
  t.equal(status, 202)
  t.match(headers.location, /^\/waiter-async\/v2\/status\/[\w-]+\/v1\.[\w.-]+\/status\?id=2$/)
  t.match(counts(), { async: 1 })
})

t.test('whatever a result answers, and to whatever method, is the end', async t => {
  for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD']) {
    const { backend, first, accept, ask, counts } = await start(t)
    const url = await accept()
    backend.pages.set('/status', { status: 303, location: '/result' })
    const { headers } = await ask(first, url)
    const answer = await ask(first, headers.location ?? '', { method })
    t.equal(answer.status, 404, method)
    t.match(backend.asked.at(-1), { method, url: '/result' })
    t.match(counts(), { async: 0, outstanding: 0 })
  }
})

t.test('the router itself asks the instance, and notices the end', async t => {
  const { backend, accept, counts, first, serviceId } = await start(t)
  await accept({ 'x-waiter-async-check-interval': '50', 'x-waiter-async-request-timeout': '100' })
  await eventually(() => backend.asked.filter(({ url }) => url === '/status?id=1').length >= 5 || undefined, 'checks')
  t.match(counts(), { async: 1 }, 'kept beyond its time-out, while it is worked on')
  t.match(backend.asked.at(-1)?.headers, { 'x-waiter-authenticated-principal': 'alice@X', 'x-cid': /./ })
  backend.pages.set('/status', { status: 410 })
  await eventually(() => counts().async === 0 || undefined, 'the end')
  t.match(first.router.table.get(serviceId)?.counts, { outstanding: 0, successful: 1, 'instance-error': 0 })
})

t.test('an instance that is gone is noticed, too', async t => {
  const { backend, accept, first, second, ask, serviceId } = await start(t)
  const url = await accept({ 'x-waiter-async-check-interval': '50' })
  backend.stop()
  await eventually(() => first.router.table.get(serviceId)?.counts.async === 0 || undefined, 'the end')
  t.match(first.router.table.get(serviceId)?.counts, { outstanding: 0, 'instance-error': 1 })
  const refused = await ask(second, url)
  t.equal(refused.status, 502, 'the leader has not noticed yet')
  t.match(refused.text, 'Request failed to connect to service backend')
})

t.test('an instance that the leader knows to have ended: 410', async t => {
  const { accept, second, ask } = await start(t)
  const url = await accept()
  const [view] = second.link.services
  second.link.services = [
    { ...view!, instances: view!.instances.map(record => ({ ...record, endedAtMs: 1, state: 'killed' as const })) },
  ]
  const gone = await ask(second, url, { headers: { accept: 'application/json' } })
  t.equal(gone.status, 410)
  t.match(JSON.parse(gone.text)['waiter-error'], {
    message: /has ended/,
    details: { code: 'WTR_ASYNC_INSTANCE_GONE' },
  })
  second.link.failure = new Error('no leader')
  t.ok((await ask(second, url)).status >= 500, 'the leader cannot be asked')
})

t.test('only for whom the service is', async t => {
  const { accept, first, second, backend } = await start(t)
  const url = await accept()
  const before = backend.asked.length
  for (const { call } of [first, second]) {
    t.equal((await call({ path: url, headers: { host: HOST } })).status, 401)
    const forbidden = await call({ path: url, headers: { host: HOST, ...as('bob') } })
    t.equal(forbidden.status, 403)
    t.match(forbidden.text, 'allowed to invoke this service')
    t.equal((await call({ method: 'DELETE', path: url, headers: { host: HOST, ...as('bob') } })).status, 403)
  }
  t.equal(backend.asked.length, before, 'nobody was asked')
})

t.test('for everybody, when the token asks nobody who he is', async t => {
  const { first, backend } = await start(t, { authentication: 'disabled', 'permitted-user': '*' })
  const { headers } = await first.call({ method: 'POST', path: '/request', headers: { host: HOST } })
  const status = await first.call({ path: headers.location ?? '', headers: { host: HOST } })
  t.equal(status.status, 200)
  t.notOk('x-waiter-authenticated-principal' in backend.asked.at(-1)!.headers)
})

t.test('addresses that nobody was given', async t => {
  const { accept, first, ask, backend, counts } = await start(t)
  const url = await accept()
  const before = backend.asked.length
  for (const [story, path] of [
    ['another path', url.replace('/status?', '/admin?')],
    ['another query', url.replace('id=1', 'id=2')],
    ['a status as a result', url.replace('v2/status', 'v2/result')],
    ['another request', url.replace(/(status\/)[^/]+/, '$1other')],
    ['made up', '/waiter-async/v2/status/1/v1.a.b/status'],
    ['as the original has them', `/waiter-async/status/1/router-1/service/127.0.0.1/${backend.port}/status`],
    ['the original’s end', '/waiter-async/complete/1/service'],
    ['nothing', '/waiter-async/v2/status/'],
  ] as const)
    t.equal((await ask(first, path)).status, 404, story)
  t.equal((await ask(first, url, { method: 'POST' })).status, 405, 'a status is no place to post to')
  t.equal(backend.asked.length, before, 'nobody was asked')
  t.match(counts(), { async: 1 })
})

t.test('work whose router is lost is taken over by the router that its client asks', async t => {
  const { accept, ask, second, assign, counts, backend, instanceId, serviceId } = await start(t)
  const url = await accept()
  // Nobody but the second router is left to answer.
  second.link.answer = second.router.answer
  assign(second, 1)
  t.equal((await ask(second, url)).status, 200)
  await eventually(() => counts(second).async === 1 || undefined, 'the slot taken')
  t.match(counts(second), { outstanding: 1 })
  t.match(Object.fromEntries(second.router.table.get(serviceId)!.machine.inUseByInstance()), { [instanceId]: 1 })
  backend.pages.set('/status', { status: 303, location: '/result' })
  const { headers } = await ask(second, url)
  await ask(second, headers.location ?? '')
  t.match(counts(second), { outstanding: 0, async: 0, successful: 1 })
})
