import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { OTHER_CPU } from './contestant.ts'
import { HOST } from './waiter-contestant.ts'

const SCRIPT = fileURLToPath(new URL('wrk.lua', import.meta.url))
const RUN_MS_SLACK = 10_000

/** One kind of request. */
export interface BenchCase {
  readonly name: string
  readonly path: string
  readonly connections: number
  readonly headers?: Readonly<Record<string, string>>
  readonly bodyBytes?: number
}

/** What one run of the generator saw. */
export interface Load {
  readonly requests: number
  readonly seconds: number
  readonly errors: number
  readonly p50Us: number
  readonly p99Us: number
}

/** Runs wrk: each connection sends its next request when it has the answer. */
export async function generate(port: number, wanted: BenchCase, seconds: number): Promise<Load> {
  const headers = Object.entries({ Host: HOST, ...wanted.headers }).flatMap(([name, value]) => [
    '-H',
    `${name}: ${value}`,
  ])
  const { stdout } = await promisify(execFile)(
    'taskset',
    [
      ...['-c', String(OTHER_CPU), 'wrk', '-t', '1', '-c', String(wanted.connections), '-d', `${seconds}s`],
      ...['-s', SCRIPT, ...headers, `http://127.0.0.1:${port}${wanted.path}`],
    ],
    {
      env: { ...process.env, BENCH_BODY_BYTES: String(wanted.bodyBytes ?? 0) },
      timeout: seconds * 1000 + RUN_MS_SLACK,
    },
  )
  const line = /^RESULT (.*)$/m.exec(stdout)?.[1]
  if (line === undefined) throw new Error(`wrk printed no result: ${stdout}`)
  const [requests = 0, us = 0, errors = 0, p50Us = 0, p99Us = 0] = line.split(' ').map(Number)
  return { requests, seconds: us / 1e6, errors, p50Us, p99Us }
}
