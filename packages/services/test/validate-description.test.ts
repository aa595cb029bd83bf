import { createServicesConfig, PARAMETERS, validateDescription } from '@waiter/services'
import fc from 'fast-check'
import t from 'tap'
import { complete, config } from './fixtures.ts'

const problemsOf = (input: Record<string, unknown>, changes = {}): string[] => {
  const result = validateDescription(input, {
    config: createServicesConfig(changes),
    missingRequiredAllowed: false,
  })
  return result.ok ? [] : result.error.friendlyMessage.split('\n')
}

const valid: Readonly<Record<string, readonly unknown[]>> = {
  'allowed-params': [[], ['FOO', 'bar_1'], ['WAITER_CONFIG_X']],
  authentication: ['disabled', 'standard', 'saml'],
  'backend-proto': ['http', 'https', 'h2', 'h2c'],
  cmd: ['x', 'x'.repeat(1200)],
  'cmd-type': ['shell', 'docker'],
  'concurrency-level': [1, 10_000],
  cpus: [0.001, 32],
  'distribution-scheme': ['balanced', 'simple'],
  env: [{}, { A: 'x' }, { WAITER_CONFIG_TOKEN: 'x', PORTAL: 'y', a1: 'x'.repeat(512) }],
  'expired-instance-restart-rate': [0.0001, 1],
  'grace-period-secs': [0, 3600],
  'health-check-authentication': ['disabled', 'standard'],
  'health-check-interval-secs': [5, 600],
  'health-check-max-consecutive-failures': [1, 36],
  'health-check-port-index': [0],
  'health-check-proto': [null, 'http'],
  'health-check-url': ['/', '/a?b=c%20'],
  'idle-timeout-mins': [0, 43_200],
  image: ['registry.example/app:1'],
  'instance-expiry-mins': [0, 1e9],
  'interstitial-secs': [0, 3600],
  'jitter-threshold': [0, 0.999],
  'liveness-check-authentication': ['disabled', 'standard'],
  'liveness-check-interval-secs': [5, 600],
  'liveness-check-max-consecutive-failures': [1, 36],
  'liveness-check-port-index': [0],
  'liveness-check-proto': [null, 'http'],
  'liveness-check-url': ['/live'],
  'load-balancing': ['oldest', 'youngest', 'random', 'least-loaded'],
  'max-instances': [1, 2000],
  'max-queue-length': [1, 1e9],
  mem: [0.5, 131_072],
  metadata: [{}, { 'a-1': '' }, { a: 'x'.repeat(999) }],
  'metric-group': ['ab', 'a1_b-c', 'a'.repeat(32)],
  'min-instances': [1, 500],
  name: ['My App 日本'],
  namespace: ['alice', '*'],
  'permitted-user': ['*', 'bob'],
  ports: [1, 10],
  profile: [],
  'restart-backoff-factor': [1, 100],
  'routing-mode': ['default', 'waiter-router', 'headless', 'ingress-distributed', 'ingress-centralized'],
  'run-as-user': ['alice', '*'],
  'scale-down-factor': [0.0001, 0.9999],
  'scale-factor': [0.0001, 2],
  'scale-up-factor': [0.0001, 0.9999],
  scheduler: ['kubernetes'],
  'termination-grace-period-secs': [0, 300],
  version: ['1'],
}

const invalid: Readonly<Record<string, readonly unknown[]>> = {
  'allowed-params': ['FOO', [1], ['1A'], ['HOME'], ['WAITER_X'], Array.from({ length: 100 }, (_, i) => `A${i}`)],
  authentication: ['', 'a\nb'],
  'backend-proto': ['tcp', null],
  cmd: ['', ' \t', 'a\0b', '\ud800', 'x'.repeat(20_000)],
  'cmd-type': ['', 'perl'],
  'concurrency-level': [0, 10_001, 1.5, '1'],
  cpus: [0, -1, Number.NaN, Number.POSITIVE_INFINITY, '1'],
  'distribution-scheme': ['fair'],
  env: [
    [],
    'x',
    { A: 1 },
    { A: '' },
    { A: 'x'.repeat(513) },
    { '1A': 'x' },
    { 'A-B': 'x' },
    { HOME: 'x' },
    { A: 'a\0' },
  ],
  'expired-instance-restart-rate': [0, 1.1],
  'grace-period-secs': [-1, 3601, 0.5],
  'health-check-authentication': ['basic'],
  'health-check-interval-secs': [4, 601],
  'health-check-max-consecutive-failures': [0, 37],
  'health-check-port-index': [-1, 10],
  'health-check-proto': ['tcp'],
  'health-check-url': ['status', '/a b', '/a\r\nx: y', '/ü', '', `/${'a'.repeat(2048)}`],
  'idle-timeout-mins': [-1, 43_201],
  image: ['', 'a\nb'],
  'instance-expiry-mins': [-1, 0.5],
  'interstitial-secs': [-1, 3601],
  'jitter-threshold': [-0.1, 1],
  'liveness-check-authentication': ['basic'],
  'liveness-check-interval-secs': [4, 601],
  'liveness-check-max-consecutive-failures': [0, 37],
  'liveness-check-port-index': [-1, 10],
  'liveness-check-proto': ['tcp'],
  'liveness-check-url': ['live'],
  'load-balancing': ['fastest'],
  'max-instances': [0, 2001],
  'max-queue-length': [0, 2 ** 53],
  mem: [0, -1],
  metadata: [[], { A: 'x' }, { a_b: 'x' }, { a: 1 }, { a: 'x'.repeat(1000) }],
  'metric-group': ['a', 'A1', 'a__b', 'a-', '1a', 'a'.repeat(33)],
  'min-instances': [0, 2001],
  name: ['', 7, 'x'.repeat(257)],
  namespace: [''],
  'permitted-user': ['', 'a\r\nb'],
  ports: [0, 11],
  profile: [''],
  'restart-backoff-factor': [0.9],
  'routing-mode': ['direct'],
  'run-as-user': ['', 'a\r\nb'],
  'scale-down-factor': [0, 1],
  'scale-factor': [0, 2.1],
  'scale-up-factor': [0, 1],
  scheduler: [''],
  'termination-grace-period-secs': [-1, 301],
  version: ['', 1],
}

t.test('P1 every parameter accepts what its row allows', async t => {
  t.same(Object.keys(valid).sort(), PARAMETERS.map(rule => rule.name).sort(), 'the table is complete')
  for (const [name, values] of Object.entries(valid)) {
    for (const value of values) t.same(problemsOf({ ...complete, [name]: value }), [], `${name}: ${show(value)}`)
  }
})

t.test('P1 every parameter refuses everything else, in a sentence that names it', async t => {
  t.same(Object.keys(invalid).sort(), PARAMETERS.map(rule => rule.name).sort(), 'the table is complete')
  const wrongTypes = [true, {}, [[]], { deep: { deeper: 1 } }]
  for (const [name, values] of Object.entries(invalid)) {
    for (const value of [...values, ...wrongTypes]) {
      if ((name === 'env' || name === 'metadata') && show(value) === '{}') continue
      const lines = problemsOf({ ...complete, [name]: value })
      t.ok(lines.length >= 1, `${name}: ${show(value)}`)
      const known = /^(Command type .* is not supported|The following environment variable keys are reserved: )/
      t.ok(lines[0]!.startsWith(`${name} `) || known.test(lines[0]!), lines[0]!)
    }
  }
})

t.test('P2 all problems come at once, one a line', async t => {
  const lines = problemsOf({ ...complete, cpus: 'many', mem: -1, ports: 99, 'load-balancing': 'best' })
  t.same(lines, [
    'cpus must be a positive number.',
    'load-balancing must be one of oldest, youngest, random, least-loaded.',
    'mem must be a positive number.',
    'ports must be an integer between 1 and 10 (inclusive).',
  ])
})

t.test('P3 required parameters must be there', async t => {
  const names = ['cmd', 'cpus', 'mem', 'run-as-user', 'version']
  const lines = problemsOf({})
  t.same(
    lines.map(line => line.split(' ')[0]),
    names,
  )
  t.match(lines[0], 'cmd must be a non-empty string. It is required, but missing.')
  t.ok(validateDescription({}, { config, missingRequiredAllowed: true }).ok, 'a token may be partial')
  const { cmd, ...rest } = complete
  t.same(
    problemsOf({ ...rest, profile: 'web' }, { profiles: { web: { defaults: { cmd } } } }),
    [],
    'a profile supplies',
  )
})

t.test('P4 keys that are no parameters have no effect', async t => {
  const hostile = JSON.parse('{"__proto__":{"cmd":"evil","cpus":99},"constructor":1,"toString":"x","extra":{}}')
  const result = validateDescription({ ...hostile, ...complete }, { config, missingRequiredAllowed: false })
  t.same(result, { ok: true, value: complete })
  t.notOk(validateDescription(hostile, { config, missingRequiredAllowed: false }).ok, 'inherited values do not count')
  t.equal(({} as Record<string, unknown>).cmd, undefined)
  const profile = validateDescription(
    { ...complete, profile: 'constructor' },
    { config, missingRequiredAllowed: false },
  )
  t.notOk(profile.ok, 'an inherited name is no profile')
})

t.test('P5 reserved variables are named', async t => {
  const lines = problemsOf({
    ...complete,
    env: { HOME: '/', PORT0: '1', PORT: '2', MESOS_X: 'x', WAITER_TOKEN: 'x', OK: 'x' },
  })
  t.equal(lines.length, 1)
  t.match(lines[0], 'The following environment variable keys are reserved: HOME, MESOS_X, PORT, PORT0, WAITER_TOKEN.')
  t.match(problemsOf({ ...complete, 'allowed-params': ['USER'] })[0], /^allowed-params is invalid\. .*reserved: USER\./)
})

t.test('P6 limits of the deployment come in one sentence', async t => {
  t.same(problemsOf({ ...complete, cmd: 'x'.repeat(1201), cpus: 50 }), [
    'The following fields exceed their allowed limits: cpus is 50 but the max allowed is 32, cmd must be at most 1200 characters',
  ])
  t.same(problemsOf({ ...complete, cpus: 50 }, { constraints: {} }), [], 'another deployment may allow it')
})

t.test('P7 parameters that contradict each other', async t => {
  const rows: [string, Record<string, unknown>, string][] = [
    [
      'more at least than at most',
      { 'min-instances': 3, 'max-instances': 2 },
      'min-instances (3) must be less than or equal to max-instances (2)',
    ],
    [
      'more at least than the default maximum',
      { 'min-instances': 501 },
      'min-instances (501) must be less than or equal to max-instances (500)',
    ],
    [
      'a port that is not there',
      { 'health-check-port-index': 1 },
      'The health check port index (1) must be smaller than ports (1)',
    ],
    [
      'a liveness port that is not there',
      { 'liveness-check-port-index': 2, ports: 2 },
      'The liveness check port index (2) must be smaller than ports (2)',
    ],
    [
      'another protocol on the same port',
      { 'backend-proto': 'h2c', 'health-check-proto': 'http' },
      'The backend-proto (h2c) and health check proto (http) must match when health-check-port-index is zero',
    ],
    [
      'another liveness protocol on the same port',
      { 'liveness-check-proto': 'https' },
      'The backend-proto (http) and liveness check proto (https) must match when liveness-check-port-index is zero',
    ],
    [
      'authenticated checks without authentication',
      { authentication: 'disabled', 'health-check-authentication': 'standard' },
      'The health check authentication (standard) cannot be enabled when authentication (disabled) is disabled',
    ],
    [
      "somebody else's namespace",
      { namespace: 'bob' },
      'Service namespace must either be omitted or match the run-as-user.',
    ],
    [
      'a namespace for anybody',
      { namespace: 'bob', 'run-as-user': '*' },
      'Cannot use run-as-requester with a specific namespace',
    ],
  ]
  for (const [title, input, message] of rows) t.same(problemsOf({ ...complete, ...input }), [message], title)
  const fine = { 'backend-proto': 'h2c', 'health-check-proto': 'http', 'health-check-port-index': 1, ports: 2 }
  t.same(problemsOf({ ...complete, ...fine }), [], 'a separate health port may speak another protocol')
  t.same(problemsOf({ ...complete, 'max-instances': 1 }, {}), [], 'a low maximum lowers the default minimum')
})

t.test('P8 an unknown profile is answered with the known ones', async t => {
  const profiles = { web: { defaults: {} }, batch: { defaults: {} } }
  t.same(problemsOf({ ...complete, profile: 'x' }, { profiles }), [
    'Unsupported profile: x, supported profile(s) are batch, web',
  ])
})

t.test('P9 validation is idempotent and normalises sets and maps', async t => {
  const input = { ...complete, 'allowed-params': ['B', 'A', 'B'], env: { Z: '1', A: '2' } }
  const options = { config, missingRequiredAllowed: false }
  const once = validateDescription(input, options)
  if (!once.ok) throw new Error(once.error.friendlyMessage)
  t.same(once.value['allowed-params'], ['A', 'B'])
  t.same(Object.keys(once.value.env!), ['A', 'Z'])
  t.same(validateDescription({ ...once.value }, options), once)
})

t.test('P4 any JSON is judged without an exception', async t => {
  const names = fc.constantFrom(...PARAMETERS.map(rule => rule.name as string), '__proto__', 'constructor', 'x')
  t.doesNotThrow(
    () =>
      fc.assert(
        fc.property(fc.array(fc.tuple(names, fc.jsonValue())), entries => {
          const input: Record<string, unknown> = Object.fromEntries(entries)
          const result = validateDescription(input, { config, missingRequiredAllowed: true })
          if (result.ok) return Object.getPrototypeOf(result.value) === Object.prototype
          return result.error.problems.length > 0 && result.error.friendlyMessage.length < 20_000
        }),
        { seed: 21, numRuns: 1000 },
      ),
    '1000 descriptions judged',
  )
})

function show(value: unknown): string {
  return `${JSON.stringify(value)}`.slice(0, 60)
}
