import type { StartedWaiter } from '../../packages/testkit/src/index.ts'
import {
  ask,
  controlPidOf,
  pause,
  pidsUnderLoad,
  startLoads,
  startSteadyService,
  sumUp,
  untilLed,
  writeToken,
} from './cluster.ts'

interface MajorityLossOptions {
  readonly waiter: StartedWaiter
  readonly seconds: number
  readonly perSecond: number
  readonly onProgress: (line: string) => void
}

const LEAD_IN_MS = 5_000
/** Under load after the others are back. */
const LEAD_OUT_MS = 15_000
/** Writes that are tried while there is no majority. */
const WRITES = 3

/** Stops two of three control processes for a while, the leading one among them, while every router is under load. */
export async function loseMajority({ waiter, seconds, perSecond, onProgress }: MajorityLossOptions) {
  const pids = await startSteadyService(waiter)
  const loads = startLoads(waiter, perSecond)
  await pause(LEAD_IN_MS)
  const { leaderId, term } = await untilLed(waiter, 0)
  const others = waiter.nodes.map(({ id }) => id).filter(id => id !== leaderId)
  const stopped = [leaderId, ...others.slice(0, 1)].map(id => controlPidOf(waiter, id))
  for (const pid of stopped) process.kill(pid, 'SIGSTOP')
  const stoppedAtMs = performance.now()
  onProgress(`stopped ${stopped.length} of ${waiter.nodes.length} control processes`)
  const refusals: { status: number; code: string; afterMs: number }[] = []
  try {
    for (let index = 0; index < WRITES; index++) refusals.push(await tryWrite(waiter, `refused-${index}`))
    onProgress(JSON.stringify(refusals))
    await pause(Math.max(0, seconds * 1_000 - (performance.now() - stoppedAtMs)))
  } finally {
    for (const pid of stopped) process.kill(pid, 'SIGCONT')
  }
  const backAtMs = performance.now()
  const sinceBackMs = (): number => Math.round(performance.now() - backAtMs)
  const startMs = startNew(waiter).then(sinceBackMs)
  const ledMs = untilLed(waiter, term - 1).then(sinceBackMs)
  const healed = { ledMs: await ledMs, startMs: await startMs }
  onProgress(JSON.stringify(healed))
  await pause(LEAD_OUT_MS)
  for (const load of loads) await load.stop()
  const left = pidsUnderLoad(waiter)
  const figures = sumUp(loads)
  const instancesStopped = pids.filter(pid => !left.includes(pid)).length
  const areRefused = refusals.every(({ status }) => status === 503)
  return {
    ...{ seconds, perSecond, ...figures, refusals, healed, instancesStopped },
    passed: figures.failed === 0 && areRefused && instancesStopped === 0,
  }
}

async function tryWrite(waiter: StartedWaiter, token: string) {
  const beganAtMs = performance.now()
  const answer = await waiter.request({
    method: 'POST',
    path: `/token?token=${token}`,
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ cmd: 'true', version: '1', cpus: 0.1, mem: 64 }),
  })
  const error = answer.status === 200 ? undefined : JSON.parse(answer.text)['waiter-error']
  return { status: answer.status, code: String(error?.message), afterMs: Math.round(performance.now() - beganAtMs) }
}

/** A service that was never there: everything has to work for it. Tried until it does. */
async function startNew(waiter: StartedWaiter): Promise<void> {
  for (;;) {
    try {
      await writeToken(waiter, 'afterwards')
      await ask(waiter, 'afterwards', waiter.port)
      return
    } catch {
      await pause(50)
    }
  }
}
