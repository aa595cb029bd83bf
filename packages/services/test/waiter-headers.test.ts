import {
  computeRequestTimeouts,
  isCacheableSelection,
  isDescriptionHeader,
  parseGrpcTimeout,
  renderGrpcTimeout,
  splitWaiterHeaders,
} from '@waiter/services'
import t from 'tap'
import { readHeaderParameters } from '../src/header-parameters.ts'

const waiterOf = (headers: Record<string, string>): ReadonlyMap<string, string> =>
  splitWaiterHeaders(Object.entries(headers).flat()).waiter

const parametersOf = (headers: Record<string, string>) => {
  const read = readHeaderParameters(waiterOf(headers))
  if (!read.ok) throw new Error(read.error)
  return read.value
}

t.test('H1 waiter headers are taken out, whatever their case; the rest stays as it was', async t => {
  const split = splitWaiterHeaders([
    'Host',
    'h',
    'X-WAITER-Token',
    'a',
    'x-waiter',
    'no',
    'x-waiter-token',
    'b',
    'X-B',
    ' ',
  ])
  t.same([...split.waiter], [['token', 'a,b']], 'repeated headers are one list')
  t.same(split.passthrough, ['Host', 'h', 'x-waiter', 'no', 'X-B', ' '])
  t.same(splitWaiterHeaders(['x-waiter-', 'v']).passthrough, [], 'a bare prefix is not forwarded either')
})

t.test('H2 text stays text, the rest is JSON', async t => {
  const { parameters } = parametersOf({
    'x-waiter-cmd': '123',
    'x-waiter-version': 'true',
    'x-waiter-scheduler': '1',
    'x-waiter-cpus': '1.5',
    'x-waiter-mem': 'lots',
    'x-waiter-health-check-proto': 'h2c',
    'x-waiter-allowed-params': 'A, B,,C',
    'x-waiter-metadata': '{"a":"b"}',
    'x-waiter-ports': '[[[[[[1]]]]]]',
  })
  t.same(
    { ...parameters },
    {
      cmd: '123',
      version: 'true',
      scheduler: '1',
      cpus: 1.5,
      mem: 'lots',
      'health-check-proto': 'h2c',
      'allowed-params': ['A', 'B', 'C'],
      metadata: { a: 'b' },
      ports: '[[[[[[1]]]]]]',
    },
    'JSON that is too deep stays text',
  )
})

t.test('H3 maps, params and names without meaning', async t => {
  const { parameters, params, isPresent } = parametersOf({
    'x-waiter-env': '{"A":"1","B":"2"}',
    'x-waiter-env-b': '3',
    'x-waiter-Metadata-Team': 'Blue',
    'x-waiter-param-Size': 'XL',
    'x-waiter-nonsense': '1',
    'x-waiter-timeout': '1',
  })
  t.same(JSON.parse(JSON.stringify(parameters)), { env: { A: '1', B: '3' }, metadata: { team: 'Blue' } })
  t.same(JSON.parse(JSON.stringify(params)), { SIZE: 'XL' })
  t.ok(isPresent)
  t.notOk(parametersOf({ 'x-waiter-timeout': '1', 'x-waiter-token': 'a' }).isPresent)
  t.same({ ...parametersOf({ 'x-waiter-env': 'oops', 'x-waiter-env-b': '3' }).parameters }, { env: 'oops' })
})

t.test('H4 hostile names touch no prototype', async t => {
  const { parameters, params } = parametersOf({
    'x-waiter-env-__proto__': 'x',
    'x-waiter-metadata-__proto__': 'x',
    'x-waiter-param-__proto__': 'x',
    'x-waiter-constructor': 'x',
    'x-waiter-__proto__': '{"cmd":"x"}',
    'x-waiter-env': '{"__proto__":{"polluted":"x"}}',
  })
  t.same(Object.keys(parameters).sort(), ['env', 'metadata'])
  t.same(Object.keys(params), ['__PROTO__'])
  t.ok(Object.hasOwn(parameters.metadata as object, '__proto__'), 'it is an ordinary key, to be refused later')
  t.equal(({} as Record<string, unknown>).polluted, undefined)
})

t.test('H5 too many describing headers', async t => {
  const many = Object.fromEntries(Array.from({ length: 257 }, (_, index) => [`x-waiter-env-a${index}`, 'x']))
  t.match(readHeaderParameters(waiterOf(many)), { ok: false, error: /at most 256 headers .* not 257/ })
})

t.test('H6 what a router may remember', async t => {
  const rows: [string, Record<string, string>, boolean][] = [
    ['nothing', {}, true],
    ['a token', { 'x-waiter-token': 'a' }, true],
    ['timeouts and debug', { 'x-waiter-token': 'a', 'x-waiter-timeout': '1', 'x-waiter-debug': 'true' }, true],
    ['a parameter', { 'x-waiter-cpus': '1' }, false],
    ['a variable', { 'x-waiter-env-a': '1' }, false],
    ['a param', { 'x-waiter-param-a': '1' }, false],
    ['metadata', { 'x-waiter-metadata-a': '1' }, false],
    ['an unsupported header', { 'x-waiter-maintenance': '1' }, false],
  ]
  for (const [title, headers, expected] of rows) {
    t.equal(isCacheableSelection(waiterOf(headers), ['maintenance']), expected, title)
  }
  t.notOk(isDescriptionHeader('constructor'))
})

const timeouts = { queueTimeoutMs: 1000, socketTimeoutMs: 2000, streamingTimeoutMs: 3000 }

t.test('Q1 header over token, capped, and useless values warn', async t => {
  const timeoutsOf = (headers: Record<string, string>) =>
    computeRequestTimeouts({ headers: waiterOf(headers), timeouts })
  t.same(timeoutsOf({}), {
    ...timeouts,
    totalTimeoutMs: Number.POSITIVE_INFINITY,
    grpcTimeoutMs: Number.POSITIVE_INFINITY,
    asyncRequestTimeoutMs: 60_000,
    asyncCheckIntervalMs: 3000,
    warnings: [],
  })
  t.match(
    timeoutsOf({
      'x-waiter-queue-timeout': '5',
      'x-waiter-timeout': ' 6 ',
      'x-waiter-streaming-timeout': '7',
      'x-waiter-total-timeout': '10',
      'x-waiter-async-request-timeout': '8',
      'x-waiter-async-check-interval': '9',
    }),
    {
      queueTimeoutMs: 5,
      socketTimeoutMs: 6,
      streamingTimeoutMs: 7,
      totalTimeoutMs: 10,
      asyncRequestTimeoutMs: 8,
      asyncCheckIntervalMs: 9,
      warnings: [],
    },
  )
  for (const value of ['', 'abc', '1.5', '1e3', '0', '-5', 'NaN']) {
    const read = timeoutsOf({ 'x-waiter-timeout': value })
    t.equal(read.socketTimeoutMs, 2000, value)
    t.match(read.warnings, [/^x-waiter-timeout was ignored: .* 2000 applies/])
  }
  t.match(timeoutsOf({ 'x-waiter-total-timeout': '-1' }).warnings, [/must be positive; none applies/])
  const capped = timeoutsOf({ 'x-waiter-timeout': '3600001', 'x-waiter-async-request-timeout': '9'.repeat(400) })
  t.match(capped, { socketTimeoutMs: 3_600_000, asyncRequestTimeoutMs: 14_400_000 })
  t.equal(capped.warnings.length, 2)
})

t.test('Q3 what is left of a gRPC deadline', async t => {
  for (const [leftMs, expected] of [
    [2_999.9, '2999m'],
    [1, '1m'],
    [0.25, '250000n'],
    [0.9999999, '999999n'],
    [1e-9, '1n'],
    [0, '1n'],
    [-3, '1n'],
    [99_999_999.9, '99999999m'],
    [100_000_000, '100000S'],
    [1e12, '99999999S'],
  ] as const) {
    t.equal(renderGrpcTimeout(leftMs), expected)
    t.ok(parseGrpcTimeout(expected)! <= Math.max(1, leftMs), `${expected} is not more than ${leftMs} ms`)
  }
})

t.test('Q2 gRPC deadlines', async t => {
  const rows: [string, number | undefined][] = [
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['3S', 3000],
    ['4m', 4],
    ['5u', 1],
    ['6n', 1],
    ['123456789S', undefined],
    ['1', undefined],
    ['S', undefined],
    ['-1S', undefined],
    ['1s', undefined],
  ]
  for (const [value, expected] of rows) t.equal(parseGrpcTimeout(value), expected, value)
  const queueOf = (grpcTimeout: string, headers = {}) =>
    computeRequestTimeouts({ headers: waiterOf(headers), timeouts, grpcTimeout })
  t.match(queueOf('2S'), { queueTimeoutMs: 2100, grpcTimeoutMs: 2000, warnings: [] })
  t.match(queueOf('2H'), { queueTimeoutMs: 3_600_000 })
  t.match(queueOf('2S', { 'x-waiter-queue-timeout': '50' }), { queueTimeoutMs: 50, grpcTimeoutMs: 2000 })
  t.match(queueOf('soon'), {
    queueTimeoutMs: 1000,
    grpcTimeoutMs: Number.POSITIVE_INFINITY,
    warnings: [/^grpc-timeout was ignored/],
  })
})
