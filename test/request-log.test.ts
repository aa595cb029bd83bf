import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { eventually, rawRequest, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { helloService, postToken } from './support/services.ts'

type Line = Record<string, unknown>

t.test('every request has a line, and a killed router leaves whole lines', async t => {
  const waiter = await startWaiter({ config: { 'request-log': { 'request-headers': ['x-tenant'] } } })
  t.teardown(() => waiter.stop())
  const path = join(waiter.dataDirectory, 'logs', 'node-1-router-requests.log')
  const lines = (): Line[] =>
    readFileSync(path, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map(line => JSON.parse(line) as Line)
  const lineOf = (cid: string): Promise<Line> =>
    eventually(() => lines().find(line => line.cid === cid), `the line of ${cid}`)

  await postToken(waiter, 'logged', helloService('logged'))
  const headers = { 'x-waiter-token': 'logged', 'x-tenant': 'a"b' }
  const proxied = await waiter.request({ path: '/some/path?q=1', headers: { ...headers, 'x-cid': 'proxied' } })
  t.equal(proxied.status, 200)
  t.match(await lineOf('proxied'), {
    path: '/some/path',
    'query-string': 'q=1',
    'request-header-x-tenant': 'a"b',
    'request-type': 'waiter-proxy',
    status: 200,
    token: 'logged',
    'service-name': 'logged',
    'get-instance-latency-ns': Number,
    'backend-response-latency-ns': Number,
  })

  await waiter.request({ path: '/state/request-log', headers: { 'x-cid': 'api' } })
  t.match(await lineOf('api'), { 'request-type': 'waiter-api', 'waiter-api': true, status: 200 })
  await waiter.request({ headers: { 'x-waiter-token': 'nobody', 'x-cid': 'unknown' } })
  t.match(await lineOf('unknown'), { 'request-type': 'waiter-proxy', status: 404 })
  await rawRequest({ port: waiter.port, bytes: 'GET / HTTP/1.1\r\nbad\r\n\r\n' })
  await eventually(() => lines().find(line => line['request-type'] === 'refused'), 'the line of what was refused')
  t.match(await waiter.api('/state/request-log'), { state: { path, droppedLines: 0, problem: null } })

  await Promise.all(Array.from({ length: 200 }, () => waiter.request({ headers })))
  await waiter.kill9()
  const text = readFileSync(path, 'utf8')
  t.ok(lines().length >= 5)
  t.ok(text.endsWith('\n'), 'a batch is written whole')
})
