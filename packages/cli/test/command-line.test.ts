import { startWaiter } from '@waiter/testkit'
import t from 'tap'
import { createCommandLine, HELLO } from './support/command-line.ts'

/** The command line as people run it, against a Waiter as people run it. */
const waiter = await startWaiter()
t.teardown(() => waiter.stop())
const commandLine = createCommandLine(waiter.url)
const { run, file } = commandLine
t.teardown(() => commandLine.remove())

t.test('a token’s life: apply, tokens, ping, show, logs, delete', async t => {
  const hello = file('hello.json', { token: 'hello', ...HELLO })
  const dry = await run(['apply', '-f', hello, '--dry-run'])
  t.match(dry, { code: 0, stdout: /^hello: would be created in http/, stderr: '' })
  t.match(await run(['show', 'hello']), { code: 1, stdout: '', stderr: /No matching data found/ }, 'dry is dry')

  const created = await run(['apply', '-f', hello])
  t.match(created, { code: 0, stdout: /^hello: created in .*\n(.*\n)* {2}\+ cpus: 0.1\n {2}\+ env.A\n/, stderr: '' })
  t.notMatch(created.stdout, /s3cret|\u001b/, 'no values of env, no colours without a terminal')
  t.match(await run(['apply', '-f', hello]), { code: 0, stdout: /^hello: unchanged in \S+\n$/ })

  file('hello.json', { token: 'hello', ...HELLO, version: '2', env: { B: 'x' } })
  const updated = await run(['apply', '-f', hello, '--json'])
  t.same(JSON.parse(updated.stdout).results, [
    {
      token: 'hello',
      cluster: waiter.url,
      result: 'updated',
      'dry-run': false,
      etag: (await waiter.request({ path: '/token?token=hello' })).headers['etag'],
      changes: [
        { op: 'remove', path: ['env', 'A'] },
        { op: 'add', path: ['env', 'B'] },
        { op: 'change', path: ['version'], from: '1', to: '2' },
      ],
    },
  ])

  t.match(await run(['tokens']), {
    code: 0,
    stdout: /^Cluster +Owner +Token +Maintenance +Updated\n\S+ +\S+ +hello +No /,
  })
  t.match(JSON.parse((await run(['tokens', '--all', '--json'])).stdout), {
    clusters: { [waiter.url]: { count: 1, tokens: [{ token: 'hello', maintenance: false }] } },
    count: 1,
  })
  t.match(await run(['tokens', '--user', 'nobody-here']), { code: 1, stdout: '', stderr: /nobody-here owns none/ })

  const ping = await run(['ping', 'hello'])
  t.match(ping, { code: 0, stdout: /Ping successful\.\nService waiter-service-hello-\w+ is currently Running\.\n$/ })
  const serviceId = /Service (\S+) is/.exec(ping.stdout)?.[1] as string
  t.match(JSON.parse((await run(['ping', serviceId, '--json'])).stdout), {
    success: true,
    status: 'Running',
    'ping-response': { result: 'received-response', status: 200 },
  })

  const shown = await run(['show', 'hello'])
  t.match(shown.stdout, /^hello in http.*\n\n(.*\n)*version +2\n(.*\n)*Command\n(.*\n)*Environment\nB {2}x\n/)
  t.match(shown.stdout, new RegExp(`${serviceId} .* 1 +0\\.1 +128 MiB +2 +Running .* Current `))
  t.match(JSON.parse((await run(['show', 'hello', '--json'])).stdout), {
    clusters: {
      [waiter.url]: { count: 1, etag: /^E-/, token: { version: '2' }, services: [{ 'service-id': serviceId }] },
    },
    count: 1,
  })
  t.match((await run(['show', 'hello', '--yaml', '--no-services'])).stdout, /\n {6}version: "2"\n/)

  const logs = await run(['logs', 'hello'])
  t.match(logs.stdout, /^==> stdout <==\nto stdout\n(.*\n)*asked \/\n(.*\n)*\n==> stderr <==\nto stderr\n$/)
  t.match(logs.stderr, new RegExp(`^waiter: instance ${serviceId}\\.\\S+\\n$`))
  t.match(await run(['logs', serviceId, '--file', 'stderr', '-n', '1']), { code: 0, stdout: 'to stderr\n' })

  const refused = await run(['delete', 'hello'])
  t.match(refused, {
    code: 1,
    stdout: '',
    stderr: /There is one service using token hello:\n.*Running.*\nNothing was deleted/,
  })
  t.match(await run(['kill', 'hello']), { code: 0, stdout: `Successfully killed ${serviceId} in ` })
  t.match(await run(['kill', 'hello']), { code: 1, stderr: /nothing runs for token hello/ })
  t.match(await run(['kill', 'no-such']), { code: 1, stderr: /neither a token nor a service/ })
  t.match(await run(['delete', 'hello', '--force']), { code: 0, stdout: /^Successfully deleted hello in http/ })
  t.match(await run(['delete', 'hello', '--force']), { code: 1, stderr: /there is no token "hello"/ })
  t.match(await run(['apply', '-f', hello]), { code: 0, stdout: /hello: created/ }, 'a deleted one can come back')
  t.match(await run(['delete', 'hello', '--force', '--json']), { code: 0, stdout: /"result": "deleted"/ })
})

t.test('several tokens: all checked before the first is written', async t => {
  const many = 'token: first\ncpus: 0.1\n---\ntoken: second\ncpus: -1\nversion: 2\n'
  const refused = await run(['apply', '-f', '-'], { stdin: many })
  t.match(refused, { code: 1, stdout: '' })
  t.equal(
    refused.stderr,
    'waiter: standard input:5: cpus must be a positive number.\n' +
      'standard input:6: version must be a non-empty string. Put it in quotes: "2"\nNothing was changed.\n',
  )
  t.match(await run(['tokens']), { code: 1 })
  const twice = await run(['apply', '-f', '-', '-f', file('a.yaml', 'token: first\ncpus: 1\n')], {
    stdin: 'token: first\ncpus: 2\n',
  })
  t.match(twice.stderr, /a.yaml:1: first is described twice, first in standard input:1/)

  const good = 'token: first\ncpus: 0.1\n---\ntoken: second\nmin-instances: 9\nmax-instances: 3\n'
  const half = await run(['apply', '-f', '-'], { stdin: good })
  t.match(half, { code: 1, stdout: /^first: created/ }, 'what Waiter refuses does not keep the others')
  t.match(
    half.stderr,
    /^waiter: standard input:4: second: .*\(400\): Validation failed for token:\nmin-instances \(9\)/,
  )
  t.match(await run(['apply', 'third', '-f', '-'], { stdin: '{"cpus": 0.5}' }), { code: 0, stdout: /^third: created/ })
  await waiter.request({
    method: 'POST',
    path: '/token?token=third',
    body: '{"cpus": 0.5, "maintenance": {"message": "later"}}',
  })
  const kept = await run(['apply', 'third', '-f', '-'], { stdin: '{"cpus": 0.6}' })
  t.match(kept.stdout, /^third: updated in \S+\n {2}~ cpus: 0.5 → 0.6\n$/, 'maintenance is not the file’s business')
  t.match((await waiter.api('/token?token=third')).maintenance, { message: 'later' })
  for (const token of ['first', 'third']) t.equal((await run(['delete', token])).code, 0)
})

t.test('what cannot be understood is 2, what does not work is 1', async t => {
  const rows: [string, string[], number, RegExp][] = [
    ['no command', [], 2, /Usage: waiter/],
    ['an unknown command', ['aply'], 2, /unknown command 'aply'\n\(Did you mean apply\?\)/],
    ['an unknown flag', ['tokens', '--jsn'], 2, /unknown option '--jsn'/],
    ['a flag without value', ['apply', '-f'], 2, /argument missing/],
    ['no file', ['apply'], 2, /required option '-f, --filename <file>'/],
    ['two formats', ['tokens', '--json', '--yaml'], 2, /cannot be used with/],
    ['a time that is none', ['ping', 'x', '-t', '1e3'], 2, /whole number from 1 to 3600/],
    ['a file that is not there', ['apply', '-f', 'missing.yaml'], 1, /cannot read missing.yaml/],
    ['a cluster that is not there', ['-c', 'east', 'tokens'], 2, /either --cluster or --url/],
    ['an option of up', ['up', '--prot', '1'], 2, /Unknown option '--prot'\nUsage: waiter up /],
  ]
  for (const [story, args, code, pattern] of rows) {
    const result = await run(args)
    t.match(result, { code, stdout: '', stderr: pattern }, story)
    t.notMatch(result.stderr, /\n {4}at /, 'no stack')
  }
  t.notMatch((await run(['show', 'a\u009b2Jb'])).stderr, /\u009b/, 'errors do not steer a terminal')
  t.match(await run(['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
  t.match(await run(['help', 'logs']), { code: 0, stdout: /Usage: waiter logs .*--follow/s })
  t.match(await run(['--verbose', 'tokens', '--all']), { stderr: /waiter: GET .*\/tokens\?include=metadata → 200/ })
})
