import { startWaiter } from '@waiter/testkit'
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
  t.match(table.stdout, new RegExp(`${leader} +[0-9a-f]{16} +voter +Yes +Yes +\\d+ +127\\.0\\.0\\.1:`))
  t.match(table.stdout, new RegExp(`${heir} +[0-9a-f]{16} +voter +No +`))
  t.match(await run(['cluster', 'transfer-leader', heir]), { code: 0, stdout: `${heir} leads in ` })
  t.equal(JSON.parse((await run(['cluster', 'members', '--json'])).stdout).clusters[waiter.url].leader, heir)
  t.match(await run(['cluster', 'transfer-leader', 'node-9']), { code: 1, stderr: /node-9 is no voting control node/ })
  t.match(await run(['cluster', 'transfer-leader']), { code: 2, stderr: /missing required argument 'node'/ })
  t.match(await run(['cluster', 'nonsense']), { code: 2 })
})
