import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { OTHER_CPU } from '../proxy/contestant.ts'
import type { Load } from '../proxy/generator.ts'

const RUN_MS_SLACK = 10_000
/** Like a gRPC client's. */
const REQUEST_FIELDS: Readonly<Record<string, string>> = {
  'content-type': 'application/grpc',
  'grpc-accept-encoding': 'identity,deflate,gzip',
  'user-agent': 'grpc-node-js/1.10.0',
  'x-request-source': 'benchmark',
  te: 'trailers',
}

/** One kind of load: closed loop, each stream sends its next request when it has the answer. */
export interface Http2Case {
  readonly name: string
  readonly path: string
  readonly connections: number
  readonly streams: number
}

/** Runs h2load over h2c with prior knowledge. It tells mean and largest latency only. */
export async function generateHttp2(port: number, host: string, wanted: Http2Case, seconds: number): Promise<Load> {
  const fields = Object.entries({ ':authority': host, ...REQUEST_FIELDS }).flatMap(([name, value]) => [
    '-H',
    `${name}: ${value}`,
  ])
  const { stdout } = await promisify(execFile)(
    'taskset',
    [
      ...[
        '-c',
        String(OTHER_CPU),
        'h2load',
        '-t1',
        `-c${wanted.connections}`,
        `-m${wanted.streams}`,
        '-D',
        `${seconds}`,
      ],
      ...[...fields, `http://127.0.0.1:${port}${wanted.path}`],
    ],
    { timeout: seconds * 1000 + RUN_MS_SLACK },
  )
  const counts = /requests: .*, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(stdout)
  if (counts === null) throw new Error(`h2load printed no result: ${stdout}`)
  const [succeeded = 0, ...failures] = counts.slice(1).map(Number)
  const meanUs = microsecondsOf(/time for request: +\S+ +\S+ +(\S+)/.exec(stdout)?.[1] ?? '0us')
  const maxUs = microsecondsOf(/time for request: +\S+ +(\S+)/.exec(stdout)?.[1] ?? '0us')
  const errors = failures.reduce((sum, count) => sum + count, 0)
  return { requests: succeeded, seconds, errors, p50Us: meanUs, p99Us: maxUs }
}

function microsecondsOf(text: string): number {
  const [, value = '0', unit = 'us'] = /^([\d.]+)(us|ms|s)$/.exec(text) ?? []
  return Number(value) * { us: 1, ms: 1000, s: 1e6 }[unit as 'us' | 'ms' | 's']
}
