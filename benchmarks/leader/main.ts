/**
 * `npm run bench:leader [-- --json] [--services 10000] [--routers 100] [--active 500] [--churn 0.1] [--seconds 20] [--settle 30]`:
 * one leader in a process of its own, with many services, and many routers that report every 250 ms over real gRPC streams.
 * Method: README.md. The last line of `--json` is the result.
 */
import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createHistogram } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createPrng } from '@waiter/base'
import { createNodeAuth } from '@waiter/control'
import { createExampleDefinition } from '../../packages/schedulers/src/example-definition.ts'
import { controlEngineFlags } from '../../packages/server/src/process/control-engine-flags.ts'
import type { LeaderFigures } from './leader-process.ts'
import { SimulatedRouter } from './simulated-router.ts'

const REPORT_MS = 250
const CPU_MAX = 1
const MEMORY_BYTES_MAX = 1_000_000_000
const PUSH_MS_MAX = 50
const STARTS_PER_SECOND_MIN = 3_000
/** In the storm, every service has this many requests at once, one slot each. */
const STORM_OUTSTANDING = 4
const STORM_SECONDS_MAX = 60
const SEED = 1

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    services: { type: 'string', default: '10000' },
    routers: { type: 'string', default: '100' },
    active: { type: 'string', default: '500' },
    churn: { type: 'string', default: '0.1' },
    seconds: { type: 'string', default: '20' },
    /** So long after the change of load, while instances for it start, nothing is measured. */
    settle: { type: 'string', default: '30' },
    /** For Node, in the leader's process only: `--leader-flag=--cpu-prof`. */
    'leader-flag': { type: 'string', multiple: true },
  },
})
const count = (name: 'services' | 'routers' | 'active' | 'seconds' | 'settle', max: number): number => {
  const value = Number(values[name])
  if (!Number.isInteger(value) || value < 1 || value > max) throw new Error(`--${name}: 1 to ${max}`)
  return value
}
const services = count('services', 100_000)
const routerCount = count('routers', 500)
const active = Math.min(services, count('active', 100_000))
const seconds = count('seconds', 600)
const settleSeconds = count('settle', 600)
const churn = Number(values.churn)
const say = (line: string): void => console.error(line)

const secret = randomBytes(16).toString('hex')
const child = fork(fileURLToPath(new URL('leader-process.ts', import.meta.url)), [secret], {
  execArgv: [...process.execArgv, ...controlEngineFlags(process.execArgv), ...(values['leader-flag'] ?? [])],
})
const [address] = (await once(child, 'message')) as [string]
const figures = async (): Promise<LeaderFigures> => {
  const answer = once(child, 'message')
  child.send('figures')
  return ((await answer) as [LeaderFigures])[0]
}
const random = createPrng(SEED)
const definitions = Array.from({ length: services }, (_, index) =>
  createExampleDefinition(`service-${String(index).padStart(5, '0')}`, `exec serve ${index}`, {
    'idle-timeout-mins': 300,
    'scale-up-factor': 0.9,
  }),
)
let pushes = createHistogram()
/** Slots of an instance travel from router to router later on: only the first assignment of each is timed. */
const assigned = new Set<string>()
const routers = Array.from(
  { length: routerCount },
  (_, index) =>
    new SimulatedRouter({
      address,
      auth: createNodeAuth({ secrets: [secret], nodeId: `node-${index}` }),
      index,
      onInstance: (instanceId, startedAtMs) => {
        if (assigned.has(instanceId)) return
        assigned.add(instanceId)
        pushes.record(Math.max(1, Date.now() - startedAtMs))
      },
    }),
)
await until(() => routers.every(router => router.isAttached), 'the routers to attach')

// Storm: every service is wanted at once.
say(`${services} services are wanted at once …`)
const stormMs = Date.now()
const beforeStorm = await figures()
for (const [index, definition] of definitions.entries())
  for (let request = 0; request < STORM_OUTSTANDING; request++)
    (routers[(index + request * 7) % routerCount] as SimulatedRouter).setLoad(definition, 1)
for (const router of routers) router.report()
const wanted = services * STORM_OUTSTANDING
let storm = await figures()
while (storm.started < wanted && Date.now() - stormMs < STORM_SECONDS_MAX * 1_000) {
  await pause(100)
  storm = await figures()
}
const stormSeconds = (storm.lastStartMs - stormMs) / 1_000
const startsPerSecond = storm.started / stormSeconds
say(`${storm.started} of ${wanted} instances started in ${stormSeconds} s`)
await pause(5_000)
say(`${assigned.size} assigned`)

// Steady: a part of the services has load that changes, at every router.
say(`${routerCount} routers report every ${REPORT_MS} ms …`)
for (const [index, definition] of definitions.entries())
  if (index >= active)
    for (let request = 0; request < STORM_OUTSTANDING; request++)
      (routers[(index + request * 7) % routerCount] as SimulatedRouter).setLoad(definition, 0)
pushes = createHistogram()
const rowsPerReport = Math.max(1, Math.round(active * churn))
let rows = 0
const timers = routers.map((router, index) => {
  let timer: NodeJS.Timeout | undefined
  const begin = setTimeout(
    () => {
      timer = setInterval(() => {
        for (let row = 0; row < rowsPerReport; row++) {
          const definition = definitions[random.below(active)]
          if (definition !== undefined) router.setLoad(definition, random.below(3))
        }
        rows += rowsPerReport
        router.report()
      }, REPORT_MS)
    },
    (index * REPORT_MS) / routerCount,
  )
  return () => {
    clearTimeout(begin)
    clearInterval(timer)
  }
})
await pause(settleSeconds * 1_000)
pushes = createHistogram()
rows = 0
const before = await figures()
let residentBytesMax = 0
let heapBytesMax = 0
let last = before
for (let second = 0; second < seconds; second++) {
  await pause(1_000)
  const now = await figures()
  residentBytesMax = Math.max(residentBytesMax, now.residentBytes)
  heapBytesMax = Math.max(heapBytesMax, now.heapBytes)
  const perSecond = (field: 'cpuMs' | 'started' | 'stopped'): number =>
    Math.round(((now[field] - last[field]) / (now.atMs - last.atMs)) * 1_000)
  say(
    `${perSecond('cpuMs')} ms of CPU, ${perSecond('started')} started, ${perSecond('stopped')} stopped per second; ${assigned.size} of ${now.started} assigned`,
  )
  last = now
}
const after = await figures()
for (const stop of timers) stop()

const elapsedMs = after.atMs - before.atMs
const result = {
  services,
  routers: routerCount,
  active,
  rowsPerSecond: Math.round((rows / elapsedMs) * 1_000),
  leaderCores: Number(((after.cpuMs - before.cpuMs) / elapsedMs).toFixed(3)),
  residentMb: Math.round(residentBytesMax / 1e6),
  heapMb: Math.round(heapBytesMax / 1e6),
  pushMs: { count: pushes.count, p50: pushes.percentile(50), p99: pushes.percentile(99), max: pushes.max },
  startedMeanwhile: after.started - before.started,
  /** Requests at all routers in the end, one slot each, and instances that run: far fewer mean that the leader is behind. */
  demand: routers.reduce((sum, router) => sum + router.demand, 0),
  running: after.started - after.stopped,
  storm: {
    instances: storm.started,
    seconds: stormSeconds,
    startsPerSecond: Math.round(startsPerSecond),
    /** What the leader's process computed for one start: where others share the machine, this tells more than time. */
    leaderCpuMsPerStart: Number(((storm.cpuMs - beforeStorm.cpuMs) / storm.started).toFixed(3)),
  },
}
const passed =
  result.leaderCores <= CPU_MAX &&
  residentBytesMax <= MEMORY_BYTES_MAX &&
  result.pushMs.p99 <= PUSH_MS_MAX &&
  startsPerSecond >= STARTS_PER_SECOND_MIN
console.log(JSON.stringify({ ...result, passed }, null, values.json ? undefined : 2))
for (const router of routers) router.close()
child.disconnect()
process.exitCode = passed ? 0 : 1

async function until(isTrue: () => boolean, what: string): Promise<void> {
  const WAIT_MS_MAX = 30_000
  const givesUpMs = Date.now() + WAIT_MS_MAX
  while (!isTrue()) {
    if (Date.now() > givesUpMs) throw new Error(`waited in vain for ${what}`)
    await pause(20)
  }
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
