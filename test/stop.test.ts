import { eventually, isRunning, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { hello, pidsOf, start } from './support/lives.ts'
import { describeService, helloService, postToken, witnessService } from './support/services.ts'

t.test('Ctrl-C lets a running request finish, then stops everything', async t => {
  const waiter = await start(t)
  await postToken(waiter, 'one', witnessService('one', `${waiter.dataDirectory}/report`))
  t.equal((await hello(waiter, 'one')).status, 200)
  const { 'service-id': id } = (await waiter.api('/apps'))[0]
  const slow = waiter.request({ headers: { 'x-waiter-token': 'one', 'x-delay-ms': '2500' } })
  await eventually(
    async () => (await waiter.api(`/state/${id}`)).state['request-counts'].outstanding === 1 || undefined,
    'the request',
  )
  const ended = waiter.interrupt()
  t.equal((await slow).status, 200)
  t.equal(await ended, 0)
  t.same(pidsOf(waiter), [])
})

t.test('Ctrl-C does not wait for an instance that ignores SIGTERM, nor leave its children', async t => {
  const waiter = await startWaiter({ config: { 'shutdown-grace-ms': 500 } })
  t.teardown(() => waiter.stop())
  const cmd = `trap '' TERM; sleep 300 & (trap '' TERM; sleep 300) & python3 -m http.server $PORT0; sleep 300`
  await postToken(waiter, 'stubborn', describeService(cmd, { name: 'stubborn', 'health-check-url': '/' }))
  t.equal((await hello(waiter, 'stubborn')).status, 200)
  t.ok(pidsOf(waiter).length >= 4, 'a shell and its children')
  const startedMs = performance.now()
  t.equal(await waiter.interrupt(), 0)
  t.same(pidsOf(waiter), [])
  t.ok(performance.now() - startedMs < 20_000)
})

for (const signal of ['SIGTERM', 'SIGHUP'] as const) {
  t.test(`${signal} to the first process alone stops everything as well`, async t => {
    const waiter = await start(t)
    await postToken(waiter, 'one', helloService('one'))
    t.equal((await hello(waiter, 'one')).status, 200)
    process.kill(waiter.pid, signal)
    await eventually(() => !isRunning(waiter.pid) || undefined, 'the end')
    t.same(pidsOf(waiter), [])
    await waiter.interrupt() // gone already
  })
}
