/**
 * Waiter's data plane against nginx, HAProxy and (if Go is installed) Go's ReverseProxy, in the same run.
 *
 *     node benchmarks/proxy/main.ts [--quick] [--json] [--rounds N] [--seconds N] [--only TEXT]
 *         [--against CHECKOUT] [--favour]
 *
 * Method, and what the figures mean: README.md. Ends with exit code 0 whether the goals hold or not; it says which do.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { listCases } from './cases.ts'
import { type Contestant, favour, findCommand, OTHER_CPU, pin, type Skipped } from './contestant.ts'
import { type BenchCase, generate } from './generator.ts'
import { renderExtraGoals, renderGoals } from './goals.ts'
import { type Latency, measureHalfLoad, renderHalfLoad } from './half-load.ts'
import { measureIdleConnections } from './idle-connections.ts'
import { measure, type Sample, type Tally } from './measure.ts'
import { type PeerOptions, startGo, startHaproxy, startNginx } from './peers.ts'
import { type CaseReport, renderCase, summarizeCase } from './report.ts'
import { startWaiterContestant } from './waiter-contestant.ts'

/** No round begins after this, so that the whole stays below 10 minutes, and 90 s with `--quick`. */
const MEASURING_MS_MAX = 320_000
const QUICK_MEASURING_MS_MAX = 70_000
const WARM_UP_SECONDS = 1
/** Half of what Waiter does there is "half load" for everybody. */
const FULL_LOAD_CASE = 'GET 100 B c64'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    /** Before everybody else's work on the machine (Linux with autogroups, as root). */
    favour: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    seconds: { type: 'string', default: '1' },
    only: { type: 'string' },
    /** Another checkout of Waiter, such as the one before a change. */
    against: { type: 'string' },
  },
})
const rounds = wholeNumber('rounds', values.rounds ?? (values.quick ? '3' : '5'), 100)
const seconds = wholeNumber('seconds', values.seconds, 10)
requireMachine()

const directory = mkdtempSync(join(tmpdir(), 'waiter-bench-proxy-'))
const running: Contestant[] = []
const skipped: Skipped[] = []
// Ctrl-C must not leave proxies behind.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stopAll().then(() => process.exit(1)))
pin([process.pid], OTHER_CPU)
try {
  await startAll()
  await run()
} finally {
  await stopAll()
}

async function startAll(): Promise<void> {
  const waiter = await startWaiterContestant('waiter')
  running.push(waiter)
  if (values.against !== undefined)
    running.push(await startWaiterContestant('other waiter', { checkout: values.against }))
  const { backendPort } = waiter
  const peers: [(options: PeerOptions) => Promise<Contestant | Skipped>, boolean][] = [
    [startNginx, false],
    [startHaproxy, false],
    [startGo, false],
  ]
  if (!values.quick) peers.push([startNginx, true], [startHaproxy, true])
  for (const [start, hasLog] of peers) {
    const peer = await start({ backendPort, directory, hasLog })
    if ('reason' in peer) skipped.push(peer)
    else running.push(peer)
  }
  running.push({ name: 'no proxy', port: backendPort, pids: [], stop: async () => undefined })
  if (values.favour) favour([process.pid, waiter.backendPid, ...running.flatMap(({ pids }) => pids)])
  for (const { name, reason } of skipped) print(`skipped: ${name}: ${reason}`)
}

/** What is measured once, beside the cases. */
interface Extra {
  readonly idleConnectionBytes: Readonly<Record<string, number>>
  halfLoad: { readonly requestsPerSecond: number; readonly latencies: Readonly<Record<string, Latency>> } | undefined
}

async function run(): Promise<void> {
  const isWhole = !values.quick && values.only === undefined
  const idleConnectionBytes: Record<string, number> = {}
  if (isWhole) {
    for (const contestant of running.filter(({ pids }) => pids.length > 0))
      idleConnectionBytes[contestant.name] = await measureIdleConnections(contestant)
  }
  const extra: Extra = { idleConnectionBytes, halfLoad: undefined }
  const cases = listCases(values.quick).filter(({ name }) => values.only === undefined || name.includes(values.only))
  const tally: Tally = { runs: 0, noisyRuns: 0, errors: 0 }
  const samples = cases.map(() => new Map(running.map(({ name }) => [name, [] as (Sample | undefined)[]])))
  const take = (contestant: Contestant, one: BenchCase, seconds: number) =>
    measure(contestant, { tally, generate: port => generate(port, one, seconds) })
  const loadBefore = loadavg()[0]!
  for (const contestant of running) for (const one of cases.slice(0, 1)) await take(contestant, one, WARM_UP_SECONDS)
  const until = performance.now() + (values.quick ? QUICK_MEASURING_MS_MAX : MEASURING_MS_MAX)
  let finishedRounds = 0
  for (; finishedRounds < rounds; finishedRounds++) {
    const roundStartedAtMs = performance.now()
    for (const [index, one] of cases.entries()) {
      // Another one begins each time: what the first does to the caches, it does to everybody.
      for (let turn = 0; turn < running.length; turn++) {
        const contestant = running[(turn + finishedRounds) % running.length]!
        samples[index]!.get(contestant.name)!.push(await take(contestant, one, seconds))
      }
    }
    const roundMs = performance.now() - roundStartedAtMs
    if (performance.now() + roundMs > until) {
      finishedRounds += 1
      break
    }
  }
  const reports = cases.map(({ name }, index) => summarizeCase(name, samples[index]!))
  const full = reports.find(({ name }) => name === FULL_LOAD_CASE)?.figures.waiter?.requestsPerSecond
  if (isWhole && full !== undefined) {
    const requestsPerSecond = full / 2
    const latencies = await measureHalfLoad(running, requestsPerSecond)
    extra.halfLoad = { requestsPerSecond, latencies }
  }
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, load: [loadBefore, loadavg()[0]!] }
  printReport(reports, { rounds: finishedRounds, tally, machine, ...extra })
}

function printReport(
  reports: readonly CaseReport[],
  about: Extra & { readonly rounds: number; readonly tally: Tally; readonly machine: object },
): void {
  const { tally } = about
  for (const report of reports) print(`\n${renderCase(report)}`)
  print(
    `\n${about.rounds} rounds of ${seconds} s each; medians; ${tally.noisyRuns} of ${tally.runs} runs repeated or left ` +
      `out because others used the machine; ${tally.errors} failed requests\n`,
  )
  const { halfLoad, idleConnectionBytes } = about
  if (halfLoad !== undefined) print(`${renderHalfLoad(halfLoad.requestsPerSecond, halfLoad.latencies)}\n`)
  for (const [name, bytes] of Object.entries(idleConnectionBytes))
    print(`an idle connection of ${name}: ${(bytes / 1024).toFixed(1)} KiB`)
  for (const line of renderGoals(reports)) print(line)
  for (const line of renderExtraGoals(halfLoad?.latencies.waiter?.addedP99Us, idleConnectionBytes.waiter)) print(line)
  if (values.json) print(JSON.stringify({ ...about, seconds, skipped, cases: reports }, rounded))
}

function requireMachine(): void {
  const missing = ['taskset', 'wrk'].filter(name => findCommand(name) === undefined)
  if (process.platform !== 'linux' || cpus().length < 2 || missing.length > 0) {
    const problem = missing.length > 0 ? `${missing.join(' and ')} not installed` : 'not a Linux machine with two CPUs'
    process.stderr.write(`bench:proxy cannot run: ${problem} (apt-get install wrk util-linux nginx-light haproxy)\n`)
    process.exit(2)
  }
}

function wholeNumber(name: string, text: string, max: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= max) return value
  process.stderr.write(`--${name} takes a whole number from 1 to ${max}, not ${text}\n`)
  process.exit(2)
}

function rounded(_key: string, value: unknown): unknown {
  return typeof value === 'number' ? Math.round(value * 1000) / 1000 : value
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

async function stopAll(): Promise<void> {
  const outcomes = await Promise.allSettled(running.splice(0).map(contestant => contestant.stop()))
  rmSync(directory, { recursive: true, force: true })
  for (const outcome of outcomes) if (outcome.status === 'rejected') process.stderr.write(`${outcome.reason}\n`)
}
