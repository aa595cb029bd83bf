import { eventually, kitchenCommand, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { describeService, helloService, onTheFly, postToken, serviceIdOf } from './support/services.ts'

/** An HTTP server that every machine with Python has; it knows nothing of Waiter. */
const pythonServer = (name: string) =>
  describeService('python3 -m http.server $PORT0', { name, 'health-check-url': '/', 'grace-period-secs': 60 })

t.test('the first request starts the service and is served', async t => {
  const waiter = await startWaiter()
  t.teardown(() => waiter.stop())

  t.test('a token named by x-waiter-token', async t => {
    await postToken(waiter, 'by-header', pythonServer('by-header'))
    t.same(await waiter.api('/apps'), [], 'a token alone starts nothing')
    const answer = await waiter.request({ headers: { 'x-waiter-token': 'by-header' } })
    t.equal(answer.status, 200)
    t.match(answer.text, 'Directory listing for /')
    t.match(answer.headers.server, /^SimpleHTTP/, 'the backend answered, not Waiter')
    const [app] = await waiter.api('/apps')
    t.match(app, {
      'service-id': await serviceIdOf(waiter, { 'x-waiter-token': 'by-header' }),
      'instance-counts': { 'healthy-instances': 1, 'unhealthy-instances': 0 },
      'current-for-tokens': ['by-header'],
      'service-description': { cmd: 'python3 -m http.server $PORT0' },
      status: 'Running',
    })
  })

  t.test('a token named by Host', async t => {
    await postToken(waiter, 'by-host.example.com', pythonServer('by-host'))
    const first = await waiter.request({ headers: { host: 'by-host.example.com' } })
    t.equal(first.status, 200)
    t.match(first.text, 'Directory listing for /')
    const missing = await waiter.request({
      path: '/no-such-file?a=b',
      headers: { host: `by-host.example.com:${waiter.port}` },
    })
    t.equal(missing.status, 404, 'a port in Host makes no difference, and the backend sees the path')
    t.match(missing.text, 'File not found')
  })

  t.test('a description in x-waiter headers, without any token', async t => {
    const answer = await waiter.request({ headers: onTheFly(pythonServer('on-the-fly')) })
    t.equal(answer.status, 200)
    t.match(answer.text, 'Directory listing for /')
  })

  t.test('a request with a body, that waits for the start, arrives whole', async t => {
    await postToken(waiter, 'echo', describeService(kitchenCommand(), { name: 'echo' }))
    const body = 'x'.repeat(300_000)
    const answer = await waiter.request({
      method: 'POST',
      headers: { 'x-waiter-token': 'echo', 'x-kitchen-echo': 'true' },
      body,
      signal: AbortSignal.timeout(10_000),
    })
    t.equal(answer.status, 200)
    t.ok(answer.text === body, 'the same bytes came back')
  })

  t.test('the correlation id of the client reaches backend and answer; without one, Waiter makes one', async t => {
    const headers = { 'x-waiter-token': 'echo', 'x-cid': 'my-id-1' }
    const given = await waiter.request({ path: '/request-info', headers })
    t.equal(given.headers['x-cid'], 'my-id-1')
    t.equal(JSON.parse(given.text).headers['x-cid'], 'my-id-1')
    const made = await waiter.request({ path: '/request-info', headers: { 'x-waiter-token': 'echo' } })
    t.match(made.headers['x-cid'], /^\S{8,}$/)
    t.equal(made.headers['x-cid'], JSON.parse(made.text).headers['x-cid'])
  })

  t.test('x-waiter-debug tells what happened; without it nothing is told', async t => {
    const headers = { 'x-waiter-token': 'echo', 'x-waiter-debug': '1' }
    const answer = await waiter.request({ path: '/request-info', headers })
    const serviceId = await serviceIdOf(waiter, headers)
    t.equal(answer.headers['x-waiter-service-id'], serviceId)
    const app = await waiter.api(`/apps/${serviceId}`)
    const instances: Record<string, unknown>[] = app.instances['active-instances']
    t.match(
      instances.find(({ id }) => id === answer.headers['x-waiter-backend-id']),
      {
        host: answer.headers['x-waiter-backend-host'],
        port: Number(answer.headers['x-waiter-backend-port']),
        'healthy?': true,
      },
    )
    for (const name of ['router-id', 'request-id', 'request-date', 'backend-directory', 'backend-proto'])
      t.ok(answer.headers[`x-waiter-${name}`], name)
    for (const name of ['get-available-instance-ns', 'backend-response-ns'])
      t.match(answer.headers[`x-waiter-${name}`], /^\d+$/, name)
    const seen = Object.keys(JSON.parse(answer.text).headers)
    t.same(
      seen.filter(name => name.startsWith('x-waiter-') && !name.includes('principal')),
      [],
      'the backend does not see what was meant for Waiter',
    )
    const plain = await waiter.request({ path: '/request-info', headers: { 'x-waiter-token': 'echo' } })
    t.same(
      Object.keys(plain.headers).filter(name => name.startsWith('x-waiter-')),
      [],
    )
  })

  t.test('the instance gets the environment of its service', async t => {
    await postToken(waiter, 'env', describeService(kitchenCommand(), { name: 'env', env: { COLOR: 'blue' } }))
    const answer = await waiter.request({ path: '/environment', headers: { 'x-waiter-token': 'env' } })
    t.match(JSON.parse(answer.text), {
      COLOR: 'blue',
      WAITER_SERVICE_ID: await serviceIdOf(waiter, { 'x-waiter-token': 'env' }),
      WAITER_USERNAME: 'waiter',
      WAITER_CPUS: '0.1',
      WAITER_MEM_MB: '256',
      PORT0: /^\d+$/,
    })
  })

  t.test('a new description for a token is served by a new service as soon as that is there', async t => {
    await postToken(waiter, 'renewed', helloService('renewed', { version: '1' }))
    const headers = { 'x-waiter-token': 'renewed', 'x-waiter-debug': '1' }
    const before = await waiter.request({ headers })
    await postToken(waiter, 'renewed', helloService('renewed', { version: '2' }))
    t.equal(before.status, 200)
    const newest = await waiter.request({ path: '/service-id?latest=true', headers: { 'x-waiter-token': 'renewed' } })
    t.not(newest.text, before.headers['x-waiter-service-id'])
    await eventually(async () => {
      const after = await waiter.request({ headers })
      t.equal(after.status, 200, 'nobody waits meanwhile')
      return after.headers['x-waiter-service-id'] === newest.text || undefined
    }, 'the new service to serve')
  })

  t.test('names that nobody registered are refused with the reason', async t => {
    const byHeader = await waiter.request({ headers: { 'x-waiter-token': 'nobody-knows' } })
    t.equal(byHeader.status, 404)
    t.match(byHeader.text, 'nobody-knows')
    const byHost = await waiter.request({ headers: { host: 'nobody.example.com' } })
    t.ok(byHost.status >= 400 && byHost.status < 500, String(byHost.status))
    t.match(byHost.text, 'nobody.example.com')
  })
})
