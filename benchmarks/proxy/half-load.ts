import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Contestant, OTHER_CPU } from './contestant.ts'
import { HOST } from './waiter-contestant.ts'

const SCRIPT = fileURLToPath(new URL('open-loop.ts', import.meta.url))
const SECONDS = 2
const ROUNDS = 3
const RUN_MS_SLACK = 10_000

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
  requestsPerSecond: number,
): Promise<Readonly<Record<string, Latency>>> {
  const rounds: Map<string, Percentiles>[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const seen = new Map<string, Percentiles>()
    for (let turn = 0; turn < contestants.length; turn++) {
      const contestant = contestants[(turn + round) % contestants.length]!
      seen.set(contestant.name, await runOnce(contestant.port, requestsPerSecond))
    }
    rounds.push(seen)
  }
  const base = contestants.find(({ pids }) => pids.length === 0)
  const result: Record<string, Latency> = {}
  for (const { name } of contestants) {
    const own = rounds.map(seen => seen.get(name)!)
    const direct = rounds.map(seen => seen.get(base?.name ?? '') ?? { p50Us: 0, p99Us: 0 })
    result[name] = {
      p50Us: medianOf(own.map(({ p50Us }) => p50Us)),
      p99Us: medianOf(own.map(({ p99Us }) => p99Us)),
      addedP50Us: medianOf(own.map(({ p50Us }, round) => p50Us - direct[round]!.p50Us)),
      addedP99Us: medianOf(own.map(({ p99Us }, round) => p99Us - direct[round]!.p99Us)),
    }
  }
  return result
}

async function runOnce(port: number, requestsPerSecond: number): Promise<Percentiles> {
  const rate = String(Math.round(requestsPerSecond))
  const { stdout } = await promisify(execFile)(
    'taskset',
    ['-c', String(OTHER_CPU), process.execPath, SCRIPT, String(port), HOST, rate, String(SECONDS)],
    { timeout: SECONDS * 1000 + RUN_MS_SLACK },
  )
  const [, requests = 0, p50Us = 0, p99Us = 0] = (/^RESULT .*$/m.exec(stdout)?.[0] ?? '').split(' ').map(Number)
  if (requests === 0) throw new Error(`no answer at ${rate} requests a second`)
  return { p50Us, p99Us }
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
