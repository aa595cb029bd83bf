import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadSettings } from '../src/config/load-settings.ts'
import { redactSettings } from '../src/config/redact-settings.ts'
import { SETTINGS_SHAPE, type SettingShape } from '../src/config/settings-shape.ts'

function fileWith(t: Test, name: string, text: string): string {
  const directory = t.testdir()
  mkdirSync(directory, { recursive: true })
  const file = join(directory, name)
  writeFileSync(file, text)
  return file
}

t.test('variables win over the file, and the file over defaults', async t => {
  const file = fileWith(t, 'waiter.yaml', 'port: 1\nhost: file\nscaling: {decision-floor-ms: 2}\nlog:\n')
  const settings = loadSettings(file, {
    WAITER_PORT: '8080',
    WAITER_SCALING__QUANTA_CONSTRAINTS__CPUS: '3',
    WAITER_LOG__LEVEL: 'debug',
    WAITER_CLUSTER_CONFIG__NAME: '12345',
    WAITER_HOSTNAME: '[a.example.com, b]',
    WAITER_AUTHENTICATOR_CONFIG__KIND: 'jwt',
    WAITER_AUTHENTICATOR_CONFIG__JWT__JWKS_URL: 'https://login.example.com/keys',
    WAITER_AUTHENTICATOR_CONFIG__JWT__ISSUER: 'https://login.example.com',
    WAITER_AUTHENTICATOR_CONFIG__JWT__ALLOW_BEARER_AUTH_SERVICES: 'true',
    WAITER_SCHEDULER_CONFIG__PROCESS__PORT_RANGE: '[2000, 2001]',
    WAITER_SERVICE_DESCRIPTION_DEFAULTS__MIN_INSTANCES: '2',
    HOME: '/nowhere',
  })
  t.match(settings, {
    port: 8080,
    host: 'file',
    'authenticator-config': { jwt: { issuer: 'https://login.example.com', 'allow-bearer-auth-services?': true } },
    hostname: ['a.example.com', 'b'],
    scaling: { 'decision-floor-ms': 2, 'quanta-constraints': { cpus: 3, mem: 524_288 } },
    log: { level: 'debug' },
    'cluster-config': { name: '12345' },
    'scheduler-config': { process: { 'port-range': [2000, 2001] } },
    'service-description-defaults': { 'min-instances': 2 },
  })
  t.equal(loadSettings(undefined, { WAITER_HOSTNAME: 'one.example.com' }).hostname, 'one.example.com')
})

t.test('a value may come from a file', async t => {
  const value = fileWith(t, 'value', 'from-a-file\n')
  t.equal(loadSettings(undefined, { WAITER_CLUSTER_CONFIG__NAME_FILE: value })['cluster-config'].name, 'from-a-file')
})

t.test('mistakes are named with their variable', async t => {
  const large = fileWith(t, 'large', 'x'.repeat(64 * 1024 + 1))
  const rows: [sentence: string, environment: Record<string, string>, problem: RegExp][] = [
    ['an unknown key', { WAITER_PROT: '1' }, /^environment variable WAITER_PROT: no such key/],
    ['an unknown key further in', { WAITER_SCALING__FLOOR: '1' }, /^environment variable WAITER_SCALING__FLOOR: no/],
    ['one level too many', { WAITER_PORT__X: '1' }, /^environment variable WAITER_PORT__X: no such key/],
    ['a prototype', { WAITER___PROTO__: '1' }, /^environment variable WAITER___PROTO__: no such key/],
    ['a constructor', { WAITER_CONSTRUCTOR__NAME: '1' }, /^environment variable WAITER_CONSTRUCTOR__NAME: no such key/],
    ['nothing', { WAITER_: '1' }, /^environment variable WAITER_: no such key/],
    ['a wrong type', { WAITER_PORT: 'eighty' }, /^environment variable WAITER_PORT: port: .*number/],
    ['a wrong value', { WAITER_LOG__LEVEL: 'loud' }, /^environment variable WAITER_LOG__LEVEL: log\.level: /],
    ['no YAML', { WAITER_PORT: '[1' }, /^environment variable WAITER_PORT: not a YAML value/],
    [
      'a rule broken',
      { WAITER_SERVICE_DESCRIPTION_DEFAULTS: '{min-instances: -1}' },
      /_DEFAULTS: service-desc.*min-inst/,
    ],
    [
      'no such file',
      { WAITER_PORT_FILE: '/nowhere/port' },
      /^environment variable WAITER_PORT_FILE: cannot read .*ENOENT/,
    ],
    ['a large file', { WAITER_PORT_FILE: large }, /^environment variable WAITER_PORT_FILE: cannot read .*larger/],
    ['both', { WAITER_PORT: '1', WAITER_PORT_FILE: large }, /larger|sets port already/],
  ]
  for (const [sentence, environment, problem] of rows)
    t.throws(() => loadSettings(undefined, environment), { code: 'WTR_CONFIG', message: problem }, sentence)
  const value = fileWith(t, 'port', '1')
  t.throws(() => loadSettings(undefined, { WAITER_PORT: '1', WAITER_PORT_FILE: value }), {
    message: /^environment variable WAITER_PORT_FILE: WAITER_PORT sets port already/,
  })
  const file = fileWith(t, 'waiter.yaml', 'port: x\nscaling: 3\n')
  t.throws(() => loadSettings(file, { WAITER_SCALING__DECISION_FLOOR_MS: '1' }), {
    message: /^environment variable WAITER_SCALING__DECISION_FLOOR_MS: the configuration file has no map at scaling/,
  })
  t.throws(() => loadSettings(file, { WAITER_HOST: 'h' }), { message: /waiter\.yaml:1: port/ }, 'a mistake of the file')
})

t.test('variables of instances and of Kubernetes are left alone', async t => {
  t.same(
    loadSettings(undefined, {
      WAITER_SERVICE_ID: 'waiter-service-1',
      WAITER_PASSWORD: 'x',
      WAITER_CLUSTER: 'other',
      WAITER_PORT: 'tcp://10.0.0.1:9091',
      WAITER_SERVICE_HOST: '10.0.0.1',
      WAITER_SERVICE_PORT: '9091',
      WAITER_SERVICE_PORT_HTTP: '9091',
      WAITER_PORT_9091_TCP: 'tcp://10.0.0.1:9091',
      WAITER_PORT_9091_TCP_ADDR: '10.0.0.1',
      WAITER_CONTROL_PORT_7000_TCP_PROTO: 'tcp',
    }),
    loadSettings(undefined),
  )
})

t.test('secrets are hidden, wherever they are', async t => {
  const shape: SettingShape = {
    properties: {
      open: { type: 'string' },
      password: { type: 'string', secret: true },
      none: { secret: true },
      passwords: { type: 'array', secret: true, items: { type: 'string' } },
      users: { items: { properties: { name: {}, secret: { secret: true } } } },
      byName: { additionalProperties: { properties: { key: { secret: true } } } },
    },
  }
  t.same(
    redactSettings(
      {
        open: 'a',
        password: 'b',
        none: undefined,
        passwords: ['c', 'd'],
        users: [{ name: 'e', secret: 'f' }],
        byName: { constructor: { key: 'g' }, other: { key: 'h', more: 1 } },
        unknown: { constructor: 1 },
      },
      shape,
    ),
    {
      open: 'a',
      password: '<hidden>',
      none: undefined,
      passwords: ['<hidden>', '<hidden>'],
      users: [{ name: 'e', secret: '<hidden>' }],
      byName: { constructor: { key: '<hidden>' }, other: { key: '<hidden>', more: 1 } },
      unknown: { constructor: 1 },
    },
  )
  const settings = loadSettings(undefined)
  t.same(Object.keys(redactSettings(settings) as object), Object.keys(settings), 'every key is shown')
})

t.test('every key is described', async t => {
  const undescribed: string[] = []
  const visit = (shape: SettingShape, path: string): void => {
    for (const [key, inner] of Object.entries(shape.properties ?? {})) {
      if (inner.description === undefined) undescribed.push(`${path}${key}`)
      visit(inner, `${path}${key}.`)
    }
  }
  visit(SETTINGS_SHAPE, '')
  t.same(undescribed, [])
})
