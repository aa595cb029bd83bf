import { createHash } from 'node:crypto'
import { createServicesConfig, createSimpleEntitlements } from '@waiter/services'
import type { TestResponse } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { startTestRouter } from './support/started-router.ts'

const USERS = ['alice', 'bob', 'root']
const authentication = {
  authenticator: {
    kind: 'api-keys' as const,
    keys: USERS.map(user => ({ principal: user, sha256: createHash('sha256').update(`key of ${user}`).digest('hex') })),
  },
  secrets: ['a secret of this test'],
  clusterName: 'waiter',
  cookie: { maxAgeSecs: 60, sameSite: 'lax' as const },
}
const TOKEN = { cmd: 'serve', cpus: 1, mem: 256, version: '1', 'run-as-user': 'alice' }

interface Ask {
  readonly method?: string
  readonly path?: string
  readonly user?: string
  readonly headers?: Record<string, string>
  readonly body?: unknown
}

/** A router for several users with few tokens per owner; `root` is its administrator. */
async function start(t: Test) {
  const base = createServicesConfig()
  const router = await startTestRouter(t, {
    authentication,
    entitlements: createSimpleEntitlements(['root']),
    services: createServicesConfig({
      waiterHostnames: ['localhost', '127.0.0.1'],
      token: { ...base.token, liveTokensPerOwnerMax: 3 },
    }),
  })
  return (wanted: Ask): Promise<TestResponse> => {
    const { method = 'POST', path = '/token?token=app', user = 'alice', headers = {}, body } = wanted
    const authorization = `Basic ${Buffer.from(`${user}:key of ${user}`).toString('base64')}`
    const text = body === undefined ? {} : { body: JSON.stringify(body) }
    return router.call({ method, path, headers: { accept: 'application/json', authorization, ...headers }, ...text })
  }
}

const errorOf = (answer: TestResponse) => JSON.parse(answer.text)['waiter-error']

t.test('what is refused of a token, with which words', async t => {
  const ask = await start(t)
  const created = await ask({ body: { ...TOKEN, editor: 'bob' } })
  t.equal(created.status, 200)
  const etag = String(created.headers.etag)
  const bobs = { ...TOKEN, 'run-as-user': 'bob' }
  const rows: readonly (readonly [wanted: Ask, status: number, message: string | RegExp])[] = [
    [{ path: '/token', body: TOKEN }, 400, 'Must provide the token'],
    [{ path: '/token?token=localhost', body: TOKEN }, 403, 'Token name is reserved'],
    [{ path: '/token?token=a%20b', body: TOKEN }, 400, 'Token contains invalid character: " "'],
    [{ path: '/token?token=a', body: TOKEN }, 400, 'Token must match pattern'],
    [{ path: '/token?token=1ab', body: TOKEN }, 400, 'Token must match pattern'],
    [{ body: { ...TOKEN, token: 'app' } }, 400, /either as query parameter or in the JSON body, not in both/],
    [{ path: '/token?token=app&update-mode=other', body: TOKEN }, 400, 'Invalid update-mode'],
    [{ body: [] }, 400, /^Invalid JSON payload/],
    [{ body: { ...TOKEN, colour: 'red' } }, 400, 'Unsupported key(s) in token: ["colour"]'],
    [{ body: {} }, 400, 'No parameters provided for app'],
    [{ body: { ...TOKEN, cpus: 0 } }, 400, 'Validation failed for token:\ncpus must be a positive number.'],
    [{ body: { ...TOKEN, root: 'x' } }, 400, 'Cannot modify root token metadata'],
    [{ body: { ...TOKEN, previous: {} } }, 400, 'Cannot modify previous token metadata'],
    [{ body: { ...TOKEN, 'last-update-user': 'x' } }, 400, 'Cannot modify last-update-user token metadata'],
    [{ body: TOKEN, headers: { 'if-match': 'E-0' } }, 412, 'Cannot modify stale token'],
    [{ path: '/token?token=new', body: { ...TOKEN, owner: 'bob' } }, 403, 'Cannot create token as provided owner: bob'],
    [{ path: '/token?token=new', body: bobs }, 403, "Authenticated user 'alice' cannot run as user 'bob'"],
    [{ body: bobs }, 403, "Owner 'alice' cannot run as user 'bob'"],
    [{ user: 'bob', body: { ...TOKEN, editor: 'alice' } }, 403, 'Not allowed to edit parameter editor'],
    [{ user: 'bob', body: { ...TOKEN, editor: 'bob', owner: 'bob' } }, 403, 'Not allowed to edit parameter owner'],
    [{ user: 'bob', body: { ...bobs, editor: 'bob' } }, 403, 'Not allowed to edit parameter run-as-user'],
    [{ user: 'bob', method: 'DELETE' }, 403, 'User not allowed to delete token'],
    [{ path: '/token?token=app&update-mode=admin', body: TOKEN }, 403, 'Cannot administer token'],
    [
      { path: '/token?token=app&update-mode=admin', user: 'root', body: TOKEN },
      400,
      'Must specify if-match header for admin mode token updates',
    ],
    [{ method: 'DELETE', path: '/token?token=app&hard-delete=true' }, 403, 'Cannot hard-delete token'],
    [
      { method: 'DELETE', path: '/token?token=app&hard-delete=true', user: 'root' },
      400,
      'Must specify if-match header for token hard deletes',
    ],
    [{ method: 'DELETE', headers: { 'if-match': 'E-0' } }, 412, 'Cannot modify stale token'],
    [{ method: 'DELETE', path: '/token?token=none' }, 404, 'Token none does not exist'],
    [{ method: 'DELETE', path: '/token' }, 400, "Couldn't find token in request"],
    [{ method: 'GET', path: '/token?token=none' }, 404, "Couldn't find token none"],
    [{ method: 'GET', path: '/token-history?token=none' }, 404, 'Token not found: none'],
  ]
  for (const [wanted, status, message] of rows) {
    const answer = await ask(wanted)
    const story = `${JSON.stringify(wanted)}: ${answer.text.slice(0, 300)}`
    t.equal(answer.status, status, story)
    t.match(errorOf(answer).message, message, story)
  }
  t.equal((await ask({ method: 'GET' })).headers.etag, etag, 'none of it changed anything')
  const bad = errorOf(await ask({ path: '/token?token=a%20b', body: TOKEN }))
  t.match(bad.details, { 'char-index': 1, 'char-codepoint': 32 })
  const invalid = errorOf(await ask({ body: { ...TOKEN, cpus: 0, env: { SECRET: 'x'.repeat(600) } } }))
  t.match(invalid.details, {
    'friendly-error-message': /^cpus must be a positive number\.\n/,
    issue: { cpus: 'cpus must be a positive number.' },
    message: 'Validation failed for token',
    'service-description': { cmd: 'serve', cpus: 0, env: ['SECRET'] },
    type: 'service-description-error',
  })
  t.notMatch(JSON.stringify(invalid), 'xxx', 'values of variables are not repeated')
  for (const token of ['second', 'third'])
    t.equal((await ask({ path: `/token?token=${token}`, body: TOKEN })).status, 200)
  const many = await ask({ path: '/token?token=fourth', body: TOKEN })
  t.equal(many.status, 403)
  t.match(errorOf(many).message, /^You have reached the limit of number of tokens allowed/)
  t.equal((await ask({ body: { ...TOKEN, version: '2', editor: 'bob' } })).status, 200, 'old ones may still change')
})

t.test('what is done to a token, and how that is said', async t => {
  const ask = await start(t)
  const result = (answer: TestResponse) => [
    answer.status,
    answer.headers['x-waiter-operation-result'],
    JSON.parse(answer.text).message,
  ]
  const created = await ask({ body: { ...TOKEN, editor: 'bob' } })
  t.same(result(created), [200, 'token-created', 'Successfully created app'])
  t.same(JSON.parse(created.text)['service-description'], TOKEN, 'parameters only')
  const same = await ask({ body: { ...TOKEN, editor: 'bob' } })
  t.same(result(same), [200, 'token-no-op', 'No changes detected for app'])
  t.equal(same.headers.etag, created.headers.etag)
  const edited = await ask({ user: 'bob', body: { ...TOKEN, editor: 'bob', version: '2' } })
  t.same(result(edited), [200, 'token-updated', 'Successfully updated app'], 'by its editor')
  const read = await ask({ method: 'GET', path: '/token?token=app&include=metadata' })
  t.match(JSON.parse(read.text), {
    ...{ cluster: 'waiter', root: 'waiter', owner: 'alice', editor: 'bob', 'last-update-user': 'bob', version: '2' },
    previous: { version: '1', 'last-update-user': 'alice', 'last-update-time': /^\d{4}-.*Z$/ },
  })
  t.equal(read.headers.etag, edited.headers.etag)
  const shown = JSON.parse((await ask({ method: 'GET' })).text)
  t.same(shown, { ...TOKEN, version: '2', editor: 'bob', owner: 'alice' }, 'without system metadata')

  const removed = await ask({ method: 'DELETE', headers: { 'if-match': String(edited.headers.etag) } })
  t.same(JSON.parse(removed.text), { delete: 'app', 'hard-delete': false, success: true })
  t.match(removed.headers, { 'x-waiter-operation-result': 'token-deleted', etag: edited.headers.etag })
  t.equal((await ask({ method: 'DELETE' })).status, 404, 'it is gone')
  t.equal((await ask({ method: 'GET' })).status, 404)
  const deleted = await ask({ method: 'GET', path: '/token?token=app&include=deleted&include=metadata' })
  t.match(JSON.parse(deleted.text), { deleted: true, version: '2' })
  t.same((await ask({ method: 'GET', path: '/tokens' })).text, '[]')
  t.match(JSON.parse((await ask({ method: 'GET', path: '/tokens?include=deleted,metadata' })).text), [
    { token: 'app', deleted: true, etag: null },
  ])
  const again = await ask({ body: { ...TOKEN, version: '3' } })
  t.same(result(again), [200, 'token-created', 'Successfully created app'])
  t.equal(
    JSON.parse((await ask({ method: 'GET', path: '/token?token=app&include=metadata' })).text).previous.version,
    '2',
  )

  const admin = { user: 'root', path: '/token?token=app&update-mode=admin' }
  const ifMatch = { 'if-match': String(again.headers.etag) }
  const time = '2020-01-02T03:04:05.000Z'
  const synced = { ...TOKEN, owner: 'zoe', root: 'other', 'last-update-time': time, 'last-update-user': 'eve' }
  const copied = await ask({
    ...admin,
    headers: ifMatch,
    body: { ...synced, cluster: 'far', previous: { version: '0' } },
  })
  t.equal(copied.status, 200, copied.text)
  t.match(JSON.parse((await ask({ method: 'GET', path: '/token?token=app&include=metadata' })).text), {
    ...{ owner: 'zoe', root: 'other', cluster: 'far', 'last-update-time': time, 'last-update-user': 'eve' },
    previous: { version: '0' },
  })
  const hard = '/token?token=app&hard-delete=true'
  const erased = await ask({
    ...{ method: 'DELETE', path: hard, user: 'root' },
    headers: { 'if-match': String(copied.headers.etag) },
  })
  t.same(JSON.parse(erased.text), { delete: 'app', 'hard-delete': true, success: true })
  t.equal((await ask({ method: 'GET', path: '/token?token=app&include=deleted' })).status, 404, 'without a trace')
})
