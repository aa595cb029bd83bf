import { residentBytes } from '../../packages/testkit/src/index.ts'
import { type Contestant, PROXY_CPU } from './contestant.ts'
import { busyUsOf, cpuUsOf } from './cpu.ts'
import type { Load } from './generator.ts'

/** Share of a CPU's time that others may take during a run, unless told otherwise. */
const FOREIGN_SHARE_MAX = 0.25
/** A noisy run is repeated this often; then the round has no value for it. */
const ATTEMPTS_MAX = 3

/** One run: one contestant, one case. */
export interface Sample {
  readonly cpuUsPerRequest: number
  /** Without the processes that only manage others; equal for those that have none. */
  readonly dataPlaneUsPerRequest: number
  readonly requestsPerSecond: number
  readonly p50Us: number
  readonly p99Us: number
  readonly rssMib: number
  readonly dataPlaneRssMib: number
  /** Of the proxy's CPU: what neither idled nor belonged to the proxy. */
  readonly foreignShare: number
}

/** What the benchmark counts beside the samples. */
export interface Tally {
  runs: number
  noisyRuns: number
  errors: number
}

/** How one contestant is measured. */
export interface MeasureOptions {
  readonly tally: Tally
  readonly foreignShareMax?: number
  /** Loads the proxy on a port for that long. */
  readonly generate: (port: number) => Promise<Load>
}

/** Runs until the machine was quiet, or gives up. */
export async function measure(contestant: Contestant, options: MeasureOptions): Promise<Sample | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const sample = await runOnce(contestant, options)
    options.tally.runs += 1
    if (sample !== undefined && sample.foreignShare <= (options.foreignShareMax ?? FOREIGN_SHARE_MAX)) return sample
    options.tally.noisyRuns += 1
  }
  return undefined
}

async function runOnce(
  { port, pids, dataPlanePids = pids }: Contestant,
  { generate, tally }: MeasureOptions,
): Promise<Sample | undefined> {
  const startedAtMs = performance.now()
  const before = { all: cpuUsOf(pids), data: cpuUsOf(dataPlanePids), busy: busyUsOf(PROXY_CPU) }
  const load = await generate(port)
  const allUs = cpuUsOf(pids) - before.all
  const dataPlaneUs = cpuUsOf(dataPlanePids) - before.data
  const foreignUs = busyUsOf(PROXY_CPU) - before.busy - allUs
  const wallUs = (performance.now() - startedAtMs) * 1000
  tally.errors += load.errors
  // On a machine that others keep busy, a second may be too short for hundreds of long bodies.
  if (load.requests === 0) return undefined
  return {
    cpuUsPerRequest: allUs / load.requests,
    dataPlaneUsPerRequest: dataPlaneUs / load.requests,
    requestsPerSecond: load.requests / load.seconds,
    p50Us: load.p50Us,
    p99Us: load.p99Us,
    rssMib: rssMibOf(pids),
    dataPlaneRssMib: rssMibOf(dataPlanePids),
    foreignShare: foreignUs / wallUs,
  }
}

function rssMibOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (residentBytes(pid) ?? 0), 0) / 2 ** 20
}
