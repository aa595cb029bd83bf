import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadSettings } from '../src/config/load-settings.ts'
import { toServicesConfig } from '../src/config/services-config.ts'
import { createHostContext, isLoopback, nameHost, noteLeft, openHost, planNodePorts } from '../src/host.ts'
import { overridesOf, parseOptions, type StartOptions } from '../src/options.ts'

const settingsOf = (...args: string[]) => loadSettings(undefined, {}, overridesOf(parseOptions(args) as StartOptions))

t.test('a host has one id, for ever', async t => {
  const file = join(t.testdir(), 'host.json')
  const first = openHost(file)
  t.match(first, { hostId: /^[0-9a-f]{16}$/, name: 'node', hasJoined: false, hasLeft: false })
  t.same(openHost(file), first)
  t.not(openHost(join(t.testdir(), 'other.json')).hostId, first.hostId)
  writeFileSync(file, '{"format":1}')
  t.throws(() => openHost(file), { code: 'WTR_DATA_DIR', message: /host\.json is damaged: restore it/ })
  t.equal(readFileSync(file, 'utf8'), '{"format":1}', 'and is not replaced by another')
})

t.test('a host has its name before its nodes have ids', async t => {
  const directory = t.testdir()
  const file = (name: string) => {
    const path = join(directory, `${name}.json`)
    openHost(path)
    return path
  }
  const [founder, joining] = [file('founder'), file('joining')]
  const [first, restart] = [
    { isJoining: true, hasNodes: false },
    { isJoining: false, hasNodes: true },
  ]
  t.match(nameHost(founder, undefined, { isJoining: false, hasNodes: false }), { name: 'node', hasJoined: false })
  const joined = nameHost(joining, undefined, first)
  t.match(joined, { name: `node-${joined.hostId.slice(0, 6)}`, hasJoined: true }, 'no other host has that name')
  t.same(nameHost(joining, undefined, restart), joined)
  t.throws(() => nameHost(joining, 'east', restart), { code: 'WTR_USAGE', message: /are called node-.* already/ })
  noteLeft(joining)
  t.equal(openHost(joining).hasLeft, true)
  t.match(nameHost(joining, 'east', first), { name: 'east', hasLeft: false, hostId: joined.hostId })
})

t.test('nobody is listened to but this machine, unless an address is advertised', async t => {
  const alone = settingsOf()
  t.match(createHostContext('h', alone), { hostId: 'h', listen: '127.0.0.1', advertise: '127.0.0.1' })
  const ports = planNodePorts(alone)
  t.same(
    [ports.isFixed, ports.grpc(0), ports.raft(1), ports.peers(2), ports.gossip(2)],
    [false, 0, 0, 0, 0],
    'any that are free',
  )
  t.match(createHostContext('h', settingsOf('--advertise', '10.0.0.5')), { listen: '10.0.0.5', advertise: '10.0.0.5' })
  t.not(createHostContext('h', alone).startId, createHostContext('h', alone).startId, 'each start has its own name')
  t.same(['localhost', '127.0.0.2', '::1', '10.0.0.5', '127.evil.example'].map(isLoopback), [
    true,
    true,
    true,
    false,
    false,
  ])
})

t.test('ports are in one piece, so that a firewall can let them through', async t => {
  const { isFixed, grpc, raft, peers, gossip } = planNodePorts(settingsOf('--advertise', 'a.example.com'))
  t.ok(isFixed)
  t.same([grpc(0), raft(0), grpc(1), raft(1)], [9190, 9191, 9192, 9193])
  t.same([peers(0), gossip(0), peers(3), gossip(3)], [9210, 9211, 9216, 9217])
  t.equal(planNodePorts(settingsOf('--cluster-port', '7000')).grpc(0), 7000)
  t.equal(planNodePorts(settingsOf('--advertise', 'a.example.com', '--cluster-port', '0')).grpc(0), 0)
})

t.test('the command line counts more than the environment, and mistakes in it are named', async t => {
  const environment = { WAITER_CLUSTER_CONFIG__ADVERTISE: '10.0.0.1', WAITER_CLUSTER_CONFIG__NAME: 'east' }
  const options = overridesOf(parseOptions(['--advertise', '10.0.0.2']) as StartOptions)
  t.match(loadSettings(undefined, environment, options)['cluster-config'], { advertise: '10.0.0.2', name: 'east' })
  t.throws(() => settingsOf('--advertise', 'http://x'), {
    code: 'WTR_CONFIG',
    message: /^option --advertise: cluster-config\.advertise: an IP address or a name, without a port/,
  })
})

t.test('under its addresses a host is asked for its own API', async t => {
  const names = toServicesConfig(settingsOf('--host', '::', '--advertise', 'FD00::5')).waiterHostnames
  t.ok(names.includes('[fd00::5]'))
  t.notOk(names.includes('[::]'))
})
