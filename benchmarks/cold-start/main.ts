/**
 * Waiter's own share of a cold start, and the whole of it, beside the same command started directly.
 *
 *     node benchmarks/cold-start/main.ts [--runs 50] [--workers 1] [--json]
 *
 * Method and what the figures mean: README.md. Ends with exit code 0 whether the goals hold or not; it says which do.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { fastKitchenCommand, kitchenCommand } from '../../packages/testkit/src/index.ts'
import { type DirectStart, startDirectly } from './direct-start.ts'
import { computeSpread, median, type Spread } from './spread.ts'
import { type ColdStart, type MeasuredWaiter, startMeasuredWaiter } from './waiter-start.ts'

/** Issue goals, p99 of each own share and p50 of the whole with the fastest backend. */
const SHARE_MS_MAX = 10
const WHOLE_MS_MAX = 80
const RUNS_MAX = 1000
const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** All runs of one backend. */
interface Series {
  readonly name: string
  readonly command: string
  readonly waiter: ColdStart[]
  readonly direct: DirectStart[]
  /** Cold starts before the first counted one: code not yet compiled, files not yet cached. */
  firstWholeMs: number
}

/** What is printed of one backend; times in milliseconds. */
interface Summary {
  readonly spawnShareMs: Spread
  readonly forwardShareMs: Spread
  readonly wholeMs: Spread
  readonly directMs: Spread
  /** Median whole cold start over median direct start. */
  readonly ratio: number
  /** From the spawn to the first passed health check: the backend's own start and the wait for the next probe. */
  readonly startMs: Spread
  /** From the request to the first command of the instance's own shell; the same from the spawn call, directly. */
  readonly firstCommandMs: Spread | null
  readonly directFirstCommandMs: Spread | null
  readonly warmMs: number
  readonly firstWholeMs: number
}

const { values } = parseArgs({
  options: { runs: { type: 'string' }, workers: { type: 'string' }, json: { type: 'boolean' } },
})
const runs = Number(values.runs ?? 50)
if (!Number.isInteger(runs) || runs < 1 || runs > RUNS_MAX) {
  process.stderr.write(`--runs takes a whole number from 1 to ${RUNS_MAX}, not ${values.runs}\n`)
  process.exit(2)
}
const directory = mkdtempSync(join(tmpdir(), 'waiter-cold-start-'))
const waiter = await startMeasuredWaiter(join(directory, 'data'), values.workers ?? '1')
// Ctrl-C must not leave a cluster behind.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void cleanUp().then(() => process.exit(1)))
try {
  await measure(waiter)
} finally {
  await cleanUp()
}

async function measure(measured: MeasuredWaiter): Promise<void> {
  const series = [createSeries('fastest backend', fastKitchenCommand()), createSeries('kitchen', kitchenCommand())]
  const loadBefore = loadavg()[0] as number
  for (const one of series) {
    await measured.register(one.name, one.command)
    one.firstWholeMs = (await measured.coldStart(one.name, 'warm-up')).wholeMs
    await startDirectly(one.command, directory)
  }
  for (let run = 0; run < runs; run++) {
    // A B A B: what disturbs the machine disturbs both alike.
    for (const one of series) {
      one.waiter.push(await measured.coldStart(one.name, `run-${run}`))
      one.direct.push(await startDirectly(one.command, directory))
    }
  }
  const load = [loadBefore, loadavg()[0] as number]
  const [fast, kitchen] = series.map(summarize) as [Summary, Summary]
  print([
    `${runs} cold starts of each backend, interleaved with direct starts; milliseconds; p99 of ${runs} is the ` +
      `${runs < 100 ? 'slowest' : `${Math.ceil(runs * 0.99)}th`}`,
    `${cpus().length} cores, load ${load.map(one => one.toFixed(1)).join(' before, ')} after (the benchmark itself included)`,
    '',
    ...table(series[0] as Series, fast),
    '',
    ...table(series[1] as Series, kitchen),
    '',
    goal(`arrival -> spawned, p99 <= ${SHARE_MS_MAX} ms`, fast.spawnShareMs.p99 <= SHARE_MS_MAX),
    goal(`healthy -> forwarded, p99 <= ${SHARE_MS_MAX} ms`, fast.forwardShareMs.p99 <= SHARE_MS_MAX),
    goal(`whole hello-world cold start, p50 <= ${WHOLE_MS_MAX} ms`, fast.wholeMs.p50 <= WHOLE_MS_MAX),
  ])
  if (values.json) print([JSON.stringify({ runs, ...fast, kitchen: { ...kitchen }, load }, rounded)])
}

function createSeries(name: string, command: string): Series {
  return { name: name.replaceAll(' ', '-'), command, waiter: [], direct: [], firstWholeMs: 0 }
}

function summarize({ waiter: starts, direct, firstWholeMs }: Series): Summary {
  // The backend's own answer and two hops are part of every request; a warm one shows how much that is.
  const warmMs = median(starts.flatMap(start => start.warmMs))
  const wholeMs = computeSpread(starts.map(start => start.wholeMs))
  const directMs = computeSpread(direct.map(start => start.wholeMs))
  return {
    spawnShareMs: computeSpread(starts.map(start => start.spawnShareMs)),
    forwardShareMs: computeSpread(starts.map(start => start.healthyToFirstByteMs - warmMs)),
    wholeMs,
    directMs,
    ratio: wholeMs.p50 / directMs.p50,
    startMs: computeSpread(starts.map(start => start.startMs)),
    firstCommandMs: spreadOfKnown(starts),
    directFirstCommandMs: spreadOfKnown(direct),
    warmMs,
    firstWholeMs,
  }
}

function spreadOfKnown(starts: readonly { readonly firstCommandMs: number | null }[]): Spread | null {
  const known = starts.map(start => start.firstCommandMs).filter(ms => ms !== null)
  return known.length === 0 ? null : computeSpread(known)
}

function table({ name, command }: Series, summary: Summary): string[] {
  const row = (what: string, spread: Spread | null, note = ''): string =>
    spread === null
      ? `  ${what.padEnd(34)}  (this bash has no EPOCHREALTIME)`
      : `  ${what.padEnd(34)}${spread.p50.toFixed(2).padStart(9)}${spread.p99.toFixed(2).padStart(9)}  ${note}`.trimEnd()
  return [
    `${name}: ${command.replaceAll(ROOT, '')}`,
    `${' '.repeat(36)}${'p50'.padStart(9)}${'p99'.padStart(9)}`,
    row('own share: arrival -> spawned', summary.spawnShareMs),
    row('own share: healthy -> forwarded', summary.forwardShareMs, `less a warm request, ${summary.warmMs.toFixed(2)}`),
    row('between: spawned -> healthy', summary.startMs, "the backend's own start, seen by probes"),
    row('whole: request -> response', summary.wholeMs, `the very first: ${summary.firstWholeMs.toFixed(2)}`),
    row('direct: spawn -> response', summary.directMs),
    row('arrival -> first shell command', summary.firstCommandMs, 'fork, exec and the start of bash included'),
    row('direct spawn -> first shell command', summary.directFirstCommandMs),
    `  whole / direct, medians           ${summary.ratio.toFixed(2).padStart(9)}`,
  ]
}

function goal(text: string, holds: boolean): string {
  return `goal ${holds ? 'holds' : 'MISSED'}: ${text}`
}

function rounded(_key: string, value: unknown): unknown {
  return typeof value === 'number' ? Math.round(value * 1000) / 1000 : value
}

function print(lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`)
}

async function cleanUp(): Promise<void> {
  await waiter.stop()
  rmSync(directory, { recursive: true, force: true })
}
