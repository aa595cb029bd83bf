import type { StartedWaiter } from '../../packages/testkit/src/index.ts'
import type { SteadyLoad } from '../load/steady-load.ts'
import {
  ask,
  controlPidOf,
  pause,
  pidsUnderLoad,
  startLoads,
  startSteadyService,
  untilLed,
  writeToken,
} from './cluster.ts'
import { readStages, type Stages } from './stages.ts'

/** What one kill brought. */
export interface Round {
  /** From the kill to the answer of a service that did not run and was asked for right after the kill. */
  readonly startMs: number
  /** From the kill until every router follows the next leader. */
  readonly ledMs: number
  /** Where that time went. */
  readonly stages: Stages
}

export interface LeaderKills {
  readonly loads: readonly SteadyLoad[]
  readonly rounds: readonly Round[]
  /** The same start while nothing is killed. */
  readonly calmStartsMs: readonly number[]
  /** Instances of the service under load that did not live through it. */
  readonly stopped: number
}

interface LeaderKillsOptions {
  readonly waiter: StartedWaiter
  readonly kills: number
  readonly perSecond: number
  readonly onProgress: (line: string) => void
}

const CALM_STARTS = 10
/** Between a kill and the next: the dead process is back and counts as healthy, so that it is started again at once. */
const BETWEEN_MS = 11_000

/** Kills whoever leads, again and again, while every router is under load. */
export async function killLeaders({ waiter, kills, perSecond, onProgress }: LeaderKillsOptions): Promise<LeaderKills> {
  const pids = await startSteadyService(waiter)
  const calmStartsMs: number[] = []
  for (let index = 0; index < CALM_STARTS; index++) calmStartsMs.push(await timeStart(waiter, `calm-${index}`))
  const loads = startLoads(waiter, perSecond)
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
  const killedAtClockMs = Date.now()
  const sinceMs = (): number => Math.round(performance.now() - killedAtMs)
  const start = ask(waiter, token, waiter.port).then(sinceMs)
  const led = untilLed(waiter, before.term).then(sinceMs)
  const times = { startMs: await start, ledMs: await led }
  return { ...times, stages: readStages(waiter.log(), killedAtClockMs, before.term) }
}

async function timeStart(waiter: StartedWaiter, token: string): Promise<number> {
  await writeToken(waiter, token)
  const beganAtMs = performance.now()
  await ask(waiter, token, waiter.port)
  return Math.round(performance.now() - beganAtMs)
}
