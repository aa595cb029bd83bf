import { eventually, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { untilAllKnown } from './support/control-nodes.ts'
import { helloService, postToken, serviceIdOf } from './support/services.ts'

/** What is asked of one router holds for all: three nodes, each asked in turn. */
const waiter = await startWaiter({ args: ['--nodes', '3'] })
t.teardown(() => waiter.stop())
const [first = 0, second = 0, third = 0] = waiter.ports
await untilAllKnown(waiter)
const json = { 'content-type': 'application/json', accept: 'application/json' }
const hello = { 'x-waiter-token': 'everywhere' }

await postToken(waiter, 'everywhere', helloService('everywhere', { cmd: `echo started; ${helloService('x').cmd}` }))
const id = await serviceIdOf(waiter, hello)
const details = (port = first) => waiter.api(`/apps/${id}`, port)

t.test('a ping says what all routers agree on', async t => {
  const ping = await waiter.request({ port: third, path: '/waiter-ping', headers: hello })
  t.match(JSON.parse(ping.text), {
    'ping-response': { result: 'received-response', status: 200 },
    'service-state': { 'exists?': true, 'healthy?': true, 'service-id': id, status: 'Running' },
  })
  await eventually(async () => {
    const { state } = await waiter.api(`/state/${id}`, second)
    return state['autoscaler-state']['healthy-instances'] === 1 || undefined
  }, 'a router that had no request to know it as well')
})

t.test('the id alone names a service, also on a router that never heard of it', async t => {
  const headers = { 'x-waiter-token': `^SERVICE-ID#${id}` }
  t.equal(await serviceIdOf(waiter, headers), id)
  t.equal((await waiter.request({ port: second, headers })).status, 200)
  // Known only to the first router, which was asked for its id; it does not run.
  const other = { ...hello, 'x-waiter-version': 'never-run' }
  const otherId = await serviceIdOf(waiter, other)
  const found = await waiter.request({
    port: third,
    path: '/service-id',
    headers: { 'x-waiter-token': `^SERVICE-ID#${otherId}` },
  })
  t.same([found.status, found.text], [200, otherId])
  const absent = await waiter.request({
    port: third,
    path: '/service-id',
    headers: { 'x-waiter-token': '^SERVICE-ID#absent' },
  })
  t.equal(absent.status, 404)
})

t.test('overrides hold everywhere, and what they change happens', async t => {
  const path = `/apps/${id}/override`
  const body = JSON.stringify({ 'min-instances': 2 })
  t.equal((await waiter.request({ port: second, method: 'POST', path, headers: json, body })).status, 200)
  const two = async () => (await details(third)).instances['active-instances'].length === 2 || undefined
  await eventually(two, 'two instances')
  for (const port of waiter.ports) {
    const app = await waiter.api(`/apps/${id}?effective-parameters=true`, port)
    t.equal(app['effective-parameters']['min-instances'], 2)
    t.match(app['service-description-overrides'], { overrides: { 'min-instances': 2 } })
    t.equal(app['num-routers'], 3)
  }
  t.equal((await waiter.request({ port: first, method: 'DELETE', path, headers: json })).status, 200)
  t.equal(
    (await waiter.api(`/apps/${id}?effective-parameters=true`, third))['effective-parameters']['min-instances'],
    1,
  )
})

t.test('a suspended service is refused by every router at once', async t => {
  for (const [action, status] of [
    ['suspend', 503],
    ['resume', 200],
  ] as const) {
    t.match(await waiter.api(`/apps/${id}/${action}`, second), { action, success: true })
    for (const port of waiter.ports) {
      const answer = await waiter.request({ port, headers: { ...hello, accept: 'application/json' } })
      t.equal(answer.status, status, `${action} on ${port}`)
      if (status === 503)
        t.match(JSON.parse(answer.text)['waiter-error'], {
          message: 'Service has been suspended',
          details: { 'error-class': 'waiter.Suspended', 'service-id': id, 'last-updated-by': /./ },
        })
    }
  }
})

t.test('metrics of all routers, and their sum', async t => {
  for (const port of waiter.ports) t.equal((await waiter.request({ port, headers: hello })).status, 200)
  const { metrics } = await waiter.api(`/apps/${id}?include=metrics`, second)
  t.equal(Object.keys(metrics.routers).length, 3)
  const totals = Object.values<{ counters: { 'request-counts': { total: number } } }>(metrics.routers).map(
    router => router.counters['request-counts'].total,
  )
  t.equal(
    metrics.aggregate.counters['request-counts'].total,
    totals.reduce((sum, total) => sum + total, 0),
  )
  t.equal(metrics.aggregate['routers-sent-requests-to'], 3)
  t.equal(Object.keys((await waiter.api('/state/router-metrics', third)).state.metrics.routers).length, 3)
})

t.test('a killed instance: its files stay readable, through any router', async t => {
  const instance = (await details()).instances['active-instances'][0]
  const path = `/apps/${id}/instance/${instance.id}/kill?force=true`
  t.equal((await waiter.request({ port: third, method: 'POST', path })).status, 200)
  const isKilled = async () =>
    (await details()).instances['killed-instances'].some((one: { id: string }) => one.id === instance.id) || undefined
  await eventually(isKilled, 'the instance to be listed as killed')
  const logs = `/apps/${id}/logs?instance-id=${instance.id}&host=${instance.host}`
  const listed = await waiter.api(logs, second)
  t.ok(listed.some((entry: { name: string }) => entry.name === 'stdout'))
  t.equal((await waiter.request({ port: third, path: `${logs}&file=stdout` })).text, 'started\n')
  t.equal((await waiter.request({ port: third, path: `${logs}&file=../../../cluster-secret` })).status, 400)
  t.equal((await waiter.request({ headers: hello })).status, 200, 'the service goes on')
})

t.test('a watch through any router sees the end of the service, and all routers agree on it', async t => {
  const watch = await fetch(
    `http://127.0.0.1:${second}/apps/instances?watch=true&service-id=${id}&streaming-timeout=2000`,
  )
  const stream = watch.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  const read = async (isEnough: () => boolean): Promise<void> => {
    while (!isEnough()) {
      const piece = await stream?.read()
      if (piece === undefined || piece.done) return
      text += piece.value
    }
  }
  await read(() => text.includes('\n'))
  const gone = JSON.parse(
    (await waiter.request({ port: first, method: 'DELETE', path: `/apps/${id}?timeout=30000` })).text,
  )
  t.match(gone, { result: 'deleted', success: true, 'routers-agree': true })
  for (const port of waiter.ports) {
    const left = JSON.parse((await waiter.request({ port, path: `/apps/${id}` })).text)
    t.match(left, { status: 'Inactive', 'num-active-instances': 0 }, 'gone everywhere, and still known')
  }
  t.same(await waiter.api('/apps?run-as-user=*'), [])
  const goal = await waiter.api(`/apps/${id}/await/deleted?timeout=10000`, third)
  t.match(goal, { 'goal-success?': true, 'service-exists?': false })
  await read(() => false)
  const messages = text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  const last = messages.at(-1)
  t.equal(messages[0].type, 'initial')
  t.ok(last.object['healthy-instances'].removed.length > 0, 'its instances are told as removed')
})
