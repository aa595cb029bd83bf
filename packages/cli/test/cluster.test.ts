import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { createCommandLine } from './support/command-line.ts'

t.test('control nodes are listed, and another one leads when it is told to', async t => {
  const waiter = await startWaiter({ args: ['--nodes', '3'] })
  const { run, remove } = createCommandLine(waiter.url)
  t.teardown(async () => {
    remove()
    await waiter.stop()
  })
  const listed = JSON.parse((await run(['cluster', 'members', '--json'])).stdout).clusters[waiter.url]
  t.equal(listed.members.length, 3)
  const leader: string = listed.leader
  const heir = ['node-1', 'node-2', 'node-3'].find(node => node !== leader) ?? ''
  const table = await run(['cluster', 'members'])
  t.equal(table.code, 0, table.stderr)
  t.match(
    table.stdout,
    new RegExp(`${leader} +[0-9a-f]{16} +voter +Yes +now +\\d+ +No +\\d+ +0 +\\S+ +127\\.0\\.0\\.1:`),
  )
  t.match(table.stdout, new RegExp(`${heir} +[0-9a-f]{16} +voter +No +`))
  // On a very busy machine the others may have elected another one before it is looked at.
  await eventually(async () => {
    t.match(await run(['cluster', 'transfer-leader', heir]), { code: 0, stdout: `${heir} leads in ` })
    const after = JSON.parse((await run(['cluster', 'members', '--json'])).stdout).clusters[waiter.url]
    return after.leader === heir || undefined
  }, `${heir} to be listed as the leader`)
  t.match(await run(['cluster', 'transfer-leader', 'node-9']), { code: 1, stderr: /node-9 is no voting control node/ })
  t.match(await run(['cluster', 'transfer-leader']), { code: 2, stderr: /missing required argument 'node'/ })
  t.match(await run(['cluster', 'nonsense']), { code: 2 })
})

t.test('a snapshot is taken, and restored elsewhere', async t => {
  const [one, other] = await Promise.all([startWaiter(), startWaiter()])
  const [from, to] = [createCommandLine(one.url), createCommandLine(other.url)]
  const directory = mkdtempSync(join(tmpdir(), 'waiter-snapshot-test-'))
  const file = join(directory, 'snapshot')
  t.teardown(async () => {
    from.remove()
    to.remove()
    rmSync(directory, { recursive: true, force: true })
    await Promise.all([one.stop(), other.stop()])
  })
  const post = (token: string) =>
    one.request({
      method: 'POST',
      path: `/token?token=${token}`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ cmd: 'true', cpus: 1, mem: 64, version: '1', name: `${token} \u{1F600}` }),
    })
  for (const token of ['kept-1', 'kept-2']) t.equal((await post(token)).status, 200)
  t.match(await from.run(['cluster', 'snapshot', file]), { code: 0, stdout: /^2 entries of / })
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.match(await to.run(['cluster', 'restore', file]), { code: 0, stdout: /^2 entries of cluster waiter as of 20/ })
  t.equal((await other.api('/token?token=kept-1')).name, 'kept-1 \u{1F600}')
  t.match(await to.run(['cluster', 'restore', file]), { code: 1, stderr: /The cluster is not empty: it has 2 entries/ })
  await post('later')
  t.match(await from.run(['cluster', 'restore', file, '--force']), { code: 0, stdout: /; 1 others were removed\.$/m })
  t.equal((await one.request({ path: '/token?token=later' })).status, 404)

  const damaged = readFileSync(file)
  damaged[40] = (damaged[40] as number) ^ 1
  writeFileSync(file, damaged)
  const said = /The snapshot cannot be used: its checksum does not fit/
  t.match(await to.run(['cluster', 'restore', file, '--force']), { code: 1, stderr: said })
  t.match(await to.run(['cluster', 'restore', join(directory, 'absent')]), { code: 1, stderr: /cannot read .*absent/ })
  t.match(await from.run(['cluster', 'snapshot', join(directory, 'no', 'file')]), { code: 1, stderr: /cannot write/ })
  const direct = await other.request({ method: 'POST', path: '/cluster/restore?force=true', body: damaged.toString() })
  t.equal(direct.status, 400, 'whoever sends it')
})
