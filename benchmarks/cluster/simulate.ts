/**
 * `node benchmarks/cluster/simulate.ts [--json] [--routers 3,8] [--loads 0.5,0.85,0.95] [--concurrency 1,2,4]
 * [--instances 4] [--mean 50] [--seconds 60] [--seeds 20] [--message 0.25,0.5] [--instance 0.2,0.4]`: the arrivals of
 * `bench:cluster` on the real `@waiter/slots` in virtual time. A message between routers takes a random time of the first
 * range, one between a router and an instance of the second. What the machine is too busy for does not show here; what a
 * rule of borrowing is worth does, over as many seeds as wanted.
 */
import { parseArgs } from 'node:util'
import { percentile, type Request, World, waitsOfOneQueue } from '../../packages/slots/test/borrowing-world.ts'
import { planArrivals } from './plan.ts'

/** As in the benchmark, all routers are asked before the first instance runs: so leases lie where they do there. */
const START_MS = 100
/** Leases settle before anything is judged. */
const WARM_UP_MS = 1_000
/** As in the benchmark, these are not judged. */
const WARM_UP_REQUESTS = 100
/** Of a router's first request to another one. */
const CONNECT_MS = 30
const DRAIN_MS = 20_000
const SEEDS_MAX = 1_000
const SECONDS_MAX = 300

type Range = readonly [min: number, max: number]

interface Case {
  readonly routers: number
  readonly instances: number
  readonly concurrency: number
  readonly load: number
  readonly meanMs: number
  readonly seconds: number
  readonly messageMs: Range
  readonly instanceMs: Range
}

/** One run. */
interface Run {
  readonly requests: number
  readonly waitMs: readonly number[]
  readonly centralMs: readonly number[]
  readonly freeMsMax: number
  readonly lent: number
  readonly inVain: number
  readonly messages: number
}

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    routers: { type: 'string', default: '3,8' },
    loads: { type: 'string', default: '0.5,0.85,0.95' },
    concurrency: { type: 'string', default: '1,2,4' },
    instances: { type: 'string', default: '4' },
    mean: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '60' },
    seeds: { type: 'string', default: '20' },
    message: { type: 'string', default: '0.25,0.5' },
    instance: { type: 'string', default: '0.2,0.4' },
  },
})
const list = (text: string): number[] => text.split(',').map(Number)
const rangeOf = (text: string): Range => [list(text)[0] ?? 0, list(text)[1] ?? 0]
const seeds = Math.min(SEEDS_MAX, Number(values.seeds))
const shared = {
  instances: Number(values.instances),
  meanMs: Number(values.mean),
  seconds: Math.min(SECONDS_MAX, Number(values.seconds)),
  messageMs: rangeOf(values.message),
  instanceMs: rangeOf(values.instance),
}
const rows = []
for (const routers of list(values.routers))
  for (const load of list(values.loads))
    for (const concurrency of list(values.concurrency)) {
      const row = summarize({ ...shared, routers, load, concurrency })
      rows.push(row)
      if (!values.json) console.log(JSON.stringify(row))
    }
if (values.json) console.log(JSON.stringify({ ...shared, seeds, rows }))

function summarize(options: Case): object {
  const runs = Array.from({ length: seeds }, (_, index) => simulate(options, index + 1))
  const mean = (of: (run: Run) => number): number => runs.reduce((sum, run) => sum + of(run), 0) / runs.length
  const ratioAt = (part: number, run: Run): number => percentile(run.waitMs, part) / percentile(run.centralMs, part)
  const average = (list: readonly number[]): number => list.reduce((sum, ms) => sum + ms, 0) / list.length
  const { routers, load, concurrency } = options
  return {
    ...{ routers, load, concurrency },
    p99Ratio: round(mean(run => ratioAt(0.99, run))),
    longestRatio: round(mean(run => ratioAt(1, run))),
    meanExtraMs: round(mean(run => average(run.waitMs) - average(run.centralMs))),
    freeMsMax: round(Math.max(...runs.map(({ freeMsMax }) => freeMsMax))),
    messagesPerRequest: round(mean(run => run.messages / run.requests)),
    lentPerRequest: round(mean(run => run.lent / run.requests)),
    inVainPerRequest: round(mean(run => run.inVain / run.requests)),
  }
}

function simulate(options: Case, seed: number): Run {
  const { routers, instances, concurrency, messageMs, instanceMs, meanMs, seconds, load } = options
  const world = new World({
    ...{ seed, routers, instances, slotsPerInstance: concurrency, connectMs: CONNECT_MS, isStartingIdle: true },
    delayMs: messageMs,
    instanceDelayMs: instanceMs,
  })
  for (const router of world.living) world.arrive(router, 1)
  world.runUntil(START_MS)
  world.startInstances()
  world.runUntil(WARM_UP_MS)
  const judgedFrom = world.requests.length
  let before = countsOf(world)
  const slots = instances * concurrency
  const living = world.living
  for (const { atMs, router, serviceMs } of planArrivals({ seed, routers, slots, meanMs, seconds, load })) {
    world.runUntil(WARM_UP_MS + atMs)
    if (world.requests.length === judgedFrom + WARM_UP_REQUESTS) {
      before = countsOf(world)
      world.idleMsMax = 0
    }
    world.arrive(living[router]!, serviceMs)
  }
  // Afterwards leases move to whoever still asks.
  const freeMsMax = world.idleMsMax
  world.runUntil(world.nowMs + DRAIN_MS)
  if (world.violations.length > 0) throw new Error(`seed ${seed}: ${world.violations[0]}`)
  const all: readonly Request[] = world.requests.slice(judgedFrom)
  const judged = all.slice(WARM_UP_REQUESTS)
  const after = countsOf(world)
  return {
    requests: judged.length,
    waitMs: judged.map(({ startedAtMs, arrivedAtMs }) => startedAtMs - arrivedAtMs),
    centralMs: waitsOfOneQueue(all, slots).slice(WARM_UP_REQUESTS),
    freeMsMax,
    lent: after.lent - before.lent,
    inVain: after.inVain - before.inVain,
    messages: after.messages - before.messages,
  }
}

function countsOf({ living, messages }: World): { lent: number; inVain: number; messages: number } {
  const lent = living.reduce((sum, { lender }) => sum + lender.lent, 0)
  const inVain = living.reduce((sum, { borrower }) => sum + borrower.borrowedInVain, 0)
  return { lent, inVain, messages }
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000
}
