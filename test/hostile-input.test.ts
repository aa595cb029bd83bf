import { connectRaw, type RawConnection, type RawResponse, type StartedWaiter, startWaiter } from '@waiter/testkit'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { helloService, postToken } from './support/services.ts'

/** Cases of each kind; four kinds make 10,000. A seed that ever found something stays. */
const CASES = 2_500
const SEEDS = { documents: 20_260_201, headers: 20_260_202, paths: 20_260_203, structures: 20_260_204 } as const
/** An answer takes a millisecond; a machine that does other things as well may take some more. */
const ANSWER_MS_MAX = 20_000

const waiter = await startWaiter()
t.teardown(() => waiter.stop())
await postToken(waiter, 'honest', helloService('honest'))
const before = await waiter.api('/token?token=honest&include=metadata')

/** One connection after the other: what is refused may cost its connection, and only that. */
class Client {
  #connection: RawConnection | undefined

  async ask(bytes: string | Uint8Array): Promise<RawResponse> {
    for (let attempt = 0; ; attempt++) {
      this.#connection ??= await connectRaw({ port: waiter.port })
      try {
        void this.#connection.write(bytes).catch(() => undefined)
        const response = await this.#connection.nextResponse({ timeoutMs: ANSWER_MS_MAX })
        if (response.header('connection') === 'close') this.close()
        return response
      } catch (error) {
        this.close()
        // The connection may have been closed because of the case before this one.
        if (attempt > 0) throw error
      }
    }
  }

  close(): void {
    this.#connection?.destroy()
    this.#connection = undefined
  }
}

const POISON = fc.constantFrom(
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  '__defineGetter__',
)
const KEYS = fc.constantFrom(
  ...['cmd', 'cpus', 'mem', 'version', 'run-as-user', 'env', 'metadata', 'allowed-params', 'concurrency-level', 'name'],
  ...[
    'min-instances',
    'max-instances',
    'owner',
    'editor',
    'cors-rules',
    'maintenance',
    'traffic-split',
    'profile',
    'image',
  ],
  ...[
    'last-update-time',
    'previous',
    'root',
    'cluster',
    'deleted',
    'health-check-url',
    'service-mapping',
    'token',
    'ports',
  ],
)
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom('', '*', '../../etc/passwd', 'a\r\nb: c', '%00', '$PORT0', '\u0000', '(a+)+$', 'x'.repeat(3_000)),
)
const value = fc.letrec(tie => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    text,
    fc.oneof(fc.integer(), fc.double(), fc.constantFrom(0, -1, 1e308, 2 ** 53, -0.5)),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.oneof(KEYS, POISON, text), tie('value'), { maxKeys: 4 }),
  ),
})).value

function post(path: string, body: string | Uint8Array, headers = ''): Uint8Array {
  const bytes = Buffer.from(body)
  const head = `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n${headers}content-length: ${bytes.length}\r\n\r\n`
  return Buffer.concat([Buffer.from(head, 'latin1'), bytes])
}

/** Runs one kind of cases; each must be answered, below 500, and without a glimpse of the inside. */
async function hammer(t: Test, seed: number, requests: fc.Arbitrary<string | Uint8Array>): Promise<void> {
  const client = new Client()
  const statuses = new Map<number, number>()
  await fc.assert(
    fc.asyncProperty(requests, async bytes => {
      const response = await client.ask(bytes)
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1)
      if (response.status >= 500) throw new Error(`answered ${response.status}: ${response.text.slice(0, 300)}`)
      if (/\n\s+at |node:internal|\.ts:\d+/.test(response.text))
        throw new Error(`a stack: ${response.text.slice(0, 300)}`)
    }),
    { seed, numRuns: CASES, interruptAfterTimeLimit: 120_000, markInterruptAsFailure: true },
  )
  client.close()
  t.comment(`answers by status: ${JSON.stringify(Object.fromEntries([...statuses].sort()))}`)
  t.ok([...statuses.values()].reduce((sum, count) => sum + count, 0) >= CASES)
}

t.test('token documents', async t => {
  const document = fc.dictionary(fc.oneof({ weight: 8, arbitrary: KEYS }, POISON, text), value, { maxKeys: 12 })
  // Most of what is wrong is wrong in one place only: that gets further than noise.
  const near = fc
    .dictionary(fc.oneof({ weight: 8, arbitrary: KEYS }, POISON), value, { maxKeys: 2 })
    .map(object => ({ ...helloService('near'), ...object }))
  const body = fc.oneof(
    { weight: 8, arbitrary: near.map(object => JSON.stringify(object)) },
    { weight: 6, arbitrary: document.map(object => JSON.stringify(object)) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
    { weight: 1, arbitrary: document.map(object => JSON.stringify(object).slice(0, -2)) },
  )
  const query = fc.constantFrom(
    '?token=fuzzed',
    '?token=fuzzed&update-mode=admin',
    '?token=honest&update-mode=strange',
    '',
    '?token=',
  )
  const version = fc.constantFrom('', 'if-match: E-0\r\n', 'if-match: *\r\n')
  await hammer(
    t,
    SEEDS.documents,
    fc.tuple(query, body, version).map(([path, json, header]) => post(`/token${path}`, json, header)),
  )
})

t.test('headers', async t => {
  const name = fc.oneof(
    KEYS.map(key => `x-waiter-${key}`),
    fc.oneof(POISON, text).map(part => `x-waiter-env-${part.replace(/[^\w-]/g, '')}`),
    POISON.map(part => `x-waiter-metadata-${part}`),
    POISON.map(part => `x-waiter-param-${part}`),
    fc.constantFrom(
      ...[
        'x-waiter-timeout',
        'x-waiter-queue-timeout',
        'x-waiter-fallback-period-secs',
        'x-waiter-debug',
        'x-cid',
        'cookie',
      ],
      ...['authorization', 'accept', 'if-match', 'origin', 'x-forwarded-proto', 'grpc-timeout', 'te', 'x-waiter-token'],
    ),
  )
  const shown = fc.oneof(
    text,
    value.map(one => JSON.stringify(one) ?? ''),
    fc.constantFrom('honest', 'absent', ',,,', '^SERVICE-ID#x'),
  )
  const header = fc
    .tuple(name, shown)
    .map(([key, one]) => `${key}: ${one.replace(/[^\t\x20-\x7e\x80-\xff]/g, '?')}\r\n`)
  const path = fc.constantFrom(
    '/service-id',
    '/service-id?latest=true',
    '/token',
    '/apps',
    '/status?include=request-info',
  )
  await hammer(
    t,
    SEEDS.headers,
    fc
      .tuple(path, fc.array(header, { maxLength: 12 }))
      .map(([target, lines]) =>
        Buffer.from(`GET ${target} HTTP/1.1\r\nhost: localhost\r\n${lines.join('')}\r\n`, 'latin1'),
      ),
  )
})

t.test('paths', async t => {
  const piece = fc.oneof(
    fc.constantFrom(
      'apps',
      'token',
      'tokens',
      'token-history',
      'state',
      'metrics',
      'settings',
      'waiter-ping',
      'logs',
      'override',
    ),
    fc.constantFrom(
      '..',
      '.',
      '',
      '%2e%2e',
      '%',
      '%zz',
      '%00',
      'instance',
      'reference',
      'notify',
      'owners',
      'refresh',
      'suspend',
    ),
    fc.constantFrom(
      'waiter-async',
      'status',
      'result',
      'waiter-interstitial',
      'waiter-consent',
      '.well-known',
      'auth',
      'oidc',
    ),
    POISON,
    text.map(part => encodeURIComponent(part.toWellFormed())),
    fc.string({ maxLength: 12 }).map(part => part.replace(/[^\x21-\x7e]/g, '~')),
  )
  const query = fc.dictionary(
    fc.oneof(
      fc.constantFrom('token', 'include', 'length', 'owner', 'service-id', 'directory', 'star-mode', 'env.A'),
      KEYS,
      POISON,
    ),
    fc.oneof(
      text,
      fc.constantFrom('true', 'metadata', '.*', '(', '[z-a]', '(a+)+$', '-1', '1e9', '99999999999999999999'),
    ),
    { maxKeys: 4 },
  )
  const request = fc.tuple(
    fc.constantFrom('GET', 'GET', 'GET', 'HEAD', 'DELETE', 'PUT', 'PATCH', 'OPTIONS', 'TRACE', 'STRANGE'),
    fc.array(piece, { maxLength: 6 }),
    query,
  )
  await hammer(
    t,
    SEEDS.paths,
    request
      // A HEAD has no body to look at, and would need to be read differently; a drained router answers nobody.
      .map(([method, pieces, parameters]) => {
        const asked = Object.entries(parameters).map(([key, one]) => `${key}=${encodeURIComponent(one.toWellFormed())}`)
        const target = `/${pieces.join('/')}${asked.length === 0 ? '' : `?${asked.join('&')}`}`
        return `${method === 'HEAD' ? 'GET' : method} ${target} HTTP/1.1\r\nhost: localhost\r\n\r\n`
      }),
  )
})

t.test('deep, wide and long JSON', async t => {
  const shape = fc.oneof(
    fc.integer({ min: 15, max: 8_000 }).map(depth => `${'{"env":'.repeat(depth)}1${'}'.repeat(depth)}`),
    fc.integer({ min: 15, max: 8_000 }).map(depth => `{"cmd":${'['.repeat(depth)}${']'.repeat(depth)}}`),
    fc
      .integer({ min: 1, max: 5_000 })
      .map(keys => `{${Array.from({ length: keys }, (_, key) => `"k${key}":1`).join(',')}}`),
    fc
      .integer({ min: 1, max: 70_000 })
      .map(length => `{"cmd":"${'\\u0000'.repeat(length % 9_000)}${'y'.repeat(length)}"}`),
    POISON.map(key => `{"${key}":{"isAdmin":true},"env":{"${key}":"x"},"metadata":{"${key}":{"${key}":1}}}`),
  )
  const path = fc.constantFrom(
    ...['/token?token=fuzzed', '/token?token=fuzzed&update-mode=admin', '/metrics/external', '/reference/notify'],
    ...['/tokens/refresh', '/apps/none/override'],
  )
  await hammer(
    t,
    SEEDS.structures,
    fc.tuple(path, shape).map(([target, json]) => post(target, json)),
  )
})

t.test('afterwards everything is as it was', async t => {
  t.same(await readHonest(waiter), before)
  t.equal((await waiter.request({ headers: { 'x-waiter-token': 'honest' } })).status, 200)
  t.equal((await waiter.request({ path: '/status' })).status, 200)
  const listed = await waiter.api('/tokens?include=deleted')
  for (const { token } of listed) t.match(token, /^(honest|fuzzed)$/)
})

async function readHonest({ api }: StartedWaiter): Promise<unknown> {
  return await api('/token?token=honest&include=metadata')
}
