import { basename } from 'node:path'
import { eventually, isRunning, type StartedWaiter, startWaiter } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { helloService, postToken, witnessService } from './support/services.ts'

const hello = (waiter: StartedWaiter, token: string) =>
  waiter.request({ headers: { 'x-waiter-token': token, 'x-waiter-debug': '1' } })

async function start(t: Test): Promise<StartedWaiter> {
  const waiter = await startWaiter()
  t.teardown(() => waiter.stop())
  return waiter
}

/** Starts another on the directory of one that is dead. */
async function startAgain(t: Test, dead: StartedWaiter): Promise<StartedWaiter> {
  const waiter = await startWaiter({ dataDirectory: dead.dataDirectory })
  t.teardown(() => waiter.stop())
  return waiter
}

const pidsOf = (waiter: StartedWaiter): number[] =>
  waiter
    .instanceProcesses()
    .map(({ pid }) => pid)
    .sort()

/** Every process of the data directory belongs to an instance that Waiter knows, and every known instance runs. */
async function expectNoOrphans(t: Test, waiter: StartedWaiter): Promise<void> {
  const { known, running } = await eventually(async () => {
    const apps = await waiter.api('/apps')
    const details = await Promise.all(
      apps.map((app: Record<string, string>) => waiter.api(`/apps/${app['service-id']}`)),
    )
    const ids: string[] = details.flatMap(app => app.instances['active-instances'].map(({ id }: { id: string }) => id))
    const sandboxes = waiter.instanceProcesses().map(({ sandbox }) => basename(sandbox ?? ''))
    const seen = { known: ids.sort(), running: [...new Set(sandboxes)].sort() }
    return JSON.stringify(seen.known) === JSON.stringify(seen.running) ? seen : undefined
  }, 'what runs to be what Waiter knows')
  t.same(running, known, `no orphan among ${running.length}`)
}

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
  process.kill(control?.pid ?? 0, 'SIGKILL')
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
  process.kill(router?.pid ?? 0, 'SIGKILL')
  await eventually(() => !isRunning(router?.pid ?? 0) || undefined, 'the router to be dead')
  await eventually(async () => (await waiter.request({ path: '/status' })).status === 200 || undefined, 'a new router')
  const backMs = performance.now()
  t.equal((await hello(waiter, 'one')).status, 200)
  const heldMs = performance.now() - backMs
  t.ok(heldMs < 5_000, `slots of the dead router are free again: ${Math.round(heldMs)} ms`)
  t.same(pidsOf(waiter), pids)
})

t.test('Ctrl-C lets a running request finish, then stops everything', async t => {
  const waiter = await start(t)
  await postToken(waiter, 'one', witnessService('one', `${waiter.dataDirectory}/report`))
  t.equal((await hello(waiter, 'one')).status, 200)
  const { 'service-id': id } = (await waiter.api('/apps'))[0]
  const slow = waiter.request({ headers: { 'x-waiter-token': 'one', 'x-delay-ms': '1000' } })
  await eventually(
    async () => (await waiter.api(`/state/${id}`)).state['request-counts'].outstanding === 1 || undefined,
    'the request',
  )
  const ended = waiter.interrupt()
  t.equal((await slow).status, 200)
  t.equal(await ended, 0)
  t.same(pidsOf(waiter), [])
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
