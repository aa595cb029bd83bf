import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { eventually, runWaiter, type StartedWaiter } from '@waiter/testkit'
import t from 'tap'
import { createHosts, membersOf, untilVoters } from './support/several-hosts.ts'
import { helloService, postToken } from './support/services.ts'

t.test('who may not join is told why, and how to mend it', async t => {
  const hosts = createHosts(t)
  const a = await hosts.start('a')
  const seed = a.nodes[0]?.grpc ?? ''
  const badSecret = join(hosts.root, 'bad-secret')
  writeFileSync(badSecret, '0'.repeat(64))
  const otherName = join(hosts.root, 'other.yaml')
  writeFileSync(otherName, 'cluster-config: { name: other }')
  const attempt = async (directory: string, args: readonly string[]) => {
    const where = ['--json', '--port', '0', '--advertise', '127.0.0.20', '--data-dir', hosts.directoryOf(directory)]
    const { code, stderr } = await runWaiter([...where, '--join', seed, ...args])
    return { code, message: /^waiter: (.*)$/m.exec(stderr)?.[1] ?? stderr }
  }
  const secret = ['--secret-file', hosts.secretFile]
  t.match(await attempt('1', []), { code: 1, message: /needs its secret: --secret-file FILE, a copy of the file/ })
  t.match(await attempt('2', ['--secret-file', badSecret]), {
    code: 1,
    message: new RegExp(`^${seed} refuses this host: wrong cluster secret\\. Start it with --secret-file FILE`),
  })
  t.match(await attempt('3', [...secret, '--config', otherName]), {
    code: 1,
    message: /this is the cluster "waiter", not "other": set cluster-config\.name/,
  })
  t.match(await attempt('4', [...secret, '--name', 'a']), {
    code: 1,
    message: /another host has a node a-1: choose another/,
  })
  t.equal((await membersOf(a)).length, 1, 'nobody was taken in')
})

t.test('a host leaves, its Waiter ends, and it does not come back by itself', async t => {
  const hosts = createHosts(t)
  const a = await hosts.start('a')
  const b = await hosts.start('b', [a])
  const c = await hosts.start('c', [a])
  await untilVoters(a, ['a-1', 'b-1', 'c-1'])
  const leave = (waiter: StartedWaiter, node: string, more = '') =>
    waiter.request({
      method: 'POST',
      path: `/cluster/leave?node=${node}${more}`,
      headers: { accept: 'application/json' },
    })
  t.equal((await leave(a, 'b-1')).status, 200)
  t.equal(await b.ended(), 0)
  t.match(b.log(), /this host has left the cluster/)
  await eventually(
    async () => (await membersOf(c)).filter(({ role }) => role === 'voter').length === 1 || undefined,
    'one of the two to be left as the only voter',
  )
  t.same((await membersOf(a)).map(({ node }) => node).sort(), ['a-1', 'c-1'])
  await postToken(c, 'without-b', helloService('x'))
  const directory = hosts.directoryOf('b')
  const { code, stderr } = await runWaiter(['--json', '--port', '0', '--data-dir', directory])
  t.match({ code, stderr }, { code: 1, stderr: /has left its cluster: start it with --join/ })

  // A host that never comes back is let go by force, if the others can decide without it.
  const again = await hosts.start('b', [a])
  const before = await untilVoters(a, ['a-1', 'b-1', 'c-1'])
  t.ok((before.find(({ node }) => node === 'b-1')?.id ?? 0) > 3, 'under another id')
  await again.kill9()
  const isMissed = async (): Promise<true | undefined> =>
    (await membersOf(a)).some(member => member.node === 'b-1' && !member['active?']) || undefined
  await eventually(isMissed, 'it to be missed')
  t.match(JSON.parse((await leave(a, 'b-1')).text)['waiter-error'], {
    details: { code: 'WTR_MEMBER_SILENT' },
    message: /use --force/,
  })
  t.equal((await leave(a, 'b-1', '&force=true')).status, 200)
  await eventually(async () => ((await membersOf(a)).length === 2 ? true : undefined), 'it to be let go')
  t.equal((await leave(a, 'nobody')).status, 404)
  const back = await startWaiterThatLeaves(hosts.directoryOf('b'))
  t.match(back, { code: 0, stderr: /this host has left the cluster/ }, 'told so when it comes back')
})

/** A start that ends by itself. */
const startWaiterThatLeaves = (directory: string) =>
  runWaiter(['--json', '--port', '0', '--advertise', '127.0.0.11', '--data-dir', directory])
