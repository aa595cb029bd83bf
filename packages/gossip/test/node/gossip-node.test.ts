import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { createPrng, silentLogger } from '@waiter/base'
import t from 'tap'
import { Envelope } from '../../src/node/envelope.ts'
import { GossipNode, type GossipNodeOptions } from '../../src/node/index.ts'
import { deriveKey } from '../../src/node/keys.ts'
import { SECRET, SETTINGS } from './support/member-process.ts'

const bind = { host: '127.0.0.1', port: 0 }
const start = (id: string, more: Partial<GossipNodeOptions> = {}): Promise<GossipNode> =>
  GossipNode.start({ id, bind, secrets: [SECRET], cluster: 'test', settings: SETTINGS, log: silentLogger, ...more })

const WAIT_MS_MAX = 60_000

/** Until it holds. Asked again and again: counters announce nothing. */
async function until(holds: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS_MAX
  while (!holds()) {
    if (performance.now() > deadlineMs) throw new Error(`never came true: ${holds}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
const knows = (node: GossipNode, id: string): boolean =>
  node.members().some(member => member.id === id && member.state === 'alive')

for (const [what, more] of [
  ['another secret', { secrets: ['another secret, also long enough'] }],
  ['another cluster with the same secret', { cluster: 'other' }],
] as const) {
  t.test(`who has ${what} is refused, by packet and by stream`, async t => {
    await using member = await start('member')
    await using stranger = await start('stranger', { ...more, seeds: [member.address] } as Partial<GossipNodeOptions>)
    await until(() => member.status().strangers >= 2 && stranger.status().streamFailures >= 2)
    const { secrets, cluster } = { secrets: [SECRET], cluster: 'test', ...more }
    const sealed = new Envelope([deriveKey(secrets[0]!, cluster)], () => Date.now()).seal('["g","stranger",[]]')
    const udp = createSocket('udp4')
    udp.send(sealed, Number(member.address.split(':')[1]), '127.0.0.1')
    await until(() => member.status().packetsRefused.key === 1)
    udp.close()
    t.same(member.members(), [])
    t.same(stranger.members(), [])
  })
}

t.test('older secrets open, so that secrets can be exchanged one process after another', async t => {
  const newer = 'the next secret, long enough too'
  await using old = await start('old', { secrets: [SECRET, newer] })
  await using fresh = await start('fresh', { secrets: [newer, SECRET], seeds: [old.address] })
  await until(() => knows(old, 'fresh') && knows(fresh, 'old'))
  t.equal(old.status().packetsRefused.key, 0)
})

t.test('a flood of garbage changes nothing', async t => {
  await using first = await start('first')
  await using second = await start('second', { seeds: [first.address] })
  await until(() => knows(first, 'second') && knows(second, 'first'))
  const port = Number(first.address.split(':')[1])
  const udp = createSocket('udp4')
  const random = createPrng(1)
  const FLOOD = 6_000
  for (let index = 0; index < FLOOD; index++) {
    const packet = Buffer.alloc(random.below(3_000), index)
    packet[0] = random.below(3)
    await new Promise(resolve => udp.send(packet, port, '127.0.0.1', resolve))
  }
  udp.close()
  const sockets = Array.from({ length: 100 }, () => connect(port, '127.0.0.1'))
  for (const socket of sockets) {
    socket.on('error', () => undefined)
    socket.write('GET / HTTP/1.1\r\n\r\n')
  }
  await Promise.all(sockets.map(socket => once(socket, 'close')))
  first.set('still', 'here')
  await until(() => second.row('first')?.get('still') === 'here')
  const { packetsRefused, strangers } = first.status()
  t.ok(packetsRefused.version > 0 && packetsRefused.size > 0 && packetsRefused.key > 0, JSON.stringify(packetsRefused))
  t.ok(strangers > 0)
  t.ok(knows(second, 'first'))
})

t.test('values beyond the limits are refused', async t => {
  await using node = await start('node')
  t.ok(node.set('k', 'v'))
  t.notOk(node.set('k', 'v'.repeat(10_000)))
  node.delete('k')
  t.equal(node.row('node')?.size, 0)
})

t.test('a port that is taken, and a secret that can be guessed, are explained', async t => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as { port: number }
  await t.rejects(start('node', { bind: { host: '127.0.0.1', port } }), {
    code: 'GOSSIP_LISTEN',
    message: /UDP and TCP/,
  })
  taken.close()
  await t.rejects(start('node', { secrets: ['short'] }), { code: 'GOSSIP_BAD_OPTIONS' })
})

t.test('leaving alone, and stopping twice, are no trouble', async t => {
  const node = await start('node')
  await node.leave()
  await node.stop()
  await node.stop()
  t.notOk(node.set('k', 'v'))
})

t.test('a bug ends gossip and nothing else, and is told', async t => {
  await using first = await start('first')
  let isTold = false
  await using second = await start('second', {
    seeds: [first.address],
    onMember: () => {
      throw new Error('a bug')
    },
    onFailed: () => {
      isTold = true
    },
  })
  await until(() => isTold)
  t.notOk(second.set('k', 'v'))
  t.ok(first.status().bytesSent > 0 && first.status().bytesReceived > 0)
})
