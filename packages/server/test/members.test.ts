import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { silentLogger } from '@waiter/base'
import { openJournalStore } from '@waiter/store'
import fc from 'fast-check'
import t from 'tap'
import { openDataDirectory } from '../src/data-directory.ts'
import { highestTermOf, readFirstState } from '../src/members/import-journal.ts'
import type { MembersFile } from '../src/members/members-file.ts'
import { openMembers } from '../src/members/open-members.ts'
import { countControlNodes, type MembersPlan, planMembers } from '../src/members/plan-members.ts'

const founding = () => ({ group: 'ab'.repeat(16), term: 1, hasFirstState: false })
const nodesOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `node-${index + 1}`)

t.test('how many control nodes there are', async t => {
  t.same([1, 2, 3, 4, 5, 6, 9].map(countControlNodes), [1, 1, 3, 3, 5, 5, 5])
})

t.test('over any history of starts ids are never given to another node, nor to a node that lost its log', async t => {
  const start = fc.record({ nodes: fc.constantFrom(1, 3, 5), wiped: fc.nat(), isRetired: fc.boolean() })
  fc.assert(
    fc.property(fc.array(start, { minLength: 1, maxLength: 8 }), starts => {
      const owners = new Map<number, string>()
      const dead = new Set<number>()
      let file: MembersFile | undefined
      for (const { nodes, wiped, isRetired } of starts) {
        const lost = file?.members[wiped % (file.members.length + 1)]?.id
        const plan = planMembers(file, nodesOf(nodes), { founding, hasDirectory: id => id !== lost })
        if ('lost' in plan) {
          t.same(plan.lost, [lost])
          continue
        }
        if (file !== undefined && lost !== undefined) dead.add(lost)
        const { members } = plan.file
        for (const { id, node } of members) {
          t.equal(owners.get(id) ?? node, node)
          t.notOk(dead.has(id))
          owners.set(id, node)
        }
        const running = members.filter(({ id }) => plan.wanted.includes(id)).map(({ node }) => node)
        t.same(running.sort(), nodesOf(nodes), 'each wanted node has one member')
        const kept = isRetired ? members.filter(({ id }) => plan.wanted.includes(id)) : members
        for (const { id } of members) if (!kept.some(member => member.id === id)) dead.add(id)
        file = { ...plan.file, members: kept.map(member => ({ ...member, 'has-started': true })) }
      }
    }),
    { seed: 20_261_126, numRuns: 200 },
  )
})

t.test('a majority of lost logs is not replaced by empty ones', async t => {
  const { file } = planMembers(undefined, nodesOf(3), { founding, hasDirectory: () => false }) as MembersPlan
  const started = { ...file, members: file.members.map(member => ({ ...member, 'has-started': true })) }
  const lost = (ids: number[]) => planMembers(started, nodesOf(3), { founding, hasDirectory: id => !ids.includes(id) })
  t.same(lost([1, 3]), { lost: [1, 3] })
  t.match(lost([2]), { wanted: [1, 3, 4], file: { 'next-id': 5 } })
  t.match(
    planMembers(file, nodesOf(3), { founding, hasDirectory: () => false }),
    { wanted: [1, 2, 3] },
    'a start that died early',
  )
})

t.test('what a single control node kept is taken over, whenever a start dies', async t => {
  const data = openDataDirectory(t.testdir())
  t.teardown(() => data.release())
  const { paths } = data
  const journal = await openJournalStore({ directory: paths.store, log: silentLogger })
  await journal.compareAndSet('tokens/a', 0, 'one')
  await journal.compareAndSet('tokens/b', 0, 'two')
  await journal.compareAndSet('tokens/a', 1, 'three')
  await journal.close()
  writeFileSync(join(paths.path, 'term'), '57\n')
  writeFileSync(join(paths.scheduler, 'fence.json'), '{"term":61}')

  const first = await openMembers(paths, nodesOf(3), silentLogger)
  t.equal(first.file['first-term'], 62, 'higher than any term before')
  const expected = {
    version: 3,
    entries: [
      { key: 'tokens/a', value: 'three', version: 3 },
      { key: 'tokens/b', value: 'two', version: 2 },
    ],
  }
  t.same(readFirstState(first.firstStateFile ?? ''), expected)

  // Died before any member had begun: the same again, from what was written.
  const second = await openMembers(paths, nodesOf(3), silentLogger)
  t.same(second.file, first.file)
  t.same(readFirstState(second.firstStateFile ?? ''), expected)

  // Died before the file of members was written: everything anew.
  rmSync(join(paths.path, 'members.json'))
  const third = await openMembers(paths, nodesOf(3), silentLogger)
  t.not(third.file.group, first.file.group)
  t.same(readFirstState(third.firstStateFile ?? ''), expected)

  for (const { id } of third.file.members) mkdirSync(third.directoryOf(id), { recursive: true })
  for (const { id } of third.file.members) writeFileSync(join(third.directoryOf(id), 'log'), 'x')
  third.haveStarted()
  t.equal(third.firstStateFile, undefined)
  t.notOk(existsSync(paths.store))
  t.ok(existsSync(join(paths.path, 'store-before-raft')), 'kept as a backup')
  const fourth = await openMembers(paths, nodesOf(3), silentLogger)
  t.same(fourth.file, third.file, 'nothing is imported twice')
})

t.test('a member that left is forgotten, its id is not', async t => {
  const data = openDataDirectory(t.testdir())
  t.teardown(() => data.release())
  const members = await openMembers(data.paths, nodesOf(3), silentLogger)
  for (const { id } of members.file.members) {
    mkdirSync(members.directoryOf(id))
    writeFileSync(join(members.directoryOf(id), 'log'), 'x')
  }
  members.haveStarted()
  members.forget(3)
  t.notOk(existsSync(members.directoryOf(3)))
  const again = await openMembers(data.paths, nodesOf(3), silentLogger)
  t.same(again.wanted, [1, 2, 4])
})

t.test('what cannot be understood stops the start, and says how to go on', async t => {
  const data = openDataDirectory(t.testdir())
  t.teardown(() => data.release())
  const { paths } = data
  const file = join(paths.path, 'members.json')
  for (const text of ['', '{}', '{"format":2}']) {
    writeFileSync(file, text)
    await t.rejects(openMembers(paths, nodesOf(1), silentLogger), {
      code: 'WTR_DATA_DIR',
      message: /members\.json is damaged: restore it/,
    })
    t.equal(readFileSync(file, 'utf8'), text)
  }
  rmSync(file)
  const members = await openMembers(paths, nodesOf(1), silentLogger)
  members.haveStarted()
  await t.rejects(openMembers(paths, nodesOf(1), silentLogger), {
    code: 'WTR_DATA_DIR',
    message: /raft\/1 are missing or empty.*Restore them from a backup/,
  })
  for (const text of ['', '-1', '1e3', '1.5', '9'.repeat(16), 'x']) {
    writeFileSync(join(paths.path, 'term'), text)
    t.throws(() => highestTermOf(paths.path), { code: 'WTR_DATA_DIR', message: /term is damaged: write a number/ })
  }
})
