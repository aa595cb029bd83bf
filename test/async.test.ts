import { eventually, isRunning, kitchenCommand, startWaiter, type TestResponse } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { describeService, postToken, serviceIdOf } from './support/services.ts'

const waiter = await startWaiter({ args: ['--nodes', '2'] })
t.teardown(() => waiter.stop())
const [first = 0, second = 0] = waiter.ports

/** A token for a kitchen that takes one request at a time. */
async function kitchen(name: string, changes: Record<string, unknown> = {}): Promise<{ token: string; id: string }> {
  const description = describeService(kitchenCommand(), {
    name,
    'concurrency-level': 1,
    'max-instances': 1,
    ...changes,
  })
  await postToken(waiter, name, description)
  return { token: name, id: await serviceIdOf(waiter, { 'x-waiter-token': name }) }
}

/** The kitchen takes a request on through this router: where its status is, and which instance works. */
async function accept(t: Test, token: string, port: number, wishes: Record<string, string> = {}) {
  const headers = { 'x-waiter-token': token, 'x-waiter-debug': 'true', 'x-kitchen-delay-ms': '60000', ...wishes }
  const answer = await waiter.request({ method: 'POST', path: '/async/request', port, headers })
  t.equal(answer.status, 202, answer.text.slice(0, 300))
  return { url: answer.headers.location ?? '', instanceId: String(answer.headers['x-waiter-backend-id']) }
}

const ask = (path: string, port: number, method = 'GET'): Promise<TestResponse> =>
  waiter.request({ method, path, port })

/** Requests outstanding for a service, and those of them that go on behind their answers, in this router. */
async function countsOf(id: string, port: number): Promise<{ outstanding: number; async: number }> {
  const { state } = await waiter.api(`/state/${id}`, port)
  return state['request-counts'] ?? { outstanding: 0, async: 0 }
}

const nothingLeft = (id: string, port: number): Promise<true> =>
  eventually(async () => {
    const { outstanding, async } = await countsOf(id, port)
    return (outstanding === 0 && async === 0) || undefined
  }, `nothing of ${id} to be counted at port ${port}`)

t.test('accepted by one router, fetched through the other; the slot is in use until then, and not longer', async t => {
  const { token, id } = await kitchen('fetched')
  const { url } = await accept(t, token, first, { 'x-kitchen-delay-ms': '1500', 'x-kitchen-request-id': 'mine' })
  t.match(url, /^\/waiter-async\/v2\/status\/[\w-]+\/v1\.[\w.-]+\/async\/status\?request-id=mine$/)
  t.match(await countsOf(id, first), { outstanding: 1, async: 1 })
  const waiting = waiter.request({ port: first, path: '/', headers: { 'x-waiter-token': token } })
  const done = await eventually(async () => {
    const status = await ask(url, second)
    if (status.status !== 200) return status
    t.match(status.text, /^Still processing/)
    return undefined
  }, 'the end of the work')
  t.equal(done.status, 303)
  t.match(await countsOf(id, first), { async: 1 }, 'kept for the result')
  const result = await ask(done.headers.location ?? '', second)
  t.same(JSON.parse(result.text), { message: 'Hello World', 'request-id': 'mine' })
  t.equal((await waiting).status, 200, 'what waited for the slot has got it')
  for (const port of [first, second]) await nothingLeft(id, port)
})

t.test('cancelled through the other router', async t => {
  const { token, id } = await kitchen('cancelled')
  const { url } = await accept(t, token, second)
  t.equal((await ask(url, first, 'DELETE')).status, 204)
  await eventually(async () => (await countsOf(id, second)).outstanding === 0 || undefined, 'the slot to be free')
  t.equal((await ask(url, first)).status, 410)
})

t.test('an instance that works is not stopped when the service shrinks', async t => {
  const changes = { 'max-instances': 2, 'scale-up-factor': 0.9, 'scale-down-factor': 0.9, 'jitter-threshold': 0.1 }
  const { token, id } = await kitchen('shrinking', changes)
  const works = await Promise.all([accept(t, token, first), accept(t, token, second)])
  t.equal(new Set(works.map(({ instanceId }) => instanceId)).size, 2)
  const { instances: both } = await waiter.api(`/apps/${id}`)
  const startOf = new Map<string, string>(
    both['active-instances'].map((one: Record<string, string>) => [one['id'], one['started-at']]),
  )
  // Load balancing likes the oldest best, so the youngest would go, were it not for its work.
  const [kept, ended] = works.sort((a, b) => (startOf.get(a.instanceId)! < startOf.get(b.instanceId)! ? 1 : -1))
  t.equal((await ask(ended!.url, first, 'DELETE')).status, 204)
  await eventually(
    async () => {
      const { instances } = await waiter.api(`/apps/${id}`)
      return instances['active-instances'].length === 1 || undefined
    },
    'the service to shrink',
    { timeoutMs: 40_000 },
  )
  const { instances } = await waiter.api(`/apps/${id}`)
  t.equal(instances['active-instances'][0].id, kept!.instanceId)
  t.equal((await ask(kept!.url, first)).status, 200, 'it works on')
  t.equal((await ask(kept!.url, second, 'DELETE')).status, 204)
})

t.test('kill -9 of the router that accepted it: the other one answers for it, and takes its slot over', async t => {
  const { token, id } = await kitchen('survives')
  const { url, instanceId } = await accept(t, token, second)
  // The second node is a router and nothing else.
  const router = waiter.processes('router').find(({ pid }) => pid === waiter.nodes[1]?.pid)
  if (router === undefined) throw new Error('the second node has no process of its own')
  process.kill(router.pid, 'SIGKILL')
  await eventually(() => !isRunning(router.pid) || undefined, 'the router to be dead')
  t.equal((await ask(url, first)).status, 200, 'at once')
  await eventually(
    async () => {
      t.equal((await ask(url, first)).status, 200)
      const { outstanding, async } = await countsOf(id, first)
      return (outstanding === 1 && async === 1) || undefined
    },
    'the slot to be taken over',
    { timeoutMs: 40_000 },
  )
  const { state } = await waiter.api(`/state/${id}`, first)
  t.match(state['responder-state']['instance-id->state'], { [instanceId]: { 'slots-used': 1 } })
  t.equal((await ask(url, first, 'DELETE')).status, 204)
  await nothingLeft(id, first)
})
