import { mock } from 'node:test'
import { createPrng, silentLogger } from '@waiter/base'
import type { InstanceLease, ServiceSummary } from '@waiter/control'
import type { Member } from '@waiter/gossip'
import type { ServiceDefinition } from '@waiter/services'
import { DEFAULT_EJECTION } from '@waiter/slots'
import t, { type Test } from 'tap'
import { renderGossip } from '../../src/gossip/render-gossip.ts'
import { RouterGossip, type RouterGossipSettings } from '../../src/gossip/router-gossip.ts'
import { renderAbout, renderObservation } from '../../src/gossip/row.ts'
import { type ServiceRuntime, systemTime } from '../../src/services/service-runtime.ts'
import { ServiceTable } from '../../src/services/service-table.ts'
import { ReferenceRecorder } from '../../src/versions/reference-recorder.ts'
import { FakeMember } from './support.ts'

const SETTINGS: RouterGossipSettings = { loadIntervalMs: 1_000, loadServicesMax: 2, sharesEjections: true }

const definitionOf = (id: string): ServiceDefinition =>
  ({
    id,
    core: {},
    effective: { 'load-balancing': 'oldest', 'concurrency-level': 10, 'max-queue-length': 10 },
  }) as unknown as ServiceDefinition

/** A router with services of three instances each, and its place in the group. */
class World {
  nowMs = 1_000
  readonly member = new FakeMember()
  readonly table = new ServiceTable({
    ejection: DEFAULT_EJECTION,
    random: createPrng(1),
    time: { ...systemTime, nowMs: () => this.nowMs },
    onInstanceRetired: () => undefined,
    references: new ReferenceRecorder(),
    successions: () => [],
  })
  readonly gossip: RouterGossip

  constructor(t: Test, settings: Partial<RouterGossipSettings> = {}, log = silentLogger) {
    const { table } = this
    this.gossip = new RouterGossip({ settings: { ...SETTINGS, ...settings }, table, nowMs: () => this.nowMs, log })
    table.gossipThrough(this.gossip)
    t.teardown(() => {
      this.gossip.stop()
      table.dispose()
    })
  }

  open(id: string, instances = 3): ServiceRuntime {
    const leases = Array.from({ length: instances }, (_, index): InstanceLease => {
      const instanceId = `${id}.${'abc'[index]}`
      return { ...{ instanceId, host: 'h', port: index, extraPorts: [], slots: 1, startedAtMs: index }, ...REST }
    })
    const upserts = [{ definition: definitionOf(id), leases, summary: {} as ServiceSummary }]
    this.table.applyAssignment({ isFull: false, removals: [], upserts })
    return this.table.get(id)!
  }

  fail(runtime: ServiceRuntime, instanceId: string): void {
    runtime.release(runtime.machine.reserveOn(instanceId)!, 'instance-error')
  }

  /** Another router of another node leaves these alone. */
  accuse(from: string, node: string, ...instanceIds: string[]): void {
    const about = renderAbout({ routerId: from, nodeId: node, version: '1', httpUrl: '', peerAddress: '' })
    const ejected = instanceIds.map(id => {
      const value = renderObservation({ serviceId: id.slice(0, id.indexOf('.')), failures: 1, ejection: 1 })
      return [`ejected/${id}`, [value, 9_000]] as const
    })
    this.member.says(from, { about: [about], ...Object.fromEntries(ejected) } as Parameters<FakeMember['says']>[1])
    this.gossip.onRow(from)
  }
}

const REST = { expired: false, logDirectory: null }
const usable = (runtime: ServiceRuntime): string =>
  runtime.machine
    .instanceStates()
    .filter(({ isUsable }) => isUsable)
    .map(({ instanceId }) => instanceId.slice(-1))
    .join('')
const doubted = (runtime: ServiceRuntime): string =>
  runtime.machine
    .instanceStates()
    .filter(({ doubtedUntilMs }) => doubtedUntilMs !== null)
    .map(({ instanceId }) => instanceId.slice(-1))
    .join('')

t.test('an ejection is told with what is left of it, and taken back when it ends early', async t => {
  const world = new World(t)
  const runtime = world.open('s')
  world.fail(runtime, 's.a')
  world.gossip.join(world.member)
  t.same(world.member.said, ['ejected/s.a', 'loop-p99-ms'], 'also what happened before it joined')
  t.equal(world.member.rows.get('me')!.get('ejected/s.a')!.ttlMs, DEFAULT_EJECTION.baseMs)
  const slot = runtime.machine.reserveOn('s.b')!
  world.fail(runtime, 's.c')
  t.ok(world.member.said.includes('ejected/s.c'))
  runtime.release(slot, 'success')
  t.ok(world.member.said.includes('ejected/s.c'), 'the success of another one changes nothing')
  world.nowMs += DEFAULT_EJECTION.baseMs
  runtime.machine.expire(world.nowMs)
  runtime.armTimer()
  t.same(world.member.said, ['loop-p99-ms'])
})

t.test(
  'not told: ejections that are over at once, those beyond the limit, and any when that is switched off',
  async t => {
    const world = new World(t)
    world.gossip.join(world.member)
    const runtime = world.open('s')
    runtime.eject('s.a', 100)
    t.same(world.member.said, ['loop-p99-ms'])
    world.member.entriesMax = 2
    for (const id of ['s.b', 's.c']) world.fail(runtime, id)
    t.same(world.member.said, ['ejected/s.b', 'loop-p99-ms'])
    t.equal(world.gossip.unshared, 1)
    const silent = new World(t, { sharesEjections: false })
    silent.gossip.join(silent.member)
    const other = silent.open('s')
    silent.fail(other, 's.a')
    t.same(silent.member.said, ['loop-p99-ms'])
    silent.accuse('x', 'x', 's.b')
    t.equal(doubted(other), '')
  },
)

t.test('advice reaches services that are here, and those that come later', async t => {
  const world = new World(t)
  world.gossip.join(world.member)
  const early = world.open('early')
  world.accuse('x', 'x', 'early.a', 'late.b')
  const late = world.open('late')
  t.same([doubted(early), doubted(late)], ['a', 'b'])
  t.same([usable(early), usable(late)], ['abc', 'abc'], 'one accuser takes nothing away')
  world.accuse('y', 'y', 'late.b')
  t.equal(usable(late), 'ac')
  world.accuse('y', 'y')
  t.equal(usable(late), 'abc', 'it has taken it back')
  t.same(world.member.said, ['loop-p99-ms'], 'advice is not passed on')
})

t.test('routers of one node are one accuser', async t => {
  const world = new World(t)
  world.gossip.join(world.member)
  const runtime = world.open('s')
  world.accuse('x-worker-1', 'x', 's.a')
  world.accuse('x-worker-2', 'x', 's.a')
  t.same([doubted(runtime), usable(runtime)], ['a', 'abc'])
})

t.test('who is dead, and everybody once this router is out of the group, advises nothing', async t => {
  const world = new World(t)
  world.gossip.join(world.member)
  const runtime = world.open('s')
  world.accuse('x', 'x', 's.a')
  world.accuse('y', 'y', 's.b')
  t.equal(doubted(runtime), 'ab')
  world.gossip.onMember({ id: 'x', state: 'suspect', previous: 'alive' })
  t.equal(doubted(runtime), 'ab')
  world.member.rows.delete('x')
  world.gossip.onMember({ id: 'x', state: 'dead', previous: 'suspect' })
  t.equal(doubted(runtime), 'b')
  world.member.others = [{ id: 'y', address: 'y:1', incarnation: 1, state: 'alive', sinceMs: 0 }]
  world.gossip.quit()
  t.equal(doubted(runtime), '')
  t.equal(world.gossip.advice.size, 0)
})

t.test('a router is heard under its own id only, also while it is doubted', async t => {
  const world = new World(t)
  t.notOk(world.gossip.hears('x'), 'without gossip nobody is')
  world.gossip.join(world.member)
  world.accuse('x', 'x')
  for (const state of ['alive', 'suspect', 'dead', 'left'] as const) {
    world.member.others = [{ id: 'x', address: 'x:1', incarnation: 1, state, sinceMs: 0 }]
    t.equal(world.gossip.hears('x'), state === 'alive' || state === 'suspect', state)
    t.notOk(world.gossip.hears('an earlier one at that seat'))
  }
})

t.test('nonsense of others is not heard, nor more of one router than a row should hold', async t => {
  const world = new World(t)
  world.gossip.join(world.member)
  const runtime = world.open('s')
  world.member.says('x', { 'ejected/s.a': ['what?', 5_000], 'ejected/s.b': [renderObservation(ENDLESS)] })
  world.gossip.onRow('x')
  t.equal(doubted(runtime), '')
  world.accuse('x', 'x', ...Array.from({ length: 1_000 }, (_, index) => `other.${index}`))
  t.equal(world.gossip.advice.size, 256)
})
const ENDLESS = { serviceId: 's', failures: 1, ejection: 1 }

t.test('load is told at intervals: the busiest services, and only what has changed', async t => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const world = new World(t)
  const [one, two, three] = ['one', 'two', 'three'].map(id => world.open(id)) as [
    ServiceRuntime,
    ServiceRuntime,
    ServiceRuntime,
  ]
  for (const runtime of [one, two, two, three, three]) runtime.accept()
  world.gossip.join(world.member)
  t.same(world.member.said, ['load/three', 'load/two', 'loop-p99-ms'])
  t.equal(world.member.rows.get('me')!.get('load/two')!.value, '2 0')
  const { length } = world.member.writes
  mock.timers.tick(3 * SETTINGS.loadIntervalMs)
  t.equal(world.member.writes.length, length)
  two.finish()
  two.finish()
  mock.timers.tick(SETTINGS.loadIntervalMs)
  t.same(world.member.said, ['load/one', 'load/three', 'loop-p99-ms'])
  world.gossip.stop()
  mock.timers.tick(3 * SETTINGS.loadIntervalMs)
})

t.test('routers that the leader names are looked for, the dead are not', async t => {
  const world = new World(t)
  const peers = [
    { routerId: 'x', address: 'a:1', gossipAddress: 'a:2' },
    { routerId: 'y', address: 'b:1', gossipAddress: '' },
    { routerId: 'z', address: 'c:1', gossipAddress: 'c:2' },
  ]
  world.table.applyAssignment({
    ...{ isFull: true, upserts: [], removals: [] },
    peers: { isFull: true, peers, dead: [] },
  })
  world.gossip.join(world.member)
  t.same(world.member.seeds, ['a:2', 'c:2'])
  world.gossip.applyPeers({ isFull: false, peers: [], dead: ['x'] })
  t.same(world.member.seeds, ['c:2'])
  world.gossip.applyPeers({ isFull: true, peers: [], dead: [] })
  t.same(world.member.seeds, [])
})

t.test('few lines tell of many changes', async t => {
  const lines: string[] = []
  const log = { ...silentLogger, info: (fields: object, text: string) => lines.push(`${text} ${untoldOf(fields)}`) }
  const world = new World(t, {}, log as typeof silentLogger)
  world.gossip.join(world.member)
  for (let round = 0; round < 100; round++) {
    world.gossip.onMember({ id: `m${round}`, state: 'alive', previous: undefined })
    world.gossip.onMember({ id: `m${round}`, state: 'reaped', previous: 'dead' })
  }
  t.equal(lines.length, 30)
  world.nowMs += 60_000
  world.gossip.onMember({ id: 'late', state: 'left', previous: 'alive' })
  t.equal(lines.at(-1), 'gossip: a router has left 70')
})
const untoldOf = (fields: object): number => (fields as { untold?: number }).untold ?? 0

t.test('/state/gossip shows who is there and what each says', async t => {
  const world = new World(t)
  t.same(renderGossip(undefined, SHOW), { 'enabled?': false, 'member?': false })
  t.same(renderGossip(world.gossip, SHOW), { 'enabled?': true, 'member?': false })
  world.gossip.introduce({ routerId: 'r', nodeId: 'n', version: '1', httpUrl: 'http://h', peerAddress: 'p:1' })
  world.gossip.join(world.member)
  const other: Member = { id: 'x', address: 'x:1', incarnation: 7, state: 'suspect', sinceMs: 0 }
  world.member.others = [other]
  world.accuse('x', 'x', 's.a')
  t.match(renderGossip(world.gossip, SHOW), {
    id: 'me',
    self: { 'router-id': 'r', node: 'n', 'http-url': 'http://h', loads: {} },
    members: {
      x: {
        ...{ state: 'suspect', incarnation: 7, node: 'x', 'loop-delay-p99-ms': null },
        ejected: { 's.a': { 'service-id': 's', failures: 1, 'remaining-ms': 9_000 } },
      },
    },
    advice: { heard: 1, unshared: 0 },
    counts: { 'packets-refused': { key: 1 }, 'loop-delay-p99-ms': 1 },
  })
})
const SHOW = { hasLoads: true, nowMs: 1_000 }
