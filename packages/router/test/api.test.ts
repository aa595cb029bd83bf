import { WaiterError } from '@waiter/base'
import { rawRequest } from '@waiter/testkit'
import t from 'tap'
import { exampleView, PASSWORD, ROUTER_ID, startTestRouter } from './support/started-router.ts'

const TOKEN = { cmd: 'serve', cpus: 1, mem: 256, version: '1', name: 'hello', 'health-check-url': '/' }
const ID = 'waiter-service-hello-1'
const json = { 'content-type': 'application/json' }
const keys = (value: object): string[] => Object.keys(value).sort()
const ERROR_KEYS = [
  ...['cid', 'details', 'host', 'instance-id', 'message', 'principal', 'query-string', 'request-method'],
  ...['service-id', 'status', 'support-info', 'timestamp', 'title', 'uri'],
]

t.test('the small ones', async t => {
  const { call, json: get } = await startTestRouter(t)
  await t.test('GET /', async t => {
    const page = await get({ path: '/', headers: { accept: 'application/json' } })
    t.same(keys(page), ['cid', 'host', 'hostname', 'message', 'port', 'support-info', 'timestamp'])
    t.match((await call({ path: '/' })).text, /^Welcome to Waiter\n/)
    t.match((await call({ path: '/', headers: { accept: 'text/html' } })).headers['content-type'], /^text\/html/)
  })
  await t.test('GET /status', async t => {
    t.same(await get({ path: '/status' }), { status: 'ok' })
    const headers = { cookie: 'secret=1', authorization: 'Basic secret', 'x-other': 'yes' }
    const full = await get({ path: '/status?include=request-info&include=server-info', headers })
    t.match(full['server-info'], { version: '1.2.3' })
    t.match(full['request-info'], { 'router-id': ROUTER_ID, uri: '/status', 'request-method': 'get', scheme: 'http' })
    t.equal(full['request-info'].headers['x-other'], 'yes')
    t.notMatch(JSON.stringify(full), /secret/, 'credentials do not come back')
  })
  await t.test('GET /settings', async t => {
    const response = await call({ path: '/settings' })
    t.same(keys(JSON.parse(response.text)), ['cluster-config', 'git-version', 'port', 'started-at'])
    t.notMatch(response.text, PASSWORD)
  })
  await t.test('GET /profiles', async t => t.same(await get({ path: '/profiles' }), []))
  await t.test('GET /waiter-auth', async t => {
    const response = await call({ path: '/waiter-auth' })
    t.equal(response.text, 'alice')
    t.match(response.headers, {
      'x-waiter-auth-method': 'single-user',
      'x-waiter-auth-principal': 'alice',
      'x-waiter-auth-user': 'alice',
    })
  })
})

t.test('a correlation id is on every answer: the own, or a new one', async t => {
  const { call } = await startTestRouter(t)
  t.equal((await call({ path: '/status', headers: { 'x-cid': 'mine-1' } })).headers['x-cid'], 'mine-1')
  t.equal((await call({ path: '/nothing', headers: { 'x-cid': 'mine-2' } })).headers['x-cid'], 'mine-2')
  const [first, second] = [await call({ path: '/status' }), await call({ path: '/status' })]
  t.match(first.headers['x-cid'], /^[0-9a-f]+-[0-9a-f]{16}$/)
  t.not(first.headers['x-cid'], second.headers['x-cid'])
  t.match((await call({ path: '/status', headers: { 'x-cid': 'a b' } })).headers['x-cid'], /^[0-9a-f]+-/)
})

t.test('what is not there, and what may not be done', async t => {
  const { call, port } = await startTestRouter(t)
  const rows: [method: string, path: string, status: number, message: string][] = [
    ['GET', '/nothing', 404, 'Not found'],
    ['POST', '/no/such/thing', 404, 'Not found'],
    ['POST', '/apps', 405, 'Invalid request method'],
    ['PUT', '/token', 405, 'Invalid request method'],
    ['DELETE', '/status', 405, 'Invalid request method'],
    ['POST', '/state/leader', 405, 'Invalid request method'],
    ['PATCH', `/apps/${ID}`, 405, 'Invalid request method'],
    ['TRACE', '/apps', 405, 'Invalid request method'],
    ['GET', '/state/nothing', 404, 'Not found: neither a part of the state nor a service'],
    ['GET', `/apps/${ID}`, 404, 'Service not found'],
    ['GET', `/apps/${ID}/logs?instance-id=a&host=b`, 404, 'Service not found'],
    ['GET', `/apps/${ID}/logs?host=b`, 400, 'Instance id is missing: give both instance-id and host'],
    ['GET', `/apps/${ID}/logs?instance-id=a`, 400, 'Host is missing: give both instance-id and host'],
    ['DELETE', `/apps/${ID}?timeout=soon`, 400, 'timeout must be an integer'],
  ]
  for (const [method, path, status, message] of rows) {
    const response = await call({ method, path, headers: { accept: 'application/json' } })
    t.equal(response.status, status, `${method} ${path}`)
    const error = JSON.parse(response.text)['waiter-error']
    t.same(keys(error), ERROR_KEYS.toSorted(), `${method} ${path}: keys`)
    t.match(error, { message, status, 'request-method': method, uri: path.split('?')[0] }, `${method} ${path}: message`)
  }
  const star = await rawRequest({ port, bytes: 'OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n' })
  t.equal(star.responses[0]?.status, 405)
  const head = await call({ method: 'HEAD', path: '/status' })
  t.equal(head.status, 200)
  t.equal(head.text, '')
})

t.test('pages of other origins', async t => {
  const { call, link, port } = await startTestRouter(t)
  link.services = [exampleView(ID)]
  const evil = { origin: 'https://evil.example.com', accept: 'application/json' }
  for (const [method, path] of [
    ['POST', '/token?token=hello'],
    ['DELETE', '/token?token=hello'],
    ['DELETE', `/apps/${ID}`],
    ['POST', '/waiter-ping'],
  ] as const) {
    const response = await call({ method, path, headers: { ...evil, ...json }, body: JSON.stringify(TOKEN) })
    t.equal(response.status, 403, `${method} ${path}`)
    t.match(response.text, 'Cross-origin request not allowed')
  }
  t.same(link.deleted, [])
  t.equal((await call({ path: '/status', headers: evil })).status, 200, 'reading a public page is no harm')
  const description = {
    ...evil,
    'x-waiter-cmd': 'rm -rf /',
    'x-waiter-cpus': '1',
    'x-waiter-mem': '1',
    'x-waiter-version': '1',
  }
  t.equal((await call({ path: '/', headers: description })).status, 403, 'headers that start a command')
  const ping = { ...description, 'x-waiter-timeout': '1' }
  t.equal((await call({ path: '/waiter-ping', headers: ping })).status, 403, 'a ping starts a command as well')
  const { origin: _, ...sameOrigin } = description
  for (const path of ['/', '/waiter-ping']) {
    const rebound = { ...sameOrigin, host: `evil.example.com:${port}` }
    const response = await call({ path, headers: rebound })
    t.equal(response.status, 403, `${path}: the page's own name was made to point here, so that no origin is sent`)
    t.match(response.text, 'host names only')
    const embedded = { ...sameOrigin, 'sec-fetch-site': 'cross-site' }
    t.equal((await call({ path, headers: embedded })).status, 403, `${path}: a browser says that the page is foreign`)
  }
  const readByName = { path: '/token?token=hello', headers: { host: `evil.example.com:${port}` } }
  t.equal((await call(readByName)).status, 403, 'nor may it read a token by name')
  t.same(link.needs, [])
  for (const origin of [
    'null',
    'https://localhost.evil.com',
    'https://evil.com/localhost',
    'file://localhost',
    'http://localhost:3000',
    `http://127.0.0.1:${port}`,
  ])
    t.equal((await call({ method: 'POST', path: '/token?token=hello', headers: { origin } })).status, 403, origin)
  for (const [host, origin] of [
    [`localhost:${port}`, `http://localhost:${port}`],
    ['127.0.0.1', 'http://127.0.0.1'],
    ['localhost', 'https://LOCALHOST'],
  ] as const) {
    const headers = { ...json, host, origin }
    const response = await call({ method: 'POST', path: '/token?token=hello', headers, body: JSON.stringify(TOKEN) })
    t.equal(response.status, 200, origin)
  }
})

t.test('tokens', async t => {
  const { call, json: get, router, store } = await startTestRouter(t)
  const post = (body: object | string, path = '/token?token=hello', headers: Record<string, string> = {}) =>
    call({
      method: 'POST',
      path,
      headers: { ...json, ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })

  const created = await post(TOKEN)
  t.equal(created.status, 200)
  t.match(created.headers, { etag: /^E-[0-9a-f]{32}$/, 'x-waiter-operation-result': 'token-created' })
  t.same(keys(JSON.parse(created.text)), ['message', 'service-description'])
  t.equal((await post(TOKEN)).headers['x-waiter-operation-result'], 'token-no-op')
  t.equal((await post({ ...TOKEN, version: '2' })).headers['x-waiter-operation-result'], 'token-updated')
  t.equal((await post(TOKEN, '/token?token=hello', { 'if-match': 'E-0' })).status, 412)

  const read = await call({ path: '/token?token=hello' })
  t.match(JSON.parse(read.text), { ...TOKEN, version: '2', owner: 'alice' })
  t.match(read.headers.etag, /^E-/)
  const full = await get({ path: '/token?token=hello&include=metadata' })
  t.same(
    ['cluster', 'last-update-time', 'last-update-user', 'owner', 'previous', 'root'].filter(key => !(key in full)),
    [],
  )
  t.same(
    await get({ path: '/token', headers: { 'x-waiter-token': 'hello' } }),
    JSON.parse(read.text),
    'named by header',
  )

  const [listed] = await get({ path: '/tokens' })
  t.same(keys(listed), ['maintenance', 'owner', 'reference-type->reference-name', 'token'])
  const [detailed] = await get({ path: '/tokens?include=metadata&include=deleted' })
  t.same(keys(detailed), [
    'deleted',
    'etag',
    'last-update-time',
    'maintenance',
    'owner',
    'reference-type->reference-name',
    'token',
  ])

  const removed = await call({ method: 'DELETE', path: '/token?token=hello' })
  t.same(JSON.parse(removed.text), { delete: 'hello', 'hard-delete': false, success: true })
  t.equal(removed.headers['x-waiter-operation-result'], 'token-deleted')
  t.equal((await call({ path: '/token?token=hello' })).status, 404)
  t.equal((await call({ method: 'DELETE', path: '/token?token=absent' })).status, 404)

  for (const [sentence, body] of [
    ['no JSON', '{'],
    ['an unknown parameter', { ...TOKEN, colour: 'red' }],
    ['a number where there should be none', { ...TOKEN, cmd: 1 }],
  ] as const) {
    const response = await post(body, '/token?token=bad')
    t.equal(response.status, 400, sentence)
    t.same(keys(JSON.parse(response.text)['waiter-error']), [...ERROR_KEYS, 'waiter-token'].sort(), sentence)
  }
  t.equal((await post('x'.repeat(8 * 1024 * 1024), '/token?token=huge')).status, 413)
  t.equal(
    (await call({ method: 'POST', path: '/token?token=bad', headers: json, body: new Uint8Array([0xff]) })).status,
    400,
  )
  t.equal(router.table.size, 0, 'nothing of this starts a service')

  await store.close()
  const unavailable = await post(TOKEN, '/token?token=later')
  t.equal(unavailable.status, 503)
  t.match(JSON.parse(unavailable.text)['waiter-error'].details, { code: 'WTR_STORE_UNAVAILABLE' })
})

t.test('services', async t => {
  const { call, json: get, link, port } = await startTestRouter(t)
  link.services = [exampleView(ID), exampleView(`${ID}-other`)]
  await t.test('GET /apps', async t => {
    const [app] = await get({ path: '/apps' })
    t.same(keys(app), [
      'instance-counts',
      'last-request-time',
      'request-metrics',
      'resource-usage',
      'scaling-state',
      'service-description',
      'service-id',
      'source-tokens',
      'status',
      'url',
    ])
    t.match(app, {
      'instance-counts': { 'healthy-instances': 1, 'unhealthy-instances': 1 },
      'last-request-time': '2023-11-14T22:13:21.000Z',
      'request-metrics': { outstanding: 2, total: 9 },
      'resource-usage': { cpus: 0.2, mem: 512 },
      url: `http://localhost:${port}/apps/${ID}`,
    })
    const [detailed] = await get({ path: '/apps?effective-parameters=true&include=healthy-instances' })
    t.equal(detailed['effective-parameters']['max-instances'], 500)
    t.same(detailed.instances['healthy-instances'].map(keys), [['host', 'id', 'port', 'started-at']])
  })
  await t.test('GET /apps with filters', async t => {
    const count = async (query: string): Promise<number> => (await get({ path: `/apps?${query}` })).length
    t.equal(await count('name=hello'), 2)
    t.equal(await count('name=h.*o'), 2, 'a pattern')
    t.equal(await count('name=hell'), 0, 'a whole match')
    t.equal(await count('env.COLOUR=red'), 2)
    t.equal(await count('env.COLOUR=blue'), 0)
    t.equal(await count('token=hello&token-version=E-1'), 2)
    t.equal(await count('token=other'), 0)
    t.equal(await count('run-as-user=bob'), 0)
    t.equal(await count('run-as-user=*'), 2)
    t.equal(await count('env.__proto__=x'), 0)
  })
  await t.test('GET /apps/:id', async t => {
    const app = await get({ path: `/apps/${ID}` })
    t.same(keys(app), [
      'instances',
      'last-request-time',
      'num-active-instances',
      'num-routers',
      'request-metrics',
      'resource-usage',
      'router-id',
      'scaling',
      'scaling-state',
      'service-description',
      'source-tokens',
      'status',
    ])
    t.match(app, { 'num-active-instances': 2, 'num-routers': 1, 'router-id': ROUTER_ID })
    const lists = app.instances
    t.same(keys(lists), ['active-instances', 'failed-instances', 'killed-instances'])
    t.equal(lists['active-instances'].length, 2)
    const required = [
      ...['exit-code', 'extra-ports', 'flags', 'health-check-status', 'healthy?', 'host', 'id', 'log-directory'],
      ...['log-url', 'message', 'port', 'service-id', 'shell-scheduler/pid', 'started-at', 'status'],
    ]
    t.same(
      required.filter(key => !(key in lists['active-instances'][0])),
      [],
    )
    t.match(lists['failed-instances'], [{ 'exit-code': 1, stderr: 'no' }])
    t.equal(lists['killed-instances'].length, 1)
  })
  await t.test('DELETE /apps/:id', async t => {
    const response = await call({ method: 'DELETE', path: `/apps/${ID}?timeout=1000` })
    t.match(JSON.parse(response.text), { message: `Deleted ${ID}`, result: 'deleted', 'service-id': ID, success: true })
    t.same(link.deleted, [ID])
    const absent = await call({ method: 'DELETE', path: '/apps/absent' })
    t.equal(absent.status, 404)
    t.match(JSON.parse(absent.text), { result: 'no-such-service-exists', success: false })
    t.equal(absent.headers['x-waiter-answered'], undefined, 'a mark of ours stays inside')
  })
  await t.test('GET /apps/:id/logs', async t => {
    const base = `/apps/${ID}/logs?instance-id=${ID}.1&host=127.0.0.8`
    t.same(await get({ path: base }), [
      { name: 'stdout', type: 'file', size: 5, url: `http://localhost:${port}${base}&file=stdout` },
      { name: 'sub', type: 'directory', path: 'sub' },
    ])
  })
  await t.test('without a leader', async t => {
    link.failure = new WaiterError('no control node answers', { code: 'WTR_CONTROL_UNREACHABLE', status: 503 })
    const response = await call({ path: '/apps', headers: { accept: 'application/json' } })
    t.equal(response.status, 503)
    t.match(JSON.parse(response.text)['waiter-error'], { message: 'no control node answers' })
    link.failure = new Error('the database password is 1234')
    const broken = await call({ path: '/apps' })
    t.equal(broken.status, 500)
    t.notMatch(broken.text, '1234', 'the text of an unknown failure stays in the log')
  })
})

t.test('the state', async t => {
  const { json: get, link, call } = await startTestRouter(t)
  const index = await get({ path: '/state' })
  t.same(keys(index), ['details', 'router-id', 'routers'])
  t.same(index.routers, { [ROUTER_ID]: 'http://127.0.0.1:9091' })
  for (const [name, url] of Object.entries(index.details)) {
    const { pathname } = new URL(String(url))
    const part = await get({ path: pathname })
    t.same(keys(part), ['router-id', 'state'], name)
  }
  t.match((await get({ path: '/state/leader' })).state, { 'leader-id': 'node-1', 'leader?': true, term: 3 })
  await call({
    method: 'POST',
    path: '/token?token=app.test',
    headers: json,
    body: JSON.stringify({ ...TOKEN, 'run-as-user': 'alice' }),
  })
  const id = (await call({ path: '/service-id', headers: { 'x-waiter-token': 'app.test' } })).text
  const waiting = call({ path: '/x', headers: { host: 'app.test', 'x-waiter-queue-timeout': '200' } })
  t.equal((await waiting).status, 503)
  t.same(link.needs, [id])
  const { state } = await get({ path: `/state/${id}` })
  t.match(state, { 'responder-state': { 'instance-id->state': {}, 'waiting-requests': 0 } })
  t.match(state['request-counts'], { total: 1, outstanding: 0, 'generic-error': 1 })
  t.match(state.retries, { available: 20, granted: 0, denied: 0 })
  t.same(keys((await get({ path: '/state/local-usage' })).state), [id])
  t.equal((await call({ path: '/state/constructor' })).status, 404)
  link.failure = new Error('away')
  t.same((await get({ path: '/state' })).routers, {}, 'without a leader, what this router knows')
})

t.test('which service a request means', async t => {
  const { call, json: get, store, link, watch } = await startTestRouter(t)
  await call({
    method: 'POST',
    path: '/token?token=app.test',
    headers: json,
    body: JSON.stringify({ ...TOKEN, 'run-as-user': 'alice' }),
  })
  const named = await call({ path: '/service-id', headers: { 'x-waiter-token': 'app.test' } })
  t.equal(named.status, 200)
  t.match(named.text, /^waiter-service-hello-[0-9a-f]{32}$/)
  t.equal((await call({ path: '/app-name', headers: { host: 'app.test' } })).text, named.text)

  const absent = await call({
    path: '/service-id',
    headers: { 'x-waiter-token': 'absent', accept: 'application/json' },
  })
  t.equal(absent.status, 404)
  t.match(JSON.parse(absent.text)['waiter-error'].message, /Token not found/)
  const ping = await get({ path: '/waiter-ping', headers: { 'x-waiter-token': 'absent' } })
  t.match(ping, {
    'ping-response': { result: 'descriptor-error', status: 404 },
    'service-description': null,
    'service-state': { 'exists?': false, 'service-id': null },
  })

  // Another router has written these; our watch has not told us yet.
  const entry = await store.get('tokens/app.test')
  watch.isDeaf = true
  await store.compareAndSet('tokens/late.test', 0, entry?.value)
  t.equal((await call({ path: '/service-id', headers: { 'x-waiter-token': 'late.test' } })).status, 200)
  await store.compareAndSet('tokens/later.test', 0, entry?.value)
  const response = await call({ path: '/', headers: { host: 'later.test', 'x-waiter-queue-timeout': '50' } })
  t.equal(response.status, 503, 'it waits for an instance')
  t.ok(link.needs.length > 0)
})

t.test('a ping that finds no instance in time', async t => {
  const { call, json: get, link } = await startTestRouter(t)
  await call({
    method: 'POST',
    path: '/token?token=app.test',
    headers: json,
    body: JSON.stringify({ ...TOKEN, 'run-as-user': 'alice' }),
  })
  const ping = await get({ path: '/waiter-ping', headers: { 'x-waiter-token': 'app.test', 'x-waiter-timeout': '50' } })
  t.match(ping, { 'ping-response': { result: 'timed-out', status: 503 }, 'service-state': { status: 'Starting' } })
  t.equal(link.needs.length, 1)
  const brief = await get({
    path: '/waiter-ping?exclude=service-state',
    headers: { 'x-waiter-token': 'app.test', 'x-waiter-timeout': '50' },
  })
  t.same(keys(brief['service-state']), ['result', 'service-id'])
})
