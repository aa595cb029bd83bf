/**
 * `npm run bench:versions [-- --json] [--seconds 180] [--rate 500] [--modes good,crash]`: a token is written again and again under a steady load: a good version, then one
 * that crashes, one of which half the answers are errors and a slow one. Says how many requests Waiter itself failed, and
 * how soon the bad versions were withdrawn. The last line of `--json` is the result.
 */
import { parseArgs } from 'node:util'
import { startWaiter } from '../../packages/testkit/src/index.ts'
import { type Mode, runScenario } from './scenario.ts'

/** A bad version must be gone within this. */
const WITHDRAWN_MS_MAX = 10_000
const ALL: readonly Mode[] = ['good', 'crash', 'errors', 'slow', 'dies']
const MODES: readonly Mode[] = ['good', 'good', 'crash', 'errors', 'slow']
const RATE_MAX = 2_000
const SECONDS_MAX = 600

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    seconds: { type: 'string' },
    rate: { type: 'string' },
    modes: { type: 'string' },
  },
})
const seconds = Math.min(SECONDS_MAX, Number(values.seconds ?? 180))
const perSecond = Math.min(RATE_MAX, Number(values.rate ?? 500))
const modes = values.modes?.split(',').flatMap(name => ALL.filter(mode => mode === name)) ?? MODES
const say = (line: string): void => console.error(line)

const waiter = await startWaiter()
try {
  const { versions, load } = await runScenario({
    waiter,
    perSecond,
    phaseMs: (seconds * 1_000) / modes.length,
    modes,
    onProgress: say,
  })
  const { figures, latencies } = load
  const bad = versions.filter(({ mode }) => mode !== 'good')
  const slowestMs = Math.max(...bad.map(({ withdrawnAfterMs }) => withdrawnAfterMs ?? Number.POSITIVE_INFINITY))
  const isGoodKept = versions.every(({ mode, withdrawnAfterMs }) => mode !== 'good' || withdrawnAfterMs === null)
  const result = {
    seconds,
    perSecond,
    ...figures,
    latencyMs: { p50: ms(50), p99: ms(99), p999: ms(99.9), max: latencies.max / 1_000 },
    slowestWithdrawalMs: slowestMs,
    versions,
    passed: figures.failedByWaiter === 0 && figures.skipped === 0 && slowestMs <= WITHDRAWN_MS_MAX && isGoodKept,
  }
  function ms(percentile: number): number {
    return latencies.percentile(percentile) / 1_000
  }
  if (values.json) console.log(JSON.stringify(result))
  else console.log(JSON.stringify(result, null, 2))
  process.exitCode = result.passed ? 0 : 1
} finally {
  await waiter.stop()
}
