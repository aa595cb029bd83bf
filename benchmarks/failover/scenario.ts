import { eventually, fastKitchenCommand, type StartedWaiter } from '../../packages/testkit/src/index.ts'
import { SteadyLoad } from '../load/steady-load.ts'

/** What one kill brought. */
export interface Round {
  /** From the kill to the answer of a service that did not run and was asked for right after the kill. */
  readonly startMs: number
  /** From the kill until every router follows the next leader. */
  readonly ledMs: number
}

export interface Outcome {
  readonly loads: readonly SteadyLoad[]
  readonly rounds: readonly Round[]
  /** The same start while nothing is killed. */
  readonly calmStartsMs: readonly number[]
  /** Instances of the service under load that did not live through it. */
  readonly stopped: number
}

interface ScenarioOptions {
  readonly waiter: StartedWaiter
  readonly kills: number
  readonly perSecond: number
  readonly onProgress: (line: string) => void
}

const TOKEN = 'steady'
const INSTANCES = 2
const CALM_STARTS = 10
/** Between a kill and the next: the dead process is back and counts as healthy, so that it is started again at once. */
const BETWEEN_MS = 11_000
const WAIT = { timeoutMs: 60_000 }

/** Kills whoever leads, again and again, while every router is under load. */
export async function runScenario({ waiter, kills, perSecond, onProgress }: ScenarioOptions): Promise<Outcome> {
  await writeToken(waiter, TOKEN, {
    'min-instances': INSTANCES,
    'max-instances': INSTANCES,
    'concurrency-level': 100,
  })
  for (const port of waiter.ports) await ask(waiter, TOKEN, port)
  const pids = await eventually(() => {
    const found = pidsUnderLoad(waiter)
    return found.length >= INSTANCES ? found : undefined
  }, 'the instances of the service under load')
  const calmStartsMs: number[] = []
  for (let index = 0; index < CALM_STARTS; index++) calmStartsMs.push(await timeStart(waiter, `calm-${index}`))
  const loads = waiter.ports.map(
    port => new SteadyLoad({ port, token: TOKEN, perSecond: perSecond / waiter.ports.length }),
  )
  for (const load of loads) load.start()
  const rounds: Round[] = []
  for (let index = 0; index < kills; index++) {
    await pause(BETWEEN_MS)
    const round = await killLeader(waiter, `killed-${index}`)
    onProgress(`kill ${index + 1}: ${JSON.stringify(round)}`)
    rounds.push(round)
  }
  for (const load of loads) await load.stop()
  const left = pidsUnderLoad(waiter)
  return { loads, rounds, calmStartsMs, stopped: pids.filter(pid => !left.includes(pid)).length }
}

async function killLeader(waiter: StartedWaiter, token: string): Promise<Round> {
  const before = await untilLed(waiter, 0)
  await writeToken(waiter, token)
  process.kill(controlPidOf(waiter, before.leaderId), 'SIGKILL')
  const killedAtMs = performance.now()
  const sinceMs = (): number => Math.round(performance.now() - killedAtMs)
  const start = ask(waiter, token, waiter.port).then(sinceMs)
  const led = untilLed(waiter, before.term).then(sinceMs)
  return { startMs: await start, ledMs: await led }
}

async function timeStart(waiter: StartedWaiter, token: string): Promise<number> {
  await writeToken(waiter, token)
  const beganAtMs = performance.now()
  await ask(waiter, token, waiter.port)
  return Math.round(performance.now() - beganAtMs)
}

async function ask(waiter: StartedWaiter, token: string, port: number): Promise<void> {
  const { status, text } = await waiter.request({ port, headers: { 'x-waiter-token': token } })
  if (status !== 200) throw new Error(`${token} answered ${status}: ${text}`)
}

async function untilLed(waiter: StartedWaiter, termAbove: number): Promise<{ leaderId: string; term: number }> {
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
function controlPidOf(waiter: StartedWaiter, nodeId: string): number {
  const pids = [...waiter.log().matchAll(new RegExp(`"pid":(\\d+),"hostname":"[^"]*","name":"${nodeId}-control"`, 'g'))]
  const pid = Number(pids.at(-1)?.[1])
  if (!waiter.processes('control').some(process => process.pid === pid))
    throw new Error(`the control process of ${nodeId}, ${pid}, does not run`)
  return pid
}

function pidsUnderLoad(waiter: StartedWaiter): number[] {
  return waiter
    .instanceProcesses()
    .filter(({ sandbox }) => sandbox?.includes(TOKEN))
    .map(({ pid }) => pid)
}

async function writeToken(waiter: StartedWaiter, token: string, more: object = {}): Promise<void> {
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

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
