import { once } from 'node:events'
import { connect } from 'node:http2'
import { eventually, kitchenCommand, startWaiter, waitForEvent } from '@waiter/testkit'
import t from 'tap'
import { WebSocket } from 'ws'
import { readRequestLog } from './support/request-log.ts'
import { describeService, postToken } from './support/services.ts'

const GRACE_MS = 15_000
const waiter = await startWaiter({ config: { 'shutdown-grace-ms': GRACE_MS } })
t.teardown(() => waiter.stop())
await postToken(waiter, 'kitchen', describeService(kitchenCommand(), { 'health-check-url': '/status', mem: 512 }))

async function open(protocols: string[] = []): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${waiter.port}/`, protocols, {
    headers: { 'x-waiter-token': 'kitchen' },
  })
  t.teardown(() => socket.terminate())
  t.equal(String(await waitForEvent<Buffer>(socket, 'message')), 'Connected to kitchen')
  return socket
}

function closeOf(socket: WebSocket): Promise<string> {
  return new Promise(resolve => socket.once('close', (code, reason) => resolve(`${code} ${reason}`.trim())))
}

t.test('a WebSocket starts its service, and its messages pass', async t => {
  const socket = await open()
  socket.send('hello')
  t.equal(String(await waitForEvent<Buffer>(socket, 'message')), 'hello')
  socket.send('bytes-300000')
  t.equal((await waitForEvent<Buffer>(socket, 'message')).length, 300_000)
  const closed = closeOf(socket)
  socket.close(1000, 'done')
  t.match(await closed, /^1000/)
})

t.test('over HTTP/2 the log says what the client saw: 200', async t => {
  const session = connect(`http://127.0.0.1:${waiter.port}`)
  t.teardown(() => session.close())
  await once(session, 'remoteSettings')
  const stream = session.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':path': '/',
    'sec-websocket-version': '13',
    'x-waiter-token': 'kitchen',
    'x-cid': 'over-h2',
  })
  const [head] = await once(stream, 'response')
  t.equal(head[':status'], 200)
  stream.close()
  const lines = await eventually(() => {
    const found = readRequestLog(waiter).filter(({ cid }) => cid === 'over-h2')
    return found.length === 2 ? found : undefined
  }, 'a line of the upgrade and one of the end')
  t.match(lines, [
    { 'request-type': 'websocket-upgrade', status: 200 },
    { 'request-type': 'waiter-proxy', status: 200 },
  ])
})

t.test('an instance that is stopped under a WebSocket says goodbye first, when its time is over', async t => {
  const sockets = [await open(), await open()]
  const [{ 'service-id': id }] = await waiter.api('/apps')
  const closes = sockets.map(closeOf)
  for (const { id: instanceId } of (await waiter.api(`/apps/${id}`)).instances['active-instances']) {
    const path = `/apps/${id}/instance/${instanceId}/kill?timeout=1500`
    t.equal((await waiter.request({ method: 'POST', path })).status, 200)
  }
  t.same(await Promise.all(closes), ['1001 Going away', '1001 Going away'])
})

t.test('an instance that dies is an abnormal closure', async t => {
  const socket = await open()
  const closed = closeOf(socket)
  for (const { pid } of waiter.instanceProcesses()) process.kill(pid, 'SIGKILL')
  t.equal(await closed, '1006')
})

t.test('stopping Waiter says goodbye to every WebSocket, at once', async t => {
  const sockets = [await open(), await open()]
  await eventually(() => waiter.instanceProcesses().length > 0 || undefined, 'an instance')
  const closes = sockets.map(closeOf)
  const startedMs = performance.now()
  const ended = waiter.interrupt()
  t.same(await Promise.all(closes), ['1001 Going away', '1001 Going away'])
  t.ok(performance.now() - startedMs < GRACE_MS - 2_000, 'and does not wait for the end of its grace period')
  t.equal(await ended, 0)
})
