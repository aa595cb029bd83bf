import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isRunning, makeZombie, runWaiter, startWaiter } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { helloService, postToken } from './support/services.ts'

const scratch = mkdtempSync(join(tmpdir(), 'waiter-start-up-'))
t.teardown(() => rmSync(scratch, { recursive: true, force: true }))

/** A start that fails: one line for people, nothing on stdout, exit code 1. */
async function expectRefusal(t: Test, args: readonly string[], line: RegExp): Promise<void> {
  const { code, stdout, stderr } = await runWaiter(args)
  t.equal(code, 1, 'exit code')
  t.equal(stdout, '', 'nothing on stdout')
  const forPeople = stderr.split('\n').filter(one => one !== '' && !one.startsWith('{"level"'))
  t.equal(forPeople.length, 1, `one line, not:\n${stderr}`)
  t.match(forPeople[0], line)
}

t.test('--json prints one line on stdout, with what a program needs', async t => {
  for (const viaNpm of [false, true]) {
    await t.test(viaNpm ? 'through npm start --' : 'through node scripts/start.mjs', async t => {
      const waiter = await startWaiter({ viaNpm })
      t.teardown(() => waiter.stop())
      t.match(waiter.ready, {
        ready: true,
        routers: [/^http:\/\/127\.0\.0\.1:\d+$/],
        pid: Number,
        nodes: [
          { id: 'node-1', pid: Number, roles: ['control', 'router'], http: waiter.url, grpc: /^127\.0\.0\.1:\d+$/ },
        ],
      })
      t.ok(isRunning(waiter.pid), 'pid is that of a process')
      t.equal((await waiter.request({ path: '/status' })).status, 200, 'ready means ready')
      await postToken(waiter, 'hello', helloService('hello'))
      t.equal((await waiter.request({ headers: { 'x-waiter-token': 'hello' } })).text, 'Hello World')
      const how = await waiter.interrupt()
      // npm has a code of its own for having been interrupted.
      if (!viaNpm) t.equal(how, 0, 'Ctrl-C ends it with exit code 0')
      t.same(waiter.instanceProcesses(), [], 'and with everything that it started')
      t.equal(
        waiter.stdout().split('\n').length,
        2,
        `one line and its end, also after requests and the end: ${waiter.stdout()}`,
      )
      for (const line of waiter.log().trim().split('\n')) t.doesNotThrow(() => JSON.parse(line), 'stderr is the log')
    })
  }
})

t.test('a port in use is named, with the mend', async t => {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const args = ['--json', '--port', String(port), '--data-dir', join(scratch, 'port-in-use')]
  await expectRefusal(t, args, new RegExp(`^waiter: port ${port} on 127\\.0\\.0\\.1 is in use: .*--port`))
})

t.test('a data directory that cannot be made is named, with the mend', async t => {
  const file = join(scratch, 'a-file')
  writeFileSync(file, '')
  const directory = join(file, 'data')
  await expectRefusal(
    t,
    ['--json', '--port', '0', '--data-dir', directory],
    new RegExp(`^waiter: cannot use the data directory ${directory}: ENOTDIR.*--data-dir`),
  )
})

t.test('a data directory that another Waiter uses is refused, and that Waiter goes on', async t => {
  const waiter = await startWaiter()
  t.teardown(() => waiter.stop())
  await expectRefusal(
    t,
    ['--json', '--port', '0', '--data-dir', waiter.dataDirectory],
    new RegExp(`^waiter: the data directory ${waiter.dataDirectory} is in use by process ${waiter.pid}: `),
  )
  t.equal((await waiter.request({ path: '/status' })).status, 200)
})

t.test('locks of a process that has ended are no obstacle, also while nobody has reaped it', async t => {
  const zombie = await makeZombie()
  t.teardown(() => zombie.bury())
  const dataDirectory = join(scratch, 'zombie')
  mkdirSync(join(dataDirectory, 'store'), { recursive: true })
  const { pid, startTime } = zombie
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  writeFileSync(join(dataDirectory, 'lock'), JSON.stringify({ pid, startTime }))
  writeFileSync(join(dataDirectory, 'store', 'lock'), `${pid} ${startTime} ${bootId}`)
  const waiter = await startWaiter({ dataDirectory })
  t.teardown(() => waiter.stop())
  t.equal((await waiter.request({ path: '/status' })).status, 200)
})

t.test('a configuration that is not right is refused with file, line and key', async t => {
  const rows: [story: string, yaml: string, line: number, text: RegExp][] = [
    ['an unknown key', 'port: 0\nprot: 1\n', 2, /prot: no such key/],
    [
      'an unknown key further inside',
      'scaling:\n  decision-floor-ms: 100\n  decision-flor-ms: 1\n',
      3,
      /scaling\.decision-flor-ms/,
    ],
    ['a wrong type', '# ports\n\nport: "many"\n', 3, /port: .*expected number/i],
    [
      'a value out of range',
      'scheduler-config:\n  process:\n    port-range: [20, 10]\n',
      3,
      /scheduler-config\.process\.port-range/,
    ],
    ['text that is not YAML', 'port: 0\nlog: {level: info]\n', 2, /./],
    ['a key that occurs twice', 'port: 0\nport: 1\n', 2, /unique/i],
    [
      'a default that breaks the rules of services',
      'service-description-defaults:\n  concurrency-level: -1\n',
      2,
      /concurrency-level/,
    ],
  ]
  for (const [story, yaml, line, text] of rows) {
    await t.test(story, async t => {
      const file = join(scratch, `${story.replaceAll(' ', '-')}.yaml`)
      writeFileSync(file, yaml)
      const args = ['--json', '--port', '0', '--data-dir', join(scratch, 'bad-config'), '--config', file]
      await expectRefusal(t, args, new RegExp(`^waiter: ${file}:${line}: .*${text.source}`, text.flags))
    })
  }
  await t.test('a file that is not there', async t => {
    const file = join(scratch, 'missing.yaml')
    const args = ['--json', '--port', '0', '--data-dir', join(scratch, 'bad-config'), '--config', file]
    await expectRefusal(t, args, new RegExp(`^waiter: .*${file}`))
  })
})

t.test('options that are not right are refused', async t => {
  for (const args of [['--nodes', '0'], ['--nodes', 'many'], ['--port', '70000'], ['--port']]) {
    const { code, stdout, stderr } = await runWaiter(args)
    t.equal(code, 2, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr, new RegExp(`^waiter: .*${args[0]}`))
  }
  const unknown = await runWaiter(['--no-such-option'])
  t.equal(unknown.code, 2)
  t.match(unknown.stderr, /^waiter: .*--no-such-option/)
  const help = await runWaiter(['--help'])
  t.equal(help.code, 0)
  t.match(help.stdout, /--data-dir DIR/)
})
