import { resolve } from 'node:path'
import t from 'tap'
import { parseOptions, renderUsage, type StartOptions } from '../src/options.ts'

const defaults: StartOptions = {
  nodes: undefined,
  workers: undefined,
  port: undefined,
  host: undefined,
  advertise: undefined,
  clusterPort: undefined,
  name: undefined,
  join: [],
  secretFile: undefined,
  roles: 'both',
  dataDirectory: resolve('.waiter'),
  configFile: undefined,
  isJson: false,
}

t.test('what the command line says', async t => {
  const rows: [sentence: string, args: string[], options: Partial<StartOptions>][] = [
    ['nothing', [], {}],
    ['a port', ['--port', '8080'], { port: 8080 }],
    ['with an equals sign', ['--port=8080'], { port: 8080 }],
    ['any free port', ['--port', '0'], { port: 0 }],
    ['the highest port', ['--port', '65535'], { port: 65_535 }],
    ['several nodes', ['--nodes', '9'], { nodes: 9 }],
    ['several workers', ['--workers', '4'], { workers: 4 }],
    ['a worker for each core', ['--workers', 'auto'], { workers: 'auto' }],
    ['where clients are heard', ['--host', '0.0.0.0'], { host: '0.0.0.0' }],
    [
      'for other hosts',
      ['--advertise', '10.0.0.1', '--cluster-port', '7000'],
      { advertise: '10.0.0.1', clusterPort: 7000 },
    ],
    ['seeds', ['--join', 'a.example:9190', '--join', '[::1]:1'], { join: ['a.example:9190', '[::1]:1'] }],
    ['a secret', ['--secret-file', '/s'], { secretFile: '/s' }],
    ['a name', ['--name', 'east-2'], { name: 'east-2' }],
    ['routers only', ['--roles', 'router'], { roles: 'router' }],
    ['both roles', ['--roles', 'router,control'], { roles: 'both' }],
    ['a directory', ['--data-dir', 'x/y'], { dataDirectory: resolve('x/y') }],
    ['an absolute directory', ['--data-dir', '/x'], { dataDirectory: '/x' }],
    ['a configuration', ['--config', 'a.yaml'], { configFile: resolve('a.yaml') }],
    ['for programs', ['--json'], { isJson: true }],
    ['the last one counts', ['--nodes', '2', '--nodes', '3'], { nodes: 3 }],
  ]
  for (const [sentence, args, options] of rows) t.same(parseOptions(args), { ...defaults, ...options }, sentence)
  t.equal(parseOptions(['--help']), 'help')
  t.equal(parseOptions(['--help', '--nodes', 'x']), 'help', 'help comes before complaints')
})

t.test('what it cannot mean', async t => {
  const rows: [sentence: string, args: string[], message: string][] = [
    ['no nodes', ['--nodes', '0'], '--nodes takes a whole number from 1 to 9, not "0"'],
    ['too many nodes', ['--nodes', '10'], '--nodes takes a whole number from 1 to 9, not "10"'],
    ['half a node', ['--nodes', '1.5'], '--nodes takes a whole number from 1 to 9, not "1.5"'],
    ['no workers', ['--workers', '0'], '--workers takes a whole number from 1 to 64, not "0"'],
    ['too many workers', ['--workers', '65'], '--workers takes a whole number from 1 to 64, not "65"'],
    ['a port beyond the last', ['--port', '65536'], '--port takes a whole number from 0 to 65535, not "65536"'],
    ['a port in hexadecimal', ['--port', '0x50'], '--port takes a whole number from 0 to 65535, not "0x50"'],
    ['an empty port', ['--port='], '--port takes a whole number from 0 to 65535, not ""'],
    [
      'a seed without a port',
      ['--join', 'a'],
      '--join takes HOST:PORT of a control node, such as 10.0.0.1:9190, not "a"',
    ],
    ['no role', ['--roles', 'control'], '--roles takes control,router or router, not "control"'],
    [
      'a name with blanks',
      ['--name', 'a b'],
      '--name takes letters, digits, dots, dashes and underscores, at most 64, not "a b"',
    ],
    ['a port with blanks', ['--port', ' 80'], '--port takes a whole number from 0 to 65535, not " 80"'],
  ]
  for (const [sentence, args, message] of rows)
    t.throws(() => parseOptions(args), { code: 'WTR_USAGE', message }, sentence)
  for (const args of [['--colour', 'red'], ['stray'], ['--port'], ['--json=yes'], ['--port', '-1']])
    t.throws(
      () => parseOptions(args),
      { code: 'WTR_USAGE', message: new RegExp(`.+\\n${renderUsage().slice(0, 10)}`) },
      args.join(' '),
    )
})
