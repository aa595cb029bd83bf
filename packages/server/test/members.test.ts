import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { silentLogger } from '@waiter/base'
import { openJournalStore } from '@waiter/store'
import fc from 'fast-check'
import t from 'tap'
import { type DataPaths, openDataDirectory } from '../src/data-directory.ts'
import { highestTermOf, readFirstState } from '../src/members/import-journal.ts'
import type { MembersFile } from '../src/members/members-file.ts'
import { openMembers } from '../src/members/open-members.ts'
import { countControlNodes, type MembersPlan, planMembers, withMember } from '../src/members/plan-members.ts'

const founding = () => ({ group: 'ab'.repeat(16), term: 1, hasFirstState: false })
const openOn = (data: DataPaths, count: number, group?: string) =>
  openMembers({ data, nodes: nodesOf(count), group, hasOthers: false, log: silentLogger })
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
      // As the group counts them.
      let nextId = 1
      for (const { nodes, wiped, isRetired } of starts) {
        const lost = file?.members[wiped % (file.members.length + 1)]?.id
        const facts = { founding, hasDirectory: (id: number) => id !== lost, hasOthers: false }
        const plan = planMembers(file, nodesOf(nodes), facts)
        if ('lost' in plan) {
          t.same(plan.lost, [lost])
          continue
        }
        if (file !== undefined && lost !== undefined) dead.add(lost)
        nextId = Math.max(nextId, plan.file['next-id'])
        let grown = plan.file
        for (const { node, replaces } of plan.newcomers) {
          t.ok(replaces === 0 || replaces === lost)
          grown = withMember(grown, { id: nextId++, node, 'has-started': false })
        }
        const { members } = grown
        for (const { id, node } of members) {
          t.equal(owners.get(id) ?? node, node)
          t.notOk(dead.has(id))
          owners.set(id, node)
        }
        const wanted = members.filter(({ node }) => !plan.unwanted.includes(node))
        t.same(wanted.map(({ node }) => node).sort(), nodesOf(nodes), 'each wanted node has one member')
        const kept = isRetired ? wanted : members
        for (const { id } of members) if (!kept.some(member => member.id === id)) dead.add(id)
        file = { ...grown, members: kept.map(member => ({ ...member, 'has-started': true })) }
      }
    }),
    { seed: 20_261_126, numRuns: 200 },
  )
})

t.test('a majority of lost logs is not replaced by empty ones', async t => {
  const none = { founding, hasDirectory: () => false, hasOthers: false }
  const { file } = planMembers(undefined, nodesOf(3), none) as MembersPlan
  const started = { ...file, members: file.members.map(member => ({ ...member, 'has-started': true })) }
  const lost = (ids: number[], hasOthers = false) =>
    planMembers(started, nodesOf(3), { founding, hasDirectory: id => !ids.includes(id), hasOthers })
  t.same(lost([1, 3]), { lost: [1, 3] })
  t.match(lost([2]), { newcomers: [{ node: 'node-2', replaces: 2 }], unwanted: [] })
  t.match(lost([1, 2, 3], true), { newcomers: { length: 3 } }, 'members on other hosts may have the majority')
  t.match(planMembers(file, nodesOf(3), none), { newcomers: [], file }, 'a start that died early')
  t.match(planMembers(started, ['node-2'], { ...none, hasDirectory: () => true }), { unwanted: ['node-1', 'node-3'] })
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

  const first = await openOn(paths, 3)
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
  const second = await openOn(paths, 3)
  t.same(second.file, first.file)
  t.same(readFirstState(second.firstStateFile ?? ''), expected)

  // Died before the file of members was written: everything anew.
  rmSync(join(paths.path, 'members.json'))
  const third = await openOn(paths, 3)
  t.not(third.file.group, first.file.group)
  t.same(readFirstState(third.firstStateFile ?? ''), expected)

  for (const { id } of third.file.members) mkdirSync(third.directoryOf(id), { recursive: true })
  for (const { id } of third.file.members) writeFileSync(join(third.directoryOf(id), 'log'), 'x')
  third.haveStarted()
  t.equal(third.firstStateFile, undefined)
  t.notOk(existsSync(paths.store))
  t.ok(existsSync(join(paths.path, 'store-before-raft')), 'kept as a backup')
  const fourth = await openOn(paths, 3)
  t.same(fourth.file, third.file, 'nothing is imported twice')
})

t.test('a member that left is forgotten, its id is not', async t => {
  const data = openDataDirectory(t.testdir())
  t.teardown(() => data.release())
  const members = await openOn(data.paths, 3)
  for (const { id } of members.file.members) {
    mkdirSync(members.directoryOf(id))
    writeFileSync(join(members.directoryOf(id), 'log'), 'x')
  }
  members.haveStarted()
  members.forget(3)
  t.notOk(existsSync(members.directoryOf(3)))
  const again = await openOn(data.paths, 3)
  t.same(
    again.file.members.map(({ id }) => id),
    [1, 2],
  )
  t.same(again.newcomers, [{ node: 'node-3', replaces: 0 }])
  again.add(4, 'node-3')
  t.match((await openOn(data.paths, 3)).file, { 'next-id': 5, members: [{ id: 1 }, { id: 2 }, { id: 4 }] })
})

t.test('a host that joins belongs to the group that it joins, and to no other', async t => {
  const data = openDataDirectory(t.testdir())
  t.teardown(() => data.release())
  const [one, other] = ['1a'.repeat(16), '2b'.repeat(16)]
  const joined = await openOn(data.paths, 1, one)
  t.match(joined, { newcomers: [{ node: 'node-1', replaces: 0 }], file: { group: one, 'first-members': [] } })
  joined.add(4, 'node-1')
  await t.rejects(openOn(data.paths, 1, other), { code: 'WTR_WRONG_CLUSTER', message: /belongs to another cluster/ })
  joined.forget(4)
  t.match((await openOn(data.paths, 1, other)).file, { group: other, members: [] }, 'one whose nodes have all left')
})

t.test('what cannot be understood stops the start, and says how to go on', async t => {
  const data = openDataDirectory(t.testdir())
  t.teardown(() => data.release())
  const { paths } = data
  const file = join(paths.path, 'members.json')
  for (const text of ['', '{}', '{"format":2}']) {
    writeFileSync(file, text)
    await t.rejects(openOn(paths, 1), {
      code: 'WTR_DATA_DIR',
      message: /members\.json is damaged: restore it/,
    })
    t.equal(readFileSync(file, 'utf8'), text)
  }
  rmSync(file)
  const members = await openOn(paths, 1)
  members.haveStarted()
  await t.rejects(openOn(paths, 1), {
    code: 'WTR_DATA_DIR',
    message: /raft\/1 are missing or empty.*Restore them from a backup/,
  })
  for (const text of ['', '-1', '1e3', '1.5', '9'.repeat(16), 'x']) {
    writeFileSync(join(paths.path, 'term'), text)
    t.throws(() => highestTermOf(paths.path), { code: 'WTR_DATA_DIR', message: /term is damaged: write a number/ })
  }
})
