import { createPrng } from '@waiter/base'
import { rawRequest } from '@waiter/testkit'
import t from 'tap'
import { exampleView, startTestRouter } from './support/started-router.ts'

/** Seeds are kept: a case that broke something stays broken until it is mended. */
const SEEDS = [1, 20_261_125, 777]
const CASES_PER_SEED = 1_000
const ID = 'waiter-service-hello-1'

const SEGMENTS = [
  ...['apps', 'state', 'token', 'tokens', 'metrics', 'external', 'drain', 'eject', 'ejected', 'settings', 'status'],
  ...['instance', 'kill', 'expire', 'logs', 'override', 'suspend', 'resume', 'refresh', 'await', 'healthy', 'images'],
  ...['openapi.json', 'profiles', 'waiter-ping', 'service-id', 'app-name', 'waiter-auth', '.well-known', 'auth', ID],
  ...['..', '.', '%2e%2e', '%2F', '%00', '%', '%zz', '', '__proto__', 'constructor', 'toString', '^SERVICE-ID%23x'],
  ...['a'.repeat(300), '{id}', ':id', '*', '%E2%82%AC', '%ff', '<script>', "'", ';', '\\', '~', '|', '&', '='],
] as const
/** Where something answers, so that not every case ends at the first gate. */
const TEMPLATES = [
  ...['/apps', '/apps/#', '/apps/#/logs', '/apps/#/override', '/apps/#/instance/#/kill', '/apps/#/await/#', '/state/#'],
  ...['/metrics', '/metrics/external', '/eject', '/ejected/#', '/token', '/tokens', '/images/#', '/apps/instances'],
  ...['/waiter-ping', '/status', '/drain', '/apps/#/suspend', '/service-id', '/settings', '/token-history'],
] as const
const NAMES = [
  ...['timeout', 'include', 'instance-id', 'host', 'directory', 'file', 'watch', 'streaming-timeout', 'force'],
  ...['star-mode', 'run-as-user', 'token', 'token-version', 'env.X', 'metadata', '__proto__', 'name', 'service-id'],
  ...['format', 'effective-parameters', 'exclude-services', 'drain-timeout-secs', 'latest', 'x'.repeat(100)],
] as const
const VALUES = [
  ...['true', 'false', '', '0', '-1', '1e9', '99999999999999999999', 'NaN', '*', '.*', '(a+)+$', '[', '\\', '%00'],
  ...['../../etc/passwd', '..%2f..%2fetc%2fpasswd', '/etc/passwd', '%ff%fe', 'a'.repeat(3_000), '{}', '<script>'],
] as const
const METHODS = ['GET', 'GET', 'GET', 'POST', 'DELETE', 'PUT', 'HEAD', 'PATCH', 'OPTIONS'] as const
const BODIES = [
  ...['', '{}', '[]', 'null', '1', '"x"', '{"__proto__":{"a":1}}', '{"a":', '\u0000', '[['.repeat(5_000)],
  ...['{"instance":{"id":"a","service-id":"b"},"period-in-ms":1e99,"reason":1}', '{"overrides":{}}'],
  ...[`{"cluster":"waiter","service-metrics":{"${ID}":{"x":{"updated-at":"never"}}}}`, '{"cluster":1}'],
] as const

/** Raw now and then: the engine must refuse what cannot stand in a request line. */
function maybeEncoded(prng: ReturnType<typeof createPrng>, text: string): string {
  return prng.below(10) === 0 || /^[%\w.~-]*$/.test(text) ? text : encodeURIComponent(text)
}

t.test('hostile paths, queries and bodies never give a 5xx, a stack, or no answer', async t => {
  const { link, port } = await startTestRouter(t)
  link.services = [exampleView(ID)]
  const statuses = new Map<number, number>()
  for (const seed of SEEDS) {
    const prng = createPrng(seed)
    const pick = <T>(from: readonly T[]): T => from[prng.below(from.length)] as T
    for (let index = 0; index < CASES_PER_SEED; index++) {
      const method = pick(METHODS)
      const isTemplate = prng.below(10) < 7
      const segment = (): string => (prng.below(2) === 0 ? ID : maybeEncoded(prng, pick(SEGMENTS)))
      const path = isTemplate
        ? pick(TEMPLATES).replaceAll('#', segment)
        : Array.from({ length: 1 + prng.below(5) }, () => `/${maybeEncoded(prng, pick(SEGMENTS))}`).join('')
      const parameter = (): string => `${pick(NAMES)}=${maybeEncoded(prng, pick(VALUES))}`
      const query = Array.from({ length: prng.below(4) }, parameter).join('&')
      const body = method === 'GET' || method === 'HEAD' ? '' : pick(BODIES)
      // A watch would go on for its time-out, and a ping too: here they end at once.
      const target = `${path}?streaming-timeout=1&${query}`
      const lines = [
        `${method} ${target} HTTP/1.1`,
        'host: localhost',
        'connection: close',
        `accept: ${pick(['application/json', 'text/html', '*/*'])}`,
        `content-length: ${Buffer.byteLength(body)}`,
        ...(path === '/waiter-ping' ? ['x-waiter-timeout: 1'] : []),
      ]
      const head = `${lines.join('\r\n')}\r\n\r\n`
      const { responses } = await rawRequest({ port, bytes: head + body })
      const answer = responses.at(-1)
      const status = answer?.status ?? 0
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      const text = answer?.text ?? ''
      // Some case before this one has called for a drain.
      const isDraining = status === 503 && path === '/status'
      const isWell = status >= 200 && (status < 500 || isDraining || status === 501)
      const hasStack = /\bat .*\.ts:\d+|node_modules|node:internal/.test(text)
      if (isWell && !hasStack) continue
      t.fail(`seed ${seed}, case ${index}: ${method} ${target.slice(0, 300)} ${body.slice(0, 80)}: ${status} ${text}`)
    }
  }
  t.ok((statuses.get(200) ?? 0) > 50, `some of them mean something: ${JSON.stringify([...statuses])}`)
  t.ok((statuses.get(400) ?? 0) > 20)
  t.ok((statuses.get(404) ?? 0) > 500)
})
