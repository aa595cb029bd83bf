import { createPrng } from '@waiter/base'
import t from 'tap'
import { encodeCommand, type Ready } from '../src/index.ts'
import { DRIVER_RULES } from '../src/simulator/driver-rules.ts'
import { MUTANTS } from '../src/simulator/mutants/index.ts'
import { drawProfile, FAULT_KINDS } from '../src/simulator/profile.ts'
import { shrink } from '../src/simulator/shrink.ts'
import { SimDisk } from '../src/simulator/sim-disk.ts'
import type { SimNode } from '../src/simulator/sim-node.ts'
import { simulate } from '../src/simulator/simulation.ts'
import { World } from '../src/simulator/world.ts'

const SEEDS = 100

t.test(`X3 ${SEEDS} seeds without a violation`, async t => {
  const totals = { operations: 0, committed: 0, terms: 0 }
  for (let seed = 1; seed <= SEEDS; seed++) {
    const result = simulate({ seed })
    t.equal(result.violation, undefined, `seed ${seed}: ${result.violation?.message ?? 'clean'}`)
    totals.operations += result.operations
    totals.committed += result.committed
    totals.terms += result.maxTerm
  }
  // A simulation in which nothing happens finds nothing.
  t.ok(totals.operations > SEEDS * 50, `${totals.operations} operations`)
  t.ok(totals.committed > SEEDS * 50, `${totals.committed} commits`)
  t.ok(totals.terms > SEEDS * 3, `${totals.terms} terms`)
})

for (const mutant of MUTANTS) {
  t.test(`X2 ${mutant.name} is found`, async t => {
    const { violation } = simulate({ seed: mutant.knownSeed, mutant })
    t.ok(violation, mutant.story)
    t.notMatch(violation?.message, /TypeError|ReferenceError/, 'found, not fallen over')
  })
}

t.test('X2 there are nineteen, each with a name and a story', async t => {
  t.equal(MUTANTS.length, 19)
  t.equal(new Set(MUTANTS.map(({ name }) => name)).size, 19)
  for (const { name, story, rules, driverRules } of MUTANTS) t.ok(story !== '' && (rules ?? driverRules), name)
})

t.test('X1 equal seeds give equal runs, other seeds others', async t => {
  const hashes = new Set<string>()
  for (const seed of [11, 12, 13, 14, 15]) {
    const [first, second] = [simulate({ seed }), simulate({ seed })]
    t.same(first, second)
    hashes.add(first.traceHash)
  }
  t.equal(hashes.size, 5)
})

t.test('X1 watching a run does not change it', async t => {
  let lines = 0
  const watched = simulate({ seed: 3, onTrace: () => lines++ })
  t.same(watched, simulate({ seed: 3 }))
  t.ok(lines > 100)
})

t.test('X1 leaving out a fault leaves the rest of the profile', async t => {
  const whole = drawProfile(8)
  const less = drawProfile(8, new Set(['crash', 'partition']))
  t.same({ ...less, enabled: 0 }, { ...whole, enabled: 0 })
  t.notOk(less.enabled.has('crash'))
})

t.test('X5 a failure is shrunk to the faults it needs', async t => {
  const mutant = MUTANTS.find(({ name }) => name === 'node-id-reused-after-wipe')!
  const failed = simulate({ seed: mutant.knownSeed, mutant })
  const { result, without } = shrink(failed, mutant)
  t.equal(result.violation?.check, failed.violation?.check)
  t.ok(result.faults.includes('wipe'))
  t.ok(result.faults.length < failed.faults.length, `${failed.faults} became ${result.faults}`)
  t.equal(result.faults.length + without.length, FAULT_KINDS.length)
})

/** A quiet cluster with a leader. */
function quietWorld(): { world: World; leader: SimNode } {
  const world = new World(drawProfile(1, new Set(FAULT_KINDS)))
  while (world.leader() === undefined && world.runNext());
  return { world, leader: world.leader()! }
}

t.test('D7 a node without its disk does not come back', async t => {
  const { world, leader } = quietWorld()
  world.crashNode(leader)
  leader.isGone = true
  world.startNode(leader)
  t.notOk(leader.isUp)
  t.throws(() => leader.start(), /cannot start/)
  const other = world.addNode()
  t.ok(other.id > leader.id, 'who takes its place has a new id')
})

t.test('D8 a failed sync ends the node, and nothing is acknowledged', async t => {
  const { world, leader } = quietWorld()
  while (leader.disk.isWriting && world.runNext());
  leader.failsNextSync = true
  const replies: unknown[] = []
  const data = encodeCommand({ kind: 'openSession' })
  leader.onClientRequest({ kind: 'command', data }, reply => replies.push(reply))
  const { lastIndex } = leader.raw.status()
  while (leader.isUp && world.runNext());
  t.notOk(leader.isUp)
  t.ok(leader.disk.lastIndex < lastIndex, 'the entry is not on its disk')
  t.same(replies, [])
})

t.test('D2 a crash keeps what was synced and any prefix of what was not', async t => {
  const { world, leader } = quietWorld()
  while (world.nowMs < 2000) world.runNext()
  const seen = new Set<number>()
  const before = leader.disk.lastIndex
  for (let seed = 0; seed < 60; seed++) {
    const { snapshot, hardState } = leader.disk
    const disk = new SimDisk(DRIVER_RULES, snapshot)
    const entries = leader.disk.entries.map(entry => ({ ...entry }))
    const ready = { hardState, entries, snapshot: undefined } as unknown as Ready
    disk.begin(ready)
    disk.crash(createPrng(seed), { canTear: true })
    seen.add(disk.lastIndex)
    t.ok(disk.entries.every((entry, at) => entry.index === (entries[0]?.index ?? 0) + at))
    t.ok(disk.commit <= disk.lastIndex, 'the commit index comes last')
    t.ok(disk.entries.length === 0 || disk.term === hardState.term, 'the term comes first')
  }
  t.equal(seen.size, before, 'every prefix occurs')
})
