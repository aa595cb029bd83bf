import { createServicesConfig, PARAMETERS, validateDescription } from '@waiter/services'
import t from 'tap'

const BASE = { cmd: 'serve', cpus: 1, mem: 256, 'run-as-user': 'alice', version: '1' }
const INTERVALS: Readonly<Record<string, readonly [from: number, to: number]>> = {
  'concurrency-level': [1, 10_000],
  'grace-period-secs': [0, 3600],
  'health-check-interval-secs': [5, 600],
  'health-check-max-consecutive-failures': [1, 36],
  'health-check-port-index': [0, 9],
  'idle-timeout-mins': [0, 43_200],
  'interstitial-secs': [0, 3600],
  'liveness-check-interval-secs': [5, 600],
  'liveness-check-max-consecutive-failures': [1, 36],
  'liveness-check-port-index': [0, 9],
  'max-instances': [1, 2000],
  'min-instances': [1, 2000],
  ports: [1, 10],
  'termination-grace-period-secs': [0, 300],
}
const CHOICES: Readonly<Record<string, string>> = {
  'backend-proto': 'http, https, h2, h2c.',
  'distribution-scheme': 'balanced, simple.',
  'health-check-authentication': 'disabled, standard.',
  'health-check-proto': 'http, https, h2, h2c, or null.',
  'liveness-check-authentication': 'disabled, standard.',
  'liveness-check-proto': 'http, https, h2, h2c, or null.',
  'load-balancing': 'oldest, youngest, random, least-loaded.',
  'routing-mode': 'default, waiter-router, headless, ingress-distributed, ingress-centralized.',
}
const PHRASES: Readonly<Record<string, string>> = {
  cpus: 'a positive number.',
  mem: 'a positive number.',
  'expired-instance-restart-rate': 'a number greater than 0 and at most 1.',
  'jitter-threshold': 'a number from 0 to less than 1.',
  'restart-backoff-factor': 'a number that is at least 1.',
  'scale-down-factor': 'a number greater than 0 and less than 1.',
  'scale-factor': 'a number greater than 0 and at most 2.',
  'scale-up-factor': 'a number greater than 0 and less than 1.',
  'instance-expiry-mins': 'a non-negative integer.',
  'max-queue-length': 'a positive integer.',
  env: 'a map from string to string.',
  metadata: 'a map from string to string.',
}
const TEXTS = [
  ...['authentication', 'cmd', 'cmd-type', 'image', 'name', 'namespace', 'permitted-user', 'profile', 'run-as-user'],
  ...['scheduler', 'version'],
]
const OTHERS: readonly (readonly [name: string, value: unknown, message: string])[] = [
  ['cmd-type', 'perl', 'Command type perl is not supported'],
  ['allowed-params', 'A', 'allowed-params is invalid. It must be a list of environment variable names.'],
  ['allowed-params', ['1A'], 'allowed-params is invalid. These are not names of environment variables: 1A.'],
  [
    'metric-group',
    'A',
    'metric-group must be 2 to 32 characters: lower-case letters and digits, first a letter, with single _ or - between.',
  ],
  [
    'health-check-url',
    'x',
    'health-check-url must be a path: / and visible ASCII characters (percent-encode others), at most 2048.',
  ],
  [
    'liveness-check-url',
    'x',
    'liveness-check-url must be a path: / and visible ASCII characters (percent-encode others), at most 2048.',
  ],
  [
    'env',
    { HOME: '/' },
    'The following environment variable keys are reserved: HOME. Waiter sets them itself; choose other names.',
  ],
]

t.test('P1 what is wrong with a parameter is said in these words', async t => {
  const rows = [
    ...Object.entries(INTERVALS).flatMap(([name, [from, to]]) =>
      [from - 1, to + 1].map(value => [name, value, `an integer between ${from} and ${to} (inclusive).`] as const),
    ),
    ...Object.entries(CHOICES).map(([name, choices]) => [name, 'other', `one of ${choices}`] as const),
    ...Object.entries(PHRASES).map(([name, phrase]) => [name, -1, phrase] as const),
    ...TEXTS.map(name => [name, '', 'a non-empty string.'] as const),
  ].map(([name, value, rest]) => [name, value, `${name} must be ${rest}`] as const)
  const judged = [...rows, ...OTHERS]
  t.same([...new Set(judged.map(([name]) => name))].sort(), PARAMETERS.map(({ name }) => name).sort(), 'all are there')
  for (const [name, value, message] of judged) {
    const input = { ...BASE, [name]: value }
    const result = validateDescription(input, { config: createServicesConfig(), missingRequiredAllowed: false })
    const lines = result.ok ? [] : result.error.friendlyMessage.split('\n')
    t.ok(lines.includes(message), `${name}: ${message}: ${lines.join(' / ')}`)
  }
})

t.test('O1 these parameters may be overridden, and no others', async t => {
  t.same(
    PARAMETERS.filter(({ isOverridable }) => isOverridable).map(({ name }) => name),
    [
      ...['authentication', 'concurrency-level', 'distribution-scheme', 'expired-instance-restart-rate'],
      ...['grace-period-secs', 'health-check-interval-secs', 'health-check-max-consecutive-failures'],
      ...['idle-timeout-mins', 'instance-expiry-mins', 'interstitial-secs', 'jitter-threshold'],
      ...['liveness-check-interval-secs', 'liveness-check-max-consecutive-failures', 'load-balancing'],
      ...['max-instances', 'max-queue-length', 'min-instances', 'restart-backoff-factor', 'scale-down-factor'],
      ...['scale-factor', 'scale-up-factor', 'termination-grace-period-secs'],
    ],
  )
})

t.test('M1 the defaults of all parameters', async t => {
  t.same(createServicesConfig().defaults, {
    'allowed-params': [],
    authentication: 'standard',
    'backend-proto': 'http',
    'concurrency-level': 1,
    'distribution-scheme': 'balanced',
    env: {},
    'expired-instance-restart-rate': 0.1,
    'grace-period-secs': 30,
    'health-check-authentication': 'disabled',
    'health-check-interval-secs': 10,
    'health-check-max-consecutive-failures': 5,
    'health-check-port-index': 0,
    'health-check-proto': null,
    'health-check-url': '/status',
    'idle-timeout-mins': 30,
    'instance-expiry-mins': 7200,
    'interstitial-secs': 0,
    'jitter-threshold': 0.5,
    'load-balancing': 'oldest',
    'max-instances': 500,
    'max-queue-length': 1_000_000,
    metadata: {},
    'min-instances': 1,
    'permitted-user': '*',
    ports: 1,
    'restart-backoff-factor': 2,
    'routing-mode': 'default',
    'scale-down-factor': 0.001,
    'scale-factor': 1,
    'scale-up-factor': 0.1,
    'termination-grace-period-secs': 0,
  })
})

t.test('R14 the defaults of token metadata', async t => {
  t.match(createServicesConfig().token.defaults, {
    'fallback-period-secs': 300,
    'https-redirect': false,
    'queue-timeout-ms': 300_000,
    'service-mapping': 'legacy',
    'socket-timeout-ms': 900_000,
    'stale-timeout-mins': 15,
    'streaming-timeout-ms': 20_000,
  })
})
