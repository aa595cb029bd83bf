import { silentLogger } from '@waiter/base'
import { createRecorder, eventually } from '@waiter/testkit'
import t from 'tap'
import { loadSettings } from '../src/config/load-settings.ts'
import { keepGossip } from '../src/process/keep-gossip.ts'
import type { RouterStart } from '../src/process/messages.ts'

type Gossip = Parameters<typeof keepGossip>[1]
type Member = Parameters<Gossip['join']>[0]

const messageOf = (worker: number, host = '127.0.0.1'): RouterStart =>
  ({
    ...{ nodeId: 'n', worker, clusterSecrets: ['a secret of the tests'], settings: loadSettings(undefined) },
    host: { hostId: 'h', startId: 's', listen: '127.0.0.1', advertise: '127.0.0.1' },
    gossipBind: { host, port: 0 },
  }) as unknown as RouterStart

/** A router that only notes what it is told. */
function noting() {
  const told: string[] = []
  const members: Member[] = []
  const gossip = {
    join: (member: Member) => void members.push(member),
    quit: () => void told.push('quit'),
    stop: () => void told.push('stop'),
    onRow: (id: string) => void told.push(`row ${id}`),
    onMember: ({ id, state }: { id: string; state: string }) => void told.push(`${id} ${state}`),
  } as unknown as Gossip
  return { told, members, gossip }
}

t.test('a router gossips under its seat, hears the others, and says goodbye', async t => {
  const one = noting()
  const two = noting()
  const first = await keepGossip(messageOf(1), one.gossip, silentLogger)
  const second = await keepGossip(messageOf(2), two.gossip, silentLogger)
  t.equal(one.members[0]?.id, 'n-worker-1')
  two.members[0]?.setSeeds([first.address()])
  await eventually(() => one.told.includes('n-worker-2 alive') || undefined, 'the second to be heard')
  two.members[0]?.set('k', 'v')
  await eventually(() => one.told.includes('row n-worker-2') || undefined, 'its row to be heard')
  await second.stop()
  await eventually(() => one.told.includes('n-worker-2 left') || undefined, 'its goodbye')
  await first.stop()
})

t.test('gossip that cannot start is an error in the log; the router goes on without', async t => {
  const errors = createRecorder<string>()
  const log = { ...silentLogger, error: (_fields: object, text: string) => errors.push(text) }
  const router = noting()
  // An address for documentation: no machine has it.
  const kept = await keepGossip(messageOf(1, '192.0.2.1'), router.gossip, log as typeof silentLogger)
  t.equal(kept.address(), '')
  t.same(errors.items, ['gossip did not start; the router serves without'])
  t.same([router.members, router.told], [[], ['quit']])
  await kept.stop()
})
