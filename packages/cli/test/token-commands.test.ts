import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { makeCertificate, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { createCommandLine, HELLO } from './support/command-line.ts'

/** The commands of the original's command line beside those that `apply` and the others cover, as people run them. */
const waiter = await startWaiter()
t.teardown(() => waiter.stop())
const commandLine = createCommandLine(waiter.url)
const { file, directory, environment } = commandLine
/** As a process of its own where environment and streams count, else in this one. */
const { run: runApart, runHere: run } = commandLine
t.teardown(() => commandLine.remove())

const tokenOf = (token: string) => waiter.api(`/token?token=${token}`)

t.test('create and update by flags', async t => {
  const flags = ['--cpus', '0.1', '--mem', '128', '--version', '1', '--env.COLOUR', 'red', '--min-instances', '2']
  const created = await run(['create', 'made', ...flags, '--https-redirect', 'false', '--metadata.a=7', '-n', 'made'])
  t.match(created, { code: 0, stdout: /^Successfully created made in http/, stderr: '' })
  t.match(await tokenOf('made'), {
    ...{ cpus: 0.1, mem: 128, version: '1', name: 'made', 'min-instances': 2, 'https-redirect': false },
    ...{ env: { COLOUR: 'red' }, metadata: { a: '7' } },
  })
  t.match(await run(['create', 'made', ...flags, '--https-redirect', 'false', '--metadata.a=7', '-n', 'made']), {
    code: 0,
    stdout: /^No change to made/,
  })
  t.match(await run(['update', 'made', '--env.SIZE', 'big', '-v', '2']), { code: 0, stdout: /^Successfully updated/ })
  t.match(await tokenOf('made'), { version: '2', cpus: 0.1, env: { COLOUR: 'red', SIZE: 'big' } })
  t.match(await run(['create', 'made', '--cpus', '0.2']), { code: 0 })
  t.equal((await tokenOf('made')).env, undefined, 'create replaces')
  t.match(await run(['create', 'made', '--cpus', '-1']), { code: 1, stderr: /cpus must be a positive number/ })
  await run(['delete', 'made'])
})

t.test('create and update by file', async t => {
  const json = file('f.json', { token: 'filed', cpus: 0.1, env: { A: '1', B: '2' } })
  t.match(await run(['create', '--json', json]), { code: 0, stdout: /created filed/ })
  t.match(await run(['create', 'other', '--json', json]), { code: 2, stderr: /both name the token/ })
  t.match(await run(['update', '--json', json, '--cpus', '1']), { code: 2, stderr: /cpus: in f\.json and as a flag/ })
  t.match(await run(['update', '--json', json, '--cpus', '1', '--override']), { code: 0 })
  t.match(await tokenOf('filed'), { cpus: 1 })
  t.match(await run(['update', '--json', json, '--cpus', '2', '--no-override']), { code: 0 })
  t.match(await tokenOf('filed'), { cpus: 0.1 })
  t.match(await run(['update', 'filed', '--yaml', '-'], { stdin: 'env: {C: "3"}' }), { code: 0 })
  t.same((await tokenOf('filed')).env, { C: '3' }, 'a file replaces a map')

  const template = ['cmd: run $size $', '{what} $$PORT0\n'].join('')
  const context = file('context.yaml', 'size: small\n')
  const filled = await run(
    ['update', 'filed', '--input', '-', '--context', context, '--context.what', 'thing', '--output', '-'],
    { stdin: template },
  )
  t.match(JSON.parse(filled.stdout), { token: 'filed', cmd: 'run small thing $PORT0', env: { C: '3' } })
  t.equal((await tokenOf('filed')).cmd, undefined, 'it was only printed')
  const rows: readonly (readonly [story: string, args: string[], code: number, problem: RegExp])[] = [
    ['a variable without a value', ['update', 'x', '--input', '-', '--context.a', 'b'], 1, /no value for \$size/],
    ['a context without a file', ['update', 'x', '--context.a', 'b'], 2, /context goes with a file/],
    ['two files', ['update', 'x', '--json', json, '--yaml', json], 2, /one of --json, --yaml/],
    ['no name', ['create', '--cpus', '1'], 2, /must specify the token name/],
    ['a name that is none', ['create', '-o', 'me'], 2, /must specify the token name/],
    ['two names', ['create', 'a', 'b', '--cpus', '1'], 2, /one token at a time/],
    ['a flag without a value', ['create', 'a', '--grace-period-secs'], 2, /needs a value/],
    ['a flag twice', ['create', 'a', '--env.A', '1', '--env.A', '2'], 2, /there twice/],
    ['a value that is a map', ['create', 'a', '--image', '1', '--image.A', '2'], 2, /both a value and a map/],
    ['a prototype', ['create', 'a', '--__proto__.x', '1'], 2, /keys of a map/],
    ['a file that is not there', ['create', 'a', '--json', 'none.json'], 1, /cannot read none\.json/],
    ['a file that is no JSON', ['create', 'a', '--json', '-'], 1, /standard input: not valid JSON/],
  ]
  for (const [story, args, code, problem] of rows)
    t.match(await run(args, { stdin: template }), { code, stdout: '', stderr: problem }, story)
  await run(['delete', 'filed'])
})

t.test('init writes a file that create takes', async t => {
  t.match(await run(['init', '--cpus', '0.5', '--name', 'begun', '--env.A', 'b']), { code: 0, stdout: /token\.json/ })
  t.match(JSON.parse(readFileSync(join(directory, 'token.json'), 'utf8')), {
    ...{ name: 'begun', cpus: 0.5, mem: 2048, 'concurrency-level': 120, 'permitted-user': '*', env: { A: 'b' } },
  })
  t.match(await run(['init']), { code: 1, stderr: /There is already a file token\.json/ })
  t.match(await run(['init', '--force', '--yaml', '-F', 'token.json']), { code: 0 })
  t.match(readFileSync(join(directory, 'token.json'), 'utf8'), /^name: your-app-name$/m)
  t.match(await run(['init', 'x']), { code: 2 })
  t.match(await run(['create', 'begun', '--yaml', 'token.json', '--metric-group', 'g1', '--override']), { code: 0 })
  t.match(await tokenOf('begun'), { name: 'your-app-name' })
  await run(['delete', 'begun'])
})

t.test('down for maintenance, and up again', async t => {
  await run(['apply', 'shop', '-f', '-'], { stdin: JSON.stringify({ ...HELLO, name: 'shop' }) })
  t.equal((await run(['ping', 'shop'])).code, 0)
  t.match(await run(['maintenance', 'check', 'shop']), { code: 1, stdout: /shop is not in maintenance mode/ })
  t.match(await run(['maintenance', 'stop', 'shop']), { code: 1, stderr: /is not in maintenance mode/ })
  const down = await run(['maintenance', 'start', 'shop', 'back at noon'])
  t.match(down, { code: 0, stdout: /^Maintenance mode activated for shop.*\nSuccessfully killed waiter-service-shop/ })
  t.match(await run(['maintenance', 'check', 'shop']), { code: 0, stdout: /shop is in maintenance mode/ })
  const answer = await waiter.request({ headers: { host: 'shop' } })
  t.match([answer.status, answer.text], [503, /back at noon/])
  t.match(await run(['start', 'shop']), { code: 0, stdout: /deactivated for shop(.*\n)*.*currently Running/ })
  t.equal((await waiter.request({ headers: { host: 'shop' } })).status, 200)
  t.match(await run(['stop', 'shop', 'again', '--no-kill']), {
    code: 0,
    stdout: /^Maintenance mode activated for \S+ in \S+\n$/,
  })
  t.match(await run(['maintenance', 'stop', 'shop', '--no-ping']), { code: 0, stdout: /^Maintenance mode deactivated/ })
  t.match(await run(['stop', 'nowhere', 'x']), { code: 1, stderr: /no token "nowhere"/ })

  const killed = await run(['kill', 'shop', '--ping'])
  t.match(killed, { code: 0, stdout: /Successfully killed (.*\n)*Ping successful(.*\n)*.*currently Running/ })
})

t.test('one instance: replaced, stopped, visited', async t => {
  const id = async (): Promise<string> => {
    const { stderr } = await run(['logs', 'shop', '-n', '0'])
    return /instance (\S+)/.exec(stderr)?.[1] ?? ''
  }
  const instanceId = await id()
  const script = join(directory, 'ssh.sh')
  writeFileSync(script, '#!/bin/sh\nfor word in "$@"; do echo "[$word]"; done\nexit 7\n')
  chmodSync(script, 0o700)
  environment['WAITER_SSH'] = script
  const visit = await runApart(['ssh', 'shop', 'ls', '-l'])
  t.match(visit, { code: 7, stdout: /^\[-t\]\n\[127\.0\.0\.1\]\n\[cd '\/.*' && ls -l\]\n$/ }, 'it ends as ssh does')
  t.match(visit.stderr, instanceId)
  t.match(await runApart(['ssh', '-i', instanceId]), { code: 7, stdout: /exec "\$SHELL"/ })
  t.match(await runApart(['ssh', '--no-active', 'shop']), { code: 2, stderr: /no state/ })
  environment['WAITER_SSH'] = join(directory, 'no-such-program')
  t.match(await runApart(['ssh', 'shop']), { code: 1, stderr: /cannot run/ })

  t.match(await run(['instance', 'expire', 'shop']), {
    code: 0,
    stdout: /expire successfully sent to waiter-service-shop/,
  })
  const current = await id()
  t.match(await run(['instance', 'kill', '-i', current, '--force']), {
    code: 0,
    stdout: new RegExp(`sent to ${current}`),
  })
  t.match(await run(['instance', 'kill', '-i', `${current}x`]), { code: 1, stderr: /no instance/ })
  t.match(await run(['instance', 'kill', 'nothing']), { code: 1, stderr: /neither a token nor a service/ })
  await run(['delete', 'shop', '--force'])
})

t.test('TLS of a token’s host', async t => {
  const { cert, key } = await makeCertificate({ names: ['localhost'] })
  const server = createServer({ cert, key }, socket => socket.end())
  await new Promise<void>(resolve => server.listen(0, resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const where = ['--port', String(port)]
  t.match(
    await runApart(['ensure-ssl', 'localhost', ...where]),
    { code: 1, stderr: /self-signed/ },
    'it must be trusted',
  )
  environment['NODE_EXTRA_CA_CERTS'] = join(directory, file('ca.pem', cert))
  t.match(await runApart(['ensure-ssl', 'localhost', ...where]), { code: 0, stdout: /works/ })

  // A name that the machine knows, as a token.
  await run(['create', 'ready', ...Object.entries({ ...HELLO, env: undefined }).flatMap(toFlag)])
  t.match(await runApart(['ready', 'ready', '--version', '2', '--ping-timeout', '3', ...where]), {
    code: 1,
    stderr: /version is "1", not "2"/,
  })
  const unreachable = await runApart(['ready', 'ready', '--version', '1', '--connect-timeout', '1', ...where])
  t.match(unreachable, { code: 1, stdout: /Ping successful/, stderr: /no TLS with ready:/ })
  await run(['delete', 'ready', '--force'])
})

function toFlag([name, value]: [string, unknown]): string[] {
  return value === undefined ? [] : [`--${name}`, String(value)]
}

t.test('clusters of one group: a token is changed where it was changed last', async t => {
  const second = await startWaiter({ config: { 'cluster-config': { name: 'West' } } })
  t.teardown(() => second.stop())
  const clusters = [
    { name: 'east', url: waiter.url, 'sync-group': 'g' },
    { name: 'far', url: second.url, 'sync-group': 'g', 'default-for-create': true },
  ]
  const both = ['--config', file('group.json', { clusters })]
  const ran = (...args: string[]) => run([...both, ...args], { url: '' })
  t.match(await ran('create', 'moving', '--cpus', '1'), { code: 0, stdout: /created moving in far/ })
  t.match(await ran('--cluster', 'east', 'create', 'moving', '--cpus', '2'), {
    code: 0,
    stdout: /created moving in east/,
  })
  const admin = { 'update-mode': 'admin', token: 'moving' }
  const lie = { cpus: 3, owner: 'me', cluster: 'WEST', root: 'x', 'last-update-user': 'me' }
  const copied = await waiter.request({
    method: 'POST',
    path: `/token?${new URLSearchParams(admin)}`,
    headers: { 'if-match': String((await waiter.request({ path: '/token?token=moving' })).headers.etag) },
    body: JSON.stringify({ ...lie, 'last-update-time': new Date(Date.now() + 1_000).toISOString() }),
  })
  t.equal(copied.status, 200, copied.text)
  t.match(
    await ran('update', 'moving', '--cpus', '4'),
    { code: 0, stdout: /updated moving in far/ },
    'by the name that it has itself',
  )
  t.equal(JSON.parse((await second.request({ path: '/token?token=moving' })).text).cpus, 4)
})
