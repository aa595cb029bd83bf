import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openWal } from '../../src/node/index.ts'

const INDEX = new URL('../../src/node/index.ts', import.meta.url).href
/** Opens a log, says so, and holds it until it is killed. */
const HOLDER = `import { openWal } from '${INDEX}'
const wal = await openWal({ directory: process.argv[1] }).catch(error => error)
console.log(wal.code ?? 'open', wal.message ?? '')
setInterval(() => undefined, 1000)`

function hold(directory: string) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', HOLDER, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  return { child, said: once(child.stdout, 'data').then(([data]) => String(data)) }
}

async function kill(child: ReturnType<typeof spawn>): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}

t.test('D11 a directory in use is refused, with its holder named; kill -9 gives it back', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'raft-lock-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const { child, said } = hold(directory)
  t.match(await said, /^open/)
  await t.rejects(openWal({ directory }), {
    code: 'RAFT_LOG_IN_USE',
    message: new RegExp(`${directory} is in use by process ${child.pid} on .*Stop the other one`),
  })
  await kill(child)
  const wal = await openWal({ directory })
  await t.rejects(openWal({ directory }), { code: 'RAFT_LOG_IN_USE' }, 'also within one process')
  await wal.close()
  const again = await openWal({ directory })
  await again.close()
})

t.test('D11 of several processes that start at the same instant exactly one gets the directory', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'raft-lock-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const holders = [1, 2, 3, 4].map(() => hold(directory))
  const answers = await Promise.all(holders.map(({ said }) => said))
  t.same(answers.map(answer => answer.split(' ')[0]).sort(), [
    'RAFT_LOG_IN_USE',
    'RAFT_LOG_IN_USE',
    'RAFT_LOG_IN_USE',
    'open',
  ])
  await Promise.all(holders.map(({ child }) => kill(child)))
})

t.test('D11 an open that fails gives the directory back', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'raft-lock-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, '0000000000000001.wal'), 'nonsense')
  await t.rejects(openWal({ directory }), { code: 'RAFT_LOG_CORRUPT' })
  await t.rejects(openWal({ directory }), { code: 'RAFT_LOG_CORRUPT' }, 'not: in use')
})
