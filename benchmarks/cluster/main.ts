/**
 * `npm run bench:cluster [-- --json] [--routers 3,8] [--instances 4] [--mean 50] [--seconds 60] [--load 0.85] [--workers]`:
 * requests of random length come at random times to random routers, and few instances of one slot serve them. Says how
 * their waits compare with one queue for all, computed from the same arrivals and service times, and how long a slot was
 * free while a request waited. The last line of `--json` is the result.
 */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type StartedWaiter, startWaiter } from '../../packages/testkit/src/index.ts'
import { type Analysis, analyse, type Spread, spreadOf } from './analyse.ts'
import { runLoad } from './load.ts'
import { planArrivals } from './plan.ts'

const P99_RATIO_MAX = 1.15
const SECONDS_MAX = 300
const WARM_UP_REQUESTS = 100
const TOKEN = 'cluster-bench'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    workers: { type: 'boolean' },
    routers: { type: 'string' },
    instances: { type: 'string' },
    mean: { type: 'string' },
    seconds: { type: 'string' },
    load: { type: 'string' },
    seed: { type: 'string' },
  },
})
const routerCounts = (values.routers ?? '3,8').split(',').map(Number)
const instances = Number(values.instances ?? 4)
const meanMs = Number(values.mean ?? 50)
const seconds = Math.min(SECONDS_MAX, Number(values.seconds ?? 60))
const load = Number(values.load ?? 0.85)
const seed = Number(values.seed ?? 1)

/** What was measured, and how busy the machine was with other things. */
interface Result extends Analysis {
  readonly failures: number
  readonly latenessMs: Spread
}

const results: Record<string, Result> = {}
for (const routers of routerCounts) results[`${routers} routers`] = await measure(routers)
const passed = Object.values(results).every(
  ({ p99Ratio, freeOver20Ms, failures }) => p99Ratio <= P99_RATIO_MAX && freeOver20Ms === 0 && failures === 0,
)
const result = { instances, meanMs, load, seconds, seed, workers: values.workers === true, results, passed }
console.log(values.json ? JSON.stringify(result) : JSON.stringify(result, null, 2))
process.exitCode = passed ? 0 : 1

async function measure(routers: number): Promise<Result> {
  const waiter = await startWaiter({ args: [values.workers ? '--workers' : '--nodes', String(routers)] })
  try {
    await prepare(waiter)
    console.error(`${routers} routers, ${instances} slots: ${seconds} s of load`)
    const arrivals = planArrivals({ seed, routers, slots: instances, meanMs, seconds, load })
    const { samples, failures, latenessMs } = await runLoad({
      ports: waiter.ports,
      token: TOKEN,
      arrivals,
      isConnectingAnew: values.workers === true,
    })
    for (const failure of failures.slice(0, 5)) console.error(failure)
    const analysis = analyse(samples, instances, WARM_UP_REQUESTS)
    return { ...analysis, failures: failures.length, latenessMs: spreadOf(latenessMs) }
  } finally {
    await waiter.stop()
  }
}

/** Starts all instances and gets every router to know the service. */
async function prepare(waiter: StartedWaiter): Promise<void> {
  const backend = fileURLToPath(new URL('backend.ts', import.meta.url))
  const body = JSON.stringify({
    cmd: `exec '${process.execPath}' '${backend}' $PORT0`,
    cpus: 0.1,
    mem: 256,
    version: '1',
    'concurrency-level': 1,
    'min-instances': instances,
    'max-instances': instances,
  })
  const headers = { 'content-type': 'application/json' }
  const answer = await waiter.request({ method: 'POST', path: `/token?token=${TOKEN}`, headers, body })
  if (answer.status !== 200) throw new Error(`the token was refused: ${answer.text}`)
  const seen = new Set<string>()
  const TRIES_MAX = 200
  for (let count = 0; count < TRIES_MAX && seen.size < instances; count++) {
    const requests = Array.from({ length: instances * 2 }, async (_, index) => {
      const port = waiter.ports[index % waiter.ports.length] ?? waiter.port
      const served = await waiter.request({ port, headers: { 'x-waiter-token': TOKEN, 'x-service-ms': '100' } })
      return String(served.headers['x-times']).split(' ')[0] ?? ''
    })
    for (const instance of await Promise.all(requests)) seen.add(instance)
  }
  if (seen.size < instances) throw new Error(`only ${seen.size} instances of ${instances} came up`)
}
