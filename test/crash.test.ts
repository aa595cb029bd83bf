import { eventually, isRunning } from '@waiter/testkit'
import t from 'tap'
import { expectNoOrphans, hello, pidsOf, start, startAgain } from './support/lives.ts'
import { helloService, postToken } from './support/services.ts'

t.test('kill -9 of the whole node: tokens are there, instances are adopted and serve, none is orphaned', async t => {
  const dead = await start(t)
  const posted = await postToken(dead, 'one', helloService('one', { 'min-instances': 2 }))
  await postToken(dead, 'two', helloService('two', { 'concurrency-level': 5 }))
  await postToken(dead, 'gone', helloService('gone'))
  t.equal((await dead.request({ method: 'DELETE', path: '/token?token=gone' })).status, 200)
  t.equal((await hello(dead, 'one')).status, 200)
  const served = await hello(dead, 'two')
  await eventually(() => dead.instanceProcesses().length === 3 || undefined, 'all instances')
  const pids = pidsOf(dead)
  await dead.kill9()
  t.same(pidsOf(dead), pids, 'instances survive')

  const waiter = await startAgain(t, dead)
  const token = await waiter.request({ path: '/token?token=one' })
  t.equal(token.status, 200)
  t.same(JSON.parse(token.text), helloService('one', { 'min-instances': 2, owner: JSON.parse(token.text).owner }))
  t.equal(token.headers.etag, posted.headers.etag)
  t.equal((await waiter.request({ path: '/token?token=gone' })).status, 404, 'what was deleted stays deleted')
  const again = await hello(waiter, 'two')
  t.equal(again.status, 200)
  t.equal(again.headers['x-waiter-backend-id'], served.headers['x-waiter-backend-id'], 'the same instance serves')
  t.equal((await hello(waiter, 'one')).status, 200)
  t.same(pidsOf(waiter), pids, 'the same processes, no others')
  await expectNoOrphans(t, waiter)
  t.equal(await waiter.interrupt(), 0)
  t.same(pidsOf(waiter), [], 'Ctrl-C stops what was adopted')
})

t.test('kill -9 of the launcher alone takes router and control process with it, but no instance', async t => {
  const dead = await start(t)
  await postToken(dead, 'one', helloService('one'))
  t.equal((await hello(dead, 'one')).status, 200)
  const pids = pidsOf(dead)
  const own = [...dead.processes('control'), ...dead.processes('router')].map(({ pid }) => pid)
  t.equal(own.length, 2)
  process.kill(dead.pid, 'SIGKILL')
  await eventually(() => own.every(pid => !isRunning(pid)) || undefined, 'the processes of the node to end')
  await dead.kill9()
  t.same(pidsOf(dead), pids)
  const waiter = await startAgain(t, dead)
  t.equal((await hello(waiter, 'one')).status, 200)
  t.same(pidsOf(waiter), pids)
})

t.test('an instance that died while Waiter was dead is replaced when it is asked for', async t => {
  const dead = await start(t)
  await postToken(dead, 'one', helloService('one'))
  const before = await hello(dead, 'one')
  const [pid] = pidsOf(dead)
  await dead.kill9()
  process.kill(pid as number, 'SIGKILL')
  const waiter = await startAgain(t, dead)
  const after = await hello(waiter, 'one')
  t.equal(after.status, 200)
  t.not(after.headers['x-waiter-backend-id'], before.headers['x-waiter-backend-id'])
  await expectNoOrphans(t, waiter)
})

t.test('kill -9 while instances are being started leaves no orphan', async t => {
  const first = await start(t)
  for (let index = 0; index < 6; index++) await postToken(first, `s${index}`, helloService(`s${index}`))
  let waiter = first
  for (const seenMin of [1, 3]) {
    const asked = Array.from({ length: 6 }, (_, index) => hello(waiter, `s${index}`).catch(() => undefined))
    await eventually(() => waiter.instanceProcesses().length >= seenMin || undefined, 'a start in progress', {
      everyMs: 1,
    })
    await waiter.kill9()
    await Promise.all(asked)
    waiter = await startAgain(t, waiter)
    await expectNoOrphans(t, waiter)
  }
  const answers = await Promise.all(Array.from({ length: 6 }, (_, index) => hello(waiter, `s${index}`)))
  t.same(
    answers.map(({ status }) => status),
    Array(6).fill(200),
  )
  await expectNoOrphans(t, waiter)
})
