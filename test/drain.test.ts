import { eventually, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { helloService, postToken, serviceIdOf } from './support/services.ts'

t.test('a node that drains is left out, and serves what comes all the same', async t => {
  const waiter = await startWaiter({ args: ['--nodes', '2', '--workers', '1'] })
  t.teardown(() => waiter.stop())
  const [first = 0, second = 0] = waiter.ports
  const headers = { 'x-waiter-token': 'drained' }
  await postToken(waiter, 'drained', helloService('drained', { 'concurrency-level': 8 }))
  const ask = (port: number) => waiter.request({ port, headers })
  // The second one is asked more often: it has slots of its own.
  for (let count = 0; count < 3; count++) t.equal((await ask(second)).status, 200)
  const id = await serviceIdOf(waiter, headers)
  const slotsOf = async (port: number): Promise<number> => {
    const { state } = await waiter.api(`/state/${id}`, port)
    return state['responder-state']['instance-id->state'] === undefined ? 0 : sumSlots(state)
  }
  await eventually(async () => (await slotsOf(second)) > 0 || undefined, 'it to have slots of its own')
  const drain = await waiter.request({ method: 'POST', path: '/drain?node=node-2', port: first })
  t.match(JSON.parse(drain.text), { 'drain-mode?': true, result: 'Draining: 1 router process(es) of node-2.' })
  const isOut = async () => (await waiter.request({ path: '/status', port: second })).status === 503 || undefined
  await eventually(isOut, 'load balancers to be told')
  t.equal((await waiter.request({ path: '/status', port: first })).status, 200)
  t.equal((await ask(first)).status, 200)
  await eventually(async () => ((await slotsOf(second)) === 0 ? true : undefined), 'its slots to go')
  t.equal((await ask(second)).status, 200, 'with a slot of the other one')
  t.equal((await ask(first)).status, 200)
  const routers = async (): Promise<Record<string, boolean>> =>
    Object.fromEntries(
      (await waiter.api('/cluster/members')).routers.map((it: { node: string; 'drains?': boolean }) => [
        it.node,
        it['drains?'],
      ]),
    )
  t.same(await routers(), { 'node-1': false, 'node-2': true })
  const back = await waiter.request({ method: 'POST', path: '/undrain?node=node-2', port: first })
  t.match(JSON.parse(back.text), { 'drain-mode?': false, result: 'Serving again: 1 router process(es) of node-2.' })
  t.equal((await waiter.request({ path: '/status', port: second })).status, 200, 'load balancers are told')
  await eventually(async () => ((await routers())['node-2'] === false ? true : undefined), 'the leader to know')
  t.equal((await ask(second)).status, 200)
  t.equal((await waiter.request({ method: 'POST', path: '/undrain' })).status, 200, 'what does not drain may be told')
  for (const path of ['/drain?node=absent', '/undrain?node=absent'])
    t.equal((await waiter.request({ method: 'POST', path })).status, 404)
})

// biome-ignore lint/suspicious/noExplicitAny: a wrong guess about the shape fails the test.
function sumSlots(state: any): number {
  const instances = Object.values(state['responder-state']['instance-id->state']) as { 'slots-assigned': number }[]
  return instances.reduce((sum, instance) => sum + instance['slots-assigned'], 0)
}
