/**
 * `npm run sim:cluster [-- --json] [--seeds 100] [--seed 1] [--mutants] [--mutant NAME]`: routers, leaders and schedulers under
 * faults, in virtual time (README.md). `--mutants`: plants each of the bugs of mutants.ts and looks for it. The last line is
 * the result.
 */
import { isDeepStrictEqual, parseArgs } from 'node:util'
import { MUTANTS, type Mutant } from './mutants.ts'
import { type SimulationResult, simulate } from './simulation.ts'

const SEEDS_MAX = 100_000
/** A planted bug that so many seeds do not show counts as not found. */
const MUTANT_SEEDS_MAX = 100

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    seeds: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    mutant: { type: 'string' },
    mutants: { type: 'boolean' },
  },
})
const first = wholeNumber('--seed', values.seed)
const count = wholeNumber('--seeds', values.seeds)
const planted = MUTANTS.find(({ name }) => name === values.mutant)
if (values.mutant !== undefined && planted === undefined)
  refuse(`--mutant takes ${MUTANTS.map(({ name }) => name).join(', ')}`)
const say = (line: string): void => console.error(line)

const violations: SimulationResult[] = []
const sums = { events: 0, requests: 0, injected: 0, reigns: 0, stops: 0, givenUpAlive: 0 }
for (let seed = first; seed < first + count; seed++) {
  const result = await simulate({ seed, mutant: planted })
  for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += result[key]
  if (result.violation === undefined) continue
  violations.push(result)
  say(`seed ${seed}: ${JSON.stringify(result.violation)} ${result.faults.join(' ')}`)
}
const again = { seed: first, hasDigest: true }
const isRepeatable = isDeepStrictEqual(await simulate(again), await simulate(again))
const found = values.mutants ? await findMutants() : []
const result = {
  seeds: count,
  violations: violations.length,
  violationsByCheck: countByCheck(),
  violatingSeeds: violations.slice(0, 20).map(({ seed }) => seed),
  ...sums,
  isRepeatable,
  ...(values.mutants
    ? {
        mutants: {
          planted: MUTANTS.length,
          found: found.filter(({ seed }) => seed !== undefined).length,
          slowestSeed: Math.max(...found.map(({ seed }) => seed ?? 0)),
          missed: found.filter(({ seed }) => seed === undefined).map(({ name }) => name),
        },
      }
    : {}),
}
console.log(JSON.stringify(result, null, values.json ? undefined : 2))
const isClean = violations.length === 0 && result.isRepeatable && (result.mutants?.missed.length ?? 0) === 0
process.exitCode = isClean || planted !== undefined ? 0 : 1

function wholeNumber(option: string, text: string): number {
  const value = Number(text)
  if (/^\d{1,6}$/.test(text) && value >= 1 && value <= SEEDS_MAX) return value
  return refuse(`${option} takes a whole number from 1 to ${SEEDS_MAX}, not ${JSON.stringify(text)}`)
}

function refuse(message: string): never {
  console.error(message)
  process.exit(2)
}

function countByCheck(): Record<string, number> {
  const counts = new Map<string, number>()
  for (const { violation } of violations) {
    const check = violation?.check ?? ''
    counts.set(check, (counts.get(check) ?? 0) + 1)
  }
  return Object.fromEntries(counts)
}

async function findMutants(): Promise<readonly { readonly name: string; readonly seed: number | undefined }[]> {
  const all: { name: string; seed: number | undefined }[] = []
  for (const mutant of MUTANTS) {
    const seed = await firstSeedThatShows(mutant)
    say(`${mutant.name} (${mutant.shownBy}): ${seed === undefined ? 'NOT FOUND' : `found by seed ${seed}`}`)
    all.push({ name: mutant.name, seed })
  }
  return all
}

async function firstSeedThatShows(mutant: Mutant): Promise<number | undefined> {
  for (let seed = 1; seed <= MUTANT_SEEDS_MAX; seed++) {
    const { violation } = await simulate({ seed, mutant })
    if (violation?.check === mutant.shownBy) return seed
  }
  return undefined
}
