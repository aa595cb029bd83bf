/**
 * HTTP/2 through Waiter against HAProxy and nginx, in the same run.
 *
 *     node benchmarks/h2/main.ts [--json] [--rounds N] [--seconds N] [--only TEXT] [--tolerate SHARE]
 *
 * Method, and what the figures mean: README.md. Ends with exit code 0 whether the goal holds or not; it says which does.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Contestant, findCommand, OTHER_CPU, pin, type Skipped } from '../proxy/contestant.ts'
import { measure, type Sample, type Tally } from '../proxy/measure.ts'
import { type CaseReport, renderCase, summarizeCase } from '../proxy/report.ts'
import { generateHttp2, type Http2Case } from './generator.ts'
import { startHaproxy, startNginx } from './peers.ts'
import { startWaiterHttp2 } from './waiter.ts'

/** CPU per request, as a multiple of HAProxy's. */
const GOAL = 1.0
const MEASURING_MS_MAX = 300_000

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    /** Share of the proxy's CPU that others may take during a run. */
    tolerate: { type: 'string', default: '0.25' },
  },
})
const seconds = Number(values.seconds)
const LOADS: readonly Omit<Http2Case, 'name'>[] = [
  { path: '/', connections: 4, streams: 25 },
  { path: '/', connections: 64, streams: 4 },
]

interface Field {
  readonly backend: 'h1' | 'h2'
  readonly host: string
  readonly contestants: readonly Contestant[]
}

requireMachine()
const directory = mkdtempSync(join(tmpdir(), 'waiter-bench-h2-'))
const running: Contestant[] = []
const skipped: Skipped[] = []
// Ctrl-C must not leave proxies behind.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stopAll().then(() => process.exit(1)))
pin([process.pid], OTHER_CPU)
try {
  await run(await startFields())
} finally {
  await stopAll()
}

async function startFields(): Promise<readonly Field[]> {
  const { waiter, backends } = await startWaiterHttp2('waiter', directory, true)
  running.push(waiter)
  const quiet = await startWaiterHttp2('waiter -log', directory, false)
  running.push(quiet.waiter)
  const fields: Field[] = []
  for (const backend of ['h2', 'h1'] as const) {
    const { host, port: backendPort } = backends[backend]
    const contestants = [waiter, quiet.waiter]
    const options = { backendPort, backend, directory, hasLog: false }
    const starts = [() => startHaproxy(options), () => startHaproxy({ ...options, hasLog: true })]
    if (backend === 'h1') starts.push(() => startNginx(options))
    for (const start of starts) {
      const peer = await start()
      if ('reason' in peer) skipped.push(peer)
      else {
        running.push(peer)
        contestants.push(peer)
      }
    }
    fields.push({ backend, host, contestants })
  }
  for (const { name, reason } of skipped) print(`skipped: ${name}: ${reason}`)
  return fields
}

async function run(fields: readonly Field[]): Promise<void> {
  const tally: Tally = { runs: 0, noisyRuns: 0, errors: 0 }
  const cases = fields
    .flatMap(field =>
      LOADS.map(load => ({
        field,
        load: { ...load, name: `h2 to ${field.backend} c${load.connections} m${load.streams}` },
        samples: new Map(field.contestants.map(({ name }) => [name, [] as (Sample | undefined)[]])),
      })),
    )
    .filter(({ load }) => load.name.includes(values.only))
  const take = (contestant: Contestant, { field, load }: (typeof cases)[number]) =>
    measure(contestant, {
      tally,
      foreignShareMax: Number(values.tolerate),
      generate: port => generateHttp2(port, field.host, load, seconds),
    })
  for (const one of cases) for (const contestant of one.field.contestants) await take(contestant, one)
  const until = performance.now() + MEASURING_MS_MAX
  let rounds = 0
  for (; rounds < Number(values.rounds) && performance.now() < until; rounds++) {
    for (const one of cases) {
      const { contestants } = one.field
      for (let turn = 0; turn < contestants.length; turn++) {
        const contestant = contestants[(turn + rounds) % contestants.length]!
        one.samples.get(contestant.name)!.push(await take(contestant, one))
      }
    }
  }
  const reports = cases.map(({ load, samples }) => summarizeCase(load.name, samples))
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, load: loadavg()[0]! }
  for (const report of reports) print(`\n${renderCase(report)}`)
  print(
    `\n${rounds} rounds of ${seconds} s each; medians; latencies are mean and largest; ${tally.noisyRuns} of ` +
      `${tally.runs} runs repeated or left out because others used the machine; ${tally.errors} failed requests\n`,
  )
  for (const report of reports) printGoals(report)
  if (values.json) print(JSON.stringify({ rounds, seconds, tally, machine, skipped, cases: reports }, rounded))
}

/** Like with like: both with a log, or both without. */
function printGoals({ name, figures, cpuRatios }: CaseReport): void {
  const logged = cpuRatios['haproxy+log']?.median
  const [own, other] = [figures['waiter -log']?.cpuUsPerRequest, figures.haproxy?.cpuUsPerRequest]
  if (logged !== undefined) printGoal(`${name}, everybody's log on`, logged)
  if (own !== undefined && other !== undefined) printGoal(`${name}, everybody's log off`, own / other)
}

function printGoal(what: string, ratio: number): void {
  const verdict = ratio <= GOAL ? 'holds' : 'FALLS SHORT'
  print(`${verdict}: ${what}: ${ratio.toFixed(2)} × HAProxy's CPU, goal ${GOAL.toFixed(1)}`)
}

function requireMachine(): void {
  const missing = ['taskset', 'h2load', 'nghttpd'].filter(name => findCommand(name) === undefined)
  if (process.platform === 'linux' && cpus().length >= 2 && missing.length === 0) return
  const problem = missing.length > 0 ? `${missing.join(' and ')} not installed` : 'not a Linux machine with two CPUs'
  process.stderr.write(`bench:h2 cannot run: ${problem} (apt-get install nghttp2 util-linux nginx-light haproxy)\n`)
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
