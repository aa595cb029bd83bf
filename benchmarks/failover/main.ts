/**
 * `npm run bench:failover [-- --kills 20 --askers 8]`: three nodes, traffic through all routers, and again and again kill -9
 * of the control process that leads. The last line is JSON: requests that failed, how long token writes and routers were
 * without a leader, and whether any instance was stopped.
 */
import { parseArgs } from 'node:util'
import {
  eventually,
  fastKitchenCommand,
  listProcesses,
  type StartedWaiter,
  startWaiter,
} from '../../packages/testkit/src/index.ts'

const KILLS_MAX = 100
const ASKERS_MAX = 64

const { values } = parseArgs({ options: { kills: { type: 'string' }, askers: { type: 'string' } } })
const kills = Math.min(KILLS_MAX, Number(values.kills ?? 20))
const askers = Math.min(ASKERS_MAX, Number(values.askers ?? 8))
const description = (name: string): string =>
  JSON.stringify({
    cmd: fastKitchenCommand(),
    cpus: 0.1,
    mem: 256,
    version: '1',
    name,
    'concurrency-level': 100,
    'min-instances': 2,
  })

const waiter = await startWaiter({ hasDefaultNodes: true })
try {
  await write(waiter, waiter.port, 'bench')
  for (const port of waiter.ports) await ask(waiter, port)
  const pids = instancePids(waiter)
  let isAsking = true
  const statuses = new Map<number, number>()
  const asking = Array.from({ length: askers }, async (_, asker) => {
    for (let round = asker; isAsking; round++) {
      const status = await ask(waiter, waiter.ports[round % waiter.ports.length] ?? 0)
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
  })
  const startedMs = performance.now()
  const written: number[] = []
  const attached: number[] = []
  const refusedWrites: number[] = []
  for (let kill = 0; kill < kills; kill++) {
    const before = await leaderOf(waiter)
    const killedMs = performance.now()
    process.kill(before.pid, 'SIGKILL')
    const writing = untilWritten(waiter, `kill-${kill}`).then(refused => {
      written.push(performance.now() - killedMs)
      refusedWrites.push(refused)
    })
    await eventually(() => areAttached(waiter, before.term), 'all routers to follow another leader')
    attached.push(performance.now() - killedMs)
    await writing
  }
  const secs = (performance.now() - startedMs) / 1000
  isAsking = false
  await Promise.all(asking)
  const requests = [...statuses.values()].reduce((sum, count) => sum + count, 0)
  const left = instancePids(waiter)
  const result = {
    kills,
    requests,
    requestsPerSecond: Math.round(requests / secs),
    failed: requests - (statuses.get(200) ?? 0),
    instancesStopped: pids.filter(pid => !left.includes(pid)).length,
    writtenMs: summary(written),
    attachedMs: summary(attached),
    writesRefusedFirst: refusedWrites.filter(count => count > 0).length,
  }
  console.log(JSON.stringify(result))
  process.exitCode = result.failed === 0 && result.instancesStopped === 0 ? 0 : 1
} finally {
  await waiter.stop()
}

async function ask(target: StartedWaiter, port: number): Promise<number> {
  const answer = await target.request({ port, headers: { 'x-waiter-token': 'bench' } }).catch(() => undefined)
  return answer?.status ?? 0
}

async function write(target: StartedWaiter, port: number, token: string): Promise<number> {
  const headers = { 'content-type': 'application/json' }
  const answer = await target
    .request({ port, method: 'POST', path: `/token?token=${token}`, headers, body: description(token) })
    .catch(() => undefined)
  return answer?.status ?? 0
}

/** Writes through one router after the other until one succeeds. @returns how many were refused before */
async function untilWritten(target: StartedWaiter, token: string): Promise<number> {
  for (let refused = 0; ; refused++) {
    const port = target.ports[refused % target.ports.length] ?? 0
    if ((await write(target, port, token)) === 200) return refused
  }
}

/** The leading control process, once all control nodes take part and all routers follow. */
async function leaderOf(target: StartedWaiter): Promise<{ readonly pid: number; readonly term: number }> {
  return await eventually(async () => {
    const { members, leader, term } = await target.api('/cluster/members')
    const isWhole = members.every((member: Record<string, unknown>) => member['active?'])
    const address = members.find(({ node }: { node: string }) => node === leader)?.address
    if (!isWhole || (await areAttached(target, term - 1)) === undefined || typeof address !== 'string') return undefined
    const pid = pidListening(target, address)
    return pid === undefined ? undefined : { pid, term }
  }, 'a whole cluster')
}

async function areAttached(target: StartedWaiter, termAbove: number): Promise<true | undefined> {
  const states = await Promise.all(target.ports.map(async port => (await target.api('/state/leader', port)).state))
  return states.every(state => state['connected?'] && state.term > termAbove) || undefined
}

/** Which control process says in the log that it serves at this address. */
function pidListening(target: StartedWaiter, address: string): number | undefined {
  const running = new Set(listProcesses().map(({ pid }) => pid))
  const serving = target
    .log()
    .split('\n')
    .filter(line => line.includes('"the control process serves"') && line.includes(`"address":"${address}"`))
    .map(line => Number(JSON.parse(line).pid))
  return serving.findLast(pid => running.has(pid))
}

function instancePids(target: StartedWaiter): number[] {
  return target.instanceProcesses().map(({ pid }) => pid)
}

function summary(samples: readonly number[]): { readonly p50: number; readonly p99: number; readonly max: number } {
  const sorted = [...samples].sort((a, b) => a - b)
  const at = (share: number): number => Math.round(sorted[Math.ceil(sorted.length * share) - 1] ?? Number.NaN)
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}
