import {
  computeEffectiveDescription,
  computeHealthCheckTarget,
  computeInstanceEnvironment,
  computeServiceId,
  createServicesConfig,
  type ServiceDescription,
  validateOverrides,
  validateServicesConfig,
} from '@waiter/services'
import t from 'tap'
import { complete } from './fixtures.ts'

const profiles = {
  web: {
    defaults: {
      'concurrency-level': 7,
      'max-queue-length': 11,
      env: { FROM: 'profile', P: '1' },
      'queue-timeout-ms': 9,
    },
  },
}
const config = createServicesConfig({
  profiles,
  metricGroupMappings: [
    { pattern: 'web-.*', group: 'web_group' },
    { pattern: 'web-shop', group: 'never' },
  ],
})

t.test('M1 later layers win, maps merge by key', async t => {
  const core: ServiceDescription = { ...complete, profile: 'web', env: { FROM: 'core' }, 'max-queue-length': 12 }
  const effective = computeEffectiveDescription(core, config, { 'concurrency-level': 9 })
  t.equal(effective['concurrency-level'], 9, 'override over profile')
  t.equal(effective['max-queue-length'], 12, 'core over profile')
  t.equal(effective['max-instances'], 500, 'default')
  t.same(effective.env, { FROM: 'core', P: '1' })
  t.notOk('queue-timeout-ms' in effective, 'token metadata of a profile is no parameter')
})

t.test('M2 a low maximum lowers the default minimum', async t => {
  const high = createServicesConfig({ defaults: { ...config.defaults, 'min-instances': 3 } })
  const minOf = (core: ServiceDescription): number =>
    computeEffectiveDescription({ ...complete, ...core }, high)['min-instances']
  t.equal(minOf({}), 3)
  t.equal(minOf({ 'max-instances': 2 }), 2)
  t.equal(minOf({ 'max-instances': 2, 'min-instances': 1 }), 1)
  t.equal(minOf({ 'max-instances': 5 }), 3)
})

t.test('M3 the metric group is said, mapped or other', async t => {
  const groupOf = (core: ServiceDescription): string =>
    computeEffectiveDescription({ ...complete, ...core }, config)['metric-group']
  t.equal(groupOf({ name: 'web-shop', 'metric-group': 'mine' }), 'mine')
  t.equal(groupOf({ name: 'web-shop' }), 'web_group')
  t.equal(groupOf({ name: 'my-web-shop' }), 'other', 'the whole name must match')
  t.equal(groupOf({}), 'other')
})

t.test('M4 liveness checks copy health checks', async t => {
  const effective = computeEffectiveDescription(
    { ...complete, 'health-check-url': '/health', 'health-check-interval-secs': 7, 'liveness-check-url': '/live' },
    config,
  )
  t.match(effective, {
    'liveness-check-authentication': 'disabled',
    'liveness-check-interval-secs': 7,
    'liveness-check-max-consecutive-failures': 5,
    'liveness-check-port-index': 0,
    'liveness-check-proto': null,
    'liveness-check-url': '/live',
  })
})

t.test('M5 where health checks go', async t => {
  const targetOf = (core: ServiceDescription): unknown =>
    computeHealthCheckTarget(computeEffectiveDescription({ ...complete, ...core }, config))
  t.same(targetOf({}), { portIndex: 0, proto: 'http', url: '/status', isAuthenticated: false })
  t.match(targetOf({ 'backend-proto': 'h2c' }), { proto: 'h2c' })
  t.same(
    targetOf({
      'backend-proto': 'h2c',
      'health-check-proto': 'http',
      'health-check-port-index': 1,
      'health-check-url': '/h',
      'health-check-authentication': 'standard',
      ports: 2,
    }),
    { portIndex: 1, proto: 'http', url: '/h', isAuthenticated: true },
  )
})

t.test("E1 Waiter's variables win over the user's, and the config token becomes WAITER_TOKEN", async t => {
  const core: ServiceDescription = {
    ...complete,
    ports: 2,
    env: { GREETING: 'hi', WAITER_CONFIG_TOKEN: 'a,b', WAITER_CONFIG_X: 'y', SANDBOX: 'user' },
  }
  const definition = {
    id: computeServiceId(core, 'w-'),
    core,
    effective: computeEffectiveDescription(core, config),
  }
  const environment = computeInstanceEnvironment({
    definition,
    clusterName: 'c1',
    password: 'secret',
    home: '/home/alice',
    ports: [10_000, 10_001],
    schedulerVariables: { SANDBOX: '/sandbox' },
  })
  t.same(environment, {
    GREETING: 'hi',
    WAITER_CONFIG_X: 'y',
    SANDBOX: '/sandbox',
    HOME: '/home/alice',
    LOGNAME: 'alice',
    USER: 'alice',
    WAITER_CLUSTER: 'c1',
    WAITER_CONCURRENCY_LEVEL: '1',
    WAITER_CPUS: '0.5',
    WAITER_MEM_MB: '256',
    WAITER_METRIC_GROUP: 'other',
    WAITER_PASSWORD: 'secret',
    WAITER_SERVICE_ID: definition.id,
    WAITER_TOKEN: 'a,b',
    WAITER_USERNAME: 'waiter',
    PORT0: '10000',
    PORT1: '10001',
  })
  const input = { definition, clusterName: 'c1', password: 'x', home: '/', ports: [1] }
  t.throws(() => computeInstanceEnvironment(input), /as many ports/, 'too few ports is a bug')
})

t.test('O1 overrides', async t => {
  const override = (body: unknown, existing = {}): unknown =>
    validateOverrides({ core: complete, existing, body, config })
  t.same(override({ 'scale-factor': 0.5 }, { 'min-instances': 2 }), {
    ok: true,
    value: { 'min-instances': 2, 'scale-factor': 0.5 },
  })
  t.same(override({ cmd: 'x', owner: 'y', 'min-instances': 2 }), {
    ok: false,
    error: 'Cannot override the following parameter(s): cmd, owner',
  })
  t.same(override({ 'scale-factor': 5 }), {
    ok: false,
    error: 'scale-factor must be a number greater than 0 and at most 2.',
  })
  t.same(override({ 'max-instances': 3 }, { 'min-instances': 4 }), {
    ok: false,
    error: 'min-instances (4) must be less than or equal to max-instances (3)',
  })
  t.match(override([]), { ok: false })
  t.match(override(JSON.parse('{"__proto__":{"cmd":"x"}}')), { ok: false })
})

t.test('C1 a configuration is judged as a whole', async t => {
  t.ok(validateServicesConfig(config).ok)
  t.ok(validateServicesConfig(createServicesConfig()).ok)
  const bad = validateServicesConfig(
    createServicesConfig({
      defaults: { ...config.defaults, ports: 99 },
      profiles: {
        a: { defaults: { cpus: -1 } },
        b: { defaults: { nonsense: 1 } },
        c: { defaults: { 'stale-timeout-mins': -1 } },
      },
      metricGroupMappings: [{ pattern: '(', group: 'x' }],
      token: { ...config.token, historyLengthMax: 99, defaults: { ...config.token.defaults, 'queue-timeout-ms': -1 } },
    }),
  )
  if (bad.ok) throw new Error('it was accepted')
  for (const place of [
    'defaults: ports',
    'profiles.a: cpus',
    'profiles.b:',
    'profiles.c: stale',
    'metricGroupMappings[0]',
    'token.defaults: queue',
    'token.historyLengthMax',
  ]) {
    t.ok(
      bad.error.some(line => line.startsWith(place)),
      place,
    )
  }
})
