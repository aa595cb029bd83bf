/**
 * `node benchmarks/idle/scheduler.ts [--instances 300] [--seconds 20]`: what the process scheduler alone costs for
 * instances that run and are not used, taken apart: health checks at the interval of used instances, at that of unused
 * ones, and the patrol (memory, exits) without checks. CPU time of this process; instances are the hello-world backend.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createExampleDefinition, SchedulerView } from '../../packages/schedulers/src/contract.ts'
import { createProcessScheduler } from '../../packages/schedulers/src/index.ts'
import { fastKitchenCommand } from '../../packages/testkit/src/index.ts'

const INSTANCES_MAX = 2_000
const SECONDS_MAX = 300
const FENCE = { term: 1 }
/** No check falls into the measurement. */
const NEVER = { intervalSecs: 600, patrolMs: 1e9 }
const CASES = [
  { name: 'checks', intervalSecs: 10, patrolMs: NEVER.patrolMs },
  { name: 'patrol', intervalSecs: NEVER.intervalSecs, patrolMs: undefined },
  { name: 'both', intervalSecs: 10, patrolMs: undefined },
]

const { values } = parseArgs({
  options: { instances: { type: 'string', default: '300' }, seconds: { type: 'string', default: '20' } },
})
const instances = Math.min(INSTANCES_MAX, Number(values.instances))
const seconds = Math.min(SECONDS_MAX, Number(values.seconds))

const cases: Record<string, object> = {}
for (const { name, intervalSecs, patrolMs } of CASES) {
  const cpu = await measure(intervalSecs, patrolMs)
  cases[name] = { cpu: Number(cpu.toFixed(4)), usPerInstanceSecond: Number(((cpu * 1e6) / instances).toFixed(1)) }
}
console.log(JSON.stringify({ instances, seconds, cases }))

/** @returns the share of a core */
async function measure(intervalSecs: number, patrolMs: number | undefined): Promise<number> {
  const dataDir = mkdtempSync(join(tmpdir(), 'waiter-idle-'))
  const scheduler = await createProcessScheduler({
    dataDir,
    portRange: { first: 20_000, last: 30_000 },
    ...(patrolMs === undefined ? {} : { memoryCheckIntervalMs: patrolMs, adoptedPollIntervalMs: patrolMs }),
  })
  const view = new SchedulerView(scheduler)
  try {
    const effective = { 'health-check-url': '/', 'health-check-interval-secs': intervalSecs }
    await scheduler.create(createExampleDefinition('idle', fastKitchenCommand(), effective), instances, FENCE)
    await view.untilHealthy('idle', instances)
    await pause(2_000)
    const before = process.cpuUsage()
    const beganAtMs = performance.now()
    await pause(seconds * 1_000)
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1_000 / (performance.now() - beganAtMs)
  } finally {
    await view[Symbol.asyncDispose]()
    await scheduler.stopAll(0)
    rmSync(dataDir, { recursive: true, force: true, maxRetries: 3 })
  }
}
