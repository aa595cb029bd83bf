import { eventually, startWaiter, type TestResponse } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { controlPidOf, keepAsking, seeLeader, untilLed } from './support/control-nodes.ts'
import { expectNoOrphans, hello, pidsOf } from './support/lives.ts'
import { helloService, postToken } from './support/services.ts'

/** Enough slots that each router has some, whoever was asked last: without a leader none moves from one to another. */
const SERVICE = { 'concurrency-level': 60 }

async function startThree(t: Test) {
  const waiter = await startWaiter({ hasDefaultNodes: true })
  t.teardown(() => waiter.stop())
  t.equal(waiter.nodes.length, 3, 'that many there are when nobody says how many')
  await postToken(waiter, 'one', helloService('one', SERVICE))
  for (const port of waiter.ports) {
    const answer = await waiter.request({ port, headers: { 'x-waiter-token': 'one' } })
    t.equal(answer.status, 200)
  }
  return waiter
}

type Waiter = Awaited<ReturnType<typeof startThree>>

const write = (waiter: Waiter, token: string, port: number): Promise<TestResponse> =>
  waiter.request({
    port,
    method: 'POST',
    path: `/token?token=${token}`,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(helloService(token)),
  })

t.test('kill -9 of the leading control process under traffic', async t => {
  const waiter = await startThree(t)
  const before = await untilLed(waiter)
  const pids = pidsOf(waiter)
  const asking = keepAsking(waiter, 'one')
  await eventually(() => asking.answered() > 20 || undefined, 'some traffic')
  const victim = controlPidOf(waiter, before.leaderId)
  process.kill(victim, 'SIGKILL')
  const killedMs = performance.now()
  // Another one, or the same: it may be back before the others have missed it long enough.
  await untilLed(waiter, before.term)
  const ledMs = performance.now() - killedMs
  t.ok(ledMs < 30_000, `all routers follow the next leader ${Math.round(ledMs)} ms after the kill`)
  for (const [index, port] of waiter.ports.entries()) t.equal((await write(waiter, `after-${index}`, port)).status, 200)
  t.equal((await hello(waiter, 'after-0')).status, 200, 'what did not run is started by the new leader')
  const answered = asking.answered()
  await eventually(() => asking.answered() > answered + 20 || undefined, 'traffic to go on')
  const statuses = await asking.stop()
  t.same(new Set(statuses), new Set([200]), `all ${statuses.length} requests were served`)
  t.ok(
    pids.every(pid => pidsOf(waiter).includes(pid)),
    'no instance was stopped',
  )
  await eventually(() => waiter.processes('control').length === 3 || undefined, 'the dead one to be started again')
  await expectNoOrphans(t, waiter)
})

t.test('writes that begin while nobody leads wait for the next leader', async t => {
  const waiter = await startThree(t)
  const { leaderId, term } = await untilLed(waiter)
  process.kill(controlPidOf(waiter, leaderId), 'SIGKILL')
  // The routers notice the broken connection before a request could be sent, unless all is over when they are asked.
  await eventually(async () => {
    const seen = await Promise.all(waiter.ports.map(port => seeLeader(waiter, port)))
    return seen.some(router => !router.isConnected || router.term > term) || undefined
  }, 'a router to miss the leader')
  const answers = await Promise.all(waiter.ports.map((port, index) => write(waiter, `waiting-${index}`, port)))
  t.same(
    answers.map(({ status }) => status),
    [200, 200, 200],
  )
})

t.test('a leading control process hangs, is replaced, and comes back', async t => {
  const waiter = await startThree(t)
  const before = await untilLed(waiter)
  const pids = pidsOf(waiter)
  const asking = keepAsking(waiter, 'one')
  const old = controlPidOf(waiter, before.leaderId)
  process.kill(old, 'SIGSTOP')
  t.teardown(() => process.kill(old, 'SIGCONT'))
  const after = await untilLed(waiter, before.term)
  t.not(after.leaderId, before.leaderId)
  await postToken(waiter, 'meanwhile', helloService('meanwhile', SERVICE))
  t.equal((await hello(waiter, 'meanwhile')).status, 200)
  const started = pidsOf(waiter)
  process.kill(old, 'SIGCONT')
  const isDeposed = (): true | undefined =>
    waiter.log().includes(`"pid":${old},"hostname"`) &&
    waiter
      .log()
      .split('\n')
      .some(line => line.includes(`"pid":${old},`) && line.includes('"role":"follower"') && line.includes('leadership'))
      ? true
      : undefined
  await eventually(isDeposed, 'the old leader to hear of the new one')
  const answered = asking.answered()
  await eventually(() => asking.answered() > answered + 50 || undefined, 'traffic to go on')
  t.same(new Set(await asking.stop()), new Set([200]))
  t.same(pidsOf(waiter), started, 'the old leader has stopped nothing and started nothing')
  t.ok(pids.every(pid => started.includes(pid)))
  // A busy machine may bring about yet another election, but none that the old leader wins by having been away.
  t.not((await untilLed(waiter)).leaderId, before.leaderId, 'the old leader does not lead again')
  await expectNoOrphans(t, waiter)
})

t.test('without a majority traffic goes on, and token writes say why they cannot', async t => {
  const waiter = await startThree(t)
  const { leaderId, term } = await untilLed(waiter)
  const others = waiter.nodes.filter(({ id }) => id !== leaderId).map(({ pid }) => pid)
  for (const pid of others) process.kill(pid, 'SIGSTOP')
  let isStopped = true
  const resume = (): void => {
    if (isStopped) for (const pid of others) process.kill(pid, 'SIGCONT')
    isStopped = false
  }
  t.teardown(resume)
  const asking = keepAsking(waiter, 'one')
  await eventually(async () => {
    const seen = await Promise.all(waiter.ports.map(port => seeLeader(waiter, port)))
    return seen.every(({ isConnected }) => !isConnected) || undefined
  }, 'the leader to notice that it is alone')
  const refused = await write(waiter, 'refused', waiter.port)
  t.equal(refused.status, 503)
  t.match(refused.text, /control nodes must answer, and they do not.*requests are served as before/)
  const answered = asking.answered()
  await eventually(() => asking.answered() > answered + 50 || undefined, 'traffic to go on')
  resume()
  await untilLed(waiter, term)
  t.equal((await write(waiter, 'accepted', waiter.port)).status, 200, 'it heals')
  t.same(new Set(await asking.stop()), new Set([200]))
})
