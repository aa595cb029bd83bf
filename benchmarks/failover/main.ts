/**
 * `npm run bench:failover [-- --json] [--kills 20] [--rate 1000]`: three nodes under a steady load; the control process that
 * leads is killed (SIGKILL) again and again. Says how many requests failed, how long it took until what did not run was
 * started again, and whether an instance was stopped because of it. Method: README.md. The last line of `--json` is the
 * result.
 */
import { parseArgs } from 'node:util'
import { startWaiter } from '../../packages/testkit/src/index.ts'
import { percentileOf } from '../load/percentile.ts'
import { runScenario } from './scenario.ts'

/** The goal for a start that a fail-over delays, beyond what the same start takes otherwise. */
const DELAY_MS_MAX = 1_000
const KILLS_MAX = 200
const RATE_MAX = 2_000

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    kills: { type: 'string', default: '20' },
    rate: { type: 'string', default: '1000' },
  },
})
const kills = Math.min(KILLS_MAX, Number(values.kills))
const perSecond = Math.min(RATE_MAX, Number(values.rate))
const say = (line: string): void => console.error(line)

const waiter = await startWaiter({ args: ['--nodes', '3'], config: { 'request-log': { enabled: true } } })
try {
  const { loads, rounds, calmStartsMs, stopped } = await runScenario({ waiter, kills, perSecond, onProgress: say })
  const sum = (of: (figures: (typeof loads)[number]['figures']) => number): number =>
    loads.reduce((total, { figures }) => total + of(figures), 0)
  const calmMs = percentileOf(calmStartsMs, 50)
  const starts = rounds.map(({ startMs }) => startMs)
  const delayMs = { p50: percentileOf(starts, 50) - calmMs, p99: percentileOf(starts, 99) - calmMs }
  const failed = sum(figures => figures.failedByWaiter + figures.failedByBackend)
  const result = {
    kills: rounds.length,
    perSecond,
    sent: sum(figures => figures.sent),
    skipped: sum(figures => figures.skipped),
    failed,
    failures: loads.flatMap(({ figures }) => figures.failures).slice(0, 10),
    latencyMs: {
      p50: Math.max(...loads.map(({ latencies }) => latencies.percentile(50))) / 1_000,
      p99: Math.max(...loads.map(({ latencies }) => latencies.percentile(99))) / 1_000,
      max: Math.max(...loads.map(({ latencies }) => latencies.max)) / 1_000,
    },
    /** A request for a service that does not run, without a kill; and how much longer it takes right after one. */
    calmStartMs: calmMs,
    delayMs,
    leaderAfterMs: {
      p50: percentileOf(
        rounds.map(({ ledMs }) => ledMs),
        50,
      ),
      p99: percentileOf(
        rounds.map(({ ledMs }) => ledMs),
        99,
      ),
    },
    instancesStopped: stopped,
    passed: failed === 0 && stopped === 0 && delayMs.p99 <= DELAY_MS_MAX,
  }
  console.log(JSON.stringify(result, null, values.json ? undefined : 2))
  process.exitCode = result.passed ? 0 : 1
} finally {
  await waiter.stop()
}
