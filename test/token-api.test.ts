import { startWaiter } from '@waiter/testkit'
import t from 'tap'
import { errorOf, helloService, postToken } from './support/services.ts'

const waiter = await startWaiter()
t.teardown(() => waiter.stop())

const post = (body: string | Uint8Array, path = '/token?token=bad', headers: Record<string, string> = {}) =>
  waiter.request({ method: 'POST', path, headers: { accept: 'application/json', ...headers }, body })

const good = helloService('good')
const bodyWith = (changes: Record<string, unknown>): string => JSON.stringify({ ...good, ...changes })
const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`

t.test('token bodies that are not right are refused with the reason, and never with a 5xx', async t => {
  const rows: [story: string, body: string | Uint8Array, status: number, text: RegExp][] = [
    ['no body', '', 400, /Invalid JSON payload/],
    ['not JSON', 'cmd=ls', 400, /not valid JSON/],
    ['JSON that breaks off', '{"cmd": "ls"', 400, /not valid JSON/],
    ['a list', '[]', 400, /must be an object/],
    ['null', 'null', 400, /must be an object/],
    ['a number', '17', 400, /must be an object/],
    ['bytes that are no UTF-8', Uint8Array.of(0x7b, 0xff, 0xfe, 0x7d), 400, /UTF-8/],
    ['an empty object', '{}', 400, /No parameters provided/],
    ['an unknown key', bodyWith({ comand: 'ls' }), 400, /Unsupported key\(s\) in token: \[.*comand/],
    ['the key __proto__', '{"__proto__": {"cmd": "ls"}, "cpus": 1}', 400, /__proto__/],
    ['the key constructor', bodyWith({ constructor: { prototype: { cmd: 'ls' } } }), 400, /constructor/],
    ['__proto__ inside env', '{"cmd":"ls","env":{"__proto__":"x"}}', 400, /env/],
    ['cpus as text', bodyWith({ cpus: '0.1' }), 400, /cpus must be/],
    ['mem that is negative', bodyWith({ mem: -1 }), 400, /mem must be/],
    ['cmd as a number', bodyWith({ cmd: 1 }), 400, /cmd must be/],
    ['a blank cmd', bodyWith({ cmd: '  ' }), 400, /cmd must be/],
    ['env with a number', bodyWith({ env: { A: 1 } }), 400, /env/],
    ['env with a reserved name', bodyWith({ env: { WAITER_PASSWORD: 'x' } }), 400, /WAITER_PASSWORD/],
    ['a fraction of an instance', bodyWith({ 'min-instances': 1.5 }), 400, /min-instances must be/],
    ['min above max', bodyWith({ 'min-instances': 5, 'max-instances': 2 }), 400, /min-instances/],
    ['more cpus than allowed', bodyWith({ cpus: 33 }), 400, /cpus/],
    ['more memory than allowed', bodyWith({ mem: 131_073 }), 400, /mem/],
    ['a command that is too long', bodyWith({ cmd: 'x'.repeat(1201) }), 400, /cmd/],
    ['a number that JSON cannot hold', '{"cmd":"ls","cpus":1e999,"mem":1,"version":"1"}', 400, /cpus must be/],
    ['deep nesting', nested(60), 400, /nested deeper/],
    ['nesting that would break a recursive parser', nested(10_000), 400, /nested deeper|not valid JSON/],
    [
      'more keys than allowed',
      JSON.stringify(Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`k${i}`, 1]))),
      400,
      /keys and items/,
    ],
    ['more characters than allowed', bodyWith({ metadata: { a: 'x'.repeat(70_000) } }), 400, /longer than/],
    ['1 MiB', bodyWith({ metadata: { a: 'x'.repeat(1024 * 1024) } }), 413, /larger than/],
    ['metadata of the system', bodyWith({ 'last-update-time': 1 }), 400, /Cannot modify last-update-time/],
    ['a line break in the health check', bodyWith({ 'health-check-url': '/a\r\nx: y' }), 400, /health-check-url/],
  ]
  for (const [story, body, status, text] of rows) {
    await t.test(story, async t => {
      const answer = await post(body)
      t.equal(answer.status, status, answer.text.slice(0, 300))
      t.match(answer.text, text)
      t.match(answer.headers['content-type'], 'application/json')
    })
  }
  t.equal((await waiter.request({ path: '/token?token=bad' })).status, 404, 'none of them made the token')
  t.same(await waiter.api('/tokens'), [])
})

t.test('token names that are not right are refused', async t => {
  const rows: [story: string, path: string, status: number][] = [
    ['none', '/token', 400],
    ['empty', '/token?token=', 400],
    ['with a space', '/token?token=a%20b', 400],
    ['with a slash', '/token?token=..%2F..%2Fetc', 400],
    ['with a zero byte', '/token?token=a%00b', 400],
    ['too long', `/token?token=${'a'.repeat(300)}`, 400],
    ["Waiter's own", '/token?token=localhost', 403],
    ['broken escape', '/token?token=%zz', 400],
    ['an unknown mode', '/token?token=ok&update-mode=force', 400],
  ]
  for (const [story, path, status] of rows) {
    const answer = await post(JSON.stringify(good), path)
    t.equal(answer.status, status, `${story}: ${answer.status} ${answer.text.slice(0, 200)}`)
  }
  t.equal((await waiter.request({ method: 'PUT', path: '/token?token=a' })).status, 405)
})

t.test('the life of a token: create, no change, update, stale update, delete', async t => {
  const body = helloService('life')
  const created = await postToken(waiter, 'life', body)
  t.equal(created.headers['x-waiter-operation-result'], 'token-created')
  t.match(JSON.parse(created.text).message, 'Successfully created life')
  const etag = created.headers.etag as string
  t.ok(etag)

  const read = await waiter.request({ path: '/token?token=life' })
  t.equal(read.headers.etag, etag)
  t.match(JSON.parse(read.text), body)

  const same = await postToken(waiter, 'life', body)
  t.equal(same.headers['x-waiter-operation-result'], 'token-no-op')
  t.equal(same.headers.etag, etag)

  const changed = JSON.stringify({ ...body, version: '2' })
  const updated = await post(changed, '/token?token=life', { 'if-match': etag })
  t.equal(updated.status, 200)
  t.equal(updated.headers['x-waiter-operation-result'], 'token-updated')
  t.not(updated.headers.etag, etag)

  const stale = await post(JSON.stringify({ ...body, version: '3' }), '/token?token=life', { 'if-match': etag })
  t.equal(stale.status, 412)
  t.match(stale.text, 'Cannot modify stale token')
  t.equal(
    JSON.parse((await waiter.request({ path: '/token?token=life' })).text).version,
    '2',
    'and nothing was written',
  )

  const staleDelete = await waiter.request({
    method: 'DELETE',
    path: '/token?token=life&hard-delete=true',
    headers: { 'if-match': etag },
  })
  t.equal(staleDelete.status, 412)
  const deleted = await waiter.request({ method: 'DELETE', path: '/token?token=life' })
  t.equal(deleted.status, 200)
  t.equal(deleted.headers['x-waiter-operation-result'], 'token-deleted')
  t.equal((await waiter.request({ path: '/token?token=life' })).status, 404)
  t.equal((await waiter.request({ headers: { 'x-waiter-token': 'life' } })).status, 404, 'and serves nothing any more')
  t.equal((await waiter.request({ method: 'DELETE', path: '/token?token=life' })).status, 404)
})

t.test('of many writers who have read the same version one wins', async t => {
  const { headers } = await postToken(waiter, 'race', helloService('race'))
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      post(JSON.stringify(helloService('race', { version: `v${index}` })), '/token?token=race', {
        'if-match': headers.etag as string,
      }),
    ),
  )
  const statuses = answers.map(({ status }) => status).sort()
  t.same(statuses, [200, ...Array(19).fill(412)])
  const winner = answers.findIndex(({ status }) => status === 200)
  t.equal(JSON.parse((await waiter.request({ path: '/token?token=race' })).text).version, `v${winner}`)
})

t.test('descriptions in headers are checked like those of tokens', async t => {
  const rows: [story: string, headers: Record<string, string>, text: RegExp][] = [
    ['nothing but a command', { 'x-waiter-cmd': 'ls' }, /cpus|mem|version/],
    [
      'cpus that are no number',
      { 'x-waiter-cmd': 'ls', 'x-waiter-cpus': 'many', 'x-waiter-mem': '1', 'x-waiter-version': '1' },
      /cpus/,
    ],
  ]
  for (const [story, headers, text] of rows) {
    const answer = await waiter.request({ headers: { ...headers, accept: 'application/json' } })
    t.equal(answer.status, 400, `${story}: ${answer.text.slice(0, 200)}`)
    t.match(answer.text, text)
    t.notOk('waiter-token' in errorOf(answer), 'no token is blamed, since none was named')
  }
})

t.test('tokens survive kill -9, one by one as they were acknowledged', async t => {
  const dead = await startWaiter()
  t.teardown(() => dead.stop())
  const etags = new Map<string, unknown>()
  const reached = Promise.withResolvers<void>()
  let isWriting = true
  const writing = (async () => {
    for (let index = 0; isWriting; index++) {
      const name = `token-${index}`
      const answer = await postToken(dead, name, helloService(name)).catch(() => undefined)
      if (answer === undefined) return
      etags.set(name, answer.headers.etag)
      if (index === 20) reached.resolve()
    }
  })()
  await reached.promise
  await dead.kill9()
  isWriting = false
  await writing
  t.ok(etags.size > 20, `${etags.size} writes were acknowledged`)
  const waiter = await startWaiter({ dataDirectory: dead.dataDirectory })
  t.teardown(() => waiter.stop())
  for (const [name, etag] of etags) {
    const read = await waiter.request({ path: `/token?token=${name}` })
    t.equal(read.headers.etag, etag, name)
  }
})
