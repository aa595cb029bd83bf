/**
 * `npm run bench:idle [-- --json] [--services 1000] [--seconds 30] [--nodes 3] [--no-gossip]`: what Waiter costs while
 * nobody asks. Starts so many nodes and services, each with one instance, leaves them alone, and says how much CPU each of Waiter's processes takes
 * and how much memory it holds. The last line of `--json` is the result.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { fastKitchenCommand, residentBytes, startWaiter } from '../../packages/testkit/src/index.ts'

/** Of one core, for each node. */
const SHARE_MAX = 0.01
const SERVICES_MAX = 5_000
const SECONDS_MAX = 600
/** Started at once; more would only wait for each other. */
const PARALLEL = 16
/** After the last start, before measuring: services that nobody has used for half a minute rest, from their next check on. */
const SETTLE_MS = 45_000
/** Linux counts a process's CPU time in these. */
const TICKS_PER_SECOND = 100

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    services: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '30' },
    nodes: { type: 'string', default: '3' },
    'no-gossip': { type: 'boolean', default: false },
  },
})
const services = Math.min(SERVICES_MAX, Number(values.services))
const seconds = Math.min(SECONDS_MAX, Number(values.seconds))
const say = (line: string): void => console.error(line)

/** Enough ports for all, below those that the system gives to clients. */
const PORTS = [20_000, 30_000]

const waiter = await startWaiter({
  args: ['--nodes', values.nodes],
  config: {
    'scheduler-config': { process: { 'port-range': PORTS } },
    'gossip-config': { enabled: !values['no-gossip'] },
  },
})
try {
  await startServices()
  await pause(SETTLE_MS)
  const ids = [
    { role: 'launcher', pid: waiter.pid },
    ...waiter.processes('control').map(({ pid }) => ({ role: 'control', pid })),
    ...waiter.processes('router').map(({ pid }) => ({ role: 'router', pid })),
  ]
  const before = ids.map(({ pid }) => cpuTicks(pid))
  const beganAtMs = performance.now()
  await pause(seconds * 1_000)
  const elapsedSeconds = (performance.now() - beganAtMs) / 1_000
  const processes = ids.map(({ role, pid }, index) => ({
    role,
    cpu: (cpuTicks(pid) - (before[index] ?? 0)) / TICKS_PER_SECOND / elapsedSeconds,
    residentMb: Math.round((residentBytes(pid) ?? 0) / 1e6),
  }))
  const total = processes.reduce((sum, { cpu }) => sum + cpu, 0)
  const nodes = waiter.nodes.length
  const routers = processes.filter(({ role }) => role === 'router')
  const result = {
    services,
    gossip: !values['no-gossip'],
    cpuPerRouter: Number((routers.reduce((sum, { cpu }) => sum + cpu, 0) / routers.length).toFixed(5)),
    running: new Set(waiter.instanceProcesses().map(({ sandbox }) => sandbox)).size,
    processes: processes.map(each => ({ ...each, cpu: Number(each.cpu.toFixed(4)) })),
    cpuPerNode: Number((total / nodes).toFixed(4)),
    busiest: Number(Math.max(...processes.map(({ cpu }) => cpu)).toFixed(4)),
    passed: total / nodes <= SHARE_MAX,
  }
  console.log(JSON.stringify(result, null, values.json ? undefined : 2))
  process.exitCode = result.passed ? 0 : 1
} finally {
  await waiter.stop()
}

async function startServices(): Promise<void> {
  let next = 0
  const start = async (): Promise<void> => {
    for (let index = next++; index < services; index = next++) {
      const port = waiter.ports[index % waiter.ports.length] ?? waiter.port
      const answer = await waiter.request({
        port,
        headers: {
          'x-waiter-cmd': fastKitchenCommand(),
          'x-waiter-cpus': '0.01',
          'x-waiter-mem': '32',
          'x-waiter-version': String(index),
          'x-waiter-health-check-url': '/',
        },
      })
      if (answer.status !== 200) throw new Error(`service ${index} answered ${answer.status}: ${answer.text}`)
      const STEP = 100
      if ((index + 1) % STEP === 0) say(`${index + 1} services run`)
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, start))
}

function cpuTicks(pid: number): number {
  // The name, in parentheses, may hold anything; user and system time are fields 14 and 15.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
  return Number(fields[11]) + Number(fields[12])
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
