import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { eventually, startWaiter, waitForLine } from '@waiter/testkit'
import t from 'tap'
import { BIN, createCommandLine, HELLO } from './support/command-line.ts'

/** The command line as people run it, against a Waiter as people run it. */
const waiter = await startWaiter()
t.teardown(() => waiter.stop())
const commandLine = createCommandLine(waiter.url)
const { run, file, directory, environment } = commandLine
t.teardown(() => commandLine.remove())

t.test('logs --follow until the instance has ended', async t => {
  await run(['apply', 'ending', '-f', '-'], { stdin: JSON.stringify({ ...HELLO, name: 'ending' }) })
  t.equal((await run(['ping', 'ending'])).code, 0)
  const child = spawn(process.execPath, [BIN, '--url', waiter.url, 'logs', 'ending', '--follow', '--file', 'stdout'], {
    cwd: directory,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = endOf(child)
  await waitForLine(child.stdout, /^to stdout$/)
  const asked = waitForLine(child.stdout, /^asked \/end$/)
  await waiter.request({ path: '/end', headers: { 'x-waiter-token': 'ending' } })
  await asked
  t.match(await ended, { code: 0, stderr: /has ended\n$/ })
  const last = await run(['logs', 'ending', '-i', /instance (\S+)/.exec((await ended).stderr)?.[1] ?? ''])
  t.match(last, { code: 0, stderr: /, which has ended\n/, stdout: /asked \/end/ }, 'of ended ones as well')
  t.match(await run(['logs', 'ending', '-i', 'other']), {
    code: 1,
    stderr: /has no instance "other"; there are:\n {2}\S/,
  })
  t.match(await run(['logs', 'ending', '--file', 'none']), { code: 1, stderr: /"none" is not a file/ })
  await run(['delete', 'ending', '--force'])
})

function endOf(child: ChildProcess): Promise<{ code: number | null; stderr: string }> {
  let stderr = ''
  child.stderr?.on('data', (piece: Buffer) => {
    stderr += piece
  })
  return new Promise(resolve => child.once('close', code => resolve({ code, stderr })))
}

t.test('a service that cannot start: ping says why', async t => {
  const broken = { ...HELLO, name: 'broken', cmd: 'echo no such flag >&2; exit 3' }
  await run(['apply', 'broken', '-f', '-'], { stdin: JSON.stringify(broken) })
  const ping = await run(['ping', 'broken', '--timeout', '30'])
  t.match(ping, { code: 1, stdout: /Ping failed: the answer was 503\.\n.*Invalid startup command/s })
  t.match(await run(['logs', 'broken', '--file', 'stderr']), { code: 0, stdout: 'no such flag\n', stderr: /has ended/ })
  t.match(await run(['ping', 'nothing']), { code: 1, stderr: /neither a token nor a service "nothing"/ })
  t.match(await run(['ping', 'nothing', '-s']), { code: 1, stderr: /no service "nothing"/ })
  await run(['delete', 'broken', '--force'])
})

t.test('several clusters', async t => {
  const second = await startWaiter()
  t.teardown(() => second.stop())
  const clusters = [
    { name: 'one', url: waiter.url },
    { name: 'two', url: second.url, 'default-for-create': true },
  ]
  const both = ['--config', file('both.json', { clusters })]
  const ran = (args: string[], stdin?: string) =>
    run([...both, ...args], { url: '', ...(stdin === undefined ? {} : { stdin }) })
  t.match(await ran(['apply', 'either', '-f', '-'], '{"cpus": 1}'), { code: 0, stdout: /either: created in two/ })
  t.match(await ran(['apply', 'either', '-f', '-'], '{"cpus": 2}'), { code: 0, stdout: /either: updated in two/ })
  t.match(await ran(['-c', 'one', 'apply', 'either', '-f', '-'], '{"cpus": 3}'), { code: 0, stdout: /created in one/ })
  const unclear = await ran(['delete', 'either'])
  t.match(unclear, { code: 1, stderr: /exists in one \(http.*two \(http.*--cluster NAME/ })
  t.match(JSON.parse((await ran(['tokens', '--json'])).stdout), {
    clusters: { one: { count: 1 }, two: { count: 1 } },
    count: 2,
  })
  t.match(await ran(['delete', 'either', '--cluster', 'two']), { code: 0, stdout: /deleted either in two/ })
  t.match(await ran(['delete', 'either']), { code: 0, stdout: /deleted either in one/ })
})

t.test('waiter up starts it, Ctrl-C stops it, whatever Node the machine has', async t => {
  const own = machinesNode()
  const child = spawn(
    own ?? process.execPath,
    [BIN, 'up', '--port', '0', '--data-dir', join(directory, 'data'), '--json'],
    {
      cwd: directory,
      env: environment,
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  t.teardown(() => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-(child.pid as number), 'SIGKILL')
  })
  const ended = endOf(child)
  const ready = JSON.parse((await waitForLine(child.stdout, /^\{.*/))[0])
  const tokens = await run(['tokens', '--all'], { url: ready.routers[0], ...(own === undefined ? {} : { node: own }) })
  t.match(tokens, { code: 1, stderr: /there are no tokens/ })
  process.kill(-(child.pid as number), 'SIGINT')
  t.equal((await ended).code, 0)
  await eventually(() => !existsSync(`/proc/${ready.pid}`) || undefined, 'the launcher to be gone')
})

/** A Node that is not the project's own, if the machine has one. */
function machinesNode(): string | undefined {
  return ['/usr/bin/node', '/usr/local/bin/node'].find(path => existsSync(path))
}
