import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually, fastKitchenCommand, request, type StartedWaiter } from '@waiter/testkit'
import t from 'tap'
import { untilLed } from './support/control-nodes.ts'
import { helloService, postToken, serviceIdOf } from './support/services.ts'
import { createHosts, membersOf, untilVoters } from './support/several-hosts.ts'

const TOKEN = { 'x-waiter-token': 'rolling' }
const CLIENTS = 4
const PAUSE_MS = 20
/** A load balancer that looks this often, and a notice that is longer. */
const LOOK_MS = 100
const NOTICE_MS = 500

/** Sends requests to whichever routers say that they are up, as clients behind a load balancer do. */
function createTraffic(routers: () => readonly StartedWaiter[]) {
  const ended = new AbortController()
  const failures: string[] = []
  let served = 0
  let up: readonly StartedWaiter[] = []
  const look = async (): Promise<void> => {
    const answers = await Promise.all(
      routers().map(async waiter => {
        const answer = await request({ port: waiter.port, path: '/status' }).catch(() => undefined)
        return answer?.status === 200 ? [waiter] : []
      }),
    )
    up = answers.flat()
  }
  const balance = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      await look()
      await delay(LOOK_MS)
    }
  }
  const ask = async (client: number): Promise<void> => {
    for (let turn = client; !ended.signal.aborted; turn++) {
      const waiter = up[turn % up.length]
      if (waiter === undefined) throw new Error('no router is up')
      const answer = await request({ port: waiter.port, headers: TOKEN }).catch((error: Error) => error)
      if (answer instanceof Error) failures.push(`${waiter.nodes[0]?.id}: ${answer.message}`)
      else if (answer.status !== 200) failures.push(`${waiter.nodes[0]?.id}: ${answer.status} ${answer.text}`)
      else served += 1
      await delay(PAUSE_MS)
    }
  }
  return {
    begin: async () => {
      await look()
      const running = Promise.all([balance(), ...Array.from({ length: CLIENTS }, (_, client) => ask(client))])
      return async () => {
        ended.abort()
        await running
        return { failures, served }
      }
    },
    served: () => served,
  }
}

t.test(
  'three hosts are restarted one after the other under traffic, the leading one first: no request fails',
  async t => {
    const hosts = createHosts(t, { isHasty: false })
    const config = join(hosts.root, 'config.yaml')
    writeFileSync(config, `shutdown-notice-ms: ${NOTICE_MS}`)
    const args = ['--config', config]
    const byName = new Map<string, StartedWaiter>()
    const a = await hosts.start('a', [], args)
    byName.set('a', a)
    await Promise.all(['b', 'c'].map(async name => byName.set(name, await hosts.start(name, [a], args))))
    await untilVoters(a, ['a-1', 'b-1', 'c-1'])
    const service = { cmd: fastKitchenCommand(), 'min-instances': 3, 'max-instances': 3, 'concurrency-level': 4 }
    await postToken(a, 'rolling', helloService('rolling', service))
    const id = await serviceIdOf(a, TOKEN)
    t.equal((await a.request({ headers: TOKEN })).status, 200)
    const instancesOf = async (waiter: StartedWaiter): Promise<{ host: string; 'healthy?': boolean }[]> =>
      (await waiter.api(`/apps/${id}`)).instances['active-instances']
    await eventually(async () => (await instancesOf(a)).filter(it => it['healthy?']).length === 3 || undefined, 'three')
    const traffic = createTraffic(() => [...byName.values()])
    const end = await traffic.begin()

    const { leaderId } = await untilLed(a)
    const first = leaderId.slice(0, 1)
    for (const name of [first, ...[...byName.keys()].filter(other => other !== first)]) {
      const waiter = byName.get(name) ?? a
      t.equal(await waiter.interrupt('SIGTERM'), 0)
      t.notMatch(waiter.log(), /not everything has been started on other hosts/)
      const back = await hosts.start(name, [], [...args, '--port', '0'])
      byName.set(name, back)
      await eventually(async () => (await membersOf(back)).every(member => member['active?']) || undefined, 'all there')
    }
    // Whoever was restarted last runs nothing now.
    const drained = byName.get(first) ?? a
    const address = `127.0.0.${10 + 'abc'.indexOf(first)}`
    const left = async (): Promise<number> => (await instancesOf(drained)).filter(({ host }) => host === address).length
    t.ok((await left()) > 0)
    t.equal((await drained.request({ method: 'POST', path: '/drain' })).status, 200)
    await eventually(async () => (await left()) === 0 || undefined, 'a host whose nodes all drain to be left')
    t.equal((await drained.request({ method: 'POST', path: '/undrain' })).status, 200)
    const { failures, served } = await end()
    t.same(failures, [])
    t.ok(served > 100)
    // Nobody is left to whom anything could be moved.
    await Promise.all([...byName.values()].map(waiter => waiter.kill9()))
  },
)
