import { asyncPages } from './async-pages.ts'
import type { KitchenContext } from './context.ts'
import { LOREM_BYTES, lorem } from './lorem.ts'
import type { Bulk, Reply } from './reply.ts'
import { requestInfo } from './request-info.ts'
import { sleep, toNumber, type Visit } from './visit.ts'

/** Makes the answer for one path. */
export type Page = (visit: Visit, kitchen: KitchenContext) => Reply | Promise<Reply>

/** No body of ours is larger (an echo may be). */
const RESPONSE_BYTES_MAX = 50 * 2 ** 20

const pageByPath: ReadonlyMap<string, Page> = new Map<string, Page>([
  ...asyncPages,
  ['/bad-status', visit => ({ status: statusOf(visit, 500), body: 'Hello World' })],
  ['/chunked', visit => ({ status: 200, body: loremBody(visit), chunked: true })],
  ['/unchunked', visit => ({ status: 200, body: loremBody(visit) })],
  ['/gzip', gzipPage],
  ['/die', diePage],
  ['/environment', () => json(environment())],
  ['/kitchen-state', (_, kitchen) => json(kitchen.state('http'))],
  ['/oom-instability', oomPage],
  ['/request-info', visit => json(requestInfo(visit.request, visit.requestBytes))],
  ['/sleep', sleepPage],
])

/** The page for a path; any other path says hello. */
export function pageFor(path: string): Page {
  return pageByPath.get(path) ?? helloPage
}

function helloPage(visit: Visit, kitchen: KitchenContext): Reply {
  const status = kitchen.defaultStatus(visit)
  if (visit.wishFlag('echo')) return { status, body: echoBody(visit) }
  if (visit.wish('response-size') !== undefined) return { status, body: loremBody(visit) }
  const principal = kitchen.options.enableHealthCheckAuthentication && visit.request.headers['x-waiter-auth-principal']
  return { status, body: principal ? `Hello ${principal}` : 'Hello World' }
}

function loremBody(visit: Visit): Bulk {
  const bytes = Math.min(visit.wishNumber('response-size', LOREM_BYTES), RESPONSE_BYTES_MAX)
  return { bytes, chunks: lorem(bytes) }
}

/** Streams: the answer begins before the request has ended. */
function echoBody({ request }: Visit): Bulk {
  const length = request.headers['content-length']
  const hasBody = length !== undefined || request.headers['transfer-encoding'] !== undefined
  const bytes = length === undefined ? (hasBody || request.httpVersionMajor > 1 ? undefined : 0) : Number(length)
  return { bytes, chunks: request }
}

async function gzipPage(visit: Visit): Promise<Reply> {
  const { gzip } = process.getBuiltinModule('node:zlib')
  const plain = Buffer.concat([...(loremBody(visit).chunks as Iterable<Buffer>)])
  const body = await new Promise<Buffer>((resolve, reject) => {
    gzip(plain, (error, zipped) => (error ? reject(error) : resolve(zipped)))
  })
  return { status: 200, headers: { 'content-encoding': 'gzip' }, body }
}

function diePage(_: Visit, kitchen: KitchenContext): Reply {
  kitchen.exit(1)
  return { status: 500, body: 'this kitchen was asked to die' }
}

/** Memory taken by `/oom-instability`: kept, so that the collector cannot give it back. */
const hoard: Buffer[] = []
const OOM_SLEEP_MS = 10_000

async function oomPage(visit: Visit, kitchen: KitchenContext): Promise<Reply> {
  hoard.push(Buffer.alloc(kitchen.options.oomBytes, 1))
  await sleep(toNumber(visit.query.get('sleep-ms'), OOM_SLEEP_MS))
  return { status: 200, body: `took ${kitchen.options.oomBytes} bytes` }
}

async function sleepPage(visit: Visit): Promise<Reply> {
  const sleepMs = toNumber(visit.query.get('sleep-ms'), 0)
  await sleep(sleepMs)
  return { status: statusOf(visit, 200), body: `Slept for ${sleepMs} ms` }
}

function statusOf(visit: Visit, otherwise: number): number {
  const status = toNumber(visit.query.get('status'), otherwise)
  return status >= 200 && status <= 999 ? status : otherwise
}

function environment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/password/i.test(name)))
}

function json(value: unknown): Reply {
  return { status: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) }
}
