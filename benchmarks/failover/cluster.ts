import { eventually, fastKitchenCommand, type StartedWaiter } from '../../packages/testkit/src/index.ts'
import { SteadyLoad } from '../load/steady-load.ts'

/** The service under load. */
const TOKEN = 'steady'
const INSTANCES = 2
const WAIT = { timeoutMs: 60_000 }

/** @returns the pids of its instances, once all of them run */
export async function startSteadyService(waiter: StartedWaiter): Promise<readonly number[]> {
  await writeToken(waiter, TOKEN, {
    'min-instances': INSTANCES,
    'max-instances': INSTANCES,
    'concurrency-level': 100,
  })
  for (const port of waiter.ports) await ask(waiter, TOKEN, port)
  return await eventually(() => {
    const found = pidsUnderLoad(waiter)
    return found.length >= INSTANCES ? found : undefined
  }, 'the instances of the service under load')
}

/** Puts every router under its part of the load. */
export function startLoads(waiter: StartedWaiter, perSecond: number): readonly SteadyLoad[] {
  const loads = waiter.ports.map(
    port => new SteadyLoad({ port, token: TOKEN, perSecond: perSecond / waiter.ports.length }),
  )
  for (const load of loads) load.start()
  return loads
}

/** What all of them saw. */
export function sumUp(loads: readonly SteadyLoad[]) {
  const sum = (of: (figures: SteadyLoad['figures']) => number): number =>
    loads.reduce((total, { figures }) => total + of(figures), 0)
  const worst = (of: (latencies: SteadyLoad['latencies']) => number): number =>
    Math.max(...loads.map(({ latencies }) => of(latencies))) / 1_000
  return {
    sent: sum(figures => figures.sent),
    skipped: sum(figures => figures.skipped),
    failed: sum(figures => figures.failedByWaiter + figures.failedByBackend),
    failures: loads.flatMap(({ figures }) => figures.failures).slice(0, 10),
    latencyMs: {
      p50: worst(latencies => latencies.percentile(50)),
      p99: worst(latencies => latencies.percentile(99)),
      max: worst(latencies => latencies.max),
    },
  }
}

export async function ask(waiter: StartedWaiter, token: string, port: number): Promise<void> {
  const { status, text } = await waiter.request({ port, headers: { 'x-waiter-token': token } })
  if (status !== 200) throw new Error(`${token} answered ${status}: ${text}`)
}

export async function untilLed(waiter: StartedWaiter, termAbove: number): Promise<{ leaderId: string; term: number }> {
  return await eventually(
    async () => {
      const seen = await Promise.all(waiter.ports.map(async port => (await waiter.api('/state/leader', port)).state))
      const [first] = seen
      const isAgreed = seen.every(state => state['connected?'] && state.term === first.term && state.term > termAbove)
      return isAgreed ? { leaderId: String(first['leader-id']), term: Number(first.term) } : undefined
    },
    'all routers to follow one leader',
    WAIT,
  )
}

/** The pid that the last line of the node's control process in the log carries. */
export function controlPidOf(waiter: StartedWaiter, nodeId: string): number {
  const pids = [...waiter.log().matchAll(new RegExp(`"pid":(\\d+),"hostname":"[^"]*","name":"${nodeId}-control"`, 'g'))]
  const pid = Number(pids.at(-1)?.[1])
  if (!waiter.processes('control').some(process => process.pid === pid))
    throw new Error(`the control process of ${nodeId}, ${pid}, does not run`)
  return pid
}

export function pidsUnderLoad(waiter: StartedWaiter): number[] {
  return waiter
    .instanceProcesses()
    .filter(({ sandbox }) => sandbox?.includes(TOKEN))
    .map(({ pid }) => pid)
}

export async function writeToken(waiter: StartedWaiter, token: string, more: object = {}): Promise<void> {
  const answer = await waiter.request({
    method: 'POST',
    path: `/token?token=${token}`,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      name: token,
      cmd: fastKitchenCommand(),
      version: '1',
      cpus: 0.1,
      mem: 64,
      'health-check-url': '/',
      ...more,
    }),
  })
  if (answer.status !== 200) throw new Error(`POST /token answered ${answer.status}: ${answer.text}`)
}

export function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
