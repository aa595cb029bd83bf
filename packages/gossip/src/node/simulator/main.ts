import { parseArgs } from 'node:util'
import { type Measurement, measure } from '../../simulator/measure.ts'
import { MUTANTS, type Mutant } from '../../simulator/mutants.ts'
import { type SimulationResult, simulate } from '../../simulator/simulation.ts'

const USAGE = `Simulates gossip groups of 3, 10 and 50 members under faults, one life per seed, and measures them.

  --seeds N        how many seeds to run (default 100)
  --seed S         the first seed (default 1)
  --size N         members of every group (default: drawn by the seed)
  --runs N         runs of each measurement (default 5; 0: do not measure)
  --mutants        also run every planted bug until it is found
  --mutant NAME    run with this planted bug
  --json           end with one line of JSON
`

const MEASURED_SIZES = [3, 10, 50]
/** A planted bug that is not found within so many seeds means that the simulator is blind. */
const MUTANT_SEEDS_MAX = 500
/** Sizes in which bugs are looked for: what breaks in small groups is found sooner there. */
const MUTANT_SIZES = [3, 10]
/** Every so many seeds one is run twice, to prove that equal seeds give equal runs. */
const REPEAT_EVERY = 20
/** Failures told in full; the rest is counted. */
const FAILURES_SHOWN_MAX = 5

interface Options {
  readonly seeds: number
  readonly seed: number
  readonly size: number | undefined
  readonly runs: number
  readonly mutant: Mutant | undefined
  readonly runsMutants: boolean
  readonly isJson: boolean
}

process.exitCode = main()

function main(): number {
  const options = parseOptions()
  if (options === undefined) return 2
  const totals = runSeeds(options)
  console.log(`${totals.seeds} seeds, ${totals.events} events: ${totals.violations} violations`)
  const mutants = options.runsMutants ? runMutants() : undefined
  const measured = options.runs === 0 ? [] : MEASURED_SIZES.map(size => measure(size, options.runs))
  for (const measurement of measured) tell(measurement)
  if (options.isJson) console.log(JSON.stringify({ ...totals, mutants, measured }))
  const areAllFound = mutants === undefined || mutants.found === mutants.planted
  return totals.violations === 0 && areAllFound ? 0 : 1
}

function runSeeds({ seeds, seed: first, size, mutant }: Options) {
  const totals = { seeds, events: 0, virtualSeconds: 0, violations: 0, healingMsMax: 0 }
  for (let seed = first; seed < first + seeds; seed++) {
    const result = run(seed, size, mutant)
    totals.events += result.events
    totals.virtualSeconds += Math.round(result.virtualMs / 1000)
    totals.healingMsMax = Math.max(totals.healingMsMax, Math.round(result.healingMs ?? 0))
    if (result.violation === undefined) continue
    totals.violations++
    if (totals.violations <= FAILURES_SHOWN_MAX) tellFailure(result, mutant)
  }
  return totals
}

function run(seed: number, size: number | undefined, mutant: Mutant | undefined): SimulationResult {
  const simulateOnce = (): SimulationResult =>
    simulate({ seed, ...(size === undefined ? {} : { size }), ...(mutant === undefined ? {} : { mutant }) })
  const result = simulateOnce()
  if (seed % REPEAT_EVERY !== 0 || result.violation !== undefined) return result
  if (simulateOnce().traceHash === result.traceHash) return result
  return { ...result, violation: { check: 'determinism', message: 'it ran differently the second time', atMs: 0 } }
}

function runMutants(): { planted: number; found: number } {
  let found = 0
  for (const mutant of MUTANTS) {
    let first: SimulationResult | undefined
    for (let seed = 1; seed <= MUTANT_SEEDS_MAX && first === undefined; seed++) {
      const result = run(seed, MUTANT_SIZES[seed % MUTANT_SIZES.length], mutant)
      if (result.violation !== undefined) first = result
    }
    if (first !== undefined) found++
    const outcome =
      first === undefined
        ? `NOT FOUND within ${MUTANT_SEEDS_MAX} seeds`
        : `seed ${first.seed}: ${first.violation?.check}`
    console.log(`mutant ${mutant.name}: ${outcome}`)
  }
  return { planted: MUTANTS.length, found }
}

function tellFailure({ seed, size, faults, violation }: SimulationResult, mutant: Mutant | undefined): void {
  console.log(`seed ${seed} FAILED ${violation?.check} at ${violation?.atMs} ms: ${violation?.message}`)
  console.log(`  ${size} members, faults: ${faults.join(' ') || 'none'}`)
  const planted = mutant === undefined ? '' : ` --mutant ${mutant.name}`
  console.log(`  replay: npm run sim:gossip -- --seeds 1 --seed ${seed} --size ${size} --runs 0${planted}`)
}

function tell({ size, joinMs, newcomerRounds, rowRounds, detectFirstMs, detectAllMs, ...rest }: Measurement): void {
  console.log(`${size} members (p50/max of ${rest.runs} runs):`)
  console.log(
    `  all join in ${joinMs.p50}/${joinMs.max} ms, a newcomer is known in ${newcomerRounds.p50}/${newcomerRounds.max} rounds`,
  )
  console.log(`  a row entry is read by all after ${rowRounds.p50}/${rowRounds.max} rounds`)
  console.log(
    `  a crash is noticed in ${detectFirstMs.p50}/${detectFirstMs.max} ms, by all in ${detectAllMs.p50}/${detectAllMs.max} ms`,
  )
  console.log(`  false deaths per member and hour: ${JSON.stringify(rest.falseDeathsPerMemberHour)}`)
  console.log(`  idle: ${rest.idlePacketsPerSecond} packets per member and second`)
}

function parseOptions(): Options | undefined {
  try {
    const { values } = parseArgs({
      options: {
        seeds: { type: 'string', default: '100' },
        seed: { type: 'string', default: '1' },
        size: { type: 'string' },
        runs: { type: 'string', default: '5' },
        mutant: { type: 'string' },
        mutants: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
    })
    const mutant = MUTANTS.find(({ name }) => name === values.mutant)
    if (values.mutant !== undefined && mutant === undefined) {
      throw new Error(`--mutant: there is none named ${values.mutant}`)
    }
    return {
      seeds: parseCount('--seeds', values.seeds, 1),
      seed: parseCount('--seed', values.seed, 1),
      size: values.size === undefined ? undefined : parseCount('--size', values.size, 2),
      runs: parseCount('--runs', values.runs, 0),
      mutant,
      runsMutants: values.mutants,
      isJson: values.json,
    }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${USAGE}`)
    return undefined
  }
}

function parseCount(name: string, text: string, min: number): number {
  const count = Number(text)
  if (Number.isSafeInteger(count) && count >= min) return count
  throw new Error(`${name} must be a whole number of at least ${min}, not ${text}`)
}
