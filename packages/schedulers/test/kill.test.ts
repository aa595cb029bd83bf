import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger } from '@waiter/base'
import t from 'tap'
import { createExampleDefinition, SchedulerView } from '../src/contract.ts'
import { systemTimers } from '../src/index.ts'
import { ProcessTable, readStat } from '../src/process/process-table.ts'
import { findMembers, stopTree } from '../src/process/process-tree.ts'
import { healthyCommand } from './support/commands.ts'
import { FENCE, isRunning, openScheduler, processesBelow } from './support/open.ts'

for (const [story, before] of [
  ['plain children', 'sleep 1000 & sleep 1001 &'],
  ['a child in a session of its own', 'setsid sleep 1000 &'],
  [
    'a daemon that forked twice into its own session',
    '(setsid bash -c "sleep 1000 & sleep 1001 & disown -a" &) ; sleep 0.2;',
  ],
  ['a daemon that ignores SIGTERM', `(setsid bash -c "trap '' TERM; while :; do sleep 1; done" &) ; sleep 0.1;`],
] as const) {
  t.test(`kill leaves nothing of ${story}`, async t => {
    const { scheduler, view, dataDir } = await openScheduler(t)
    await scheduler.create(createExampleDefinition('s', `${before} ${healthyCommand()}`), 1, FENCE)
    const [instance] = await view.untilHealthy('s', 1)
    t.ok((await processesBelow(dataDir)).length >= 2, 'there is something to leave')
    const result = await scheduler.kill({ ...instance!, graceMs: 300, reason: 'test' }, FENCE)
    t.same(result, { kind: 'killed' })
    t.same(await processesBelow(dataDir), [])
  })
}

t.test('a daemon without a trace in its environment is held by having been seen before', async t => {
  const sandbox = mkdtempSync(join(tmpdir(), 'waiter-daemon-test-'))
  t.teardown(() => rmSync(sandbox, { recursive: true, force: true }))
  // Its environment is empty from the start; it leaves session and parent only after it was seen.
  const daemon =
    'import os,time\nopen("daemon.pid","w").write(str(os.getpid()))\n' +
    'while not os.path.exists("leave"): time.sleep(0.01)\nos.setsid()\nopen("left","w")\ntime.sleep(1000)'
  const child = spawn('/bin/bash', ['-c', `(env -i PATH=$PATH python3 -c '${daemon}' &) ; exec sleep 1000`], {
    cwd: sandbox,
    detached: true,
    env: { PATH: process.env.PATH, WAITER_SANDBOX: sandbox },
    stdio: 'ignore',
  })
  const exited = once(child, 'exit')
  const pid = child.pid ?? 0
  const until = async (name: string): Promise<void> => {
    while (!existsSync(join(sandbox, name))) await new Promise(resolve => setImmediate(resolve))
  }
  await until('daemon.pid')
  const table = new ProcessTable()
  const tree = { pid, startTicks: readStat(pid)?.startTicks ?? null, sandbox, known: new Set<string>() }
  t.equal(findMembers(await table.scan(), [tree]).get(tree)?.length, 2)
  writeFileSync(join(sandbox, 'leave'), '')
  await until('left')
  const daemonPid = Number(readFileSync(join(sandbox, 'daemon.pid'), 'utf8'))
  t.equal(readStat(daemonPid)?.session, daemonPid, 'it is in a session of its own')
  const deps = { table, timers: systemTimers, log: silentLogger, exited, isClosed: () => false }
  t.equal(await stopTree(tree, 100, deps), true)
  await exited
  t.notOk(isRunning(daemonPid))
})

t.test('SIGTERM comes first, and what ends within the grace is not killed harder', async t => {
  const { scheduler, view } = await openScheduler(t)
  const onTerm = 'process.on("SIGTERM",()=>{require("node:fs").writeFileSync("bye","");process.exit(0)})'
  await scheduler.create(createExampleDefinition('s', healthyCommand('0.0.0.0', onTerm)), 1, FENCE)
  const [instance] = await view.untilHealthy('s', 1)
  await scheduler.kill({ ...instance!, graceMs: 60_000, reason: 'orderly' }, FENCE)
  t.ok(existsSync(join(String(instance?.logDirectory), 'bye')))
  t.match(await view.untilEnded('s', instance!.instanceId), { state: 'killed', message: 'orderly', exitCode: 0 })
})

t.test('when the main process exits, the rest of its group is reaped and a replacement comes', async t => {
  const { scheduler, view, dataDir } = await openScheduler(t)
  const cmd = 'sleep 1000 & setsid sleep 1000 & exit 4'
  await scheduler.create(createExampleDefinition('s', cmd), 1, FENCE)
  await view.until('replaced', () => view.inState('s', 'failed').length >= 2)
  await scheduler.delete('s', FENCE)
  t.same(await processesBelow(dataDir), [])
})

t.test('many instances are killed in parallel', async t => {
  const { scheduler, view, dataDir } = await openScheduler(t)
  const COUNT = 40
  const cmd = "trap '' TERM; while :; do sleep 100; done"
  await scheduler.create(createExampleDefinition('s', cmd), COUNT, FENCE)
  await view.until('all run', () => view.inState('s', 'starting').length === COUNT)
  const beganMs = performance.now()
  await scheduler.stopAll(300)
  t.ok(performance.now() - beganMs < 300 * (COUNT / 4), 'not one after the other')
  t.same(await processesBelow(dataDir), [])
})

t.test('only the newest twelve killed ones are listed, and their directories go', async t => {
  const { scheduler, view } = await openScheduler(t)
  await scheduler.create(createExampleDefinition('s', 'exec sleep 1000'), 14, FENCE)
  const running = await view.until('all run', () => view.inState('s', 'starting').length === 14 && view.instances('s'))
  for (const instance of running) await scheduler.kill({ ...instance, graceMs: 0, reason: 'test' }, FENCE)
  await using fresh = new SchedulerView(scheduler)
  await fresh.until('listing', () => fresh.listings > 0)
  t.same(
    fresh.instances('s').map(instance => instance.instanceId),
    running.slice(2).map(instance => instance.instanceId),
  )
})
