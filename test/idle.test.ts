import { eventually, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { helloService, postToken } from './support/services.ts'

/** The shortest timeout there is. */
const IDLE_MS = 60_000

t.test('after its idle timeout nothing of a service runs; the next request starts it again', async t => {
  const waiter = await startWaiter()
  t.teardown(() => waiter.stop())
  await postToken(waiter, 'lasting', helloService('lasting', { 'idle-timeout-mins': 0 }))
  await postToken(waiter, 'passing', helloService('passing', { 'idle-timeout-mins': 1, 'min-instances': 2 }))
  const ask = (token: string) =>
    waiter.request({ path: '/hello', headers: { 'x-waiter-token': token, 'x-waiter-debug': '1' } })
  const lasting = await ask('lasting')
  const first = await ask('passing')
  const lastUsedMs = performance.now()
  t.same([lasting.status, first.status], [200, 200])
  await eventually(() => waiter.instanceProcesses().length === 3 || undefined, 'all three instances')

  await eventually(() => waiter.instanceProcesses().length === 1 || undefined, 'the idle service to go', {
    timeoutMs: IDLE_MS + 25_000,
    everyMs: 100,
  })
  const idleMs = performance.now() - lastUsedMs
  t.ok(idleMs >= IDLE_MS - 100, `not before its time: after ${Math.round(idleMs)} ms`)
  const apps = await eventually(async () => {
    const listed = await waiter.api('/apps')
    return listed.length === 1 ? listed : undefined
  }, 'the service to leave the list')
  t.equal(apps[0]['service-id'], lasting.headers['x-waiter-service-id'], 'idle-timeout-mins 0 keeps a service')

  const again = await ask('passing')
  t.equal(again.status, 200)
  t.equal(again.headers['x-waiter-service-id'], first.headers['x-waiter-service-id'])
  t.not(again.headers['x-waiter-backend-id'], first.headers['x-waiter-backend-id'], 'by a new instance')
  t.equal((await ask('lasting')).headers['x-waiter-backend-id'], lasting.headers['x-waiter-backend-id'])
})
