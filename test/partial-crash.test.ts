import { eventually, isRunning } from '@waiter/testkit'
import t from 'tap'
import { expectNoOrphans, hello, pidsOf, start } from './support/lives.ts'
import { helloService, postToken } from './support/services.ts'

t.test('kill -9 of the control process: no request fails, and scaling goes on afterwards', async t => {
  const waiter = await start(t)
  await postToken(waiter, 'one', helloService('one', { 'concurrency-level': 5 }))
  await postToken(waiter, 'later', helloService('later'))
  t.equal((await hello(waiter, 'one')).status, 200)
  const pids = pidsOf(waiter)
  const [control] = waiter.processes('control')
  let isAsking = true
  const asking = Promise.all(
    Array.from({ length: 3 }, async () => {
      const statuses: number[] = []
      while (isAsking) statuses.push((await hello(waiter, 'one')).status)
      return statuses
    }),
  )
  process.kill(control!.pid, 'SIGKILL')
  await eventually(() => {
    const [now] = waiter.processes('control')
    return (now !== undefined && now.pid !== control?.pid) || undefined
  }, 'a new control process')
  await eventually(async () => {
    const { state } = await waiter.api('/state/leader')
    return (state['connected?'] && state.term > 1) || undefined
  }, 'the router to attach again')
  const later = await hello(waiter, 'later')
  isAsking = false
  const statuses = (await asking).flat()
  t.same(new Set(statuses), new Set([200]), `all ${statuses.length} requests were served`)
  t.equal(later.status, 200, 'what did not run is started by the new control process')
  t.ok(
    pids.every(pid => pidsOf(waiter).includes(pid)),
    'instances are the same',
  )
  t.equal((await postToken(waiter, 'new', helloService('new'))).status, 200, 'tokens can be written')
  await expectNoOrphans(t, waiter)
})

t.test('kill -9 of the router: it is back on its port, with the same instances', async t => {
  const waiter = await start(t)
  await postToken(waiter, 'one', helloService('one', { 'concurrency-level': 1, 'max-instances': 1 }))
  t.equal((await hello(waiter, 'one')).status, 200)
  const pids = pidsOf(waiter)
  const [router] = waiter.processes('router')
  process.kill(router!.pid, 'SIGKILL')
  await eventually(() => !isRunning(router!.pid) || undefined, 'the router to be dead')
  await eventually(async () => (await waiter.request({ path: '/status' })).status === 200 || undefined, 'a new router')
  const backMs = performance.now()
  t.equal((await hello(waiter, 'one')).status, 200)
  const heldMs = performance.now() - backMs
  t.ok(heldMs < 20_000, `slots of the dead router are free again: ${Math.round(heldMs)} ms`)
  t.same(pidsOf(waiter), pids)
})
