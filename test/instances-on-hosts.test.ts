import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { eventually, fastKitchenCommand, type StartedWaiter } from '@waiter/testkit'
import t from 'tap'
import { untilLed } from './support/control-nodes.ts'
import { helloService, postToken, serviceIdOf } from './support/services.ts'
import { createHosts, untilVoters } from './support/several-hosts.ts'

interface Instance {
  readonly id: string
  readonly host: string
  readonly 'healthy?': boolean
  readonly 'fleet/host-id'?: string
}

const TOKEN = { 'x-waiter-token': 'spread' }

async function instancesOf(waiter: StartedWaiter, serviceId: string): Promise<readonly Instance[]> {
  return (await waiter.api(`/apps/${serviceId}`)).instances['active-instances']
}

/** Waits until exactly so many are healthy, as this host's routers tell it. */
async function untilHealthy(waiter: StartedWaiter, serviceId: string, count: number): Promise<readonly Instance[]> {
  return await eventually(async () => {
    const instances = await instancesOf(waiter, serviceId)
    return instances.length === count && instances.every(it => it['healthy?']) ? instances : undefined
  }, `${count} healthy instances of ${serviceId}`)
}

const idsOf = (instances: readonly Instance[]): string[] => instances.map(({ id }) => id).sort()
const statusOf = async (waiter: StartedWaiter, headers = TOKEN): Promise<number> =>
  (await waiter.request({ headers })).status

t.test('instances run on all hosts, outlive changes of the leader, and the loss of a host', async t => {
  const hosts = createHosts(t)
  const config = join(hosts.root, 'config.yaml')
  writeFileSync(config, 'scheduler-config: { hosts: { lost-after-ms: 1500, given-up-after-ms: 5000 } }')
  const args = ['--config', config]
  const a = await hosts.start('a', [], args)
  const b = await hosts.start('b', [a], args)
  const c = await hosts.start('c', [a], args)
  const all = [a, b, c]
  await untilVoters(a, ['a-1', 'b-1', 'c-1'])
  const cmd = `echo started; ${fastKitchenCommand()}`
  await postToken(a, 'spread', helloService('spread', { cmd, 'min-instances': 3, 'max-instances': 3 }))
  for (const waiter of all) t.equal(await statusOf(waiter), 200)
  const serviceId = await serviceIdOf(a, TOKEN)
  const first = await untilHealthy(a, serviceId, 3)
  t.same(first.map(({ host }) => host).sort(), ['127.0.0.10', '127.0.0.11', '127.0.0.12'])
  t.equal(new Set(first.map(it => it['fleet/host-id'])).size, 3)
  for (const { id, host } of first) {
    const logs = `/apps/${serviceId}/logs?instance-id=${id}&host=${host}`
    t.equal((await b.request({ path: `${logs}&file=stdout` })).text, 'started\n', 'its host is asked for its logs')
  }

  let { leaderId, term } = await untilLed(a)
  for (const heir of ['a-1', 'b-1', 'c-1'].filter(node => node !== leaderId)) {
    const path = `/cluster/transfer-leader?node=${heir}`
    t.equal((await a.request({ method: 'POST', path })).status, 200)
    ;({ leaderId, term } = await untilLed(a, term))
    t.same(idsOf(await untilHealthy(a, serviceId, 3)), idsOf(first), `they go on, and ${leaderId} knows them`)
    await postToken(a, `by-${heir}`, helloService(`by-${heir}`))
    for (const waiter of all) t.equal(await statusOf(waiter, { 'x-waiter-token': `by-${heir}` }), 200)
  }

  const lost = all.find(({ nodes }) => nodes[0]?.id !== leaderId) ?? a
  const lostId = lost.nodes[0]?.id ?? ''
  const lostHost = `127.0.0.${10 + all.indexOf(lost)}`
  const others = all.filter(waiter => waiter !== lost)
  const [left = a] = others
  await lost.kill9()
  t.same(idsOf(await instancesOf(left, serviceId)), idsOf(first), 'what nobody manages any more still serves')
  for (const waiter of others) t.equal(await statusOf(waiter), 200)
  const replaced = await untilHealthy(left, serviceId, 4)
  t.equal(replaced.filter(({ host }) => host === lostHost).length, 1, 'it may be of use')
  for (const waiter of others) t.equal(await statusOf(waiter), 200)

  const back = await hosts.start(lostId.slice(0, 1), [], [...args, '--port', '0'])
  const after = await untilHealthy(back, serviceId, 3)
  t.equal(after.filter(({ id }) => idsOf(replaced).includes(id)).length, 3, 'one too many has gone, none has come')
  for (const waiter of [...others, back]) t.equal(await statusOf(waiter), 200)
})
