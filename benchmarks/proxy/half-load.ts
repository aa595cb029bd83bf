import { execFile } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Contestant, OTHER_CPU } from './contestant.ts'
import { HOST } from './waiter-contestant.ts'

const CLIENTS = 32
const SECONDS = 2
const WARM_UP_SECONDS = 1
const ROUNDS = 3
const RUN_MS_SLACK = 3_000

interface Percentiles {
  readonly p50Us: number
  readonly p99Us: number
}

/** Latency of one contestant at a fixed rate: medians over the rounds. */
export interface Latency {
  readonly p50Us: number
  readonly p99Us: number
  /** Beyond what the backend itself took in the same round. */
  readonly addedP50Us: number
  readonly addedP99Us: number
}

/** The same rate for everybody, open loop: a request is sent when its time has come, whether the last was answered or not. */
export async function measureHalfLoad(
  contestants: readonly Contestant[],
  { requestsPerSecond, directory }: { readonly requestsPerSecond: number; readonly directory: string },
): Promise<Readonly<Record<string, Latency>>> {
  const rounds: Map<string, Percentiles>[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const seen = new Map<string, Percentiles>()
    for (let turn = 0; turn < contestants.length; turn++) {
      const contestant = contestants[(turn + round) % contestants.length]!
      const percentiles = await runOnce(contestant.port, requestsPerSecond, join(directory, 'h2load.log'))
      if (percentiles !== undefined) seen.set(contestant.name, percentiles)
    }
    rounds.push(seen)
  }
  const base = contestants.find(({ pids }) => pids.length === 0)
  const result: Record<string, Latency> = {}
  for (const { name } of contestants) {
    const known = rounds.filter(seen => seen.has(name) && seen.has(base?.name ?? ''))
    if (known.length === 0) continue
    const own = known.map(seen => seen.get(name)!)
    const direct = known.map(seen => seen.get(base?.name ?? '')!)
    result[name] = {
      p50Us: medianOf(own.map(({ p50Us }) => p50Us)),
      p99Us: medianOf(own.map(({ p99Us }) => p99Us)),
      addedP50Us: medianOf(own.map(({ p50Us }, round) => p50Us - direct[round]!.p50Us)),
      addedP99Us: medianOf(own.map(({ p99Us }, round) => p99Us - direct[round]!.p99Us)),
    }
  }
  return result
}

async function runOnce(port: number, requestsPerSecond: number, file: string): Promise<Percentiles | undefined> {
  const perClient = Math.max(1, Math.round(requestsPerSecond / CLIENTS))
  rmSync(file, { force: true })
  const run = promisify(execFile)(
    'taskset',
    [
      ...['-c', String(OTHER_CPU), 'h2load', '--h1', '-c', String(CLIENTS), '-D', String(SECONDS)],
      ...['--warm-up-time', String(WARM_UP_SECONDS), '--rps', String(perClient), '--log-file', file],
      ...['-H', `Host: ${HOST}`, `http://127.0.0.1:${port}/`],
    ],
    { timeout: (SECONDS + WARM_UP_SECONDS) * 1000 + RUN_MS_SLACK, maxBuffer: 16 * 1024 * 1024 },
  )
  // Having measured and written everything, it sometimes does not end by itself; without lines it fails below.
  await run.catch(() => undefined)
  const latencies: number[] = []
  for (const line of readFileSync(file, 'latin1').split('\n')) {
    const [, status, us] = line.split('\t')
    if (status === '200') latencies.push(Number(us))
  }
  if (latencies.length === 0) return undefined
  latencies.sort((a, b) => a - b)
  return { p50Us: at(latencies, 0.5), p99Us: at(latencies, 0.99) }
}

/** The table for people. */
export function renderHalfLoad(requestsPerSecond: number, latencies: Readonly<Record<string, Latency>>): string {
  const lines = [
    `GET 100 B at ${requestsPerSecond.toFixed(0)} req/s, open loop    p50 us    p99 us   added p50   added p99`,
  ]
  for (const [name, one] of Object.entries(latencies)) {
    const figures = [one.p50Us, one.p99Us, one.addedP50Us, one.addedP99Us].map(us => us.toFixed(0).padStart(10))
    lines.push(`  ${name.padEnd(36)}${figures.join('')}`)
  }
  return lines.join('\n')
}

function at(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}

function medianOf(values: readonly number[]): number {
  return at(
    [...values].sort((a, b) => a - b),
    0.5,
  )
}
