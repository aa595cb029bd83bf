import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger } from '@waiter/base'
import { openJournalStore } from '@waiter/store'
import { eventually, type StartedWaiter, startWaiter } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { untilLed } from './support/control-nodes.ts'
import { expectNoOrphans, hello, pidsOf } from './support/lives.ts'
import { helloService, postToken } from './support/services.ts'

async function startOn(t: Test, dataDirectory: string, nodes: number): Promise<StartedWaiter> {
  const waiter = await startWaiter({ dataDirectory, args: ['--nodes', String(nodes)] })
  t.teardown(() => waiter.stop())
  return waiter
}

/** Ids of the members, as the data directory has them. */
const idsIn = (dataDirectory: string): number[] =>
  JSON.parse(readFileSync(join(dataDirectory, 'members.json'), 'utf8')).members.map(({ id }: { id: number }) => id)

function createDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'waiter-members-test-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))
  return directory
}

t.test('everything is killed and started again; then with fewer nodes, then with more', async t => {
  const directory = createDirectory(t)
  const first = await startOn(t, directory, 3)
  await postToken(first, 'one', helloService('one'))
  t.equal((await hello(first, 'one')).status, 200)
  const pids = pidsOf(first)
  const { term } = await untilLed(first)
  await first.kill9()

  const second = await startOn(t, directory, 3)
  t.equal((await hello(second, 'one')).status, 200)
  t.same(pidsOf(second), pids, 'instances are adopted')
  t.ok((await untilLed(second)).term > term)
  t.same(idsIn(directory), [1, 2, 3])
  await second.kill9()

  const third = await startOn(t, directory, 1)
  t.equal((await hello(third, 'one')).status, 200)
  await eventually(() => third.processes('control').length === 1 || undefined, 'the other two to leave')
  // Each of them goes on its own: the file is written when its process has ended.
  await eventually(() => (idsIn(directory).length === 1 ? true : undefined), 'both to be forgotten')
  t.same(idsIn(directory), [1])
  for (const id of ['2', '3'])
    await eventually(() => !existsSync(join(directory, 'raft', id)) || undefined, 'its log to go')
  await postToken(third, 'alone', helloService('alone'))
  t.equal(await third.interrupt(), 0)
  t.same(pidsOf(third), [], 'the end stops all instances')

  const fourth = await startOn(t, directory, 3)
  t.same(idsIn(directory), [1, 4, 5], 'ids are not used again')
  const { leaderId, term: before } = await untilLed(fourth)
  await eventually(async () => {
    const { members } = await fourth.api('/cluster/members')
    return members.filter(({ role }: { role: string }) => role === 'voter').length === 3 || undefined
  }, 'the newcomers to be voters')
  process.kill(fourth.nodes.find(({ id }) => id === leaderId)!.pid, 'SIGKILL')
  await untilLed(fourth, before)
  await postToken(fourth, 'again', helloService('again'))
  for (const token of ['one', 'alone', 'again']) t.equal((await hello(fourth, token)).status, 200, token)
  await expectNoOrphans(t, fourth)
})

t.test('a control node whose log is gone comes back as another member', async t => {
  const directory = createDirectory(t)
  const first = await startOn(t, directory, 3)
  await postToken(first, 'one', helloService('one'))
  t.equal(await first.interrupt(), 0)
  rmSync(join(directory, 'raft', '2'), { recursive: true })
  const second = await startOn(t, directory, 3)
  t.equal((await hello(second, 'one')).status, 200)
  t.same(idsIn(directory), [1, 3, 4])
  await eventually(async () => {
    const { members } = await second.api('/cluster/members')
    const voters = members.filter(({ role }: { role: string }) => role === 'voter')
    return JSON.stringify(voters.map(({ id }: { id: number }) => id)) === '[1,3,4]' || undefined
  }, 'the successor to be a voter and the lost one to be gone')

  const { leaderId } = await untilLed(second)
  const heir = leaderId === 'node-2' ? 'node-3' : 'node-2'
  const transfer = (node: string) =>
    second.request({ method: 'POST', path: `/cluster/transfer-leader?node=${node}`, port: second.ports[2] ?? 0 })
  // On a very busy machine the others may have elected another one before it is looked at.
  const members = await eventually(async () => {
    t.equal((await transfer(heir)).status, 200)
    const seen = await untilLed(second)
    const told = await second.api('/cluster/members')
    return seen.leaderId === heir && told.leader === heir ? told : undefined
  }, 'the heir to lead')
  t.match(members, { members: [{ 'active?': true }, {}, {}] })
  t.equal((await transfer('node-7')).status, 404)
  t.equal((await transfer('')).status, 400)
})

t.test('what a single control node of an earlier Waiter kept is there', async t => {
  const directory = createDirectory(t)
  const journal = await openJournalStore({ directory: join(directory, 'store'), log: silentLogger })
  const record = {
    ...helloService('kept'),
    owner: 'somebody',
    root: 'waiter',
    cluster: 'waiter',
    'last-update-user': 'somebody',
    'last-update-time': 1_700_000_000_000,
  }
  await journal.compareAndSet('tokens/kept', 0, JSON.stringify(record))
  await journal.close()
  writeFileSync(join(directory, 'term'), '57')
  const waiter = await startOn(t, directory, 3)
  const { name, owner } = await waiter.api('/token?token=kept')
  t.same([name, owner], ['kept', 'somebody'])
  t.ok((await untilLed(waiter)).term > 57, 'terms go on')
  t.ok(existsSync(join(directory, 'store-before-raft')))
  t.notOk(existsSync(join(directory, 'store')))
})
