import { silentLogger } from '@waiter/base'
import { createServicesConfig, createSimpleEntitlements, parseTokenListingQuery } from '@waiter/services'
import { createMemoryStore } from '@waiter/store'
import { eventually } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { STREAM_PENDING_MAX } from '../src/api/json-stream.ts'
import { TokenReplica } from '../src/tokens/token-replica.ts'
import { TOKEN_WATCHERS_MAX, TokenWatchers } from '../src/tokens/token-watchers.ts'
import { openDocuments } from './support/json-documents.ts'
import { type StartedRouter, startTestRouter } from './support/started-router.ts'

const TOKEN = { cmd: 'serve', cpus: 1, mem: 256, version: '1', name: 'hello', 'run-as-user': 'alice' }
const json = { 'content-type': 'application/json' }

const post = async (router: StartedRouter, token: string, body: object = TOKEN, query = '') =>
  await router.call({
    method: 'POST',
    path: `/token?token=${token}${query}`,
    headers: json,
    body: JSON.stringify(body),
  })
const remove = async (router: StartedRouter, token: string, query = '', headers = {}) =>
  await router.call({ method: 'DELETE', path: `/token?token=${token}${query}`, headers })

async function watch(t: Test, router: StartedRouter, query = '') {
  const { status, documents } = await openDocuments(router.port, `/tokens?watch=true${query}`)
  t.equal(status, 200)
  t.teardown(() => documents.close())
  return documents
}

t.test('a watch of tokens', async t => {
  await t.test('begins with what there is and goes on with what changes', async t => {
    const router = await startTestRouter(t)
    await post(router, 'first')
    const documents = await watch(t, router)
    t.match(await documents.next(), {
      id: /./,
      type: 'INITIAL',
      'reference-type': 'token',
      object: [{ token: 'first', owner: 'alice', maintenance: false, 'reference-type->reference-name': {} }],
    })
    await post(router, 'second')
    const event = await documents.next()
    t.match(event, {
      type: 'EVENTS',
      object: [{ type: 'UPDATE', 'reference-type': 'token', object: { token: 'second' } }],
    })
    await post(router, 'second', { ...TOKEN, maintenance: { message: 'back soon' } })
    t.match(await documents.next(), { object: [{ type: 'UPDATE', object: { token: 'second', maintenance: true } }] })
  })

  await t.test('tells of a soft deletion, also to those who do not want to see deleted tokens', async t => {
    const router = await startTestRouter(t)
    await post(router, 'app')
    const [plain, deleted] = [await watch(t, router), await watch(t, router, '&include=deleted&include=metadata')]
    await plain.next()
    await deleted.next()
    await remove(router, 'app')
    t.match(await plain.next(), { object: [{ type: 'DELETE', object: { token: 'app', owner: 'alice' } }] })
    t.match(await deleted.next(), { object: [{ type: 'UPDATE', object: { token: 'app', deleted: true, etag: null } }] })
    await remove(router, 'app', '&hard-delete=true')
    t.match(await deleted.next(), { object: [{ type: 'DELETE', object: { token: 'app', owner: 'alice' } }] })
    await post(router, 'other')
    t.match(await plain.next(), { object: [{ type: 'UPDATE', object: { token: 'other' } }] }, 'not told twice')
  })

  await t.test('filters events as it filters the listing; what leaves the filter is gone for that watcher', async t => {
    const router = await startTestRouter(t)
    await post(router, 'app', { ...TOKEN, maintenance: { message: 'back soon' } })
    const documents = await watch(t, router, '&maintenance=true&parameters=version')
    t.match(await documents.next(), { object: [{ token: 'app', parameters: { version: '1' } }] })
    await post(router, 'unrelated')
    await post(router, 'app')
    t.match(await documents.next(), { object: [{ type: 'DELETE', object: { token: 'app' } }] })
  })

  await t.test('ends when nothing was sent for the streaming time-out', async t => {
    const router = await startTestRouter(t)
    const documents = await watch(t, router, '&streaming-timeout=50')
    await documents.next()
    t.equal(await documents.next(), undefined)
  })

  await t.test('passes on what is told of references, to those who ask', async t => {
    const router = await startTestRouter(t)
    const documents = await watch(t, router, '&reference-updates=true')
    await documents.next()
    const update = {
      'reference-name': 'repo/image:1',
      'reference-type': 'image',
      'update-time': '2024-01-02T03:04:05.000Z',
    }
    const answer = await router.call({ method: 'POST', path: '/reference/notify', body: JSON.stringify(update) })
    t.equal(answer.status, 200)
    t.match(await documents.next(), { object: [{ type: 'UPDATE', 'reference-type': 'image', object: update }] })
    const bad = await router.call({ method: 'POST', path: '/reference/notify', body: '{"reference-name":"x"}' })
    t.equal(bad.status, 400)
  })

  await t.test('sends a listing that is larger than what the engine buffers', async t => {
    const router = await startTestRouter(t)
    await post(router, 'model')
    const model = JSON.parse((await router.store.get('tokens/model'))?.value ?? '{}')
    const record = { ...model, metadata: { filler: '\u00e9'.repeat(900) } }
    const TOKENS = 1_500
    for (let index = 0; index < TOKENS; index++)
      await router.store.compareAndSet(`tokens/app-${index}`, 0, JSON.stringify(record))
    await eventually(
      async () => (await router.json({ path: '/tokens' })).length === TOKENS + 1 || undefined,
      'all are known',
    )
    const documents = await watch(t, router, '&parameters=metadata')
    t.equal((await documents.next()).object.length, TOKENS + 1)
  })

  await t.test('says what is wrong with its query', async t => {
    const router = await startTestRouter(t)
    for (const query of ['streaming-timeout=soon', 'watch=perhaps', 'reference-updates=1'])
      t.equal((await router.call({ path: `/tokens?${query}` })).status, 400, query)
  })
})

t.test('watchers are bounded in number, and slow ones in what waits for them', async t => {
  const tokens = new TokenReplica(createMemoryStore(), silentLogger)
  const context = { config: createServicesConfig(), entitlements: createSimpleEntitlements() }
  const watchers = new TokenWatchers({ tokens, context, nextId: () => '1' })
  const query = parseTokenListingQuery(new Map())
  if (!query.ok) throw new Error('a query without parameters is fine')
  const stops = Array.from({ length: TOKEN_WATCHERS_MAX }, () => watchers.add({ query: query.value, send: () => {} }))
  t.throws(() => watchers.add({ query: query.value, send: () => {} }), { status: 503, code: 'WTR_TOO_MANY_WATCHERS' })
  stops[0]?.()
  t.equal(watchers.size, TOKEN_WATCHERS_MAX - 1)

  const router = await startTestRouter(t)
  const { documents } = await openDocuments(router.port, '/tokens?watch=true&parameters=cmd')
  await documents.next()
  documents.pause()
  const stored = {
    ...TOKEN,
    owner: 'alice',
    cluster: 'w',
    root: 'w',
    'last-update-time': 1,
    'last-update-user': 'alice',
  }
  const fat = JSON.stringify({ ...stored, cmd: 'x'.repeat(16_000) })
  // Each write is a turn of its own and so a message of its own; the sockets' buffers hold some hundred of them.
  const WRITES = STREAM_PENDING_MAX + 2_000
  for (let index = 0; index < WRITES; index++) {
    await router.store.compareAndSet(`tokens/app-${index}`, 0, fat)
    await new Promise(resolve => setImmediate(resolve))
  }
  documents.resume()
  let received = 0
  while ((await documents.next()) !== undefined) received += 1
  t.ok(received < WRITES, `cut off after ${received} of ${WRITES} messages`)
})

t.test('what to include may be said at once or one by one', async t => {
  const router = await startTestRouter(t)
  await post(router, 'app')
  await remove(router, 'app')
  for (const include of ['include=metadata,deleted', 'include=metadata&include=deleted']) {
    t.match(await router.json({ path: `/tokens?${include}` }), [{ token: 'app', deleted: true, etag: null }])
    t.match(await router.json({ path: `/token?token=app&${include}` }), { deleted: true, previous: { version: '1' } })
  }
  const created = await router.call({
    method: 'POST',
    path: '/token?token=fresh',
    headers: { ...json, 'if-match': '' },
    body: JSON.stringify(TOKEN),
  })
  t.equal(created.status, 200, 'an empty if-match, as the original command line sends it')
})

t.test('the small endpoints', async t => {
  const router = await startTestRouter(t)
  await post(router, 'app')
  await post(router, 'bobs', { ...TOKEN, owner: 'bob', 'run-as-user': 'bob' })
  await t.test('GET /tokens/owners', async t => {
    t.match(await router.json({ path: '/tokens/owners' }), { alice: /^\^TOKEN_OWNERS_/, bob: /^\^TOKEN_OWNERS_/ })
  })
  await t.test('POST /tokens/reindex', async t => {
    router.watch.isDeaf = true
    const entry = await router.store.get('tokens/app')
    await router.store.compareAndSet('tokens/unheard', 0, entry?.value ?? '')
    t.same(await router.json({ method: 'POST', path: '/tokens/reindex' }), {
      message: 'Successfully re-indexed',
      tokens: 3,
    })
    t.equal((await router.json({ path: '/tokens' })).length, 3)
    router.watch.isDeaf = false
  })
  await t.test('POST /tokens/refresh', async t => {
    const refresh = async (body: string) => await router.call({ method: 'POST', path: '/tokens/refresh', body })
    t.same(JSON.parse((await refresh('{"token":"app","owner":"alice"}')).text), { success: true })
    t.same(JSON.parse((await refresh('{"index":true}')).text), { success: true })
    t.equal((await refresh('{}')).status, 400)
    t.equal((await refresh('no json')).status, 400)
  })
  await t.test('a wrong method is told so', async t => {
    for (const path of ['/tokens/owners', '/token-history'])
      t.equal((await router.call({ method: 'POST', path })).status, 405, path)
    for (const path of ['/tokens/reindex', '/tokens/refresh', '/reference/notify'])
      t.equal((await router.call({ path })).status, 405, path)
  })
  await t.test('GET /token-history', async t => {
    await post(router, 'app', { ...TOKEN, version: '2' })
    await post(router, 'app', { ...TOKEN, version: '3' })
    const history = await router.json({ path: '/token-history?token=app' })
    t.match(history, [
      {
        'service-description': { version: '3', 'version-effective': '3', cmd: 'serve' },
        'service-id': /^waiter-service-hello-/,
        'source-component': 'token',
        'update-time': /^20.*Z$/,
      },
      { 'service-description': { version: '2' } },
      { 'service-description': { version: '1' } },
    ])
    t.equal(history.length, 3)
    t.equal((await router.json({ path: '/token-history?token=app&length=2' })).length, 2)
    t.match(await router.json({ path: '/token-history?token=absent', headers: { accept: 'application/json' } }), {
      'waiter-error': { status: 404, message: 'Token not found: absent' },
    })
    for (const query of ['', '?token=app&length=0', '?token=app&length=x'])
      t.equal((await router.call({ path: `/token-history${query}` })).status, 400, query)
  })
})
