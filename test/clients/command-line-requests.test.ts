import { startWaiter } from '@waiter/testkit'
import t from 'tap'
import { helloService } from '../support/services.ts'

/** The requests that the original's command line makes (spec §10), in its order and with its headers. */
const waiter = await startWaiter()
t.teardown(() => waiter.stop())

interface Answer {
  readonly status: number
  readonly etag: string
  readonly result: string
  // biome-ignore lint/suspicious/noExplicitAny: the assertions say what is expected of it.
  readonly json: any
}

let cids = 0
async function ask(method: string, path: string, more: { etag?: string; body?: unknown; headers?: object } = {}) {
  const { status, headers, body } = await waiter.request({
    method,
    path,
    headers: {
      accept: 'application/json',
      'user-agent': 'waiter/1.0 (python)',
      'x-cid': `waiter-1.0-${++cids}`,
      ...(more.etag === undefined ? {} : { 'if-match': more.etag }),
      ...(more.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...more.headers,
    },
    ...(more.body === undefined ? {} : { body: JSON.stringify(more.body) }),
  })
  const answer: Answer = {
    status,
    etag: String(headers['etag'] ?? ''),
    result: String(headers['x-waiter-operation-result'] ?? ''),
    json: JSON.parse(body.toString()),
  }
  return answer
}

const DESCRIPTION = helloService('remote')
const READ = '/token?token=remote&include=metadata&include=deleted'

t.test('create, update, show, ping, maintenance, kill, delete', async t => {
  t.match(await ask('GET', READ), { status: 404, json: { 'waiter-error': { status: 404 } } })
  const settings = await ask('GET', '/settings')
  t.equal(typeof settings.json['cluster-config'].name, 'string')

  const created = await ask('POST', '/token?token=remote', { etag: '', body: DESCRIPTION })
  t.match(created, { status: 200, result: 'token-created', json: { message: 'Successfully created remote' } })
  const again = await ask('POST', '/token?token=remote', { etag: '', body: DESCRIPTION })
  t.match(again, { status: 412, json: { 'waiter-error': { message: /Cannot modify stale token/ } } })

  const read = await ask('GET', READ)
  t.match(read, { status: 200, etag: created.etag, json: { cluster: settings.json['cluster-config'].name } })
  t.match(read.json, { owner: String, 'last-update-time': /^\d{4}-/ })
  const same = await ask('POST', '/token?token=remote', { etag: read.etag, body: DESCRIPTION })
  t.match(same, { status: 200, result: 'token-no-op', etag: read.etag })
  const changed = { ...DESCRIPTION, version: 'next' }
  const updated = await ask('POST', '/token?token=remote', { etag: read.etag, body: changed })
  t.match(updated, { status: 200, result: 'token-updated', json: { message: 'Successfully updated remote' } })

  const listed = await ask('GET', `/tokens?owner=${encodeURIComponent(read.json.owner)}&include=metadata`)
  t.match(listed.json, [{ token: 'remote', owner: read.json.owner, etag: updated.etag, deleted: false }])
  t.same((await ask('GET', '/apps?token=remote')).json, [], 'nothing runs yet')

  const ping = await ask('GET', '/waiter-ping', {
    headers: { 'x-waiter-token': 'remote', 'x-waiter-timeout': '60000' },
  })
  t.match(ping.json, {
    'ping-response': { result: 'received-response', status: 200 },
    'service-state': { status: String },
  })
  const serviceId: string = ping.json['service-state']['service-id']
  const byId = { 'x-waiter-token': `^SERVICE-ID#${serviceId}` }
  t.match((await ask('GET', '/waiter-ping', { headers: byId })).json['service-state'], { 'service-id': serviceId })
  t.match((await ask('GET', '/apps?token=remote')).json, [{ 'service-id': serviceId, status: 'Running' }])
  t.match((await ask('GET', `/apps/${serviceId}`)).json, {
    status: 'Running',
    'service-description': { version: 'next' },
  })

  const silent = { ...changed, maintenance: { message: 'back at noon' } }
  const closed = await ask('POST', '/token?token=remote', { etag: updated.etag, body: silent })
  t.match(closed, { status: 200, result: 'token-updated' })
  t.match((await ask('GET', '/tokens?include=metadata')).json, [{ token: 'remote', maintenance: true }])
  const opened = await ask('POST', '/token?token=remote', { etag: closed.etag, body: changed })

  const killed = await ask('DELETE', `/apps/${serviceId}?timeout=30000`)
  t.match(killed, { status: 200, json: { success: true, 'service-id': serviceId, 'routers-agree': true } })
  t.match(await ask('DELETE', '/token?token=remote', { etag: updated.etag }), { status: 412 })
  t.match(await ask('DELETE', '/token?token=remote', { etag: opened.etag }), {
    status: 200,
    result: 'token-deleted',
    json: { delete: 'remote', 'hard-delete': false, success: true },
  })
  t.match(await ask('GET', READ), { status: 200, json: { deleted: true } })
  t.match(await ask('GET', '/token?token=remote'), { status: 404 })
})
