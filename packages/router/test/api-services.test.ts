import { once } from 'node:events'
import { connect } from 'node:net'
import type { ServiceView } from '@waiter/control'
import { createSimpleEntitlements } from '@waiter/services'
import { eventually } from '@waiter/testkit'
import t from 'tap'
import { accessOf } from '../src/api/api-access.ts'
import { exampleView, PASSWORD, ROUTER_ID, startTestRouter } from './support/started-router.ts'

const ID = 'waiter-service-hello-1'
const json = { 'content-type': 'application/json', accept: 'application/json' }
const messageOf = (answer: { readonly text: string }): string => JSON.parse(answer.text)['waiter-error'].message

/** A service that runs as somebody else. */
function strangersView(id: string): ServiceView {
  const view = exampleView(id)
  const { definition } = view
  return {
    ...view,
    definition: {
      ...definition,
      core: { ...definition.core, 'run-as-user': 'bob' },
      effective: { ...definition.effective, 'run-as-user': 'bob' },
    },
  }
}

t.test('instances: expire, kill, force', async t => {
  const { call, link } = await startTestRouter(t)
  link.services = [exampleView(ID)]
  const instance = `${ID}.1`
  const post = (path: string) => call({ method: 'POST', path, headers: json })
  for (const [query, kind, drainTimeoutMs] of [
    ['expire', 'expire', 0],
    ['kill', 'soft-kill', 0],
    ['kill?timeout=1500', 'soft-kill', 1_500],
    ['kill?force=true', 'force-kill', 0],
  ] as const) {
    const answer = await post(`/apps/${ID}/instance/${instance}/${query}`)
    t.equal(answer.status, 200, query)
    const message = `${kind} successfully sent to ${instance}`
    t.same(JSON.parse(answer.text), { 'signal-response': { message, success: true } })
    t.same(link.signals.at(-1), { serviceId: ID, instanceId: instance, kind, drainTimeoutMs })
  }
  const gone = await post(`/apps/${ID}/instance/${ID}.4/kill`)
  t.equal(gone.status, 404, 'an instance that has ended')
  t.match(JSON.parse(gone.text), { 'signal-response': { success: false } })
  t.equal((await post(`/apps/absent/instance/x/kill`)).status, 404)
  t.equal((await post(`/apps/${ID}/instance/${instance}/kill?timeout=soon`)).status, 400)
})

t.test('files', async t => {
  const { call, link } = await startTestRouter(t)
  link.services = [exampleView(ID)]
  const path = `/apps/${ID}/logs?instance-id=${ID}.1&host=127.0.0.8&file=stdout`
  const whole = await call({ path })
  t.equal(whole.text, 'hello')
  t.match(whole.headers, {
    'content-type': 'text/plain;charset=utf-8',
    'x-content-type-options': 'nosniff',
    'content-security-policy': /sandbox/,
    'accept-ranges': 'bytes',
  })
  const end = await call({ path, headers: { range: 'bytes=-3' } })
  t.match([end.status, end.text, end.headers['content-range']], [206, 'llo', 'bytes 2-4/5'])
  const beyond = await call({ path, headers: { range: 'bytes=7-' } })
  t.match([beyond.status, beyond.headers['content-range']], [416, 'bytes */5'])
  link.logContent = Buffer.alloc(3_000_000, 'line\n')
  t.equal((await call({ path })).text.length, 3_000_000, 'a large one comes in pieces, whole')
  link.logContent = Buffer.alloc(0)
  t.equal((await call({ path })).text, '')
})

t.test('suspension: refused on this router, with who and when; back after the resumption', async t => {
  const { json: get, link, router } = await startTestRouter(t)
  link.services = [exampleView(ID)]
  router.table.open(exampleView(ID).definition)
  t.same(await get({ path: `/apps/${ID}/suspend` }), { action: 'suspend', 'service-id': ID, success: true })
  t.match(link.questions.at(-1), { topic: 'refresh', argument: { serviceId: ID } })
  t.match(router.table.get(ID)?.suspension, { suspended: true, 'last-updated-by': 'alice' })
  t.match((await get({ path: `/apps/${ID}` }))['service-suspended-state'], {
    suspended: true,
    'last-updated-by': 'alice',
    time: /^\d{4}-.*Z$/,
  })
  await get({ path: `/apps/${ID}/resume` })
  t.equal(router.table.get(ID)?.suspension, undefined)
  t.match((await get({ path: `/apps/${ID}` }))['service-suspended-state'], { suspended: false })
})

t.test('a page of another origin cannot suspend anything, though the original takes a GET for it', async t => {
  const { call, link } = await startTestRouter(t)
  link.services = [exampleView(ID)]
  for (const headers of [
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { origin: 'https://evil.example.com' },
    { origin: 'null' },
  ])
    t.equal((await call({ path: `/apps/${ID}/suspend`, headers })).status, 403, JSON.stringify(headers))
  t.equal((await call({ path: `/apps/${ID}/suspend`, headers: { 'sec-fetch-site': 'same-origin' } })).status, 200)
})

t.test('overrides', async t => {
  const { call, json: get, link } = await startTestRouter(t)
  link.services = [exampleView(ID)]
  const path = `/apps/${ID}/override`
  const post = (body: string) => call({ method: 'POST', path, headers: json, body })
  t.same(await get({ path }), { overrides: {}, 'service-id': ID })
  t.equal((await post('{"scale-factor":0.5}')).status, 200)
  t.equal((await post('{"min-instances":2}')).status, 200)
  const stored = await get({ path })
  t.same(stored.overrides, { 'min-instances': 2, 'scale-factor': 0.5 }, 'merged')
  t.match(stored, { 'last-updated-by': 'alice', time: /^\d{4}-.*Z$/, 'service-id': ID })
  t.same((await get({ path: `/apps/${ID}` }))['service-description-overrides'].overrides, stored.overrides)
  t.match(messageOf(await post('{"cmd":"x","cpus":2}')), /^Cannot override the following parameter\(s\): cmd, cpus/)
  for (const body of ['[]', '1', '{', '', '{"min-instances":0}'])
    t.equal((await post(body)).status, 400, `refused: ${body}`)
  t.equal((await call({ method: 'DELETE', path })).status, 200)
  t.same(await get({ path }), { overrides: {}, 'service-id': ID })
  t.equal((await call({ path: '/apps/absent/override' })).status, 404)
})

t.test('reports of load from outside', async t => {
  const { call, link } = await startTestRouter(t)
  link.services = [exampleView(ID)]
  const time = '2026-11-25T10:00:00.000Z'
  const report = (row: unknown, cluster: unknown = 'waiter') =>
    call({
      method: 'POST',
      path: '/metrics/external',
      headers: json,
      body: JSON.stringify({ cluster, 'service-metrics': { [ID]: { [`${ID}.1`]: row } } }),
    })
  const answer = await report({ 'updated-at': time, metrics: { 'active-request-count': 3, 'last-request-time': time } })
  t.same(JSON.parse(answer.text), { 'no-op': false })
  const atMs = Date.parse(time)
  t.same(link.externalRows, [
    { serviceId: ID, instanceId: `${ID}.1`, updatedAtMs: atMs, activeRequests: 3, lastRequestMs: atMs },
  ])
  const place = `service-metrics.${ID}.${ID}.1`
  for (const [row, message] of [
    [{ metrics: {} }, `Invalid '${place}.updated-at' field. Must be ISO-8601 time.`],
    [{ 'updated-at': 'now', metrics: {} }, `Invalid '${place}.updated-at' field. Must be ISO-8601 time.`],
    [
      { 'updated-at': time, metrics: { 'active-request-count': -1 } },
      `Invalid '${place}.metrics.active-request-count' field. Must be non-negative integer.`,
    ],
    [
      { 'updated-at': time, metrics: { 'last-request-time': 5 } },
      `Invalid '${place}.metrics.last-request-time' field. Must be ISO-8601 time.`,
    ],
  ] as const) {
    const refused = await report(row)
    t.equal(refused.status, 400)
    t.equal(messageOf(refused), message)
  }
  t.equal(messageOf(await report({}, 'other')), 'Metrics are for a different cluster.')
  const get = await call({ path: '/metrics/external', headers: json })
  t.match([get.status, messageOf(get)], [400, 'Invalid request method. Only POST is supported.'])
})

t.test('healthy instances as they come and go', async t => {
  const { link, port } = await startTestRouter(t)
  const { definition, instances } = exampleView(ID)
  const [first, second] = instances
  const other = { ...first!, instanceId: `${ID}.9`, port: 10_009 }
  const service = (healthy: readonly (typeof other)[]) => ({
    isFull: false,
    services: [{ serviceId: ID, definition, instances: healthy }],
  })
  link.tellInstances({ ...service([first!]), isFull: true })
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  let text = ''
  socket.setEncoding('utf8').on('data', piece => {
    text += piece
  })
  socket.write('GET /apps/instances?watch=true&name=hel.* HTTP/1.1\r\nhost: localhost\r\n\r\n')
  const messages = () =>
    text
      .split(/\r?\n/)
      .filter(line => line.startsWith('{'))
      .map(line => JSON.parse(line))
  const next = (count: number) => eventually(() => messages().length >= count || undefined, `${count} messages`)
  await next(1)
  link.tellInstances(service([first!, other]))
  await next(2)
  link.tellInstances({ isFull: false, services: [{ serviceId: 'unrelated', definition: undefined, instances: [] }] })
  link.tellInstances({ isFull: false, services: [{ serviceId: ID, definition: undefined, instances: [] }] })
  await next(3)
  socket.destroy()
  const seen = messages().map(({ type, object }) => {
    const { updated, removed } = object['healthy-instances']
    const ids = (list: { id: string }[] | undefined) => list?.map(({ id }) => id)
    return [type, ids(updated), ids(removed)]
  })
  t.same(seen, [
    ['initial', [first!.instanceId], undefined],
    ['events', [other.instanceId], []],
    ['events', [], [first!.instanceId, other.instanceId]],
  ])
  t.equal(second?.state, 'starting', 'the example has one that is not healthy, which is never told')
})

t.test('drain: load balancers are told, users are served', async t => {
  const { call, json: get } = await startTestRouter(t)
  t.match(await get({ path: '/drain' }), { 'drain-mode?': false })
  t.match(await get({ method: 'POST', path: '/drain?drain-timeout-secs=1' }), { 'drain-mode?': true })
  const status = await call({ path: '/status' })
  t.same([status.status, JSON.parse(status.text)], [503, { message: 'Router is in drain mode.' }])
  t.equal((await call({ path: '/apps' })).status, 200)
})

t.test('drain with crash: the process ends when its time is over, unless a later call thinks otherwise', async t => {
  const { promise: ended, resolve: endProcess } = Promise.withResolvers<string>()
  const { json: get, link } = await startTestRouter(t, { endProcess: () => endProcess('ended') })
  const post = (query: string) => get({ method: 'POST', path: `/drain?${query}` })
  await post('crash=true&drain-timeout-secs=3600')
  t.match(link.questions.at(-1), { topic: 'drain', argument: { timeoutMs: 3_600_000, isCrash: true } })
  await post('crash=true&drain-timeout-secs=0')
  t.equal(await ended, 'ended', 'the last call counts')
  const other = await startTestRouter(t, { endProcess: () => t.fail('only a crash ends it') })
  await other.json({ method: 'POST', path: '/drain?crash=true&drain-timeout-secs=3600' })
  t.match(await other.json({ method: 'POST', path: '/drain?drain-timeout-secs=0' }), { 'drain-mode?': true })
  t.match(other.link.questions.at(-1), { argument: { timeoutMs: 0, isCrash: false } })
})

t.test('a path that reads differently as a URL gets no gate of another path', async t => {
  const { call } = await startTestRouter(t)
  for (const path of [
    '/.well-known/../settings',
    '/.well-known/%2e%2e/settings',
    '/.well-known/.%2E/settings',
    '/images/../state',
    '/status/./../apps',
    '/.well-known/x\\..\\..\\settings',
  ])
    t.equal((await call({ path })).status, 404, path)
})

t.test('characters that URLs write in another way are no reason to refuse a path', async t => {
  const { call } = await startTestRouter(t)
  for (const path of ['/waiter-interstitial/a^b', '/waiter-interstitial/%E2%82%AC', '/waiter-interstitial/a%zz'])
    t.equal((await call({ path })).status, 200, path)
})

t.test('what the document calls public is what the gate lets in', async t => {
  const { json: get } = await startTestRouter(t)
  const { paths } = await get({ path: '/openapi.json' })
  for (const [path, operations] of Object.entries<Record<string, { description: string }>>(paths))
    for (const { description } of Object.values(operations)) {
      const isPublic = description.includes('Needs no authentication.')
      t.equal(accessOf(path.replaceAll(/\{.*?\}/g, 'x')) === 'open', isPublic, path)
    }
})

t.test('no answer tells a secret', async t => {
  const { call, link, json: get } = await startTestRouter(t)
  link.services = [exampleView(ID), strangersView(`${ID}-bobs`)]
  const { details } = await get({ path: '/state' })
  const paths = [
    ...Object.keys(details).map(name => `/state/${name}`),
    ...[`/state/${ID}`, `/apps/${ID}?include=metrics&effective-parameters=true`, '/apps?run-as-user=*', '/settings'],
    ...['/metrics', '/metrics?format=prometheus', '/openapi.json'],
  ]
  for (const path of paths) {
    const { text, status } = await call({ path })
    t.equal(status, 200, path)
    t.notMatch(text, PASSWORD, path)
    t.notMatch(text, 'WAITER_PASSWORD', path)
  }
})

t.test('metrics for Prometheus', async t => {
  const { call, router } = await startTestRouter(t)
  const runtime = router.table.open(exampleView(ID).definition)
  runtime.metrics.onStatus(200)
  runtime.metrics.onEnd(3)
  const { text, headers } = await call({ path: '/metrics', headers: { accept: 'text/plain;version=0.0.4;q=0.5' } })
  t.match(headers['content-type'], /^text\/plain; version=0\.0\.4/)
  t.match(text, `waiter_info{router="${ROUTER_ID}",version="1.2.3"} 1\n`)
  t.match(text, `waiter_responses_total{service="${ID}",metric_group="other",status="200"} 1\n`)
  t.match(text, /waiter_request_seconds_bucket\{[^}]*le="0.002048"\} 0\n/)
  t.match(text, /waiter_request_seconds_bucket\{[^}]*le="0.008192"\} 1\n/)
  t.match(text, /waiter_request_seconds_bucket\{[^}]*le="\+Inf"\} 1\n/)
  const families = text.split('\n').filter(line => line.startsWith('# TYPE'))
  t.equal(new Set(families).size, families.length, 'every family is declared once')
})

t.test('who does not manage a service changes nothing of it and sees none of its secrets', async t => {
  const { call, json: get, link, router } = await startTestRouter(t, { entitlements: createSimpleEntitlements([]) })
  const bobs = `${ID}-bobs`
  link.services = [exampleView(ID), strangersView(bobs)]
  router.table.open(strangersView(bobs).definition)
  const time = '2026-11-25T10:00:00.000Z'
  const report = {
    cluster: 'waiter',
    'service-metrics': { [bobs]: { [`${bobs}.1`]: { 'updated-at': time, metrics: {} } } },
  }
  const ejection = { instance: { id: 'x', 'service-id': bobs }, 'period-in-ms': 1, reason: '' }
  for (const [method, path, status, body] of [
    ['DELETE', `/apps/${bobs}`, 403, undefined],
    ['POST', `/apps/${bobs}/instance/${bobs}.1/kill`, 403, undefined],
    ['POST', `/apps/${bobs}/instance/${bobs}.1/expire`, 403, undefined],
    ['POST', `/apps/${bobs}/override`, 403, '{"scale-factor":0.5}'],
    ['GET', `/apps/${bobs}/override`, 403, undefined],
    ['DELETE', `/apps/${bobs}/override`, 403, undefined],
    ['GET', `/apps/${bobs}/suspend`, 403, undefined],
    ['POST', `/apps/${bobs}/resume`, 403, undefined],
    ['GET', `/apps/${bobs}/refresh`, 403, undefined],
    ['GET', `/apps/${bobs}/logs?instance-id=${bobs}.1&host=h`, 401, undefined],
    ['GET', `/apps/${bobs}/logs?instance-id=${bobs}.1&host=h&file=stdout`, 401, undefined],
    ['POST', '/eject', 403, JSON.stringify(ejection)],
    ['POST', '/metrics/external', 403, JSON.stringify(report)],
    ['POST', '/drain', 403, undefined],
  ] as const) {
    const answer = await call({ method, path, headers: json, ...(body === undefined ? {} : { body }) })
    t.equal(answer.status, status, `${method} ${path}: ${answer.text}`)
  }
  t.same([link.deleted, link.signals, link.externalRows], [[], [], []], 'nothing came of any of it')
  t.equal(router.table.get(bobs)?.suspension, undefined)
  t.equal((await call({ path: '/status' })).status, 200)

  const ids = (apps: { 'service-id': string }[]) => apps.map(app => app['service-id'])
  t.same(ids(await get({ path: '/apps' })), [ID], 'only what one manages')
  t.same(ids(await get({ path: '/apps?run-as-user=*' })), [ID, bobs])
  t.same(ids(await get({ path: '/apps?run-as-user=*&env.COLOUR=red' })), [ID], 'a filter finds out nothing')
  const shown = await get({ path: `/apps/${bobs}?effective-parameters=true` })
  t.same(shown['effective-parameters'].env, { COLOUR: '<hidden>' })
  t.same(shown['service-description'].env, { COLOUR: '<hidden>' })
  t.notOk('log-url' in shown.instances['active-instances'][0])
  for (const path of [`/state/${bobs}`, '/state/maintainer', '/metrics'])
    t.notMatch((await call({ path })).text, '"COLOUR":"red"', path)
  t.equal((await get({ path: `/apps/${ID}` }))['service-description'].env.COLOUR, 'red', 'of the own ones, everything')
})
