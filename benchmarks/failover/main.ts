/**
 * `npm run bench:failover [-- --json] [--scenario leader] [--kills 20] [--rate 1000] [--seconds 120]`: three nodes under a
 * steady load.
 *
 * - `leader`: the control process that leads is killed (SIGKILL) again and again.
 * - `majority`: two of three control processes stand still for `--seconds`.
 * - `router`: a router is killed (SIGKILL) again and again.
 *
 * Says how many requests failed, how long it took until everything worked again, and whether an instance was stopped because
 * of it. Method: README.md. The last line of `--json` is the result.
 */
import { parseArgs } from 'node:util'
import { type StartedWaiter, startWaiter } from '../../packages/testkit/src/index.ts'
import { percentileOf } from '../load/percentile.ts'
import { sumUp } from './cluster.ts'
import { killLeaders, type Round } from './leader-kills.ts'
import { loseMajority } from './majority-loss.ts'
import { killRouters } from './router-kills.ts'

/** The goal for a start that a fail-over delays, beyond what the same start takes otherwise. */
const DELAY_MS_MAX = 1_000
const KILLS_MAX = 200
const RATE_MAX = 2_000
const SECONDS_MAX = 600

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    scenario: { type: 'string', default: 'leader' },
    kills: { type: 'string', default: '20' },
    rate: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '120' },
  },
})
const kills = Math.min(KILLS_MAX, Number(values.kills))
const perSecond = Math.min(RATE_MAX, Number(values.rate))
const seconds = Math.min(SECONDS_MAX, Number(values.seconds))
const onProgress = (line: string): void => console.error(line)

const scenarios: Record<string, (waiter: StartedWaiter) => Promise<{ readonly passed: boolean }>> = {
  leader: measureLeaderKills,
  majority: waiter => loseMajority({ waiter, seconds, perSecond, onProgress }),
  router: waiter => killRouters({ waiter, kills, perSecond, onProgress }),
}
const run = scenarios[values.scenario]
if (run === undefined) throw new Error(`--scenario takes ${Object.keys(scenarios).join(', ')}`)

const waiter = await startWaiter({ args: ['--nodes', '3'], config: { 'request-log': { enabled: true } } })
try {
  const result = await run(waiter)
  console.log(JSON.stringify(result, null, values.json ? undefined : 2))
  process.exitCode = result.passed ? 0 : 1
} finally {
  await waiter.stop()
}

async function measureLeaderKills(started: StartedWaiter) {
  const { loads, rounds, calmStartsMs, stopped } = await killLeaders({ waiter: started, kills, perSecond, onProgress })
  const figures = sumUp(loads)
  const calmMs = percentileOf(calmStartsMs, 50)
  const starts = rounds.map(({ startMs }) => startMs)
  const led = rounds.map(({ ledMs }) => ledMs)
  const delayMs = { p50: percentileOf(starts, 50) - calmMs, p99: percentileOf(starts, 99) - calmMs }
  return {
    kills: rounds.length,
    perSecond,
    ...figures,
    /** A request for a service that does not run, without a kill; and how much longer it takes right after one. */
    calmStartMs: calmMs,
    delayMs,
    stagesMs: sumUpStages(rounds),
    leaderAfterMs: { p50: percentileOf(led, 50), p99: percentileOf(led, 99) },
    instancesStopped: stopped,
    passed: figures.failed === 0 && stopped === 0 && delayMs.p99 <= DELAY_MS_MAX,
  }
}

/** By stage: when half of the rounds, and when nearly all of them, had got so far. */
function sumUpStages(rounds: readonly Round[]) {
  const names = ['noticed', 'elected', 'leads', 'attached', 'asked'] as const
  return Object.fromEntries(
    names.map(name => {
      const times = rounds.flatMap(({ stages }) => stages[name] ?? [])
      return [name, { p50: percentileOf(times, 50), p99: percentileOf(times, 99) }]
    }),
  )
}
