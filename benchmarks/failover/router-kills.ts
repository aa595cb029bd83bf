import { eventually, type StartedWaiter } from '../../packages/testkit/src/index.ts'
import { pause, pidsUnderLoad, startLoads, startSteadyService, sumUp } from './cluster.ts'

interface RouterKillsOptions {
  readonly waiter: StartedWaiter
  readonly kills: number
  readonly perSecond: number
  readonly onProgress: (line: string) => void
}

const LEAD_IN_MS = 5_000
/** Between a kill and the next: the dead process is back and counts as healthy. */
const BETWEEN_MS = 11_000

/**
 * Kills (SIGKILL) the first router again and again, while all are under load. Its own clients lose what was in flight and find
 * nobody there until it is back; those of the others are to notice nothing.
 */
export async function killRouters({ waiter, kills, perSecond, onProgress }: RouterKillsOptions) {
  const pids = await startSteadyService(waiter)
  const victimId = (await waiter.api('/state', waiter.port))['router-id'] as string
  let pid = pidOf(waiter, victimId)
  const [victim, ...others] = startLoads(waiter, perSecond)
  if (victim === undefined) throw new Error('there is no router')
  await pause(LEAD_IN_MS)
  const backMs: number[] = []
  for (let index = 0; index < kills; index++) {
    const killed = pid
    process.kill(killed, 'SIGKILL')
    const killedAtMs = performance.now()
    pid = await eventually(
      async () => {
        const id = await waiter.api('/state', waiter.port).then(
          state => state['router-id'] as string,
          () => undefined,
        )
        return id === undefined || pidOf(waiter, id) === killed ? undefined : pidOf(waiter, id)
      },
      'the router to be back',
      { timeoutMs: 30_000 },
    )
    backMs.push(Math.round(performance.now() - killedAtMs))
    onProgress(`kill ${index + 1}: back after ${backMs.at(-1)} ms`)
    await pause(BETWEEN_MS)
  }
  await Promise.all([victim, ...others].map(load => load.stop()))
  const left = pidsUnderLoad(waiter)
  const bystanders = sumUp(others)
  const instancesStopped = pids.filter(each => !left.includes(each)).length
  return {
    ...{ kills, perSecond, bystanders, killed: sumUp([victim]), backMs, instancesStopped },
    passed: bystanders.failed === 0 && instancesStopped === 0,
  }
}

/** The process that logs under this router's id. */
function pidOf(waiter: StartedWaiter, routerId: string): number {
  const line = waiter
    .log()
    .split('\n')
    .findLast(text => text.includes(`"routerId":"${routerId}"`) && text.includes('the router serves'))
  return line === undefined ? 0 : Number(JSON.parse(line).pid)
}
