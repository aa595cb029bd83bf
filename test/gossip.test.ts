import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { silentLogger } from '@waiter/base'
import { GossipNode } from '@waiter/gossip/node'
import { eventually, startWaiter } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { describeService, postToken, serviceIdOf } from './support/services.ts'

const ROUTERS = 3
const waiter = await startWaiter({
  args: ['--nodes', String(ROUTERS)],
  // Comes sooner to what takes seconds by default.
  config: {
    'gossip-config': { 'full-exchange-interval-ms': 2_000, 'probe-interval-ms': 1_000, 'probe-timeout-ms': 500 },
  },
})
t.teardown(() => waiter.stop())
const seats = Array.from({ length: ROUTERS }, (_, index) => `node-${index + 1}-worker-1`)

const RUDE = `exec '${process.execPath}' '${fileURLToPath(new URL('support/rude-backend.ts', import.meta.url))}' $PORT0`

// biome-ignore lint/suspicious/noExplicitAny: a wrong guess about the shape fails the test.
async function gossipAt(port: number): Promise<any> {
  return (await waiter.api('/state/gossip?include=loads', port)).state
}

/** Until a router believes this of another one. */
async function believes(port: number, id: string, state: string): Promise<void> {
  await eventually(
    async () => (await gossipAt(port)).members[id]?.state === state || undefined,
    `${id} to be ${state} for ${port}`,
    { everyMs: 50 },
  )
}

async function tagsAt(port: number, serviceId: string): Promise<readonly string[][]> {
  const { state } = await waiter.api(`/state/${serviceId}`, port)
  const instances = Object.values(state['responder-state']['instance-id->state'] ?? {})
  return (instances as Record<string, string[]>[]).map(instance => instance['status-tags'] ?? [])
}

t.test('all routers find each other, and each tells what it is', async t => {
  for (const [index, port] of waiter.ports.entries()) {
    for (const seat of seats) if (seat !== seats[index]) await believes(port, seat, 'alive')
    const known = await eventually(async () => {
      const { members } = await gossipAt(port)
      return Object.values(members as object).every(member => member['http-url'] !== null) ? members : undefined
    }, 'the rows of all')
    for (const [other, url] of waiter.ready.routers.entries())
      if (other !== index) t.match(known[seats[other]!], { 'http-url': url, node: `node-${other + 1}` })
  }
  const { details } = await waiter.api('/state')
  t.ok(details.gossip, 'and /state names it')
  const text = await eventually(async () => {
    const page = (await waiter.request({ path: '/metrics?format=prometheus' })).text
    return /waiter_gossip_members\{state="alive"\} 2\n/.test(page) ? page : undefined
  }, 'the metrics to show both others alive')
  t.match(text, /waiter_gossip_bytes_sent_total \d+\n/)
})

/** Instances of which a router has slots of its own. */
async function countUsable(port: number, serviceId: string): Promise<number> {
  const { state } = await waiter.api(`/state/${serviceId}`, port)
  const instances = Object.values(state['responder-state']['instance-id->state']) as Record<string, number>[]
  return instances.filter(instance => (instance['slots-assigned'] ?? 0) > 0).length
}

/** Has a request fail in the middle, which is not tried again. */
async function failOnceAt(t: Test, port: number, headers: Record<string, string>): Promise<void> {
  const answer = await waiter.request({ port, path: '/closes', method: 'POST', headers })
  t.equal(answer.status, 502)
}

t.test('an instance that fails at two routers is the last choice of the third, yet serves as the only one', async t => {
  await postToken(waiter, 'rude', describeService(RUDE, { name: 'rude', 'concurrency-level': 10, 'max-instances': 1 }))
  const headers = { 'x-waiter-token': 'rude' }
  const serviceId = await serviceIdOf(waiter, headers)
  const [first, second, third] = waiter.ports as [number, number, number]
  for (const port of waiter.ports) t.equal((await waiter.request({ port, headers })).status, 200)
  for (const port of [first, second]) await failOnceAt(t, port, headers)
  await eventually(async () => {
    const { members } = await gossipAt(third)
    const accusers = seats.slice(0, 2).filter(seat => Object.keys(members[seat].ejected).length === 1)
    return accusers.length === 2 || undefined
  }, 'the third to hear of it from both')
  const [tags = []] = await tagsAt(third, serviceId)
  t.ok(tags.includes('doubted') && !tags.includes('ejected'), tags.join())
  t.equal((await waiter.request({ port: third, headers })).status, 200, 'it serves')
  const [after = []] = await tagsAt(third, serviceId)
  t.notOk(after.includes('doubted'), 'and that refutes them')
  t.equal((await waiter.request({ port: first, headers })).status, 200)
  await eventually(async () => {
    const { members } = await gossipAt(third)
    return Object.keys(members[seats[0]!].ejected).length === 0 || undefined
  }, 'the first to take it back after a success of its own')
})

/** Has a router leave an instance alone for a minute. */
async function ejectAt(port: number, serviceId: string, id: string): Promise<void> {
  const wanted = { instance: { id, 'service-id': serviceId }, 'period-in-ms': 60_000, reason: 'a test' }
  const headers = { 'content-type': 'application/json' }
  const call = { port, method: 'POST', path: '/eject', headers, body: JSON.stringify(wanted) }
  // Refused as long as a request runs there.
  await eventually(async () => (await waiter.request(call)).status === 200 || undefined, `${id} to be ejected`)
}

t.test('an instance that two nodes leave alone is left alone by the third, which has others', async t => {
  const description = { name: 'several', 'concurrency-level': 10, 'min-instances': 3, 'max-instances': 3 }
  await postToken(waiter, 'several', describeService(RUDE, description))
  const headers = { 'x-waiter-token': 'several', 'x-waiter-debug': 'true' }
  const [first, second, third] = waiter.ports as [number, number, number]
  const backendOf = async (port: number): Promise<string> => {
    const answer = await waiter.request({ port, headers })
    t.equal(answer.status, 200)
    return String(answer.headers['x-waiter-backend-id'])
  }
  const serviceId = await serviceIdOf(waiter, headers)
  // The oldest one everywhere, beside one other at least.
  const bad = await eventually(
    async () => {
      const backends = await Promise.all(waiter.ports.map(backendOf))
      const usable = await Promise.all(waiter.ports.map(port => countUsable(port, serviceId)))
      return usable.every(count => count >= 2) && new Set(backends).size === 1 ? backends[0] : undefined
    },
    'all routers to have two instances',
    { everyMs: 100 },
  )
  // On request: after a failure at the first, the second would take another one for its last request.
  for (const port of [first, second]) await ejectAt(port, serviceId, bad)
  await eventually(async () => {
    const { members } = await gossipAt(third)
    return seats.slice(0, 2).every(seat => members[seat].ejected[bad] !== undefined) || undefined
  }, 'the third to hear of it from both')
  const { state } = await waiter.api(`/state/${serviceId}`, third)
  const tagsById = state['responder-state']['instance-id->state']
  t.match(tagsById[bad]['status-tags'], ['healthy', 'doubted'])
  for (let request = 0; request < 5; request++) t.not(await backendOf(third), bad)
})

t.test('whoever has another secret is refused, and one who lies with the right one takes nothing away', async t => {
  const [first = 0] = waiter.ports
  const headers = { 'x-waiter-token': 'rude' }
  const serviceId = await serviceIdOf(waiter, headers)
  const { address, counts } = await gossipAt(first)
  const secret = readFileSync(join(waiter.dataDirectory, 'cluster-secret'), 'utf8').trim()
  const terms = { bind: { host: '127.0.0.1', port: 0 }, cluster: 'waiter', seeds: [address], log: silentLogger }
  {
    await using stranger = await GossipNode.start({ ...terms, id: 'stranger', secrets: [`${secret}x`] })
    await eventually(
      async () => (await gossipAt(first)).counts.strangers > counts.strangers || undefined,
      'a stranger to knock',
    )
    t.same(stranger.members(), [])
    t.notOk('stranger' in (await gossipAt(first)).members)
  }
  await using liar = await GossipNode.start({ ...terms, id: 'liar', secrets: [secret] })
  const { state } = await waiter.api(`/state/${serviceId}`, first)
  for (const instanceId of Object.keys(state['responder-state']['instance-id->state'])) {
    const value = JSON.stringify({ service: serviceId, failures: 1_000, ejection: 1 })
    t.ok(liar.set(`ejected/${instanceId}`, value, 1e9))
  }
  await eventually(
    async () => (await tagsAt(first, serviceId)).every(tags => tags.includes('doubted')) || undefined,
    'the lie to be heard',
  )
  t.equal((await waiter.request({ port: first, headers })).status, 200)
  t.same(
    (await tagsAt(first, serviceId)).filter(tags => tags.includes('doubted')),
    [],
  )
  await liar.leave()
  await believes(first, 'liar', 'left')
})

t.test('a router that hangs is found dead by the others, which go on; one that is killed is replaced', async t => {
  const [first, second, third] = waiter.ports as [number, number, number]
  const [seat] = seats.slice(2) as [string]
  const before = (await gossipAt(first)).members[seat]
  const pidOf = async (): Promise<number> => {
    const own = (await gossipAt(third)).self['router-id']
    const line = waiter
      .log()
      .split('\n')
      .find(text => text.includes(own) && text.includes('the router serves'))
    return JSON.parse(line!).pid
  }
  const pid = await pidOf()
  process.kill(pid, 'SIGSTOP')
  try {
    for (const port of [first, second]) await believes(port, seat, 'dead')
    t.equal((await waiter.request({ port: first, headers: { 'x-waiter-token': 'rude' } })).status, 200)
    await believes(first, seats[1]!, 'alive')
    const { members } = await gossipAt(first)
    t.equal(members[seat]['router-id'], null, 'nothing is read of the dead')
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  for (const port of [first, second]) await believes(port, seat, 'alive')
  for (const other of seats.slice(0, 2)) await believes(third, other, 'alive')
  process.kill(pid, 'SIGKILL')
  const after = await eventually(async () => {
    const member = (await gossipAt(first)).members[seat]
    return member.state === 'alive' && member['router-id'] !== null && member['router-id'] !== before['router-id']
      ? member
      : undefined
  }, 'its successor to take its seat')
  t.ok(after.incarnation > before.incarnation)
  t.match(waiter.log(), /gossip: a router is dead/)
})
