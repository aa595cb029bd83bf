import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { createExampleDefinition, SchedulerView } from '../src/contract.ts'
import { findInPasswd } from '../src/process/run-as-user.ts'
import { healthyCommand, nodeCommand, SILENT } from './support/commands.ts'
import { FENCE, openScheduler, processesBelow } from './support/open.ts'

for (const [story, host, want] of [
  ['a server on all addresses is reached at the address it was assigned', '0.0.0.0', /^127\.0\.0\.([1-9]|10)$/],
  ['a server on 127.0.0.1 only is found there', '127.0.0.1', /^127\.0\.0\.1$/],
  ['a server on ::1 only is found there', '::1', /^::1$/],
] as const) {
  t.test(story, async t => {
    const { scheduler, view } = await openScheduler(t)
    await scheduler.create(createExampleDefinition('s', healthyCommand(host)), 1, FENCE)
    const [instance] = await view.untilHealthy('s', 1)
    t.match(instance?.host, want)
    t.same(instance?.flags, ['has-connected', 'has-responded'])
    t.equal(instance?.healthCheckStatus, 200)
  })
}

t.test('a service in another language is served too', async t => {
  const { scheduler, view } = await openScheduler(t)
  const cmd = 'echo ok > status; exec python3 -m http.server $PORT0'
  await scheduler.create(createExampleDefinition('s', cmd), 1, FENCE)
  await view.untilHealthy('s', 1)
})

t.test('the process sees its ports, its directory and nothing of the environment of Waiter', async t => {
  process.env.WAITER_TEST_SECRET = 'secret'
  t.teardown(() => delete process.env.WAITER_TEST_SECRET)
  const { scheduler, view } = await openScheduler(t, { passwordFor: id => `password of ${id}` })
  const cmd = `env > seen; ${healthyCommand()}`
  await scheduler.create(createExampleDefinition('s', cmd, { ports: 3, env: { MINE: 'yes' } }), 1, FENCE)
  const [instance] = await view.untilHealthy('s', 1)
  const directory = String(instance?.logDirectory)
  const seen = new Map(
    readFileSync(join(directory, 'seen'), 'utf8')
      .split('\n')
      .map(line => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  )
  t.equal(seen.get('MINE'), 'yes')
  t.equal(seen.get('PWD'), directory)
  t.equal(seen.get('HOME'), directory)
  t.equal(seen.get('WAITER_SANDBOX'), directory)
  t.equal(seen.get('WAITER_PASSWORD'), 'password of s')
  t.same([seen.get('PORT0'), seen.get('PORT1'), seen.get('PORT2')].map(Number), [
    instance?.port,
    ...(instance?.extraPorts ?? []),
  ])
  t.equal(seen.has('WAITER_TEST_SECRET'), false)
  t.equal(statSync(directory).mode & 0o777, 0o700)
  t.equal(instance?.extra['shell-scheduler/working-directory'], directory)
  t.type(instance?.extra['shell-scheduler/pid'], 'number')
  t.ok(Number(instance?.extra['spawned-at-ms']) >= Number(instance?.startedAtMs))
})

for (const [story, cmd, state, exitCode, message] of [
  ['a command that does not exist', 'no-such-command-anywhere', 'failed', 127, 'Exited with code 127'],
  ['a crash by signal', 'kill -KILL $$', 'failed', null, 'Killed by signal SIGKILL'],
  ['a command that ends instead of listening has failed', 'exit 0', 'failed', 0, 'Exited with code 0'],
] as const) {
  t.test(`${story}: ${message}`, async t => {
    const { scheduler, view } = await openScheduler(t)
    await scheduler.create(createExampleDefinition('s', cmd), 1, FENCE)
    const [ended] = await view.until('ended and replaced', () => {
      const all = view.inState('s', 'failed', 'killed')
      return all.length >= 2 && all
    })
    t.match(ended, { state, exitCode, message })
    t.equal(view.services.get('s')?.requested, 1)
  })
}

t.test('one that served and then ends in order has not failed', async t => {
  const { scheduler, view } = await openScheduler(t)
  const once =
    'http.createServer((q, r) => { r.on("close", () => process.exit(0)); r.end("ok") }).listen(process.env.PORT0)'
  await scheduler.create(createExampleDefinition('s', `exec '${process.execPath}' -e '${once}'`), 1, FENCE)
  const [ended] = await view.until('ended', () => {
    const killed = view.inState('s', 'killed')
    return killed.length > 0 && killed
  })
  t.match(ended, { state: 'killed', exitCode: 0, message: 'Exited with code 0' })
})

t.test('a failed instance shows the end of what it wrote to stderr, bounded', async t => {
  const { scheduler, view } = await openScheduler(t)
  const cmd = 'for i in $(seq 1 20000); do echo "line $i"; done >&2; exit 1'
  await scheduler.create(createExampleDefinition('s', cmd), 1, FENCE)
  const [failed] = await view.until(
    'failed',
    () => view.inState('s', 'failed').length > 0 && view.inState('s', 'failed'),
  )
  const lines = failed?.stderrTail.split('\n') ?? []
  t.equal(lines.length, 20)
  t.equal(lines.at(-1), 'line 20000')
})

t.test('restarts: the first at once, later ones after growing waits, and only ten failures are kept', async t => {
  const { scheduler, view, timers } = await openScheduler(t)
  const started: number[] = []
  await scheduler.create(createExampleDefinition('s', 'exit 7', { 'restart-backoff-factor': 3 }), 1, FENCE)
  const seen = new Set<string>()
  const isNewFailure = (): boolean | undefined => {
    for (const instance of view.inState('s', 'failed')) {
      if (seen.has(instance.instanceId)) continue
      seen.add(instance.instanceId)
      started.push(instance.startedAtMs)
      return true
    }
    return undefined
  }
  for (let failures = 1; failures <= 13; failures++) {
    await view.until(`failure ${failures}`, isNewFailure)
    if (failures >= 2) timers.advance(60_000)
  }
  const first = (started[1] ?? 0) - (started[0] ?? 0)
  t.ok(first < 900, `the first restart was immediate, not after ${first} ms`)
  for (const [index, at] of started.slice(2).entries()) {
    const waited = at - (started[index + 1] ?? 0)
    t.ok(waited >= Math.min(1000 * 3 ** index, 60_000) - 1, `restart ${index + 2} waited ${waited} ms`)
  }
  await using fresh = new SchedulerView(scheduler)
  await fresh.until('listing', () => fresh.listings > 0)
  t.equal(fresh.inState('s', 'failed').length, 10)
})

t.test('never listening: killed when the grace period is over', async t => {
  const { scheduler, view, timers, dataDir } = await openScheduler(t)
  await scheduler.create(createExampleDefinition('s', SILENT, { 'grace-period-secs': 30 }), 1, FENCE)
  const [instance] = await view.until('runs', () => view.inState('s', 'starting').length === 1 && view.instances('s'))
  timers.advance(30_000)
  const ended = await view.untilEnded('s', String(instance?.instanceId))
  t.match(ended, { state: 'failed', message: 'Exceeded grace period of 30 seconds', exitCode: null })
  t.same(ended.flags, ['never-passed-health-checks'])
  await scheduler.delete('s', FENCE)
  t.same(await processesBelow(dataDir), [])
})

t.test('a grace period of 0 never kills', async t => {
  const { scheduler, view, timers } = await openScheduler(t)
  await scheduler.create(createExampleDefinition('s', SILENT, { 'grace-period-secs': 0 }), 1, FENCE)
  await view.until('runs', () => view.inState('s', 'starting').length === 1)
  timers.advance(3_600_000)
  await scheduler.create(createExampleDefinition('t', healthyCommand()), 1, FENCE)
  await view.untilHealthy('t', 1)
  t.equal(view.inState('s', 'starting').length, 1)
})

t.test('listening late is found soon, in spite of a long health check interval', async t => {
  const { scheduler, view, dataDir } = await openScheduler(t)
  const go = join(dataDir, 'go')
  const cmd = `until test -e ${go}; do sleep 0.01; done; date +%s%3N > listening; ${healthyCommand()}`
  await scheduler.create(createExampleDefinition('s', cmd, { 'health-check-interval-secs': 600 }), 1, FENCE)
  await view.until('runs', () => view.inState('s', 'starting').length === 1)
  writeFileSync(go, '')
  const [instance] = await view.untilHealthy('s', 1)
  const beganMs = Number(readFileSync(join(String(instance?.logDirectory), 'listening'), 'utf8'))
  t.ok(Number(instance?.healthyAtMs) - beganMs < 5000, 'not at the interval of 600 s')
})

t.test('a health page that never answers: connected, timed out, killed after the grace period', async t => {
  const { scheduler, view, timers } = await openScheduler(t)
  const cmd = nodeCommand('require("node:net").createServer(()=>{}).listen(process.env.PORT0)')
  await scheduler.create(createExampleDefinition('s', cmd), 1, FENCE)
  const hanging = await view.until('timed out', () =>
    view.inState('s', 'starting').find(instance => instance.flags.includes('timeout-exception')),
  )
  t.ok(hanging.flags.includes('has-connected'))
  t.notOk(hanging.flags.includes('has-responded'))
  timers.advance(30_000)
  const ended = await view.untilEnded('s', hanging.instanceId)
  t.ok(ended.flags.includes('never-passed-health-checks'))
})

t.test('a server that hangs up is flagged so', async t => {
  const { scheduler, view } = await openScheduler(t)
  const cmd = nodeCommand('require("node:net").createServer(s=>s.destroy()).listen(process.env.PORT0)')
  await scheduler.create(createExampleDefinition('s', cmd), 1, FENCE)
  const seen = await view.until('hung up', () => view.instances('s').find(i => i.flags.includes('hangup-exception')))
  t.same(seen.flags, ['has-connected', 'hangup-exception'])
})

t.test('plain text on an https service is flagged as a TLS error', async t => {
  const { scheduler, view } = await openScheduler(t)
  await scheduler.create(createExampleDefinition('s', healthyCommand(), { 'backend-proto': 'https' }), 1, FENCE)
  const seen = await view.until('TLS error', () => view.instances('s').find(i => i.flags.includes('ssl-exception')))
  t.equal(seen.state, 'starting')
})

t.test('healthy, unhealthy after enough failed checks, healthy again', async t => {
  const { scheduler, view, timers } = await openScheduler(t)
  const program =
    'const fs=require("node:fs");require("node:http").createServer((q,r)=>{r.statusCode=fs.existsSync("sick")?503:200;r.end()})' +
    '.listen(process.env.PORT0)'
  const changes = { 'health-check-max-consecutive-failures': 3, 'grace-period-secs': 30 }
  await scheduler.create(createExampleDefinition('s', nodeCommand(program), changes), 1, FENCE)
  const [instance] = await view.untilHealthy('s', 1)
  const sick = join(String(instance?.logDirectory), 'sick')
  writeFileSync(sick, '')
  timers.advance(10_000)
  await view.until('one failure', () => view.inState('s', 'healthy')[0]?.healthCheckStatus === 503)
  timers.advance(10_000)
  timers.advance(10_000)
  const jump = setInterval(() => timers.advance(10_000), 20)
  t.teardown(() => clearInterval(jump))
  await view.until('unhealthy', () => view.inState('s', 'unhealthy').length === 1)
  clearInterval(jump)
  rmSync(sick)
  await view.untilHealthy('s', 1)
  t.same(
    view.instances('s').map(i => [i.instanceId, i.state]),
    [[instance?.instanceId, 'healthy']],
    'an instance that was healthy once is not killed for the grace period',
  )
})

t.test('health checks authenticate when told to', async t => {
  const { scheduler, view } = await openScheduler(t, { passwordFor: () => 'open sesame' })
  const want = `Basic ${Buffer.from('waiter:open sesame').toString('base64')}`
  const program = `require("node:http").createServer((q,r)=>{r.statusCode=q.headers.authorization==="${want}"?200:401;r.end()}).listen(process.env.PORT0)`
  const define = (id: string, auth: 'standard' | 'disabled') =>
    createExampleDefinition(id, nodeCommand(program), { 'health-check-authentication': auth })
  await scheduler.create(define('with', 'standard'), 1, FENCE)
  await scheduler.create(define('without', 'disabled'), 1, FENCE)
  await view.untilHealthy('with', 1)
  await view.until('refused', () => view.inState('without', 'starting')[0]?.healthCheckStatus === 401)
})

t.test('health checks go to the port and path that the service names', async t => {
  const { scheduler, view } = await openScheduler(t)
  const program =
    'require("node:http").createServer((q,r)=>{r.statusCode=q.url==="/a?b=1"?204:404;r.end()}).listen(process.env.PORT1)'
  const changes = { ports: 2, 'health-check-port-index': 1, 'health-check-url': '/a?b=1' }
  await scheduler.create(createExampleDefinition('s', nodeCommand(program), changes), 1, FENCE)
  const [instance] = await view.untilHealthy('s', 1)
  t.equal(instance?.healthCheckStatus, 204)
})

t.test('too much memory, summed over the whole tree: killed', async t => {
  const { scheduler, view, timers } = await openScheduler(t)
  const child = `${process.execPath} -e 'globalThis.x=Buffer.alloc(60*1048576,1);setInterval(()=>{},9999)'`
  const cmd = `${child} & ${child} & ${healthyCommand()}`
  await scheduler.create(createExampleDefinition('s', cmd, { mem: 200 }), 1, FENCE)
  const [instance] = await view.untilHealthy('s', 1)
  const jump = setInterval(() => timers.advance(1000), 50)
  t.teardown(() => clearInterval(jump))
  const ended = await view.untilEnded('s', String(instance?.instanceId))
  clearInterval(jump)
  t.match(ended, { state: 'failed', message: 'Exceeded allocated memory usage' })
  t.ok(ended.flags.includes('memory-limit-exceeded'))
})

t.test('images and docker commands are refused with a reason', async t => {
  const { scheduler, view } = await openScheduler(t)
  const refused = { code: 'WTR_UNSUPPORTED_SERVICE', status: 400 }
  await t.rejects(scheduler.create(createExampleDefinition('s', 'true', { image: 'alpine' }), 1, FENCE), refused)
  await t.rejects(scheduler.create(createExampleDefinition('s', 'true', { 'cmd-type': 'docker' }), 1, FENCE), refused)
  await t.rejects(scheduler.create(createExampleDefinition('../s', 'true'), 1, FENCE), refused)
  t.equal(view.services.size, 0)
})

t.test('a port that somebody else holds is skipped; none left is said and tried again', async t => {
  const squatter = createServer()
  await new Promise<void>(resolve => squatter.listen(0, '127.0.0.7', resolve))
  t.teardown(() => squatter.close())
  const taken = (squatter.address() as { port: number }).port
  const { scheduler, view, timers, logs } = await openScheduler(t, { portRange: { first: taken, last: taken } })
  await scheduler.create(createExampleDefinition('s', healthyCommand()), 1, FENCE)
  const poll = setInterval(() => timers.advance(500), 20)
  t.teardown(() => clearInterval(poll))
  await (async () => {
    while (scheduler.startProblem('s') === null) await new Promise(resolve => setImmediate(resolve))
  })()
  t.match(scheduler.startProblem('s'), `Only 0 of 1 ports are free in ${taken}-${taken}`)
  t.match(logs[0], 'Trying again every 1000 ms')
  t.equal(logs.length, 1, 'said once, not at every try')
  await view.until('who watches hears of it', () =>
    /Only 0 of 1 ports/.test(view.services.get('s')?.startTrouble ?? ''),
  )
  squatter.close()
  const [instance] = await view.untilHealthy('s', 1)
  clearInterval(poll)
  t.equal(instance?.port, taken)
  t.equal(scheduler.startProblem('s'), null)
  t.equal(view.services.get('s')?.startTrouble, null, 'and that it is over')
})

t.test('a port of an instance that never was healthy needs no rest', async t => {
  const { scheduler, view } = await openScheduler(t, { portRange: { first: 18_390, last: 18_390 } })
  await scheduler.create(createExampleDefinition('s', 'exit 1'), 1, FENCE)
  await view.until('the only port is used again at once', () => view.inState('s', 'failed').length >= 2)
})

t.test('a machine that cannot start a process says so and tries again', async t => {
  const { scheduler, logs } = await openScheduler(t, { shell: '/no/such/shell' })
  await scheduler.create(createExampleDefinition('s', 'true'), 1, FENCE)
  while (scheduler.startProblem('s') === null) await new Promise(resolve => setImmediate(resolve))
  t.match(scheduler.startProblem('s'), /Could not start an instance of s: ENOENT/)
  t.match(logs[0], 'WTR_START_FAILED')
})

t.test('a service runs as its user when Waiter may do that, else as Waiter', async t => {
  const { scheduler, view, dataDir } = await openScheduler(t)
  chmodSync(dataDir, 0o711)
  const cmd = 'id -u > uid; stat -c %u . stderr >> uid; echo done > done; exec sleep 1000'
  await scheduler.create(createExampleDefinition('s', cmd, { 'run-as-user': 'nobody' }), 1, FENCE)
  const [instance] = await view.until('runs', () => view.instances('s').length > 0 && view.instances('s'))
  const directory = String(instance?.logDirectory)
  while (!existsSync(join(directory, 'done'))) await new Promise(resolve => setImmediate(resolve))
  const nobody = findInPasswd(readFileSync('/etc/passwd', 'utf8'), 'nobody')
  const want = process.getuid?.() === 0 && nobody !== null ? nobody.uid : process.getuid?.()
  t.same(readFileSync(join(directory, 'uid'), 'utf8').trim().split('\n').map(Number), [want, want, want])
  await scheduler.kill({ ...instance!, graceMs: 5000, reason: 'test' }, FENCE)
  t.same(await processesBelow(dataDir), [])
})

t.test('huge output is rotated in place and the instance goes on writing', async t => {
  const { scheduler, view, timers } = await openScheduler(t, { outputBytesMax: 100_000 })
  const cmd = `(while true; do head -c 30000 /dev/zero | tr '\\0' x >&2; sleep 0.01; done) & ${healthyCommand()}`
  await scheduler.create(createExampleDefinition('s', cmd), 1, FENCE)
  const [instance] = await view.untilHealthy('s', 1)
  const directory = String(instance?.logDirectory)
  const jump = setInterval(() => timers.advance(1000), 10)
  t.teardown(() => clearInterval(jump))
  const names = async (): Promise<string[]> => (await scheduler.logs(instance!, '')).map(entry => entry.name)
  while (!(await names()).includes('stderr.2')) await new Promise(resolve => setImmediate(resolve))
  t.ok(statSync(join(directory, 'stderr.1')).size <= 100_000)
  t.notOk((await names()).includes('stderr.3'))
  t.equal(view.inState('s', 'healthy').length, 1)
})
