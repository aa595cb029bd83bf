import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { MUTANTS } from '../../simulator/mutants/index.ts'
import type { Mutant } from '../../simulator/mutants/mutant.ts'
import { FAULT_KINDS, type FaultKind } from '../../simulator/profile.ts'
import { shrink } from '../../simulator/shrink.ts'
import { type SimulationResult, simulate } from '../../simulator/simulation.ts'
import type { SeedJob } from './jobs.ts'
import { WorkerPool } from './pool.ts'

const USAGE = `Simulates Raft clusters under faults, one life per seed.

  --seeds N        how many seeds to run (default 200; 1 with --seed)
  --seed S         the first seed (default 1)
  --without a,b    leave out these kinds of faults: ${FAULT_KINDS.join(' ')}
  --mutants        also run every planted bug until it is found
  --mutant NAME    run with this planted bug
  --trace          print every event (one seed)
  --jobs N         worker threads (default: one per core)
  --json           end with one line of JSON
`

/** Seeds a worker gets at a time. */
const CHUNK_SEEDS = 20
/** A planted bug that is not found within so many seeds means that the simulator is blind. */
const MUTANT_SEEDS_MAX = 1000
/** Failures told in full; the rest is counted. */
const FAILURES_SHOWN_MAX = 5

interface Options {
  readonly seeds: number
  readonly seed: number
  readonly without: readonly FaultKind[]
  readonly mutant: Mutant | undefined
  readonly runsMutants: boolean
  readonly isTraced: boolean
  readonly isJson: boolean
  readonly jobs: number
}

process.exitCode = await main()

async function main(): Promise<number> {
  const options = parseOptions()
  if (options === undefined) return 2
  if (options.isTraced) return trace(options)
  await using pool = new WorkerPool(options.jobs)
  const startedMs = performance.now()
  const totals = await runSeeds(pool, options)
  const seconds = (performance.now() - startedMs) / 1000
  const rate = `${Math.round(totals.events / totals.seeds)} events and ${Math.round(totals.operations / totals.seeds)} operations each`
  console.log(`${totals.seeds} seeds, ${rate}, ${seconds.toFixed(1)} s: ${totals.violations} violations`)
  const mutants = options.runsMutants ? await runMutants(pool) : undefined
  if (options.isJson) {
    const { seeds, violations, events } = totals
    console.log(
      JSON.stringify(mutants === undefined ? { seeds, violations, events } : { seeds, violations, events, mutants }),
    )
  }
  const areAllFound = mutants === undefined || mutants.found === mutants.planted
  return totals.violations === 0 && areAllFound ? 0 : 1
}

async function runSeeds(pool: WorkerPool, options: Options) {
  const totals = { seeds: 0, events: 0, operations: 0, violations: 0 }
  const mutant = options.mutant?.name
  const jobs = chunks({ ...options, mutant })
  await pool.run(jobs, report => {
    totals.seeds += report.seeds
    totals.events += report.events
    totals.operations += report.operations
    for (const failure of report.failures) {
      totals.violations++
      if (totals.violations <= FAILURES_SHOWN_MAX) tellFailure(failure, options.mutant)
    }
    return true
  })
  return totals
}

async function runMutants(pool: WorkerPool): Promise<{ planted: number; found: number }> {
  let found = 0
  for (const mutant of MUTANTS) {
    let first: SimulationResult | undefined
    const jobs = chunks({ seed: 1, seeds: MUTANT_SEEDS_MAX, without: [], mutant: mutant.name })
    await pool.run(jobs, report => {
      for (const failure of report.failures) if (first === undefined || failure.seed < first.seed) first = failure
      return first === undefined
    })
    if (first !== undefined) found++
    const outcome = first === undefined ? `NOT FOUND within ${MUTANT_SEEDS_MAX} seeds` : describeFind(first)
    console.log(`mutant ${mutant.name}: ${outcome}`)
  }
  return { planted: MUTANTS.length, found }
}

function* chunks(range: Pick<SeedJob, 'mutant' | 'without'> & { seed: number; seeds: number }): Generator<SeedJob> {
  for (let done = 0; done < range.seeds; done += CHUNK_SEEDS) {
    const count = Math.min(CHUNK_SEEDS, range.seeds - done)
    yield { from: range.seed + done, count, mutant: range.mutant, without: range.without }
  }
}

function describeFind(result: SimulationResult): string {
  return `found by seed ${result.seed} (${result.violation?.check} at ${result.violation?.atMs} ms)`
}

function tellFailure(failure: SimulationResult, mutant: Mutant | undefined): void {
  console.log(`seed ${failure.seed} FAILED ${failure.violation?.check}: ${failure.violation?.message}`)
  if (failure.violation?.check === 'determinism') return
  const shrunk = shrink(failure, mutant)
  console.log(`  faults needed: ${shrunk.result.faults.join(' ') || 'none'}`)
  const without = shrunk.without.length === 0 ? '' : ` --without ${shrunk.without.join(',')}`
  const planted = mutant === undefined ? '' : ` --mutant ${mutant.name}`
  console.log(
    `  replay: node packages/raft-ts/src/node/simulator/main.ts --seed ${failure.seed}${without}${planted} --trace`,
  )
}

function trace(options: Options): number {
  const { seed, mutant } = options
  const base = { seed, without: new Set(options.without), onTrace: (line: string) => console.log(line) }
  const result = simulate(mutant === undefined ? base : { ...base, mutant })
  console.log(JSON.stringify(result, undefined, 2))
  return result.violation === undefined ? 0 : 1
}

function parseOptions(): Options | undefined {
  try {
    const { values } = parseArgs({
      options: {
        seeds: { type: 'string' },
        seed: { type: 'string' },
        without: { type: 'string', default: '' },
        mutant: { type: 'string' },
        mutants: { type: 'boolean', default: false },
        trace: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        jobs: { type: 'string', default: String(availableParallelism()) },
      },
    })
    const without = values.without.split(',').filter(kind => kind !== '')
    const unknown = without.find(kind => !(FAULT_KINDS as readonly string[]).includes(kind))
    if (unknown !== undefined) throw new Error(`--without: there is no kind of fault named ${unknown}`)
    const mutant = MUTANTS.find(candidate => candidate.name === values.mutant)
    if (values.mutant !== undefined && mutant === undefined)
      throw new Error(`--mutant: there is none named ${values.mutant}`)
    return {
      seeds: parseCount('--seeds', values.seeds ?? (values.seed === undefined ? '200' : '1')),
      seed: parseCount('--seed', values.seed ?? '1'),
      jobs: parseCount('--jobs', values.jobs),
      without: without as FaultKind[],
      mutant,
      runsMutants: values.mutants,
      isTraced: values.trace,
      isJson: values.json,
    }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${USAGE}`)
    return undefined
  }
}

function parseCount(name: string, text: string): number {
  const count = Number(text)
  if (Number.isSafeInteger(count) && count > 0) return count
  throw new Error(`${name} must be a whole number above 0, not ${text}`)
}
