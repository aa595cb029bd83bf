import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { eventually } from '@waiter/testkit'
import t from 'tap'
import { createExampleDefinition, SchedulerView } from '../src/contract.ts'
import type { InstanceRecord } from '../src/index.ts'
import { healthyCommand, SILENT } from './support/commands.ts'
import { FENCE, isRunning, openScheduler, processesBelow } from './support/open.ts'

type Test = Pick<typeof t, 'teardown'>

function makeDir(t: Test): string {
  const dataDir = mkdtempSync(join(tmpdir(), 'waiter-adopt-test-'))
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true, maxRetries: 3 }))
  return dataDir
}

/** A Waiter in a process of its own, with healthy instances of the service `s`. */
async function startWaiter(t: Test, dataDir: string, cmd: string, count = 1) {
  const program = join(import.meta.dirname, 'support/waiter-process.ts')
  const waiter: ChildProcess = spawn(process.execPath, [program, dataDir, cmd, String(count)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => waiter.kill('SIGKILL'))
  const [line] = await once(createInterface({ input: waiter.stdout! }), 'line')
  const crash = async (): Promise<void> => {
    waiter.kill('SIGKILL')
    await once(waiter, 'exit')
  }
  return { instances: JSON.parse(line) as InstanceRecord[], crash }
}

function isRefused(instance: InstanceRecord): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(instance.port, instance.host)
    socket.once('error', () => resolve(true))
    socket.once('connect', () => {
      socket.destroy()
      resolve(false)
    })
  })
}

const TERM3 = { term: 3 }
const file = (dataDir: string, instance: InstanceRecord): string =>
  join(dataDir, 'instances', 's', `${instance.instanceId}.json`)

t.test('after a crash of Waiter, instances are adopted with their ports and are healthy at once', async t => {
  const dataDir = makeDir(t)
  const waiter = await startWaiter(t, dataDir, healthyCommand(), 2)
  await waiter.crash()
  const { view, scheduler, timers } = await openScheduler(t, { dataDir })
  await view.until('listing', () => view.listings === 1)
  const facts = (all: readonly InstanceRecord[]) =>
    all.map(i => [i.instanceId, i.state, i.host, i.port, i.extra['shell-scheduler/pid']].join(' ')).sort()
  t.same(facts(view.instances('s')), facts(waiter.instances), 'healthy in the very first listing')
  timers.advance(60_000)
  await scheduler.scale('s', 3, TERM3)
  const three = await view.untilHealthy('s', 3)
  t.equal(new Set(three.map(instance => instance.port)).size, 3, 'adopted ports are not given again')
  t.same(view.inState('s', 'failed'), [], 'and the grace period is over for those that were healthy once')
  await t.rejects(scheduler.scale('s', 4, { term: 2 }), { code: 'WTR_FENCED' }, 'the fence survived the crash')
})

t.test('the death of an adopted instance is noticed and it is replaced', async t => {
  const dataDir = makeDir(t)
  const waiter = await startWaiter(t, dataDir, healthyCommand())
  await waiter.crash()
  const { view } = await openScheduler(t, { dataDir })
  const [old] = waiter.instances
  process.kill(Number(old?.extra['shell-scheduler/pid']), 'SIGKILL')
  const ended = await view.untilEnded('s', String(old?.instanceId))
  t.match(ended, { state: 'failed', exitCode: null, message: 'Exited; the exit code went to an earlier Waiter' })
  const [next] = await view.untilHealthy('s', 1)
  t.not(next?.instanceId, old?.instanceId)
  t.not(next?.port, old?.port, 'the old port rests')
})

t.test('an adopted instance that stopped listening meanwhile is unhealthy at once', async t => {
  const dataDir = makeDir(t)
  const closes = 'process.on("SIGUSR2",()=>setInterval(()=>{},9999)&&s.close());const s=require("node:http")'
  const cmd = `exec ${process.execPath} -e '${closes}.createServer((q,r)=>r.end()).listen(process.env.PORT0)'`
  const waiter = await startWaiter(t, dataDir, cmd)
  await waiter.crash()
  const [instance] = waiter.instances
  process.kill(Number(instance?.extra['shell-scheduler/pid']), 'SIGUSR2')
  while (!(await isRefused(instance!))) await new Promise(resolve => setImmediate(resolve))
  const { view } = await openScheduler(t, { dataDir })
  await view.until('unhealthy', () => view.inState('s', 'unhealthy').length === 1)
})

t.test('what ended while Waiter was away is recorded, its rest killed, and it is replaced', async t => {
  const dataDir = makeDir(t)
  const cmd = `(setsid sleep 1000 &) ; echo last words >&2; ${healthyCommand()}`
  const waiter = await startWaiter(t, dataDir, cmd)
  await waiter.crash()
  const [old] = waiter.instances
  const pid = Number(old?.extra['shell-scheduler/pid'])
  process.kill(pid, 'SIGKILL')
  while (isRunning(pid)) await new Promise(resolve => setImmediate(resolve))
  const orphans = await processesBelow(dataDir)
  t.equal(orphans.length, 1, 'the daemon is left')
  const { view, logs } = await openScheduler(t, { dataDir })
  const ended = await view.untilEnded('s', String(old?.instanceId))
  t.match(ended, { state: 'failed', message: 'Ended while Waiter was not running', stderrTail: 'last words' })
  t.notOk(isRunning(orphans[0]!))
  t.ok(logs.some(line => line.includes('no instance file accounts for')))
  await view.untilHealthy('s', 1)
})

for (const [story, content] of [
  ['half written', '{"format":1,"bootId":"'],
  ['empty', ''],
  ['of another shape', '{"format":1,"bootId":3}'],
  ['of the future', '{"format":99}'],
  ['naming a pid that is no pid', null],
] as const) {
  t.test(`an instance file that is ${story}: moved aside, its process killed, a new one started`, async t => {
    const dataDir = makeDir(t)
    const waiter = await startWaiter(t, dataDir, healthyCommand())
    await waiter.crash()
    const [old] = waiter.instances
    const path = file(dataDir, old!)
    writeFileSync(path, content ?? JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), pid: 1 }))
    const { view, logs } = await openScheduler(t, { dataDir })
    const [next] = await view.untilHealthy('s', 1)
    t.not(next?.instanceId, old?.instanceId)
    t.notOk(isRunning(Number(old?.extra['shell-scheduler/pid'])))
    t.equal(readdirSync(join(dataDir, 'corrupt')).length, 1)
    t.ok(logs.some(line => line.includes('moved aside')))
  })
}

t.test('a service file that cannot be read: the service is forgotten and its processes are killed', async t => {
  const dataDir = makeDir(t)
  const waiter = await startWaiter(t, dataDir, healthyCommand())
  await waiter.crash()
  writeFileSync(join(dataDir, 'instances', 's', 'service.json'), 'not JSON')
  const { view } = await openScheduler(t, { dataDir })
  await view.until('listing', () => view.listings === 1)
  t.equal(view.services.size, 0)
  t.same(await processesBelow(dataDir), [])
})

t.test('a crash between intent and spawn, and between spawn and its record, leaves nothing behind', async t => {
  const dataDir = makeDir(t)
  const waiter = await startWaiter(t, dataDir, healthyCommand())
  await waiter.crash()
  const [old] = waiter.instances
  const stored = JSON.parse(readFileSync(file(dataDir, old!), 'utf8'))
  writeFileSync(file(dataDir, old!), JSON.stringify({ ...stored, pid: null, startTicks: null }))
  const { view } = await openScheduler(t, { dataDir })
  const ended = await view.untilEnded('s', String(old?.instanceId))
  t.match(ended, { state: 'killed', message: 'Waiter stopped while starting it' })
  t.notOk(isRunning(Number(old?.extra['shell-scheduler/pid'])))
  await view.untilHealthy('s', 1)
})

for (const [story, change, message] of [
  ['of an earlier boot', { bootId: 'another' }, 'Ended when the machine was restarted'],
  ['with a pid that somebody else has now', { pid: process.pid }, 'Ended while Waiter was not running'],
] as const) {
  t.test(`a file ${story} adopts nothing and harms nobody`, async t => {
    const dataDir = makeDir(t)
    const waiter = await startWaiter(t, dataDir, healthyCommand())
    await waiter.crash()
    const [old] = waiter.instances
    const stored = JSON.parse(readFileSync(file(dataDir, old!), 'utf8'))
    writeFileSync(file(dataDir, old!), JSON.stringify({ ...stored, ...change }))
    const { view } = await openScheduler(t, { dataDir })
    t.match(await view.untilEnded('s', String(old?.instanceId)), { message })
    t.notOk(isRunning(Number(old?.extra['shell-scheduler/pid'])), 'what it does not account for is killed')
    await view.untilHealthy('s', 1)
  })
}

t.test('strange files in the data directory are no obstacle', async t => {
  const dataDir = makeDir(t)
  mkdirSync(join(dataDir, 'instances', 'x', 'service.json'), { recursive: true })
  writeFileSync(join(dataDir, 'instances', 'stray'), '')
  writeFileSync(join(dataDir, 'fence.json'), 'garbage')
  writeFileSync(join(dataDir, 'owner.json'), '[]')
  const { view, scheduler } = await openScheduler(t, { dataDir })
  await scheduler.create(createExampleDefinition('s', healthyCommand()), 1, FENCE)
  await view.untilHealthy('s', 1)
})

t.test('an older scheduler on the same directory goes quiet and starts nothing more', async t => {
  const first = await openScheduler(t)
  await first.scheduler.create(createExampleDefinition('s', healthyCommand()), 1, FENCE)
  const [instance] = await first.view.untilHealthy('s', 1)
  const second = await first.reopen()
  await second.view.untilHealthy('s', 1)
  await t.rejects(first.scheduler.scale('s', 2, FENCE), { code: 'WTR_SCHEDULER_STOPPED' })
  process.kill(Number(instance?.extra['shell-scheduler/pid']), 'SIGKILL')
  await second.view.untilEnded('s', String(instance?.instanceId))
  await second.view.untilHealthy('s', 1)
  t.equal((await processesBelow(first.dataDir)).length, 1, 'one replacement, not two')
  t.ok(first.logs.some(line => line.includes('goes quiet')))
})

t.test('one that was held up while another took over stops nothing by its old timers', async t => {
  const NEVER_MS = 1e9
  const first = await openScheduler(t, { memoryCheckIntervalMs: NEVER_MS, fence: FENCE })
  const service = createExampleDefinition('s', SILENT, { 'grace-period-secs': 60 })
  await first.scheduler.create(service, 1, FENCE)
  const [instance] = await first.view.until(
    'it runs',
    () => first.view.inState('s', 'starting').length === 1 && first.view.instances('s'),
  )
  const pid = Number(instance?.extra['shell-scheduler/pid'])
  const second = await first.reopen({ fence: { term: FENCE.term + 1 } })
  await second.view.until('it is adopted', () => second.view.inState('s', 'starting').length === 1)
  const before = readFileSync(file(first.dataDir, instance!), 'utf8')
  first.timers.advance(61_000)
  await eventually(() => first.logs.some(line => line.includes('goes quiet')) || undefined, 'the timer to run')
  await first.scheduler.stop()
  t.ok(isRunning(pid), 'for the new one the grace period is not over')
  t.equal(readFileSync(file(first.dataDir, instance!), 'utf8'), before)
  await t.rejects(openScheduler(t, { dataDir: first.dataDir, fence: FENCE }), { code: 'WTR_FENCED' })
})

t.test('after stop, calls are refused, watches end and processes go on', async t => {
  const { scheduler, view, dataDir } = await openScheduler(t)
  await scheduler.create(createExampleDefinition('s', healthyCommand()), 1, FENCE)
  await view.untilHealthy('s', 1)
  await scheduler.stop()
  await t.rejects(scheduler.scale('s', 2, FENCE), { code: 'WTR_SCHEDULER_STOPPED', retryable: true })
  const late = new SchedulerView(scheduler)
  await late[Symbol.asyncDispose]()
  t.equal(late.listings, 0)
  t.equal((await processesBelow(dataDir)).length, 1)
  const next = await openScheduler(t, { dataDir })
  await next.view.untilHealthy('s', 1)
})

t.test('stopAll forgets the services: the next Waiter starts with nothing', async t => {
  const { scheduler, view, reopen, dataDir } = await openScheduler(t)
  await scheduler.create(createExampleDefinition('s', healthyCommand()), 2, FENCE)
  await view.untilHealthy('s', 2)
  await scheduler.stopAll(1000)
  t.same(await processesBelow(dataDir), [])
  const next = await reopen()
  await next.view.until('listing', () => next.view.listings === 1)
  t.equal(next.view.services.size, 0)
})

t.test('ended records survive a restart, and forgotten directories are removed in time', async t => {
  const { scheduler, view, reopen, dataDir } = await openScheduler(t)
  await scheduler.create(createExampleDefinition('s', healthyCommand()), 2, FENCE)
  await scheduler.create(createExampleDefinition('gone', healthyCommand()), 1, FENCE)
  const [victim] = await view.untilHealthy('s', 2)
  await view.untilHealthy('gone', 1)
  await scheduler.kill({ ...victim!, graceMs: 0, reason: 'for the record' }, FENCE)
  await scheduler.delete('gone', FENCE)
  await scheduler.stop()
  const next = await reopen({ deletedDirectoryKeepMs: 0, memoryCheckIntervalMs: 1 })
  t.match(await next.view.untilEnded('s', victim!.instanceId), { state: 'killed', message: 'for the record' })
  const gone = join(dataDir, 'instances', 'gone')
  const inTimeMs = performance.now() + 30_000
  while (existsSync(gone) && performance.now() < inTimeMs) await new Promise(resolve => setImmediate(resolve))
  t.notOk(existsSync(gone))
  t.ok(existsSync(String(victim?.logDirectory)), 'a listed one is kept')
})
